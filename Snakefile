# Loads the plan, includes the rules, says what "all" is.
import json
import math
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.18")
sys.path.insert(0, str(Path(workflow.basedir) / "src"))
from entia import config as configs, job as jobs, machines, plan as plans, provenance

RUNS = workflow.is_main_process and not workflow.dryrun
try:
    PLAN = plans.load("params.yaml")
    if RUNS:
        machines.check_writable(
            [".", ".snakemake", "logs", "data", *Path("data").iterdir(), PLAN.folder]
        )
        # imported here: it reads HDF5, which a dry run does without
        from entia import packed

        packed.refuse(PLAN, packed.holds(Path("data")))
except configs.Problem as problem:
    sys.exit(f"entia: {problem}")

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
        stored("subset"),
        stored("pretrain"),
        stored("embed"),
        stored("readout"),
    message:
        "everything is up to date"
