"""What Snakemake is kept from: removing what a stage made, and judging anything by the clock.

A stage writes its artefact whole or not at all, and says itself whether one that lies there is current. So nothing of a
stage is removed: not before its job, unless the user forces that, nor after a job that failed or was killed. What such
a job leaves stays marked as incomplete, and the next run asks the stage again. Tables, figures and pages, which hold
no training, keep Snakemake's ways. And whatever a file's time, it is an artefact's own SHA-256 that says whether an
input is the one that a job read; Snakemake would look only at those that are newer, and read them whole.
"""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import snakemake.api  # pyright: ignore[reportUnusedImport] before its parts, which import each other
from snakemake.dag import DAG
from snakemake.io import _IOFile
from snakemake.jobs import Job
from snakemake.persistence import PersistenceBase

from entia.artefacts import store
from entia.fields import Problem

_incomplete: set[str] = set()
"""What a killed or failed job may have left half made; Snakemake forces it, as it does what the user forces."""


def contents_not_times(rules: Collection[str]) -> None:
    """Has Snakemake, in this process, keep outputs of these rules and compare contents alone.

    Raises `Problem` where Snakemake is one whose parts have other names: it would otherwise go on removing.
    """
    _keep_outputs(rules)
    _compare_stamps()


def _replace(owner: type, name: str, by: Callable[..., Any]) -> None:
    if not hasattr(owner, name):
        raise Problem(f"Snakemake {snakemake.__version__} has no {name}; install the one of requirements.lock")
    setattr(owner, name, by)


def _keep_outputs(rules: Collection[str]) -> None:
    """Replaces, in this process, what would remove outputs of these rules."""
    remove: Any = Job.remove_existing_output
    postprocess: Any = Job.postprocess
    check: Any = DAG.check_incomplete

    async def remove_existing_output(job: Any) -> None:
        if job.rule.name not in rules or is_forced(job):
            await remove(job)
        for log in job.log:
            await log.remove(remove_non_empty_dir=False)

    async def after(job: Any, *arguments: Any, error: bool = False, **options: Any) -> None:
        if not (error and job.rule.name in rules):
            await postprocess(job, *arguments, error=error, **options)
        elif job.dag.workflow.is_main_process:
            job.dag.workflow.persistence.started(job)  # to be asked again; a later check may have cleared the mark

    async def check_output_mtime(*_: Any) -> None:
        """Nothing: an input from the future, or of a node whose clock is ahead, does not undo a job."""

    async def check_incomplete(dag: Any) -> None:
        asked = set(dag.forcefiles)
        await check(dag)
        _incomplete.update(dag.forcefiles - asked)

    _replace(Job, "remove_existing_output", remove_existing_output)
    _replace(Job, "postprocess", after)
    _replace(DAG, "check_output_mtime", check_output_mtime)
    _replace(DAG, "check_incomplete", check_incomplete)


def _compare_stamps() -> None:
    checksum: Any = _IOFile.checksum
    changed: Any = PersistenceBase._input_changed

    async def stamp_or_checksum(file: Any, *arguments: Any, **options: Any) -> str | None:
        return store.stamp(Path(file)) or await checksum(file, *arguments, **options)

    def input_changed(persistence: Any, job: Any, file: Any = None) -> bool:
        read = (persistence.metadata(file).input_checksums or {}) if persistence.metadata(file) else {}
        now = {path: store.stamp(Path(path)) for path in read}
        return changed(persistence, job, file=file) or any(now[path] and now[path] != read[path] for path in read)

    _replace(_IOFile, "checksum", stamp_or_checksum)
    _replace(PersistenceBase, "_input_changed", input_changed)


def is_forced(job: Any) -> bool:
    """Whether the user asks for a job to be done anew; what is marked as incomplete is only looked at again.

    In a process that does one job of another's run nothing is forced, though Snakemake calls everything so there.
    """
    if not job.dag.workflow.is_main_process:
        return False
    by_rule = job.rule in job.dag.forcerules and job not in job.dag.omitforce
    return by_rule or not (job.dag.forcefiles - _incomplete).isdisjoint(job.output)


def remove_forced(dag: Any) -> None:
    """Removes what is to be made anew by jobs of other machines, which cannot tell that they are forced."""
    for job in dag.needrun_jobs():
        if is_forced(job):
            for file in job.output:
                Path(file).unlink(missing_ok=True)
