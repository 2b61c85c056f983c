"""A folder of images, read by class or without: all of them decoded, in one order, and what is to be said of that."""

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

from entia.config import FOLDER, Problem
from entia.datasets import pictures, splits
from entia.datasets.walking import SHOWN, Place, Walk, counted, order, passed_over, printable


@dataclass(frozen=True, eq=False)
class Folder:
    """All images of a folder: train's come first, `trained` of them; each split's by class, by folder, then by name."""

    pixels: UInt8[np.ndarray, "datum 3 side side"]
    label: Int64[np.ndarray, "datum"]
    """-1 without a class."""
    trained: int
    classes: tuple[str, ...]
    digests: list[tuple[str, str]]
    """Each file's name below the folder, and its SHA-256."""
    notes: tuple[str, ...]
    """What was passed over, and what was read in one of several ways."""


def below(raw: Path, name: str) -> Path:
    """The folder `name` in `raw`. Raises `Problem` where that would not lie in it."""
    if "\0" in name or {"", ".", ".."} & {*name.split("/")}:
        raise Problem(f"{FOLDER}{printable(name)}: NAME must be a folder inside {raw}, written without '.' and '..'")
    return raw / name


def read(root: Path, side: int, labelled: bool = True) -> Folder:
    """All images of `root`/train/CLASS and `root`/test/CLASS (or else val/CLASS), at any depth, told by their endings.

    Where there are no such splits, of `root`/CLASS, split by their contents. `labelled` False: without the classes.

    Raises: Problem, where a split or a class has no images or the splits' classes differ; or naming the files that
    cannot be read.
    """
    walk = Walk(root, labelled)
    walk.walk(splits.of(root, labelled))
    classes = splits.classes(walk)
    notes = [*splits.beside(walk), *(splits.by_contents(walk, classes) if "" in walk.kinds else ())]
    found = sorted(walk.images, key=order)
    pixels, digests, shown = decoded(root, [path for _, path in found], side, walk.faults)
    label = np.asarray([classes.get(place.kind, -1) for place, _ in found], dtype=np.int64)
    trained = sum(place.split == "train" for place, _ in found)
    notes += _notes(walk.passed, shown)
    return Folder(pixels, label, trained, tuple(map(_text, classes)), digests, tuple(notes))


def _below(root: Path, path: str) -> str:
    """A path below the root, from there on."""
    return path[len(str(root)) + 1 :]


def _text(name: str) -> str:
    """A file's name as UTF-8, whatever the locale; bytes that are not are escaped as Python does it (PEP 383)."""
    return os.fsencode(name).decode(errors="surrogateescape")


# --- what is in the files -----------------------------------------------------------------------------------------


class Decoded(NamedTuple):
    """Files' images in the files' order."""

    pixels: UInt8[np.ndarray, "datum 3 side side"]
    digests: list[tuple[str, str]]
    """Each file's name below the root, and its SHA-256."""
    shown: list[tuple[int, float | None]]
    """Each file's `pages` and `brightest`, as `pictures.Picture` has them."""


def decoded(root: Path, paths: list[str], side: int, faults: Mapping[str, str] | None = None) -> Decoded:
    """The images of files below a root.

    Raises: Problem, naming each file that cannot be read: those, and those that `faults` says are known to be so.
    """
    unread = dict(faults or {})
    found = Decoded(np.empty((len(paths), 3, side, side), dtype=np.uint8), [], [])
    for i, (path, (digest, picture)) in enumerate(zip(paths, _all_opened(paths, side), strict=True)):
        if isinstance(picture, str):
            unread[path] = picture
        else:
            found.pixels[i] = picture.pixels
            found.digests.append((_below(root, path), digest))
            found.shown.append((picture.pages, picture.brightest))
    if unread:
        raise Problem(_faulty(root, unread))
    return found


def _all_opened(paths: list[str], side: int) -> Iterator[tuple[str, pictures.Picture | str]]:
    """Each file's SHA-256 and image, or why there is none. Threads: both leave the interpreter's lock."""
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")  # Pillow's, of tags that it passes over and of images that are large
        yield from pool.map(_opened, paths, repeat(side))


def _opened(path: str, side: int) -> tuple[str, pictures.Picture | str]:
    try:
        content = Path(path).read_bytes()
        return sha256(content).hexdigest(), pictures.decode(content, side)
    except OSError as error:
        return "", error.strerror or str(error)
    except pictures.Unreadable as error:
        return "", str(error)


# --- what is said -------------------------------------------------------------------------------------------------


def _faulty(root: Path, faults: Mapping[str, str]) -> str:
    lines = [f"  {printable(_below(root, path))}: {printable(why)}" for path, why in sorted(faults.items())]
    more = [f"  and {len(lines) - SHOWN:,} more"] if len(lines) > SHOWN else []
    head = f"{printable(root)}: {counted(len(lines), 'file')} cannot be read; replace or remove what is named here"
    return "\n".join([head, *lines[:SHOWN], *more])


def _notes(passed: Mapping[tuple[Place, str], int], shown: list[tuple[int, float | None]]) -> Iterator[str]:
    total: Counter[str] = Counter()
    for (_, kind), count in passed.items():
        total[kind] += count
    total["later page"] = sum(pages - 1 for pages, _ in shown)
    if said := passed_over(total):
        yield f"passed over: {said}"
    if deep := [brightest for _, brightest in shown if brightest is not None]:
        grey = f"{counted(len(deep), 'grey image')} of more than 8 bits"
        yield f"{grey}, whose brightest value is {100 * max(deep):.3g} % of white"
