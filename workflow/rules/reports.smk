# readouts and logs → tables, figures, and the page that shows them.


wildcard_constraints:
    artefact="[A-Za-z0-9_-]+",


rule table:
    input:
        read_by,
    output:
        expand(REPORT["table"], artefact="{artefact}", ending=ENDINGS["table"]),
    log:
        "logs/table/{artefact}.log",
    conda:
        ENVIRONMENT
    params:
        fixed=drawn_by,
    message:
        "table {wildcards.artefact}"
    shell:
        "entia report {wildcards.artefact:q} > {log:q} 2>&1"


rule figure:
    input:
        read_by,
    output:
        expand(REPORT["figure"], artefact="{artefact}", ending=ENDINGS["figure"]),
    log:
        "logs/figure/{artefact}.log",
    conda:
        ENVIRONMENT
    params:
        fixed=drawn_by,
    message:
        "figure {wildcards.artefact}"
    shell:
        "entia report {wildcards.artefact:q} > {log:q} 2>&1"


rule claims:
    input:
        stored("readout"),
        [pattern for pattern in stored("pretrain") if pattern.endswith(".csv")],
    output:
        REPORT["claims"],
        REPORT["verdicts"],
    log:
        "logs/claims.log",
    conda:
        ENVIRONMENT
    params:
        fixed=redrawing.parameter(PLAN, redrawing.CLAIMS),
    message:
        "claims: {output[0]}"
    shell:
        "entia claims > {log:q} 2>&1"


rule index:
    input:
        REPORT["claims"],
        drawn(),
    output:
        REPORT["page"],
    log:
        "logs/index.log",
    conda:
        ENVIRONMENT
    params:
        fixed=json.dumps(
            {
                "code": provenance.fingerprint("reports.page"),
                "artefacts": list(PLAN.reports),
            }
        ),
    message:
        "report: {output}"
    shell:
        "entia index > {log:q} 2>&1"
