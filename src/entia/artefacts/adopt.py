"""Artefacts that were made without Snakemake, or elsewhere, taken up by it as its own."""

import subprocess
import sys
from pathlib import Path

from entia import naming
from entia.artefacts import adopted, check, store
from entia.config import KINDS
from entia.fields import Problem
from entia.plan import Plan
from entia.system import faults, home

AT_ONCE = 500
"""Files named in one call: a command line's length has a limit."""


def adopt(plan: Plan, data: Path) -> int:
    """How many artefacts Snakemake has now recorded, with today's config and code: all that are current.

    Raises `Problem`, and records nothing, if any is damaged, foreign or of older code, or lies there without what it
    was made from: then it is not known from what it was made.
    """
    plan = adopted.to_make(plan, data)  # what was made elsewhere cannot be recorded: what it was made from is not here
    found = {finding.file: finding for finding in check.check(plan, data)}
    wrong = [f"{of.file}: {of.state} ({of.why})" for of in found.values() if of.state not in ("current", "missing")]
    if wrong:
        raise Problem("nothing was taken up:\n" + "\n".join(wrong))
    planned = (stage for kind in KINDS for stage in plan.of(kind).values())
    there = [stage for stage in planned if all(map(faults.is_there, store.files(data, stage)))]
    names = {naming.name(stage) for stage in there}
    orphans = [stage for stage in there if not {naming.name(parent) for parent in stage.parents} <= names]
    if orphans:
        files = "\n".join(str(store.path(data, stage)) for stage in orphans)
        raise Problem(f"nothing was taken up: what these were made from is missing; bring it, or delete them\n{files}")
    files = [str(store.path(data, stage)) for stage in there]
    for first in range(0, len(files), AT_ONCE):
        _record(files[first : first + AT_ONCE])
    return len(files)


def _record(files: list[str]) -> None:
    """Snakemake's own way: it touches outputs, parents first, and writes down config, code and inputs as of a run."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "snakemake",
        "--snakefile",
        str(home.HOME / "Snakefile"),
        "--touch",
        "--forceall",
        "--cores",
        "1",
        "--quiet",
        "all",
        "--",
        *files,
    ]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        raise Problem(f"snakemake --touch ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}".rstrip())
