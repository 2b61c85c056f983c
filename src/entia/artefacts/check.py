"""What lies in data/: whether each artefact is what the plan means, and which the plan no longer names.

All is told from what is inside an artefact (its config, code, raw data and SHA-256); names and times are not trusted.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from entia import catalogue, config, naming
from entia.artefacts import adopted, provenance, store
from entia.artefacts.adopted import Origin
from entia.config import Pretrain, Readout, Stage, Subset
from entia.fields import Problem
from entia.plan import Plan
from entia.system import faults

State = Literal["current", "older code", "missing", "weights not here", "foreign", "damaged", "unreadable"]
STATES: dict[type[Problem], State] = {
    faults.Missing: "missing",
    faults.Unreadable: "unreadable",
    store.Foreign: "foreign",
    store.Damaged: "damaged",
}
"""What a problem with a file says that the file is."""


@dataclass(frozen=True)
class Finding:
    """One file, what it is, and why it is held to be that, with the remedy."""

    file: Path
    state: State
    why: str = ""

    @property
    def is_wrong(self) -> bool:
        """True of what must never be used, and of what cannot be read and so is not known to be right."""
        return self.state in ("foreign", "damaged", "unreadable")


def open_whole(data: Path, stage: Stage) -> tuple[Any, dict[str, Any]]:
    """Contents and header of a stage's artefact. Raises `Problem` if it cannot be read whole or is another config's."""
    file = store.path(data, stage)
    match stage:
        case Pretrain():
            content, head = store.read_tensors(file)
        case Readout():
            head = store.read_json(file)
            content = head
        case _:
            content, head = store.read_hdf5(file)
    return content, _of_its_name(file, stage, head)


def open_head(data: Path, stage: Stage) -> dict[str, Any]:
    """The header alone, every byte of the file checked. Raises `Problem` as `open_whole` does."""
    file = store.path(data, stage)
    return _of_its_name(file, stage, store.read_head(file))


def _of_its_name(file: Path, stage: Stage, head: dict[str, Any]) -> dict[str, Any]:
    if not _is_config(head.get("config"), stage):
        raise store.Foreign(f"{file}: foreign (the config inside is not that of its name); delete it and run again")
    return head


def _is_config(said: object, stage: Stage) -> bool:
    """Whether an artefact's config is a stage's: a field that came after it was made has its default there."""
    try:
        return msgspec.convert(said, type(stage)) == stage
    except msgspec.ValidationError:
        return False


# --- check --------------------------------------------------------------------------------------------------------


def check(plan: Plan, data: Path, read_raw: bool = False) -> Iterator[Finding]:
    """A finding for every file that the plan names below `data`, parents first.

    `read_raw`: raw data that are there are read too, and their checksums compared with the subsets'.
    """
    raw: dict[str, str] = {}
    away, to_make = adopted.cells(plan, data), adopted.to_make(plan, data)
    for kind in config.KINDS:
        for name, stage in plan.of(kind).items():
            finding = _checked(stage, data, raw)
            if finding.state == "missing" and name not in to_make.of(kind):
                finding = _away(finding.file, stage, away)
            if read_raw and isinstance(stage, Subset) and not finding.is_wrong:
                finding = _checked_raw(stage, data, raw) or finding
            yield finding
            if isinstance(stage, Pretrain):
                yield _checked_log(stage, data)


def _checked(stage: Stage, data: Path, raw: dict[str, str]) -> Finding:
    """One artefact's finding; `raw` gathers the raw data's checksum of each artefact, by name."""
    file = store.path(data, stage)
    try:
        head = open_head(data, stage)
    except tuple(STATES) as problem:
        return _finding(file, problem)
    raw[naming.name(stage)] = head["raw_sha256"]
    for parent in map(naming.name, stage.parents[-1:]):
        if raw.get(parent, head["raw_sha256"]) != head["raw_sha256"]:
            return Finding(file, "foreign", f"made from other raw data than {parent}; delete it and run again")
    if head["code"] != provenance.stage_code(stage.kind, stage):
        return Finding(file, "older code", "`snakemake --cores all` makes it anew")
    return Finding(file, "current")


def _away(file: Path, stage: Stage, away: Mapping[str, Origin]) -> Finding:
    """The finding of what adopted cells alone would need."""
    origin = away.get(naming.name(stage))
    if origin is None or not isinstance(stage, Pretrain):
        return Finding(file, "weights not here", "nothing else needs it")
    code = "" if origin.code == provenance.stage_code(stage.kind, stage) else ", by older code"
    why = f"trained elsewhere: {adopted.described(origin)}, on {origin.machine}{code}; to train it here, delete"
    return Finding(file, "weights not here", f"{why} its readout")


def _checked_raw(stage: Subset, data: Path, raw: Mapping[str, str]) -> Finding | None:
    """A finding if the raw data are there and are not those that a subset was packed from."""
    from entia import datasets  # loads torch, which nothing else here needs

    known = catalogue.DATASETS.get(stage.dataset)
    place = known.place if known else stage.dataset.removeprefix(config.FOLDER)
    name = naming.name(stage)
    if name not in raw or not ((known and known.package) or (data / "raw" / place).exists()):
        return None
    if datasets.checksum(stage.source, data / "raw", stage.side) == raw[name]:
        return None
    return Finding(store.path(data, stage), "foreign", f"packed from other raw data than lie in {data / 'raw'}")


def _checked_log(stage: Pretrain, data: Path) -> Finding:
    """A log's finding. It says nothing of its config; its rows must be the run's epochs, or those until it diverged."""
    file = store.log_path(data, stage)
    try:
        rows = store.read_log(file)
        epochs = [int(row["epoch"]) for row in rows]
    except tuple(STATES) as problem:
        return _finding(file, problem)
    end = len(epochs) if rows[-1].get("diverged") else stage.epochs
    if epochs != list(range(1, end + 1)):
        return Finding(file, "foreign", f"its epochs are not 1 to {stage.epochs}; delete it and run again")
    return Finding(file, "current")


def _finding(file: Path, problem: Problem) -> Finding:
    """What a problem with a file makes of it, in the problem's words without the file's name and the state's."""
    state = STATES[type(problem)]
    return Finding(file, state, str(problem).removeprefix(f"{file}: ").removeprefix(state).lstrip(" ;"))


def summary(found: Iterable[Finding]) -> str:
    """One line: how many of each state."""
    counts = Counter(finding.state for finding in found)
    return f"{sum(counts.values())} files: " + ", ".join(f"{counts[state]} {state}" for state in State.__args__)


# --- prune --------------------------------------------------------------------------------------------------------


def unplanned(plans: Iterable[Plan], data: Path) -> list[Path]:
    """Files below the four stage folders that no plan names, unfinished runs (`NAME.part/*`) among them."""
    stages = [stage for plan in plans for kind in config.KINDS for stage in plan.of(kind).values()]
    named = {file for stage in stages for file in store.files(data, stage)}
    named |= {file.with_suffix(".part") for file in named}
    found = (path for stage in config.STAGES for path in sorted((data / stage.folder).rglob("*")))
    return [path for path in found if path.is_file() and not {path, path.parent} & named]


def stored_elsewhere(folder: Path) -> set[Path]:
    """Files that DVC can bring back from its default remote: in it, and as the last git commit's dvc.lock has them.

    Empty where `folder` has no git, no DVC or no such remote: nothing is then known to be stored elsewhere.
    """
    if not _dvc(folder, "config", "core.remote"):  # asked first: without a remote DVC misses nothing in it
        return set()
    told = json.loads(_dvc(folder, "data", "status", "--json", "--granular", "--unchanged", "--not-in-remote") or "{}")
    away = set(told.get("not_in_remote", []))
    listed = (file for file in told.get("unchanged", []) if not {file, f"{Path(file).parent}/"} & away)
    return {folder / file for file in listed}


def _dvc(folder: Path, *arguments: str) -> str:
    found = subprocess.run([sys.executable, "-P", "-m", "dvc", *arguments], cwd=folder, capture_output=True, text=True)
    return "" if found.returncode else found.stdout.strip()


def remove(files: Iterable[Path]) -> None:
    """Removes files, and the folders of unfinished runs that this empties."""
    for file in files:
        file.unlink()
        if file.parent.suffix == ".part" and not any(file.parent.iterdir()):
            file.parent.rmdir()
