"""What packed subsets hold, by their files' headers alone, and which planned runs cannot be made of that."""

import dataclasses
from pathlib import Path

import h5py

from entia import naming
from entia.artefacts import store
from entia.config import Readout, Subset
from entia.fields import Problem
from entia.plan import Plan
from entia.planning import feasible
from entia.sizes import Held, Holds, expected


def holds(data: Path, otherwise: Holds = expected) -> Holds:
    """Tells what a subset holds: by its file, or as far as is known without one. A file is opened once."""
    found: dict[str, Held] = {}

    def of(subset: Subset) -> Held:
        name = naming.name(subset)
        if name not in found:
            file = store.path(data, subset)
            found[name] = _held(file) if file.exists() else otherwise(subset)
        return found[name]

    return of


def _held(file: Path) -> Held:
    with store.readable(file), h5py.File(file, "r", locking=False) as held:
        shapes = {name: _shape(held, name) for name in ("train/pixels", "validation/label", "test/label")}
        count, channels, side, _ = shapes["train/pixels"]
        return Held(count, shapes["validation/label"][0], shapes["test/label"][0], channels, side)
    raise AssertionError


def _shape(file: h5py.File, name: str) -> tuple[int, ...]:
    array = file[name]
    assert isinstance(array, h5py.Dataset)
    return array.shape


def refuse(plan: Plan, of: Holds) -> None:
    """Raises `Problem` with every planned run that its images do not allow, grouped by cause."""
    where = {row.readout: f"experiments.{row.experiment}" for rows in plan.rows.values() for row in rows}
    own = {name: plan.readouts[name] for name in where}
    if found := feasible.by_cause(feasible.refused(own, of), own, where):
        raise Problem("\n".join(f"params.yaml: {line}" for line in found))


def refuse_on(plan: Plan, subset: Subset, held: Held) -> None:
    """Raises `Problem` with every planned run on a subset that holds this, where it cannot be made of it."""
    rows = {
        report_id: tuple(row for row in rows if subset in _read(plan.readouts[row.readout]))
        for report_id, rows in plan.rows.items()
    }
    ours = dataclasses.replace(plan, rows=rows)
    refuse(ours, lambda other: held if other == subset else expected(other))


def _read(readout: Readout) -> tuple[Subset, Subset]:
    return readout.embed.on, readout.embed.pretrain.subset
