"""One process at a time, on any machine of the file system.

A lock is the kernel's (`flock`), which gives it back when a process ends, however it ends. Where the file system has
none, a file beside names the process that holds it and is touched as long as that lives: another process takes over at
once from one that is gone from its own machine, and from any after `LEASE` seconds without a touch. A process that was
stopped for so long and goes on then works beside its successor: both write the same bytes, whole.
"""

import contextlib
import fcntl
import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout

from entia.system import faults, streams

LEASE = 300
"""Seconds. The touches come every third of it, so two may be late."""
_held: list[BaseFileLock] = []  # a lock that nobody refers to any more is given back


def take(mark: Path) -> bool:
    """Whether `mark`'s lock is now this process's, until it ends; False at once where another process has it."""
    lock = _lock(mark)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    _held.append(lock)
    return True


@contextlib.contextmanager
def alone(mark: Path, busy: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Lets one process in at a time; yields whether it had to wait.

    A killed controller leaves its jobs at work; the next controller's job for the same cell waits for them here.
    `busy` is called before waiting. `mark` is removed at the end.
    """
    with faults.writing(mark.parent):
        mark.parent.mkdir(parents=True, exist_ok=True)
        lock = _lock(mark)
        waited = False
        try:
            lock.acquire(timeout=0)
        except Timeout:
            busy()
            waited = True
            lock.acquire(poll_interval=0.2)
    try:
        yield waited
    finally:
        if isinstance(lock, FileLock):  # which leaves its file; one who waits for it sees that it has lost its name
            mark.unlink(missing_ok=True)
        lock.release()


def is_held(file: BinaryIO) -> bool:
    """Whether another process holds a file for itself, as HDF5 does to write; False where nobody can say."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back when the file is closed
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in faults.NO_LOCKS:
            raise
    return False


def _lock(mark: Path) -> BaseFileLock:
    if _has_locks(mark.parent):
        return FileLock(mark, fallback_to_soft=False)
    return SoftFileLease(mark, lease_duration=LEASE)


@functools.cache
def _has_locks(folder: Path) -> bool:
    """Whether the file system gives locks; said once where it does not."""
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in faults.NO_LOCKS:
                raise
            streams.say(
                f"{folder}: the file system has no locks ({error.strerror}). A file beside stands for each; if its "
                f"process is killed on another machine, the next one there waits {LEASE // 60} minutes."
            )
            return False
    return True
