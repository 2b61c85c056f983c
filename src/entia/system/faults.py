"""What the system refuses (a file that cannot be read, a folder that cannot be written), as problems with a remedy.

A refusal says nothing of what is in a file: such a file is never called damaged.
"""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from entia.fields import Problem

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""What a file system without locks answers to one who asks for one."""
READABLE = {
    errno.EACCES: "make it readable and run again",
    errno.EPERM: "make it readable and run again",
    errno.EISDIR: "move the folder in its place away and run again",
    errno.ENOTDIR: "move the file in its folder's place away and run again",
    errno.EAGAIN: "another process holds it: close it there (an open notebook?) and run again",
    **dict.fromkeys(NO_LOCKS, "set HDF5_USE_FILE_LOCKING=FALSE in the environment and run again"),
}
"""Remedies by the system's number."""
LATER = "run again, and see to the disk or the network if it stays so"


class Missing(Problem):
    """A file that is not there."""


class Unreadable(Problem):
    """A file that is there and cannot be read now. What is in it is not known."""


def is_systems(error: Exception) -> bool:
    """Whether an error is the system's: a library's own, on what it read, is a bare `OSError` with no number."""
    return isinstance(error, OSError) and (error.errno is not None or type(error) is not OSError)


@contextlib.contextmanager
def reading(source: Path) -> Iterator[None]:
    """Within it what the system says against reading `source` is `Missing` or `Unreadable`, with the remedy.

    An `OSError` that is a library's own passes.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise Missing(f"{source}: missing; `snakemake --cores all` makes it") from error
    except OSError as error:
        if not is_systems(error):
            raise
        remedy = READABLE.get(error.errno or 0, LATER)
        raise Unreadable(f"{source}: cannot be read now ({error.strerror or error}); {remedy}") from error


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Within it a folder that cannot be written and a full disk are each a `Problem` with the remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise Problem(f"{folder}: cannot be written ({error.strerror}); make it writable and run again") from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Problem(f"{folder}: the disk is full; free some room and run again, nothing is lost") from error
        raise


def is_there(source: Path) -> bool:
    """Whether a file or folder is there. Raises `Unreadable` where the system does not say."""
    with reading(source):
        return source.exists()
    raise AssertionError
