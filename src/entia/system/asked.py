"""Processes that are asked one question after another, and end with whoever asks, however that ends.

Not multiprocessing's: a process of a crew may have none of those, and they would outlive a parent that is killed. These
read questions from their standard input, which ends with the parent. Questions and answers are JSON.
"""

import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue
from typing import Any

from entia.fields import Problem

Process = subprocess.Popen[str]


def answers(module: str, function: str, questions: Sequence[Sequence[Any]], count: int) -> Iterator[Any]:
    """What a function of ours says to each question (its arguments), in their order, asked in `count` processes.

    Raises: Problem, where one of them ends; OSError, where the system refuses it something.
    """
    code = f"from entia.system import asked; from {module} import {function}; asked.serve({function})"
    idle: SimpleQueue[Process] = SimpleQueue()

    def ask(question: Sequence[Any]) -> Any:
        process = idle.get()
        try:
            return _asked(process, question)
        finally:
            idle.put(process)

    with ExitStack() as stack, ThreadPoolExecutor(count) as pool:
        for _ in range(count):
            idle.put(stack.enter_context(_begun(code)))
        yield from pool.map(ask, questions)


def _begun(code: str) -> Process:
    found = os.pathsep.join(path for path in sys.path if path)  # where this process has found us
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="ascii",
        env={**os.environ, "PYTHONPATH": found},
    )


def _asked(process: Process, question: Sequence[Any]) -> Any:
    assert process.stdin is not None and process.stdout is not None
    try:
        print(json.dumps(question), file=process.stdin, flush=True)
    except BrokenPipeError:
        pass  # it has ended, and its answer is none
    line = process.stdout.readline()
    if not line:
        how = process.wait()
        raise Problem(
            f"a process that was to help has ended, by {signal.Signals(-how).name if how < 0 else f'exit code {how}'}; "
            "see to the memory and run again, nothing is lost"
        )
    answer, *refused = json.loads(line)
    if refused:
        raise OSError(*refused)
    return answer


# --- in each of them ----------------------------------------------------------------------------------------------


def serve(function: Callable[..., Any]) -> None:
    """Answers until there are no more questions. What the system refuses is for the asker to hear."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the one that began them ends them
    warnings.simplefilter("ignore")
    tell, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        try:
            answer = [function(*json.loads(line))]
        except OSError as error:
            answer = [None, error.errno, error.strerror]
        print(json.dumps(answer), file=tell, flush=True)
