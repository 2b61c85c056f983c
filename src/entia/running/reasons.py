"""Why Snakemake runs a job, in a line that can be read: in full it names every file, hundreds for the page."""

from collections.abc import Iterator
from typing import Any

import snakemake.api  # pyright: ignore[reportUnusedImport] before its parts, which import each other
from snakemake.jobs import Reason

from entia.fields import Problem
from entia.planning import mistakes

WORDS = {
    "forced": "asked for by force",
    "missing_output": "missing: {}",
    "incomplete_output": "its last run did not end",
    "updated_input": "its input has changed: {}",
    "updated_input_run": "follows {}",
    "input_changed": "it has other inputs than before",
    "code_changed": "its rule has changed",
    "params_changed": "its code, or what params.yaml says of it, has changed (`entia why NAME` says which)",
    "software_stack_changed": "its environment has changed",
    "noio": "it has neither inputs nor outputs",
    "nooutput": "it has no outputs",
}
"""What each of Snakemake's reasons is called here, with the files that it names."""
SHOWN = 1
"""Files that a reason names."""


def in_short() -> None:
    """Has Snakemake, in this process, say its reasons in short.

    Raises `Problem` where Snakemake is one that calls them otherwise.
    """
    if unknown := [name for name in WORDS if not hasattr(Reason(), name)]:
        raise Problem(
            f"Snakemake {snakemake.__version__} has no {', '.join(unknown)}; install the one of requirements.lock"
        )
    setattr(Reason, "__str__", said)  # noqa: B010 (a type checker refuses the plain form)


def said(reason: Any) -> str:
    """Why a job runs."""
    text = "; ".join(_parts(reason))
    return f"Finished (was: {text})" if reason.finished else text


def _parts(reason: Any) -> Iterator[str]:
    for name, words in WORDS.items():
        found = getattr(reason, name)
        if name == "updated_input":
            found = found - reason.updated_input_run
        if found:
            yield words.format(mistakes.some(sorted(map(str, found)), SHOWN) if "{}" in words else "")
