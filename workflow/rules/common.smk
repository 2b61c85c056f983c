# How rules learn from the plan. Each has one wildcard and one parameter, the canonical JSON of all that fixes its output.

# A job runs the Python that runs Snakemake, on the modules that this file was read with; none of the working folder's
# (-P) and none by a path in full, since a colon would end it. An environment or a container brings a Python of its own.
# It is no part of a rule's own text, which every checkout and environment has in common.
PYTHON = "python" if DEPLOYED else shlex.quote(sys.executable)
WHERE = shlex.quote(CODE)
# packages may come by PYTHONPATH too, but into an environment of its own nothing comes from outside
MORE = "" if DEPLOYED else "${PYTHONPATH:+:$PYTHONPATH}"
ENTIA = f'entia() {{ PYTHONPATH={WHERE}{MORE} exec {PYTHON} -P -m entia.job "$@"; }}'
shell.prefix(re.sub("[{}]", r"\g<0>\g<0>", f"set -euo pipefail; {ENTIA}; "))
# as a pattern, where a brace of the checkout's own path would be a wildcard's
ENVIRONMENT = re.sub(
    "[{}]", r"\g<0>\g<0>", f"{workflow.basedir}/workflow/envs/main.yaml"
)

# where a stage's artefacts lie, the artefact itself first
PATTERNS = {
    stage.kind: [f"data/{stage.folder}/{{cell}}{suffix}" for suffix in stage.suffixes]
    for stage in configs.STAGES
}
# where a scale's tables and figures lie
REPORT = {
    "table": f"{PLAN.folder}/tables/{{report_id}}.{{ending}}",
    "figure": f"{PLAN.folder}/figures/{{report_id}}.{{ending}}",
    "claims": f"{PLAN.folder}/claims.md",
    "verdicts": f"{PLAN.folder}/claims.json",
    "page": f"{PLAN.folder}/index.html",
}
ENDINGS = redrawing.ENDINGS


def stored(stage, plan=PLAN):
    """The files of every artefact of a stage."""
    return [
        f"data/{part}"
        for config in plan.of(stage).values()
        for part in naming.files(config)
    ]


def file(config, part=0):
    """The file of one config's artefact."""
    return f"data/{naming.files(config)[part]}"


def of(stage):
    """The config that a job's wildcard names."""
    return lambda wildcards: PLAN.of(stage)[wildcards.cell]


def parent(stage, field):
    """The file that a job reads; none if what it makes was made elsewhere: then nothing is there to make it from."""

    def source(wildcards):
        config = of(stage)(wildcards)
        made_elsewhere = wildcards.cell not in TO_MAKE.of(stage)
        return [] if made_elsewhere else file(getattr(config, field))

    return source


def fixed(stage):
    """All that fixes a job's output: its config's key (the name has it too) and the code of the modules it uses."""

    def parameter(wildcards):
        config = of(stage)(wildcards)
        code = provenance.stage_code(stage, config)
        return json.dumps({"config": naming.key(config), "code": code}, sort_keys=True)

    return parameter


def memory(stage, processes=1):
    """MiB for a job, all its processes', more at each further attempt."""
    return lambda wildcards, attempt: min(attempt, 4) * (
        processes * machines.memory(of(stage)(wildcards), HOLDS)
    )


def minutes(stage):
    """A job's time limit, longer at each further attempt; a site's own limit cuts it, and cells go on from there."""
    longest = float(config.get("max_minutes", "inf"))
    return lambda wildcards, attempt: min(
        attempt * machines.minutes(of(stage)(wildcards), HOLDS), longest
    )


FINISH = 1000  # a cell that is trained is read out before the next begins: an interrupted study has results


def longest_first(wildcards):
    """A priority: twice the work is one more."""
    return round(math.log2(1 + machines.work(of("pretrain")(wildcards), HOLDS)))


class Words:
    """`{WORDS:stage/cell}` in a message is that config in the user's words."""

    def __format__(self, place):
        stage, cell = place.split("/", 1)
        return naming.label(PLAN.of(stage)[cell])


WORDS = Words()
TABLES = {name: report for name, report in PLAN.reports.items() if report.table}
FIGURES = {name: report for name, report in PLAN.reports.items() if report.figure}


def drawn():
    """The files of every table and figure."""
    kinds = (("table", TABLES), ("figure", FIGURES))
    return [
        file
        for kind, ids in kinds
        for file in expand(REPORT[kind], report_id=ids, ending=ENDINGS[kind])
    ]


def read_by(wildcards):
    """The readouts and logs that a report draws."""
    asked = [PLAN.readouts[row.readout] for row in PLAN.drawn(wildcards.report_id)]
    files = [file(readout) for readout in asked]
    logs = [file(readout.embed.pretrain, 1) for readout in asked]
    return list(dict.fromkeys(files + logs))


def drawn_by(wildcards):
    """All that fixes a drawing: what params.yaml says of it, its rows, the scale, and the code that draws it."""
    return redrawing.parameter(PLAN, wildcards.report_id)
