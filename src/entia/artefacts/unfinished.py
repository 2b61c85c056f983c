"""The unfinished part of a pretraining run, from which it goes on: `NAME.part/`, removed when the whole is written."""

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from entia.artefacts import store
from entia.system import faults

SHARE = 20
"""Saving takes at most one part in so many of the time, so a kill costs at most so many times a save, and an epoch."""
RATE = 200 << 20
"""Bytes a second that a first save is held to take: a slow disk's, with the copy from a GPU and the checksum."""


class Unfinished:
    """What a run has saved beside its output: the state after an epoch, and the weights kept so far."""

    def __init__(self, target: Path, head: Mapping[str, Any]) -> None:
        self.folder = target.with_suffix(".part")
        self.head = head
        self.last = time.monotonic()
        self.cost: float | None = None

    @property
    def state(self) -> Path:
        """The file of the last saved epoch's rows and tensors."""
        return self.folder / "state.safetensors"

    def load(self) -> tuple[list[store.Row], Any]:
        """The log's rows and the state after the last saved epoch; no rows and None where there is nothing to use.

        What other code left is removed: a run ends with the code that it began with.
        """
        if not faults.is_there(self.state):
            return [], None
        tensors, head = store.read_tensors(self.state)
        if head["code"] != self.head["code"]:
            self.remove()
            return [], None
        return head["rows"], tensors

    def is_due(self, size: int) -> bool:
        """Whether a state of `size` bytes is to be saved now: not before saving takes no more than its `SHARE`."""
        cost = size / RATE if self.cost is None else self.cost
        return time.monotonic() - self.last >= SHARE * cost

    def save(self, rows: list[store.Row], state: Callable[[], Any]) -> None:
        """Saves the log's rows and the state, which is asked for here alone: it may be a copy from a GPU."""
        start = time.monotonic()
        store.write_tensors(self.state, state(), {**self.head, "rows": rows})
        self.last = time.monotonic()
        self.cost = self.last - start

    def keep(self, epoch: int, weights: Any) -> None:
        """Keeps an epoch's weights until the whole is written."""
        store.write_tensors(self.folder / f"epoch-{epoch:05d}.safetensors", weights, {"epoch": epoch})

    def kept(self) -> dict[str, Any]:
        """All kept weights, as EPOCH/parameter."""
        found: dict[str, Any] = {}
        for file in sorted(self.folder.glob("epoch-*.safetensors")):
            tensors, head = store.read_tensors(file)
            found |= {f"{head['epoch']:05d}/{name}": part for name, part in tensors.items()}
        return found

    def remove(self) -> None:
        """Removes the folder, and whatever somebody laid into it."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
