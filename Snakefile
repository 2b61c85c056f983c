# Loads the plan, includes the rules, says what "all" is.
import json
import math
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.18")
sys.path.insert(0, str(Path(workflow.basedir) / "src"))
from entia import (
    adopted,
    config as configs,
    job as jobs,
    machines,
    plan as plans,
    provenance,
)

RUNS = workflow.is_main_process and not workflow.dryrun
try:
    PLAN = plans.load("params.yaml")
    # without cells trained elsewhere: their readouts and logs are here, their weights are not (`entia adopt ARCHIVE`)
    TO_MAKE = adopted.to_make(PLAN, Path("data"))
    if RUNS:
        machines.check_writable(
            [".", ".snakemake", "logs", "data", *Path("data").iterdir(), PLAN.folder]
        )
    if unknown := sorted(set(config) - {"max_minutes"}):
        raise configs.Problem(
            f"--config: {', '.join(unknown)}: unknown; max_minutes alone is set there. "
            "What the study is, `scale:` included, stands in params.yaml"
        )
except configs.Problem as problem:
    sys.exit(f"entia: {problem}")
if workflow.is_main_process:
    for notice in PLAN.notices:
        print(f"entia: params.yaml: {notice}", file=sys.stderr)

if RUNS and machines.take_over(Path.cwd()):
    print("The last run here was killed: going on from what it left.", file=sys.stderr)


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
    if (
        workflow.executor_plugin.name == "local"
        and not workflow.deployment_settings.deployment_method
        and sys.platform == "linux"
    ):
        jobs.start()


rule all:
    default_target: True
    input:
        REPORT["page"],
        # named on purpose: a missing file that nothing newer asks for is otherwise no reason to run
        stored("subset", TO_MAKE),
        stored("pretrain", TO_MAKE),
        stored("embed", TO_MAKE),
        stored("readout", TO_MAKE),
    message:
        "everything is up to date"
