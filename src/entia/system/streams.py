"""Standard streams on which every text can be printed, whatever the locale knows, and wherever they lead."""

import io
import os
import sys

NO_UNICODE = ("ascii", "us-ascii", "ansi_x3.4-1968")
"""What the C locale's encoding is called."""


def prepare() -> None:
    """Has every text printed; a stream that is closed takes what is printed and drops it.

    Called again, as in a copy of a process whose streams lead elsewhere by then, it changes nothing.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)  # or the next file opened would have its number
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))
        elif number and isinstance(stream, io.TextIOWrapper) and stream.errors != "replace":
            encoding = "utf-8" if stream.encoding.lower() in NO_UNICODE else None
            stream.reconfigure(encoding=encoding, errors="replace")


def say(text: str) -> None:
    """Prints a line of progress, or of what a user should know, beside a command's results."""
    print(text, file=sys.stderr, flush=True)


def drop() -> None:
    """Has what could not be printed forgotten: Python would try once more at its end, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
