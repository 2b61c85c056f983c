# subset → pretraining → embeddings → readout, one job an artefact.


rule subset:
    output:
        PATTERNS["subset"][0],
    log:
        "logs/subset/{cell}.log",
    conda:
        "../envs/main.yaml"
    resources:
        mem_mb=memory("subset"),
        runtime=minutes("subset"),
    params:
        fixed=fixed("subset"),
    message:
        "subset: {WORDS:subset/{wildcards.cell}}"
    shell:
        "PYTHONPATH=src exec python -m entia.job subset {wildcards.cell} > {log} 2>&1"


rule pretrain:
    input:
        parent("pretrain", "subset"),
    output:
        weights=PATTERNS["pretrain"][0],
        log=PATTERNS["pretrain"][1],
    log:
        "logs/pretrain/{cell}.log",
    priority: longest_first
    conda:
        "../envs/main.yaml"
    threads: lambda wildcards: of("pretrain")(wildcards).threads
    resources:
        gpu=1,
        mem_mb=memory("pretrain"),
        runtime=minutes("pretrain"),
    params:
        fixed=fixed("pretrain"),
    message:
        "pretrain: {WORDS:pretrain/{wildcards.cell}}"
    shell:
        "PYTHONPATH=src exec python -m entia.job pretrain {wildcards.cell} > {log} 2>&1"


rule embed:
    input:
        parent("embed", "pretrain"),
        parent("embed", "on"),
    output:
        PATTERNS["embed"][0],
    log:
        "logs/embed/{cell}.log",
    priority: FINISH
    conda:
        "../envs/main.yaml"
    threads: lambda wildcards: of("embed")(wildcards).pretrain.threads
    resources:
        gpu=1,
        mem_mb=memory("embed"),
        runtime=minutes("embed"),
    params:
        fixed=fixed("embed"),
    message:
        "embed: {WORDS:embed/{wildcards.cell}}"
    shell:
        "PYTHONPATH=src exec python -m entia.job embed {wildcards.cell} > {log} 2>&1"


rule readout:
    input:
        parent("readout", "embed"),
    output:
        PATTERNS["readout"][0],
    log:
        "logs/readout/{cell}.log",
    priority: FINISH
    conda:
        "../envs/main.yaml"
    resources:
        gpu=lambda wildcards: int(machines.is_trained(of("readout")(wildcards))),
        mem_mb=memory("readout"),
        runtime=minutes("readout"),
    params:
        fixed=fixed("readout"),
    message:
        "readout: {WORDS:readout/{wildcards.cell}}"
    shell:
        "PYTHONPATH=src exec python -m entia.job readout {wildcards.cell} > {log} 2>&1"
