"""How far the work is: a bar on a terminal, lines in a log file."""

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from entia.system import streams


class _Bar:
    """What is done of all, a note and the time left; shown on a terminal alone."""

    def __init__(self, what: str, total: int | None = None, done: int = 0) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
        self.bar = Progress(*columns, TimeRemainingColumn(), TextColumn("left"), disable=not sys.stderr.isatty())
        self.task = self.bar.add_task(what, total=total, completed=done, note="")
        self.what, self.total = what, total

    def __exit__(self, *error: object) -> None:
        self.bar.stop()


class Training(_Bar):
    """Epochs, each with its loss and rate."""

    def __enter__(self) -> Callable[[int, Mapping[str, Any]], None]:
        self.bar.start()
        return self.advance

    def advance(self, done: int, row: Mapping[str, Any]) -> None:
        """After an epoch, given its row of the log."""
        rate = float(row["view_images"]) / max(float(row["seconds"]), 1e-9)
        note = f"loss {float(row['loss']):.4g}, {rate:,.0f} view-images/s"
        self.bar.update(self.task, completed=done, note=note)
        if self.bar.disable:
            streams.say(f"{self.what}: epoch {done} of {self.total}, {note}")


class Packing(_Bar):
    """Image files, at the rate of the last seconds: what an earlier run has left is passed over at another."""

    WINDOW = 30
    """Seconds."""
    EVERY = 10
    """Seconds between two lines."""

    def __enter__(self) -> Callable[[int, int], None]:
        self.said = time.monotonic()
        self.marks = deque([(self.said, 0)])
        return self.advance

    def advance(self, done: int, of: int) -> None:
        """After a few more files. The bar begins here: not all data sets are files."""
        now = time.monotonic()
        self.marks.append((now, done))
        while len(self.marks) > 2 and now - self.marks[0][0] > self.WINDOW:
            self.marks.popleft()
        rate = (done - self.marks[0][1]) / max(now - self.marks[0][0], 1e-9)
        note = f"{rate:,.0f} images/s"
        self.bar.start()
        self.bar.update(self.task, completed=done, total=of, note=note)
        if self.bar.disable and (done == of or now - self.said > self.EVERY):
            self.said = now
            left = timedelta(seconds=round((of - done) / max(rate, 1e-9)))
            streams.say(f"{self.what}: {done:,} of {of:,} images, {note}, {left} left")
