"""Columns of results that follow from a config alone, and which of them tell rows apart.

Planning asks a config for them, `results.frame` writes them down; each is worked out here and nowhere else.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from entia import config
from entia.config import Readout
from entia.methods import BarlowTwins, SpectralContrastive, VICReg

ARM = ("method.name", "subset.dataset", "epochs", "projector.width", "views", "subset.fraction")
"""What tells the arms of a study of views apart, in the order in which they are drawn."""
AXES = {
    "subset.dataset": "data",
    "embed.on.dataset": "read out on",
    "encoder.name": "encoder",
    "method.name": "method",
    "images": "images",
    "level": "augmentation level",
    "epochs": "epochs",
    "batch": "batch",
    "method.smoothing": "smoothing",
    "rate": "lr",
    "optimizer.weight_decay": "weight decay",
    "method.lr_factor": "lr of head ×",
    "method.decay_factor": "decay of head ×",
    "projector.depth": "projector layers",
    "method.catch_up": "missed steps applied",
    "method.normalise": "unit features",
    "method.temperature": "temperature",
    "method.offload": "head on host",
    "probe.name": "readout",
}
"""What tells one row of DIET's tables from another, and its heading."""
NUMBERS = tuple(
    name
    for name in AXES
    if not name.endswith(("dataset", "name")) and name not in ("method.catch_up", "method.offload")
)
SWEEP = "weight_sweep"
"""How the names of experiments begin that `spectra` draws against weight."""


@dataclass(frozen=True)
class Asked:
    """A row that a report draws."""

    experiment: str
    arm: str
    name: str
    readout: Readout

    def get(self, column: str) -> Any:
        """A column of `results.frame` as far as it follows from the config; None where the row has none."""
        cell = self.readout.embed.pretrain
        match column:
            case "arm" | "experiment":
                return getattr(self, column)
            case "weight":
                return weight(cell)
            case "level":
                return augmentation_level(cell.augmentation)
            case "rate":
                return rate(cell)
            case "images":  # that the log will tell: the same of the same subset
                return cell.subset.fraction, cell.subset.limit, cell.subset.validation, cell.subset.dataset
            case _:
                pass
        top, _, rest = column.partition(".")
        start = {"embed": self.readout.embed, "probe": self.readout.probe}.get(top)
        return _field(start, rest) if start is not None else _field(cell, column)


def _field(value: Any, path: str) -> Any:
    for part in path.split("."):
        if part == "name" and isinstance(value, Struct) and value.__struct_config__.tag:
            value = value.__struct_config__.tag
        else:
            value = getattr(value, part, None)
    return value


def weight(cell: config.Pretrain) -> float | None:
    """The method's orthogonality weight as the papers sweep it; None where a method has none."""
    match cell.method:
        case BarlowTwins(weight=found) | SpectralContrastive(weight=found):
            return found
        case VICReg(invariance=found):
            return found
        case _:
            return None


def augmentation_level(policy: config.Augmentation) -> int:
    """DIET's augmentation strength by what the pipeline holds (DIET spec §2.2).

    0: nothing; 1: crops or flips; 2: colour as well; 3: blur or erasing as well.
    """
    if policy.erase or policy.blur:
        return 3
    if policy.jitter or policy.greyscale:
        return 2
    return int(policy.flip > 0 or policy.crop_scale[0] < 1)


def rate(cell: config.Pretrain) -> float:
    """The learning rate of a cell's own batch."""
    return cell.optimizer.lr * cell.batch / (cell.optimizer.lr_per or cell.batch)


def leaves(part: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """The values inside mappings, by their dotted paths."""
    for name, value in part.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value
