"""The unfinished part of a pretraining run, from which it goes on: `NAME.part/`, removed when the whole is written."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from entia import faults, store

SHARE = 20
"""Saving takes at most one part in so many of the time."""


class Unfinished:
    """What a run has saved beside its output: the state after an epoch, and the weights kept so far."""

    def __init__(self, target: Path, head: Mapping[str, Any]) -> None:
        self.folder = target.with_suffix(".part")
        self.head = head
        self.next = 0.0
        self.pending: tuple[list[store.Row], Any] | None = None
        self.writing = False

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

    def save(self, rows: list[store.Row], state: Any) -> None:
        """Saves the state, unless it was saved so lately that saving would take over its `SHARE` of the time."""
        self.pending = list(rows), state
        if time.monotonic() >= self.next:
            self.flush()

    def flush(self) -> None:
        """Saves what `save` put off. A signal may call it at any moment: while it writes, that goes on."""
        if self.pending is None or self.writing:
            return
        start, self.writing = time.monotonic(), True
        try:
            rows, state = self.pending
            store.write_tensors(self.state, state, {**self.head, "rows": rows})
            self.pending = None
        finally:
            self.writing = False
        self.next = time.monotonic() + SHARE * (time.monotonic() - start)

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
        """Removes the folder."""
        for file in sorted(self.folder.glob("*")):
            file.unlink()
        if self.folder.exists():
            self.folder.rmdir()
