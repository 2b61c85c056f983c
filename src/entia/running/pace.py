"""How fast a run of many cells goes, from the cells that it has made so far: what the next one will take."""

import time
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from entia.config import Pretrain
from entia.forecast import estimate
from entia.planning import baselines

MARGIN = 1.25
"""A cell is taken to need so many times what the one most like it took, by multiply-adds."""


class Pace:
    """What the cells of this run took."""

    def __init__(self) -> None:
        self._known: list[estimate.Known] = []
        self._ended: dict[Pretrain, float] = {}
        self._tail = 0.0
        self._view_images, self._seconds = 0.0, 0.0

    def trained(self, cell: Pretrain, seconds: float, rows: Sequence[Mapping[str, str]]) -> None:
        """Takes note of a trained cell: the seconds here, and its log, which has those of earlier runs too.

        A baseline and a cell that diverged tell nothing of what a whole training takes.
        """
        if baselines.is_one(cell) or rows[-1].get("diverged"):
            return
        known = estimate.logged(cell, rows)
        self._known.insert(0, replace(known, seconds=max(seconds, known.seconds)))
        self._ended[cell] = time.monotonic()
        self._view_images += sum(float(row["view_images"]) for row in rows)
        self._seconds += sum(float(row["seconds"]) for row in rows)

    def read_out(self, cell: Pretrain) -> None:
        """Takes note that a cell's last readout is made."""
        if cell in self._ended:
            self._tail = max(self._tail, time.monotonic() - self._ended[cell])

    def needed(self, cell: Pretrain) -> float:
        """Seconds until a cell is trained and read out, with a margin; 0 of a baseline, and until a cell has told."""
        if not self._known or baselines.is_one(cell):
            return 0.0
        return MARGIN * (estimate.Estimate(self._known).training(cell) + self._tail)

    def told(self) -> list[str]:
        """The rate, in words; nothing before the first cell."""
        if not self._seconds:
            return []
        return [f"{self._view_images / self._seconds:,.0f} view-images/s in each process that trains"]
