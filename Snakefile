# Loads the plan, includes the rules, says what "all" is.
import json
import math
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.18")
# The code, workflow/ and data/reported/ lie beside this file (an installed package holds it); the study, which is
# params.yaml, data/ and reports/, lies in the working folder. What lies there hides no module, here and in all that is
# started from here; all texts are UTF-8.
HERE = Path(workflow.basedir)
SOURCES = HERE / "src" if (HERE / "src/entia").is_dir() else HERE.parent
sys.path[:] = [
    str(SOURCES),
    *(path for path in sys.path if path and Path(path) not in (HERE, Path.cwd())),
]
os.environ |= {"PYTHONSAFEPATH": "1", "PYTHONUTF8": "1"}
from entia import config as configs, job as jobs, naming, plan as plans, sizes
from entia.artefacts import adopted, provenance, redrawing
from entia.fields import Problem
from entia.running import reasons, trust
from entia.system import home, machines

RUNS = workflow.is_main_process and not workflow.dryrun
DEPLOYED = bool(workflow.deployment_settings.deployment_method)
# what a subset holds, for the time and memory of jobs; whoever does a single job need not count
HOLDS = sizes.counted if workflow.is_main_process else sizes.expected
try:
    trust.contents_not_times(configs.KINDS)
    reasons.in_short()
    if DEPLOYED:
        machines.check_name(Path.cwd())
    CODE = home.entry(alone=DEPLOYED)
    PLAN = plans.load("params.yaml")
    # without cells trained elsewhere: their readouts and logs are here, their weights are not (`entia adopt ARCHIVE`)
    TO_MAKE = adopted.to_make(PLAN, Path("data"))
    if RUNS:
        machines.check_writable(
            [".", ".snakemake", "logs", "data", *Path("data").glob("*"), PLAN.folder]
        )
    if unknown := sorted(set(config) - {"max_minutes"}):
        raise Problem(
            f"--config: {', '.join(unknown)}: unknown; max_minutes alone is set there. "
            "What the study is, `scale:` included, stands in params.yaml"
        )
    if RUNS:
        # imported here: it reads HDF5, which a dry run does without
        from entia.artefacts import packed

        packed.refuse(PLAN, packed.holds(Path("data")))
        HOLDS = packed.holds(Path("data"), HOLDS)
        if machines.take_over(Path.cwd()):
            print(
                "The last run here was killed: going on from what it left.",
                file=sys.stderr,
            )
except Problem as problem:
    sys.exit(f"entia: {problem}")
except OSError as error:
    sys.exit(f"entia: {machines.refusal(error)}")
if workflow.is_main_process:
    for notice in PLAN.notices:
        print(f"entia: params.yaml: {notice}", file=sys.stderr)


include: "workflow/rules/common.smk"
include: "workflow/rules/cells.smk"
include: "workflow/rules/reports.smk"


onstart:
    # `jobs` or `--cores` limits what runs at once. A limit on submissions a second has Snakemake look at all waiting jobs
    # once a second for every job that ever ended, which soon keeps a core busy.
    workflow.scheduler.job_rate_limiter = None
    machines.begin(
        slurm=workflow.executor_plugin.name == "slurm",
        trains=any(
            job.rule.name == "pretrain" for job in workflow.dag.needrun_jobs()
        ),
    )
    if workflow.executor_plugin.common_settings.non_local_exec:
        trust.remove_forced(workflow.dag)
    if (
        workflow.executor_plugin.name == "local"
        and not DEPLOYED
        and sys.platform == "linux"
    ):
        jobs.start(CODE)


onerror:
    # What failed costs neither what was drawn nor the page, which says what is not on it.
    left = list(workflow.dag.needrun_jobs())
    drawings = ("table", "figure", "claims")
    if {job.rule.name for job in left} <= {*drawings, "index", "all"} or any(
        job.rule.name in drawings for job in workflow.dag.finished_jobs
    ):
        undrawn = [
            job.wildcards.get("report_id", "claims")
            for job in left
            if job.rule.name in drawings
        ]
        command = [
            sys.executable,
            "-m",
            "entia.cli",
            "index",
            "--without",
            *undrawn,
        ]
        subprocess.run(command, env={**os.environ, "PYTHONPATH": CODE})


rule all:
    default_target: True
    input:
        # named on purpose: a missing file that nothing newer asks for is otherwise no reason to run
        REPORT["page"],
        REPORT["claims"],
        REPORT["verdicts"],
        drawn(),
        [file for kind in configs.KINDS for file in stored(kind, TO_MAKE)],
    message:
        "everything is up to date"
