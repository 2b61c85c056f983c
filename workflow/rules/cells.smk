# subset → pretraining → embeddings → readout, one job an artefact.


rule subset:
    output:
        PATTERNS["subset"][0],
    log:
        "logs/subset/{cell}.log",
    conda:
        "../envs/main.yaml"
    resources:
        what=words("subset"),
    params:
        fixed=fixed("subset"),
    message:
        "subset: {resources.what}"
    shell:
        "PYTHONPATH=src python -m entia.cli subset {wildcards.cell} > {log} 2>&1"


rule pretrain:
    input:
        lambda wildcards: file(of("pretrain")(wildcards).subset),
    output:
        weights=PATTERNS["pretrain"][0],
        log=PATTERNS["pretrain"][1],
    log:
        "logs/pretrain/{cell}.log",
    conda:
        "../envs/main.yaml"
    threads: lambda wildcards: of("pretrain")(wildcards).threads
    resources:
        gpu=1,
        what=words("pretrain"),
    params:
        fixed=fixed("pretrain"),
    message:
        "pretrain: {resources.what}"
    shell:
        "PYTHONPATH=src python -m entia.cli pretrain {wildcards.cell} > {log} 2>&1"


rule embed:
    input:
        lambda wildcards: file(of("embed")(wildcards).pretrain),
        lambda wildcards: file(of("embed")(wildcards).on),
    output:
        PATTERNS["embed"][0],
    log:
        "logs/embed/{cell}.log",
    conda:
        "../envs/main.yaml"
    threads: lambda wildcards: of("embed")(wildcards).pretrain.threads
    resources:
        gpu=1,
        what=words("embed"),
    params:
        fixed=fixed("embed"),
    message:
        "embed: {resources.what}"
    shell:
        "PYTHONPATH=src python -m entia.cli embed {wildcards.cell} > {log} 2>&1"


rule readout:
    input:
        lambda wildcards: file(of("readout")(wildcards).embed),
    output:
        PATTERNS["readout"][0],
    log:
        "logs/readout/{cell}.log",
    conda:
        "../envs/main.yaml"
    resources:
        what=words("readout"),
    params:
        fixed=fixed("readout"),
    message:
        "readout: {resources.what}"
    shell:
        "PYTHONPATH=src python -m entia.cli readout {wildcards.cell} > {log} 2>&1"
