"""Image files decoded in parallel into a folder, in chunks that outlive a kill, and read back a part at a time.

A chunk is `CHUNK` files in a row. NUMBER.pixels has the images that are wanted of them, one after the other; beside it
NUMBER.json, written last, says of which files and by which code they are, and what was found in them. So memory holds
names and digests of all files and the pixels of a few.
"""

import contextlib
import dataclasses
import json
import os
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from entia.config import Fit
from entia.datasets import pictures
from entia.system import asked, faults, machines

CHUNK = 128
"""Files: a kill costs each process at most so many, a second or less of its work."""
EACH = 500
"""Files for a process to be worth its start."""
Wanted = Callable[[Int64[np.ndarray, "datum"], int], Int64[np.ndarray, "wanted"]]
"""Of all images' labels, the first so many of which are train's, the ascending positions of those to decode."""


class Files(NamedTuple):
    """Image files below a root, in their set's order."""

    root: Path
    paths: list[str]
    label: Int64[np.ndarray, "datum"]
    trained: int
    """The first so many are train's."""

    def name(self, path: str) -> str:
        """A path's name below the root."""
        return path[len(str(self.root)) + 1 :]


def everything(label: Int64[np.ndarray, "datum"], trained: int) -> Int64[np.ndarray, "datum"]:
    """The positions of all images."""
    return np.arange(len(label))


def nothing(label: Int64[np.ndarray, "datum"], trained: int) -> Int64[np.ndarray, "none"]:
    """No position."""
    return np.arange(0)


class Room(NamedTuple):
    """Where images are decoded into, and what of them. Whoever gives it removes the folder once it has read them."""

    folder: Path
    by: str = ""
    """Code and libraries that decode: what others left is not used."""
    wanted: Wanted = everything
    tell: Callable[[int, int], object] = lambda done, of: None
    """Told how many of how many files are done."""
    fit: Fit = "crop"
    """How they become squares."""


@dataclass
class Found:
    """What was found in a chunk's files."""

    listing: str
    """SHA-256 of what these files are, by name, size and time of change, and of how they are decoded."""
    digests: list[str] = field(default_factory=list)
    """Each file's SHA-256."""
    later: int = 0
    """Pages after the first."""
    brightest: list[float] = field(default_factory=list)
    """`pictures.Picture`'s, of those that have one."""
    check: int = 0
    """CRC-32 of the pixels."""
    faults: list[tuple[int, str]] = field(default_factory=list)
    """Places in the chunk of files that cannot be read, and why; their pixels are black."""


class Chunk(NamedTuple):
    """Files in a row, and which of them are decoded; the others are read for their digests alone."""

    file: Path
    """The two files' common name, without an ending."""
    paths: list[str]
    wanted: Bool[np.ndarray, "file"]


@dataclass(frozen=True, eq=False)
class Rows:
    """Images in a folder's chunks, which take no memory: a slice of them is read when it is asked for."""

    folder: Path
    side: int
    starts: Int64[np.ndarray, "chunk"]
    """How many images the chunks before each hold."""
    places: Int64[np.ndarray, "datum"]
    """Each image's place among those decoded; -1: not decoded."""
    dtype = np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """As an array's."""
        return len(self.places), 3, self.side, self.side

    def __len__(self) -> int:
        """Number of images."""
        return len(self.places)

    def take(self, positions: Int64[np.ndarray, "kept"], axis: int = 0) -> "Rows":
        """As an array's."""
        return dataclasses.replace(self, places=self.places[positions])

    def __getitem__(self, of: slice) -> UInt8[np.ndarray, "datum 3 side side"]:
        """A part, in memory."""
        places = self.places[of]
        assert (places >= 0).all(), "not decoded"
        chunks = np.searchsorted(self.starts, places, "right") - 1
        pixels = np.empty((len(places), *self.shape[1:]), dtype=np.uint8)
        for number in np.unique(chunks).tolist():
            here = chunks == number
            held = np.memmap(f"{_file(self.folder, number)}.pixels", np.uint8, "r").reshape(-1, *self.shape[1:])
            pixels[here] = held[places[here] - self.starts[number]]
        return pixels


class Decoded(NamedTuple):
    """Files' images in the files' order."""

    files: Files
    pixels: Any
    """`Rows`, or an array where no room was given."""
    found: list[Found]
    """Of each chunk."""

    asked: int
    """How many were to be decoded."""

    @property
    def faults(self) -> dict[int, str]:
        """Why the file at a position cannot be read."""
        return {n * CHUNK + place: why for n, each in enumerate(self.found) for place, why in each.faults}

    @property
    def unread(self) -> dict[str, str]:
        """Why a path cannot be read."""
        return {self.files.paths[position]: why for position, why in self.faults.items()}

    @property
    def digests(self) -> list[tuple[str, str]]:
        """Each file's name below the root, and its SHA-256."""
        digests = (digest for each in self.found for digest in each.digests)
        return [*zip(map(self.files.name, self.files.paths), digests, strict=True)]


def decoded(files: Files, side: int, room: Room | None) -> Decoded:
    """The images that the room wants, `side` pixels a side; where none is given, all of them in memory."""
    if room is not None:
        with faults.writing(room.folder.parent):
            return _decoded(files, side, room)
    with tempfile.TemporaryDirectory() as folder:
        found = _decoded(files, side, Room(Path(folder)))
        return found._replace(pixels=found.pixels[:])


def _decoded(files: Files, side: int, room: Room) -> Decoded:
    room.folder.mkdir(parents=True, exist_ok=True)
    is_wanted = np.zeros(len(files.paths), dtype=bool)
    is_wanted[room.wanted(files.label, files.trained)] = True
    found: list[Found] = []
    done = 0
    for each in _all_made(_chunks(files.paths, is_wanted, room.folder), side, room):
        found.append(each)
        room.tell(done := done + len(each.digests), len(files.paths))
    places = np.cumsum(is_wanted) - 1
    starts = np.asarray([0, *places[CHUNK - 1 :: CHUNK] + 1])
    return Decoded(files, Rows(room.folder, side, starts, np.where(is_wanted, places, -1)), found, int(is_wanted.sum()))


def _chunks(paths: list[str], is_wanted: Bool[np.ndarray, "file"], folder: Path) -> list[Chunk]:
    starts = enumerate(range(0, len(paths), CHUNK))
    return [Chunk(_file(folder, n), paths[at : at + CHUNK], is_wanted[at : at + CHUNK]) for n, at in starts]


def _all_made(chunks: list[Chunk], side: int, room: Room) -> Iterator[Found]:
    """What is in each chunk. Few are made here; many in processes, whose start is half a second.

    Threads would be a third as fast: of a small image too much is done under the interpreter's lock.
    """
    how: tuple[int, Fit, str] = side, room.fit, room.by
    questions = [(str(file), paths, wanted.tolist(), *how) for file, paths, wanted in chunks]
    helpers = min(machines.cores(), sum(len(chunk.paths) for chunk in chunks) // EACH)
    if helpers > 1:
        yield from (Found(**answer) for answer in asked.answers(__name__, answer.__name__, questions, helpers))
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of tags that it passes over and of images that are large
        yield from (_made(*question) for question in questions)


def answer(*question: Any) -> dict[str, Any]:
    """`_made` in another process."""
    return asdict(_made(*question))


def _made(file: str, paths: list[str], wanted: list[bool], side: int, fit: Fit, by: str) -> Found:
    """A chunk as an earlier run left it, or made. One with a fault is not left: the next run looks at it again."""
    listing = _listing(paths, wanted, side, fit, by)
    left = _left(file, listing)
    if left is not None:
        return left
    found = Found(listing)
    with _whole(f"{file}.pixels") as opened:
        for place, (path, is_wanted) in enumerate(zip(paths, wanted, strict=True)):
            pixels = _opened(path, side if is_wanted else None, fit, place, found)
            found.check = zlib.crc32(pixels, found.check)
            opened.write(pixels)
    if not found.faults:
        with _whole(f"{file}.json") as opened:
            opened.write(json.dumps(asdict(found)).encode())
    return found


@contextlib.contextmanager
def _whole(target: str) -> Iterator[BinaryIO]:
    """A file that gets its name at the end: what a killed run began may still be at work beside this one."""
    temporary = Path(f"{target}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        yield file
    temporary.replace(target)


def _left(file: str, listing: str) -> Found | None:
    """What an earlier run found in the same files, if that is there whole."""
    try:
        found = Found(**json.loads(Path(f"{file}.json").read_bytes()))
        pixels = Path(f"{file}.pixels").read_bytes()
        return found if found.listing == listing and zlib.crc32(pixels) == found.check else None
    except (OSError, ValueError, TypeError):  # missing, or the end of it
        return None


def _opened(path: str, side: int | None, fit: Fit, place: int, found: Found) -> bytes:
    """A file's pixels, none where no side is asked for; `found` gets the rest."""
    digest = ""
    try:
        content = Path(path).read_bytes()
        digest = sha256(content).hexdigest()
        if side is None:
            return b""
        picture = pictures.decode(content, side, fit)
        found.later += picture.pages - 1
        found.brightest += [] if picture.brightest is None else [picture.brightest]
        return picture.pixels.tobytes()
    except OSError as error:
        found.faults.append((place, error.strerror or str(error)))
    except pictures.Unreadable as error:
        found.faults.append((place, str(error)))
    finally:
        found.digests.append(digest)
    return bytes(3 * side**2 if side else 0)


def _listing(paths: list[str], wanted: list[bool], side: int, fit: Fit, by: str) -> str:
    digest = sha256(json.dumps([by, side, fit, wanted]).encode())
    for path in paths:
        try:
            status = Path(path).stat()
            digest.update(os.fsencode(f"\0{path}\0{status.st_size} {status.st_mtime_ns}"))
        except OSError:
            digest.update(os.fsencode(f"\0{path}\0"))
    return digest.hexdigest()


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}"
