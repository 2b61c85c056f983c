# readouts and logs → tables, figures, and the page that shows them.


wildcard_constraints:
    artefact="[A-Za-z0-9-]+",


rule table:
    input:
        read_by,
        reported=expand("data/reported/{papers}.csv", papers=("diet", "multi_view")),
    output:
        expand(REPORT["table"], artefact="{artefact}", ending=("csv", "md", "tex")),
    log:
        "logs/table/{artefact}.log",
    conda:
        "../envs/main.yaml"
    params:
        fixed=drawn_by("tables"),
    message:
        "table {wildcards.artefact}"
    shell:
        "PYTHONPATH=src exec python -m entia.job report {wildcards.artefact} > {log} 2>&1"


rule figure:
    input:
        read_by,
        reported=expand("data/reported/{papers}.csv", papers=("diet", "multi_view")),
    output:
        expand(REPORT["figure"], artefact="{artefact}", ending=("pdf", "png", "svg")),
    log:
        "logs/figure/{artefact}.log",
    conda:
        "../envs/main.yaml"
    params:
        fixed=drawn_by("figures"),
    message:
        "figure {wildcards.artefact}"
    shell:
        "PYTHONPATH=src exec python -m entia.job report {wildcards.artefact} > {log} 2>&1"


rule claims:
    input:
        stored("readout"),
        [pattern for pattern in stored("pretrain") if pattern.endswith(".csv")],
        reported="data/reported/independent.csv",
    output:
        REPORT["claims"],
        REPORT["verdicts"],
    log:
        "logs/claims.log",
    conda:
        "../envs/main.yaml"
    params:
        fixed=json.dumps(
            {
                "rows": sorted(ROWS),
                "scale": PLAN.scale,
                "looks": PLAN.judging.looks,
                "code": provenance.fingerprint("claims"),
            }
        ),
    message:
        "claims: {output[0]}"
    shell:
        "PYTHONPATH=src exec python -m entia.job claims > {log} 2>&1"


rule index:
    input:
        REPORT["claims"],
        expand(
            REPORT["table"],
            artefact=TABLES,
            ending=("csv", "md", "tex"),
        ),
        expand(
            REPORT["figure"],
            artefact=FIGURES,
            ending=("pdf", "png", "svg"),
        ),
    output:
        REPORT["page"],
    log:
        "logs/index.log",
    conda:
        "../envs/main.yaml"
    params:
        fixed=json.dumps(
            {"code": provenance.fingerprint("page"), "artefacts": list(PLAN.reports)}
        ),
    message:
        "report: {output}"
    shell:
        "PYTHONPATH=src exec python -m entia.job index > {log} 2>&1"
