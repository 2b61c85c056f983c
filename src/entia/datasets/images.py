"""Images with what is known of each, in memory or on the disk."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

BLOCK = 64
"""Images in memory at a time, where all are gone through: at 224 pixels 10 MB."""


@dataclass(frozen=True, eq=False)
class Images:
    """Images with their class and their position in the canonical order."""

    pixels: UInt8[Any, "datum channel height width"]
    """An array, or what stands for one on the disk: it has a shape and `take`, and a slice of it is an array."""
    label: Int64[np.ndarray, "datum"]
    index: Int64[np.ndarray, "datum"]
    lost: Collection[int] = frozenset()
    """Positions of images that could not be read: their pixels mean nothing, and nobody takes them."""

    def __len__(self) -> int:
        """Number of images."""
        return len(self.label)

    def take(self, positions: Int64[np.ndarray, "kept"]) -> "Images":
        """The images at `positions`, in that order, without those that are lost."""
        if self.lost:
            positions = positions[~np.isin(positions, [*self.lost])]
        return Images(self.pixels.take(positions, axis=0), self.label[positions], self.index[positions])


@dataclass(frozen=True, eq=False)
class Raw:
    """A whole data set. `checksum`: SHA-256 of each file read, by name and content, in reading order."""

    train: Images
    test: Images
    classes: tuple[str, ...]
    checksum: str
    notes: tuple[str, ...] = ()
    """What was passed over in reading it, and how what can be read in several ways was."""

    @property
    def said(self) -> str:
        """What was read, in one line."""
        classes = f"in {len(self.classes):,} classes" if self.classes else "without a class"
        count = f"{len(self.train) + len(self.test):,} images {classes}"
        return "; ".join([count, *self.notes])


@dataclass(frozen=True, eq=False)
class Parts:
    """A subset's three disjoint parts; `validation` may be empty. `checksum` and `said` are the raw data's."""

    train: Images
    validation: Images
    test: Images
    classes: tuple[str, ...]
    checksum: str
    said: str


def statistics(pixels: UInt8[Any, "datum channel height width"]) -> dict[str, list[float]]:
    """`mean` and `std` of each channel, in 0 to 255, over all pixels of all images (standard deviation: over n).

    From sums of whole numbers, so that every machine finds the same bits.
    """
    counts = np.zeros((pixels.shape[1], 256), dtype=np.int64)
    for start in range(0, len(pixels), BLOCK):
        block = pixels[start : start + BLOCK]
        planes = (block[:, channel].reshape(-1, block.shape[-1]) for channel in range(len(counts)))
        counts += [Image.fromarray(plane).histogram() for plane in planes]  # NumPy's takes four times as long
    mean, std = zip(*map(_moments, counts.tolist()), strict=True)
    return {"mean": [*mean], "std": [*std]}


def _moments(counts: list[int]) -> tuple[float, float]:
    """Mean and deviation of whole numbers from 0 on, by how often each is there."""
    n, total = sum(counts), sum(value * count for value, count in enumerate(counts))
    squares = sum(value * value * count for value, count in enumerate(counts))
    return total / n, math.sqrt(n * squares - total * total) / n
