"""What a study takes, before any of it runs: seconds and memory.

Known is what the training of some runs takes on one machine: of those that ended there, by their logs, and of those
that `calibrate` took a few steps of. Any other is scaled from the known one most like it, by multiply-adds. Embedding
goes as fast as the run's own training, multiply-add for multiply-add, and a probe is trained at a core's speed.
"""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from entia import config, fields
from entia.artefacts import provenance, store
from entia.config import Embed, Pretrain, Readout, Stage, cell_of, embedded
from entia.fields import Config, Problem
from entia.methods import Diet, SDiet
from entia.planning import baselines
from entia.probes import AdamProbe, MLPProbe
from entia.sizes import counted, known
from entia.system import faults, machines

CORE = 20
"""10⁹ multiply-adds a second, a core's."""


STARTS = (*config.KINDS, "report", "job")
"""What a calibration times the start of."""


class Known(Config, frozen=True):
    """What a run's whole training takes, and MiB at its peak: of a GPU, or without one of the process."""

    cell: Pretrain
    seconds: float
    peak_mib: float


class Calibration(Config, frozen=True):
    """What was measured on one machine, with as many cells at once as run there (`places`)."""

    machine: str
    """As logs name it."""
    host: str
    gpus: int
    places: fields.Count
    torch: str
    start: dict[str, float]
    """Seconds until a process has imported what its stage needs; `report`: a table or figure; `job`: a copy of a
    process that has (`entia.job`), until it knows its stage."""
    known: tuple[Known, ...]

    def __post_init__(self) -> None:
        if lacking := [stage for stage in STARTS if stage not in self.start]:
            raise ValueError(f"start: {', '.join(lacking)}: missing")


def load(path: Path) -> Calibration:
    """The calibration in a file. Raises `Problem` if it is missing or not one."""
    try:
        with faults.reading(path):
            return msgspec.json.decode(path.read_bytes(), type=Calibration)
        raise AssertionError
    except faults.Missing as error:
        raise Problem(f"{path}: missing; `entia calibrate` measures this machine in about a minute") from error
    except msgspec.DecodeError as error:
        raise Problem(
            f"{path}: not a calibration of this version ({error}); `entia calibrate` makes it anew"
        ) from error


def finished(cells: Iterable[Pretrain], data: Path, machine: str) -> list[Known]:
    """What the runs took whose every epoch was trained on one machine, if they did not diverge; no baseline's."""
    found: list[Known] = []
    for cell in cells:
        file = store.log_path(data, cell)
        if not baselines.is_one(cell) and faults.is_there(file):
            rows = store.read_log(file)
            here = {provenance.model(row["machine"]) for row in rows} == {provenance.model(machine)}
            if here and not rows[-1].get("diverged"):
                found.append(logged(cell, rows))
    return found


def logged(cell: Pretrain, rows: Sequence[Mapping[str, str]]) -> Known:
    """What a run took, by its log."""
    seconds = sum(float(row["seconds"]) + float(row["warmup_seconds"]) for row in rows)
    return Known(cell=cell, seconds=seconds, peak_mib=max(float(row.get("peak_mib") or 0) for row in rows))


# --- multiply-adds, in 10⁹ ----------------------------------------------------------------------------------------


def head_bytes(cell: Pretrain, count: int) -> int:
    """Bytes that DIET's or s-DIET's head, weights and optimiser state, holds on the device for `count` images; else 0.

    DIET: 4 N K (1 + `moments`); a step holds N K more for the gradient, and logits of at most `losses.instance.CHUNK`
    values. s-DIET: the same and 8 N for each row's last step, or, offloaded, the rows of one batch; its gradient has a
    batch's rows alone.
    """
    width = cell.projector.width if cell.projector.depth else config.features(cell.encoder)
    match cell.method:
        case Diet(bias=bias):
            return 4 * count * (width + bias) * (1 + config.moments(cell.optimizer))
        case SDiet(offload=offload):
            return 12 * cell.batch * width if offload else count * (12 * width + 8)
        case _:
            return 0


def work(cell: Pretrain) -> float:
    """Those of a whole training, with DIET's head, which has a row an image; of a baseline those of one pass."""
    images, side = machines.sizes(cell.subset)
    if baselines.is_one(cell):
        return images * machines.network(cell.encoder, cell.augmentation.size or side)
    head = head_bytes(cell, images) / 12e9  # its numbers: each has two moments
    return machines.work(cell) + 3 * images * cell.epochs * cell.views * head


def passes(embed: Embed) -> float:
    """Those of embedding: every view of every image, by every epoch that is embedded."""
    images = sum(known(embed.on))
    side = embed.pretrain.augmentation.size or machines.sizes(embed.on)[1]
    return len(embedded(embed)) * embed.views * images * machines.network(embed.pretrain.encoder, side)


def fitting(readout: Readout) -> float:
    """Those of a probe that is trained; what is solved at once takes no longer than its process to start."""
    features = config.features(readout.embed.pretrain.encoder)
    match readout.probe:
        case MLPProbe(expansion=expansion, epochs=epochs):
            a_row = expansion * features**2 * epochs
        case AdamProbe(epochs=epochs):
            a_row = features * (counted(readout.embed.on).classes or 10) * epochs
        case _:
            return 0.0
    return 3 * len(embedded(readout.embed)) * machines.sizes(readout.embed.on)[0] * a_row / 1e9


@functools.cache  # asked for each pair of runs
def traits(cell: Pretrain) -> tuple[Any, ...]:
    """What a run's speed hangs on, the weightiest first; at last multiply-adds an image and epoch, and the batch."""
    count, side = machines.sizes(cell.subset)
    kinds = (cell.encoder, cell.augmentation.size or side, cell.precision, type(cell.method), cell.crops)
    return (*kinds, work(cell) / count / cell.epochs, cell.batch)


# --- seconds ------------------------------------------------------------------------------------------------------


class Estimate:
    """Seconds and memory of any stage where `known` was measured; without any, on a slow GPU (`machines.RATE`)."""

    def __init__(self, known: Iterable[Known] = (), start: Mapping[str, float] | None = None) -> None:
        self.known, self._start = list(known), start or {}
        self._found: dict[tuple[Any, ...], Known] = {}

    def start(self, stage: str) -> float:
        """What each job of a stage, or the drawing of a report (`report`), takes before its work."""
        return self._start.get(stage, 0.0)

    def seconds(self, stage: Stage) -> float:
        """From a stage's start to its end."""
        match stage:
            case Pretrain():
                return self.start("pretrain") + self.training(stage)
            case Embed():
                return self.start("embed") + passes(stage) * self._rate(stage.pretrain)
            case Readout():
                return self.start("readout") + fitting(stage) / CORE
            case _:
                return self.start("subset")

    def training(self, cell: Pretrain) -> float:
        """Seconds of training alone, which is what a log holds."""
        return work(cell) * self._rate(cell)

    def like(self, cell: Pretrain) -> Known:
        """The known run most like a cell; of equals, the first."""
        wanted = traits(cell)
        if wanted not in self._found:
            self._found[wanted] = min(self.known, key=lambda known: _unlikeness(traits(known.cell), wanted))
        return self._found[wanted]

    def _rate(self, cell: Pretrain) -> float:
        """Seconds of 10⁹ multiply-adds."""
        return self.like(cell).seconds / work(self.like(cell).cell) if self.known else 1 / machines.RATE


def _unlikeness(one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[bool | float, ...]:
    *kinds, work, batch = one
    unlike = (a != b for a, b in zip(kinds, other[:-2], strict=True))
    return (*unlike, abs(math.log(work / other[-2])), abs(math.log(batch / other[-1])))


def whole(stages: Iterable[Stage], of: Estimate, places: int) -> float:
    """Seconds of stages on so many places at best: an equal share each, but never less than the longest cell."""
    found: dict[Stage, float] = {}
    for stage in stages:
        found[cell_of(stage)] = found.get(cell_of(stage), 0.0) + of.seconds(stage)
    return max(sum(found.values()) / places, max(found.values(), default=0.0))
