# Loads the plan, includes the rules, says what "all" is.
import json
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.18")
sys.path.insert(0, str(Path(workflow.basedir) / "src"))
from entia import config as configs, plan as plans, provenance

try:
    PLAN = plans.load("params.yaml")
except configs.Problem as problem:
    sys.exit(f"entia: {problem}")


include: "workflow/rules/common.smk"
include: "workflow/rules/cells.smk"
include: "workflow/rules/reports.smk"


rule all:
    default_target: True
    input:
        "reports/index.html",
        # named on purpose: a missing file that nothing newer asks for is otherwise no reason to run
        stored("subset"),
        stored("pretrain"),
        stored("embed"),
        stored("readout"),
    message:
        "everything is up to date"
