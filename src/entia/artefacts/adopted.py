"""Cells that were trained elsewhere: their readouts and logs are here, their weights are not.

`reports/SCALE/adopted.json` names them, with the commit, the machine and the code that made them; DVC carries it beside
the tables drawn from them. What it names is never trained again unasked: delete a cell's readout, and it is.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from entia import naming
from entia.config import Readout
from entia.fields import Config, Problem
from entia.plan import Plan, Row
from entia.planning import baselines


class Origin(Config, frozen=True):
    """Where a cell was made."""

    commit: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{40})?$")]
    """Of entia's repository; empty where there was none."""
    changed: bool
    """Whether the code or params.yaml there were not quite that commit's."""
    machine: Annotated[str, msgspec.Meta(max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$")]
    code: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{12}$")]
    """The fingerprint of the code that trained it."""


def record(plan: Plan) -> Path:
    """The file that names a scale's adopted cells."""
    return plan.folder / "adopted.json"


def origins(plan: Plan) -> dict[str, Origin]:
    """What the record says, by cell. Raises `Problem` where it is damaged."""
    file = record(plan)
    if not file.exists():
        return {}
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Origin])
    except (OSError, msgspec.DecodeError) as error:
        raise Problem(f"{file}: damaged ({error}); `entia adopt ARCHIVE` writes it anew once it is deleted") from error


def cells(plan: Plan, data: Path) -> dict[str, Origin]:
    """The adopted cells whose weights are still not here, and whose log and every readout are."""
    named = origins(plan)
    if not named:
        return {}
    needs = _needs(plan, data)
    return {name: of for name, of in named.items() if name in plan.pretrains and _is_away(*needs[name])}


def _needs(plan: Plan, data: Path) -> dict[str, tuple[list[Path], list[Path]]]:
    """By cell, the files that adopting brings, and those that it does not."""
    found: dict[str, tuple[list[Path], list[Path]]] = {}
    for name, cell in plan.pretrains.items():
        weights, log = naming.files(cell)
        found[name] = [data / log], [data / weights]
    for readout in plan.readouts.values():
        brought, missing = found[naming.name(readout.embed.pretrain)]
        brought += [data / file for file in naming.files(readout)]
        missing += [data / file for file in naming.files(readout.embed)]
    return found


def _is_away(brought: list[Path], missing: list[Path]) -> bool:
    return all(file.exists() for file in brought) and not all(file.exists() for file in missing)


def to_make(plan: Plan, data: Path) -> Plan:
    """The plan without what adopted cells stand for, and without the images that nothing else reads."""
    away = cells(plan, data)
    if not away:
        return plan
    pretrains = {name: cell for name, cell in plan.pretrains.items() if name not in away}
    kept = set(pretrains.values())
    embeds = {name: embed for name, embed in plan.embeds.items() if embed.pretrain in kept}
    readouts = {name: readout for name, readout in plan.readouts.items() if readout.embed.pretrain in kept}
    used = {subset for embed in embeds.values() for subset in (embed.pretrain.subset, embed.on)}
    subsets = {name: subset for name, subset in plan.subsets.items() if subset in used}
    left = _with(plan, lambda row: row.readout in readouts)
    return dataclasses.replace(left, readouts=readouts, subsets=subsets, pretrains=pretrains, embeds=embeds)


def drawable(plan: Plan, data: Path) -> Plan:
    """The plan with those rows alone that can be drawn, and the reports that have any of theirs.

    A row is drawn where its readout and log are here, and those of its baselines.
    """
    there = {name for name, readout in plan.readouts.items() if _is_there(readout, data)}

    def is_drawable(row: Row) -> bool:
        beside = () if row.experiment == baselines.EXPERIMENT else baselines.of(plan.readouts[row.readout])
        return {row.readout, *(naming.name(readout) for _, readout in beside)} <= there

    left = _with(plan, is_drawable)
    reports = {name: of for name, of in plan.reports.items() if left.rows[name] or not of.experiments}
    return dataclasses.replace(left, reports=reports)


def _with(plan: Plan, is_kept: Callable[[Row], bool]) -> Plan:
    """The plan with some of its rows and of their baselines alone."""
    rows, beside = (
        {report_id: tuple(filter(is_kept, rows)) for report_id, rows in part.items()}
        for part in (plan.rows, plan.baselines)
    )
    return dataclasses.replace(plan, rows=rows, baselines=beside)


def _is_there(readout: Readout, data: Path) -> bool:
    _, log = naming.files(readout.embed.pretrain)
    return all((data / file).exists() for file in (log, *naming.files(readout)))


def note(plan: Plan, data: Path) -> str:
    """What the page says of where its cells were made; nothing where all were made here."""
    away = cells(plan, data)
    return f"{len(away)} of {len(plan.pretrains)} cells: {whence(away.values())}." if away else ""


def whence(origins: Iterable[Origin]) -> str:
    """How cells' weights came not to be here, with commits and machines."""
    made = sorted({(described(of), of.machine) for of in origins})
    return "weights not here, trained elsewhere: " + "; ".join(f"{commit}, on {machine}" for commit, machine in made)


def described(of: Origin) -> str:
    """The commit, in words."""
    return f"commit {of.commit}{', changed' if of.changed else ''}" if of.commit else "a copy of no commit"


def encode(origins: Mapping[str, Origin]) -> str:
    """The record's text."""
    return msgspec.json.format(msgspec.json.encode(origins, order="sorted")).decode() + "\n"
