# readouts and logs → tables, figures, and the page that shows them.


wildcard_constraints:
    report_id="[A-Za-z0-9_-]+",


rule table:
    input:
        read_by,
    output:
        expand(REPORT["table"], report_id="{report_id}", ending=ENDINGS["table"]),
    log:
        "logs/table/{report_id}.log",
    conda:
        ENVIRONMENT
    params:
        fixed=drawn_by,
    message:
        "table {wildcards.report_id}"
    shell:
        "entia report {wildcards.report_id:q} > {log:q} 2>&1"


rule figure:
    input:
        read_by,
    output:
        expand(REPORT["figure"], report_id="{report_id}", ending=ENDINGS["figure"]),
    log:
        "logs/figure/{report_id}.log",
    conda:
        ENVIRONMENT
    params:
        fixed=drawn_by,
    message:
        "figure {wildcards.report_id}"
    shell:
        "entia report {wildcards.report_id:q} > {log:q} 2>&1"


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
                "reports": list(PLAN.reports),
            }
        ),
    message:
        "report: {output}"
    shell:
        "entia index > {log:q} 2>&1"
