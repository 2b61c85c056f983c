# subset → pretraining → embeddings → readout, one job an artefact.


rule subset:
    output:
        PATTERNS["subset"][0],
    log:
        "logs/subset/{cell}.log",
    priority: 2 * FINISH  # packing tells which of the planned runs cannot be: before any trains
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory("subset"),
        runtime=minutes("subset"),
    params:
        fixed=fixed("subset"),
    message:
        "subset: {WORDS:subset/{wildcards.cell}}"
    shell:
        "entia subset {wildcards.cell:q} > {log:q} 2>&1"


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
        ENVIRONMENT
    threads: lambda wildcards: PLAN.devices * of("pretrain")(wildcards).threads
    resources:
        gpu=PLAN.devices,
        mem_mb=memory("pretrain", PLAN.devices),
        runtime=minutes("pretrain"),
    params:
        fixed=fixed("pretrain"),
    message:
        "pretrain: {WORDS:pretrain/{wildcards.cell}}"
    shell:
        "entia pretrain {wildcards.cell:q} > {log:q} 2>&1"


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
        ENVIRONMENT
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
        "entia embed {wildcards.cell:q} > {log:q} 2>&1"


rule readout:
    input:
        parent("readout", "embed"),
    output:
        PATTERNS["readout"][0],
    log:
        "logs/readout/{cell}.log",
    priority: FINISH
    conda:
        ENVIRONMENT
    resources:
        gpu=lambda wildcards: int(machines.is_trained(of("readout")(wildcards))),
        mem_mb=memory("readout"),
        runtime=minutes("readout"),
    params:
        fixed=fixed("readout"),
    message:
        "readout: {WORDS:readout/{wildcards.cell}}"
    shell:
        "entia readout {wildcards.cell:q} > {log:q} 2>&1"
