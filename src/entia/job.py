"""`python -m entia.job COMMAND ...` is `entia COMMAND ...` as Snakemake's jobs call it.

Importing PyTorch takes five seconds of a core, as long as a small cell trains. While Snakemake runs jobs on its own
machine, one process therefore imports what they need, once, and each job is done by a copy of that process (fork). A
job that finds none (on a cluster, in a conda environment) imports for itself.

The copy is the job's: it has its standard streams and ends with its exit code; SIGTERM and SIGUSR1 reach it through the
job, and if the job is killed it gets SIGTERM. The process that is copied starts no thread and no GPU, since neither
survives a fork, and ends with Snakemake, however that ends.
"""

import contextlib
import gc
import json
import os
import secrets
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from importlib import import_module
from typing import Any

from entia.system import streams

PLACE = "ENTIA_JOBS"
"""The environment variable that names the socket on which copies are asked for."""

_snakemakes_end: list[Any] = []  # the process that is copied, and the pipe by which it sees Snakemake end


def main() -> None:
    """Runs one command, in a copy if there is something to copy, else here."""
    streams.prepare()
    arguments = sys.argv[1:]
    if arguments == ["--serve"]:
        arguments = _serve(socket.socket(fileno=int(os.environ[PLACE])))
    elif PLACE in os.environ:
        _hand_over(os.environ[PLACE], arguments)
    from entia import cli

    sys.argv[1:] = arguments
    cli.main()


def start(code: str) -> None:
    """From now on jobs of this process on this machine are done by copies; called by Snakemake before its first job.

    `code` is this very code as an entry of PYTHONPATH.
    """
    name = f"entia-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(f"\0{name}")  # in no folder: nothing to be left behind, whatever happens
        listener.listen(1024)
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        _snakemakes_end.append(
            subprocess.Popen(
                [sys.executable, "-P", "-m", "entia.job", "--serve"],
                stdin=subprocess.PIPE,
                pass_fds=[listener.fileno()],
                env={**os.environ, **one_thread, "PYTHONPATH": _first(code), PLACE: str(listener.fileno())},
            )
        )
    os.environ[PLACE] = name


def _first(code: str) -> str:
    """PYTHONPATH with this code before what it held: packages may come by it."""
    return os.pathsep.join([code, *filter(None, [os.environ.get("PYTHONPATH")])])


# --- the job --------------------------------------------------------------------------------------------------------


def _hand_over(name: str, arguments: list[str]) -> None:
    """Has a copy do it and exits with its exit code; returns if there is nothing to copy."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        try:
            connection.connect(f"\0{name}")
            request = [time.monotonic(), *arguments]
            socket.send_fds(connection, [json.dumps(request).encode()], [0, 1, 2])
        except OSError:
            return
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the copy by itself, and ends it
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, lambda number, _: connection.send(bytes([number])))
        try:
            code = connection.recv(1)
        except ConnectionResetError:  # killed, with what we sent it unread
            code = b""
    sys.exit(code[0] if code else "entia: the process that did this job was killed")


# --- the process that is copied -------------------------------------------------------------------------------------


def _serve(listener: socket.socket) -> list[str]:
    """Makes a copy for each job, and returns in the copy, with the job's arguments; ends when standard input does.

    Ctrl-C ends copies, not what is copied. One that came after a job had asked and before its copy was made (importing
    takes seconds) is the copy's too.
    """
    interrupted = [0.0]  # when, in the monotonic clock's seconds, which all processes of a machine share
    given = signal.signal(signal.SIGINT, lambda _, __: interrupted.append(time.monotonic()))
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    sys.exit()
                elif key.fileobj is listener:
                    request = _accept(listener, selector)
                    if request is not None:
                        asked, *arguments = request
                        signal.signal(signal.SIGINT, given)
                        if asked < interrupted[-1] and given is not signal.SIG_IGN:
                            sys.exit(128 + signal.SIGINT)
                        return arguments
                else:
                    selector.unregister(key.fileobj)
                    _report(key.fd, key.data)


def _accept(listener: socket.socket, selector: selectors.BaseSelector) -> list[Any] | None:
    """Makes a copy for the next job; what it asked for (when, and arguments) in the copy, None in what was copied."""
    connection, _ = listener.accept()
    text, streams, _, _ = socket.recv_fds(connection, 1 << 16, 3)
    if not text or not _is_ours(connection):
        _close(connection, *streams)
        return None
    request: list[Any] = json.loads(text)
    with contextlib.suppress(Exception):  # the copy meets it again, and says so where its user looks
        from entia.stages import IMPORTS

        for module in ("entia.cli", *IMPORTS.get(next(iter(request[1:]), ""), ())):
            import_module(module)
    gc.freeze()  # the copies' garbage collection then leaves the pages that they share alone
    process = os.fork()
    if process:
        _close(*streams)
        selector.register(os.pidfd_open(process), selectors.EVENT_READ, (process, connection))
        return None
    others = [(key.fd, key.data[1]) for key in selector.get_map().values() if key.data]
    _close(listener, *(handle for other in others for handle in other))  # so that each job is seen to go
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    _close(*streams)
    threading.Thread(target=_heed, args=(connection,), daemon=True).start()
    return request


def _is_ours(connection: socket.socket) -> bool:
    """Whether the same user asks: anyone on this machine can."""
    size = struct.calcsize("3i")
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return user == os.getuid()


def _heed(connection: socket.socket) -> None:
    """Passes on to this process the signals that its job gets; SIGTERM when the job is gone."""
    while number := connection.recv(1):
        os.kill(os.getpid(), number[0])
    os.kill(os.getpid(), signal.SIGTERM)


def _report(handle: int, copy: tuple[int, socket.socket]) -> None:
    """Tells a job how its copy ended: the exit code, as a shell has it (128 and the number of the signal)."""
    process, connection = copy
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with contextlib.suppress(OSError):  # the job is gone
        connection.send(bytes([code if code >= 0 else 128 - code]))
    connection.close()
    os.close(handle)


def _close(*handles: Any) -> None:
    for handle in handles:
        os.close(handle) if isinstance(handle, int) else handle.close()


if __name__ == "__main__":
    main()
