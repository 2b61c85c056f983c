# readouts and logs → tables, figures, and the page that shows them.

TABLES = {name: report for name, report in PLAN.reports.items() if report.table}
FIGURES = {name: report for name, report in PLAN.reports.items() if report.figure}


wildcard_constraints:
    artefact="[A-Za-z0-9-]+",


def read_by(wildcards):
    """The readouts and logs that an artefact draws."""
    asked = [PLAN.readouts[row.readout] for row in PLAN.rows[wildcards.artefact]]
    files = [file(readout) for readout in asked]
    logs = [file(readout.embed.pretrain, 1) for readout in asked]
    return list(dict.fromkeys(files + logs))


def drawn_by(module):
    """All that fixes an artefact: what params.yaml says of it, its rows, the scale, and the code that draws it."""

    def parameter(wildcards):
        return json.dumps(
            {
                "report": plans.msgspec.to_builtins(PLAN.reports[wildcards.artefact]),
                "rows": [(row.experiment, row.arm, row.readout) for row in PLAN.rows[wildcards.artefact]],
                "scale": PLAN.scale,
                "code": provenance.fingerprint(module, "results"),
            },
            sort_keys=True,
        )

    return parameter


rule table:
    input:
        read_by,
        reported="data/reported/multi_view.csv",
    output:
        expand("reports/tables/{{artefact}}.{ending}", ending=("csv", "md", "tex")),
    log:
        "logs/table/{artefact}.log",
    conda:
        "../envs/main.yaml"
    params:
        fixed=drawn_by("tables"),
    message:
        "table {wildcards.artefact}"
    shell:
        "PYTHONPATH=src python -m entia.cli report {wildcards.artefact} > {log} 2>&1"


rule figure:
    input:
        read_by,
        reported="data/reported/multi_view.csv",
    output:
        expand("reports/figures/{{artefact}}.{ending}", ending=("pdf", "png", "svg")),
    log:
        "logs/figure/{artefact}.log",
    conda:
        "../envs/main.yaml"
    params:
        fixed=drawn_by("figures"),
    message:
        "figure {wildcards.artefact}"
    shell:
        "PYTHONPATH=src python -m entia.cli report {wildcards.artefact} > {log} 2>&1"


rule index:
    input:
        expand("reports/tables/{artefact}.{ending}", artefact=TABLES, ending=("csv", "md", "tex")),
        expand("reports/figures/{artefact}.{ending}", artefact=FIGURES, ending=("pdf", "png", "svg")),
    output:
        "reports/index.html",
    log:
        "logs/index.log",
    conda:
        "../envs/main.yaml"
    params:
        fixed=json.dumps({"code": provenance.fingerprint("page"), "artefacts": list(PLAN.reports)}),
    message:
        "report: reports/index.html"
    shell:
        "PYTHONPATH=src python -m entia.cli index > {log} 2>&1"
