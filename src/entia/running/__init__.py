"""How a study runs: the processes of a borrowed machine, and what Snakemake is kept from."""
