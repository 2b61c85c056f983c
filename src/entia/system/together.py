"""Processes that do one job together: all are begun by this one, and when one fails the others end too.

Left alone, the others would wait for it in their next exchange, for minutes or for ever.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from entia.fields import Problem


def run(task: Callable[..., None], calls: Sequence[tuple[Any, ...]], patient: int) -> int:
    """Calls `task` in a process for each of `calls`; the first exit code that is not 0, as a shell has it, else 0.

    SIGTERM and SIGUSR1 are passed on to all. An exit code of `patient` is no failure: the others are then waited for.

    Raises: Problem, the first that one of them raised.
    """
    context = get_context("spawn")  # a fork would not survive CUDA
    hear, tell = context.Pipe(duplex=False)
    processes = [context.Process(target=_do, args=(tell, task, call)) for call in calls]
    with _passing_on(processes):
        try:
            for process in processes:
                process.start()
            code = _first_failure(processes, patient)
        finally:
            for process in processes:
                if process.pid is not None:
                    process.kill()
                    process.join()
    if hear.poll():
        raise Problem(hear.recv())
    return code


def _first_failure(processes: Sequence[BaseProcess], patient: int) -> int:
    """Waits until one has failed, or all have ended."""
    code, left = 0, {process.sentinel: process for process in processes}
    while left and code in (0, patient):
        for sentinel in wait(list(left)):
            ended = left.pop(sentinel)  # pyright: ignore[reportArgumentType]
            ended.join()
            found = ended.exitcode or 0
            if code in (0, patient):
                code = (found if found >= 0 else 128 - found) or code
    return code


@contextlib.contextmanager
def _passing_on(processes: Sequence[BaseProcess]) -> Iterator[None]:
    """Within it SIGTERM and SIGUSR1 are the processes' to heed."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        for process in processes:
            if process.is_alive():
                process.terminate()

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- in each of them ----------------------------------------------------------------------------------------------


def _do(tell: Connection, task: Callable[..., None], call: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the one that began them ends them
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        task(*call)
    except Problem as problem:
        tell.send(str(problem))
        raise SystemExit(1) from None


def _end_with_parent() -> None:
    """Killed like it: what holds the job's lock is gone, and another may begin."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)
