"""What a study takes, before any of it runs: seconds and GPU memory, from a calibration of one machine.

A calibration holds what was measured there (`calibrate`): a training step by the cell's shape, embedding by encoder,
reading out by probe, and a process's start by stage. A cell is its start and steps × a step. What was not measured is
scaled from the measured shape most like it, by multiply-adds.
"""

import heapq
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from entia import config
from entia.config import (
    AdamProbe,
    Config,
    Embed,
    Encoder,
    Logistic,
    MLPProbe,
    Neighbours,
    Pretrain,
    Probe,
    Problem,
    Readout,
    Ridge,
    Stage,
    Subset,
    Untrained,
)
from entia.sizes import counted, expected, known
from entia.system import faults, machines


class Trained(Config, frozen=True):
    """A training step, views and update included."""

    shape: Pretrain
    seconds: float
    images: int
    """In the batch that was measured; less than the shape's where a whole one would have taken too long."""
    peak_mib: float


class Embedded(Config, frozen=True):
    """One view of one image through an encoder, in evaluation mode."""

    encoder: Encoder
    side: int
    channels: int
    threads: int
    seconds: float


class Read(Config, frozen=True):
    """A probe fitted and scored on one epoch's embeddings, with their spectrum."""

    probe: Probe
    features: int
    rows: int
    seconds: float


class Calibration(Config, frozen=True):
    """What was measured on one machine, with as many cells at once as run there (`places`)."""

    machine: str
    """As logs name it."""
    host: str
    gpus: int
    places: int
    memory: Literal["measured", "computed"]
    torch: str
    code: str
    start: dict[str, float]
    """Seconds until a process has imported what its stage needs; `report`: a table or figure; `job`: a copy of a
    process that has (`entia.job`), until it knows its stage, a GPU's start included."""
    written: float
    """Seconds a MiB of embeddings, compressed; `read` back likewise."""
    read: float
    trained: tuple[Trained, ...]
    embedded: tuple[Embedded, ...]
    readings: tuple[Read, ...]


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
            f"{path}: is no calibration of this version ({error}); `entia calibrate` makes it anew"
        ) from error


# --- shapes and counts --------------------------------------------------------------------------------------------


def shape(cell: Pretrain) -> Pretrain:
    """The cell without what costs no time: seeds, weights, rates, epochs, and which images it has.

    How many there are matters to a method that has a head for them.
    """
    method = cell.method
    numbers = {name: 0.5 for name in method.__struct_fields__ if type(getattr(method, name)) is float}
    subset = config.Subset(dataset=cell.subset.dataset, side=cell.subset.side)
    if isinstance(method, config.Diet | config.SDiet):
        subset = msgspec.structs.replace(cell.subset, seed=0, balanced=True)
    return msgspec.structs.replace(
        cell,
        subset=subset,
        augmentation=msgspec.structs.replace(cell.augmentation, mean=(0.0,), std=(1.0,)),
        method=msgspec.structs.replace(method, **numbers),
        optimizer=config.Optimizer(name=cell.optimizer.name),
        epochs=1,
        checkpoint_every=0,
        seed=0,
    )


def channels(subset: Subset) -> int:
    """Of its images."""
    return expected(subset).channels


def counts(subset: Subset) -> tuple[int, int, int]:
    """Images to train on, held out for validation, and to test. Raises `Problem` where they are not known."""
    return known(subset)


def steps(cell: Pretrain) -> float:
    """Training steps of the whole run; a last, smaller batch is a part of one."""
    an_epoch = counts(cell.subset)[0] / cell.batch
    return cell.epochs * (float(math.floor(an_epoch)) if cell.drop_last else an_epoch)


Encoding = tuple[Encoder, int, int, int]
"""What an encoder's speed depends on: itself, pixels a side, channels, threads."""


def encoding(embed: Embed) -> Encoding:
    """That of embedding."""
    cell = embed.pretrain
    side = cell.augmentation.size or expected(embed.on).side
    return cell.encoder, side, channels(embed.on), cell.threads


def _passed(cell: Pretrain) -> Encoding:
    """That of a cell's own images."""
    return cell.encoder, _side(cell), channels(cell.subset), cell.threads


def kept(embed: Embed) -> int:
    """Epochs that are embedded."""
    return len(config.embedded(embed))


def effort(probe: Probe, features: int, rows: int, classes: int) -> float:
    """Multiply-adds of fitting a probe, as far as they grow with its problem."""
    match probe:
        case Ridge():
            return float(rows * features**2)
        case Logistic():
            return float(rows * features * classes * len(probe.penalties))
        case MLPProbe():
            return float(rows * probe.expansion * features**2 * probe.epochs)
        case AdamProbe():
            return float(rows * features * classes * probe.epochs)
        case Neighbours():
            return float(rows**2 * features)


def problem(readout: Readout) -> tuple[int, int, int]:
    """A readout's features, training rows and classes."""
    on = readout.embed.on
    return config.features(readout.embed.pretrain.encoder), counts(on)[0], counted(on).classes or 10


# --- from a calibration to seconds --------------------------------------------------------------------------------


class Estimate:
    """Seconds and memory of any stage on the calibrated machine.

    With `copied`, as Snakemake runs them on its own machine: jobs are copies of a process, which imports once.
    """

    def __init__(self, calibration: Calibration, copied: bool = False) -> None:
        self.calibration = calibration
        self._copied = copied
        self._trained = {of.shape: of for of in calibration.trained}
        self._found: dict[Pretrain, tuple[Trained, float]] = {}
        self._embedded = {(of.encoder, of.side, of.channels, of.threads): of.seconds for of in calibration.embedded}

    def is_measured(self, cell: Pretrain) -> bool:
        """Whether the cell's own shape was measured, not one like it; of an untrained cell its encoder's."""
        return _passed(cell) in self._embedded if isinstance(cell.method, Untrained) else shape(cell) in self._trained

    def training(self, cell: Pretrain) -> float:
        """Seconds of its steps alone, which is what its log holds; of an untrained cell those of one pass."""
        if isinstance(cell.method, Untrained):
            return counts(cell.subset)[0] * self._view(_passed(cell))
        measured, scale = self._like(cell)
        return steps(cell) * scale * measured.seconds * cell.batch / measured.images

    def peak_mib(self, cell: Pretrain) -> float:
        """GPU memory at its fullest; of an unmeasured shape by its view-pixels, since activations are most of it."""
        measured, _ = self._like(cell)
        return measured.peak_mib * _view_pixels(cell) / _view_pixels(measured.shape)

    def seconds(self, stage: Stage) -> float:
        """From a stage's start to its end."""
        match stage:
            case Subset():
                return self.start("subset")
            case Pretrain():
                return self.start("pretrain") + self.training(stage)
            case Embed():
                return self.start("embed") + self._embedding(stage)
            case Readout():
                return self.start("readout") + self._reading(stage)

    def start(self, stage: str) -> float:
        """What each job of a stage, or the drawing of an artefact (`report`), takes before its work."""
        return self.calibration.start["job" if self._copied else stage]

    def _like(self, cell: Pretrain) -> tuple[Trained, float]:
        """The measured shape most like a cell's, and how much more an image of the cell has to do."""
        if cell not in self._found:
            wanted = shape(cell)
            exact = self._trained.get(wanted)
            self._found[cell] = self._nearest(wanted) if exact is None else (exact, 1.0)
        return self._found[cell]

    def _nearest(self, wanted: Pretrain) -> tuple[Trained, float]:
        effort = _effort(wanted)

        def unlikeness(found: Trained) -> tuple[bool, bool, float]:
            other = found.shape
            return (
                other.encoder != wanted.encoder or _side(other) != _side(wanted),
                other.precision != wanted.precision,
                abs(math.log(effort / _effort(other))),
            )

        nearest = min(self.calibration.trained, key=unlikeness)
        return nearest, effort / _effort(nearest.shape)

    def _embedding(self, embed: Embed) -> float:
        views = kept(embed) * embed.views * sum(counts(embed.on))
        return views * self._view(encoding(embed)) + self.calibration.written * _mib(embed)

    def _view(self, key: Encoding) -> float:
        """Seconds of one view of one image through an encoder."""
        if key not in self._embedded:
            encoder, side, *_ = key
            work = machines.network(encoder, side)
            nearest = min(
                self.calibration.embedded,
                key=lambda of: (of.encoder != encoder, abs(math.log(machines.network(of.encoder, of.side) / work))),
            )
            self._embedded[key] = nearest.seconds * work / machines.network(nearest.encoder, nearest.side)
        return self._embedded[key]

    def _reading(self, readout: Readout) -> float:
        features, rows, classes = problem(readout)
        wanted = effort(readout.probe, features, rows, classes)

        def unlikeness(of: Read) -> tuple[bool, float]:
            return type(of.probe) is not type(readout.probe), abs(math.log(of.features / features))

        nearest = min(self.calibration.readings, key=unlikeness)
        scale = wanted / effort(nearest.probe, nearest.features, nearest.rows, classes)
        return kept(readout.embed) * nearest.seconds * scale + self.calibration.read * _mib(readout.embed)


def _effort(of: Pretrain) -> float:
    """Multiply-adds an image."""
    return machines.an_image(of)


def _side(cell: Pretrain) -> int:
    return cell.augmentation.size or expected(cell.subset).side


def _view_pixels(cell: Pretrain) -> int:
    crops = cell.crops.views * cell.crops.size**2 if cell.crops else 0
    return cell.batch * (cell.views * _side(cell) ** 2 + crops)


def _mib(embed: Embed) -> float:
    size = {"float16": 2, "float32": 4}[embed.dtype]
    return kept(embed) * sum(counts(embed.on)) * config.features(embed.pretrain.encoder) * size / 2**20


# --- studies ------------------------------------------------------------------------------------------------------


def makespan(seconds: Iterable[float], places: int) -> float:
    """When all are done, each begun, longest first, as soon as one of the places is free (Graham's LPT rule)."""
    ends = [0.0] * places
    for task in sorted(seconds, reverse=True):
        heapq.heapreplace(ends, ends[0] + task)
    return max(ends)


def chains(stages: Iterable[Stage], of: "Estimate | Rate") -> list[float]:
    """Seconds of each cell's stages, which follow each other; a subset is a chain of its own."""
    found: dict[str, float] = {}
    for stage in stages:
        name = config.name(config.cell_of(stage))
        found[name] = found.get(name, 0.0) + of.seconds(stage)
    return list(found.values())


class Rate:
    """Seconds of training and embedding by multiply-adds alone, where there is no calibration: a slow GPU's."""

    def seconds(self, stage: Stage) -> float:
        """Without any start-up; readouts and subsets take none."""
        match stage:
            case Pretrain():
                return machines.work(stage) / machines.RATE
            case Embed():
                side = encoding(stage)[1]
                views = kept(stage) * stage.views * sum(counts(stage.on))
                return views * machines.network(stage.pretrain.encoder, side) / machines.RATE
            case _:
                return 0.0
