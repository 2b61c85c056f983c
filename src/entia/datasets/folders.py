"""A folder of images, read by class or without: all of them decoded, in one order, and what is to be said of that."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from entia.config import FOLDER
from entia.datasets import decoding, splits, tables
from entia.datasets.decoding import Decoded, Files, Room
from entia.datasets.walking import SHOWN, Place, Walk, counted, order, passed_over, printable, some
from entia.fields import Problem

LOST = 0.001
"""Share of a folder's images that may be left out as damaged. Collections of millions hold a few; more is a copy that
failed, or a kind of file that is not read, and no study of what is left."""


@dataclass(frozen=True, eq=False)
class Folder:
    """All images of a folder: train's come first, `trained` of them; each split's by class, by folder, then by name."""

    pixels: UInt8[Any, "datum 3 side side"]
    """An array, or `decoding.Rows`."""
    label: Int64[np.ndarray, "datum"]
    """-1 without a class."""
    trained: int
    classes: tuple[str, ...]
    digests: list[tuple[str, str]]
    """Each file's name below the folder, and its SHA-256."""
    notes: tuple[str, ...]
    """What was passed over, and what was read in one of several ways."""
    lost: Collection[int] = ()
    """Positions of what cannot be read."""
    beside: tuple[tuple[str, str], ...] = ()
    """The name and the SHA-256 of each table read."""


def below(raw: Path, name: str) -> Path:
    """The folder `name` in `raw`. Raises `Problem` where that would not lie in it."""
    if "\0" in name or {"", ".", ".."} & {*name.split("/")}:
        raise Problem(f"{FOLDER}{printable(name)}: NAME must be a folder inside {raw}, written without '.' and '..'")
    return raw / name


def read(root: Path, side: int, room: Room | None = None, labelled: bool = True) -> Folder:
    """All images of `root`/train/CLASS and `root`/test/CLASS (or else val/CLASS), at any depth, told by their endings.

    Where there are no such splits, of `root`/CLASS, split by their contents. `labelled` False: without the classes. A
    table `root`/labels.csv gives the classes in the folders' place, and groups.csv what is on one side of that split.

    Raises: Problem, where a split or a class has no images or the splits' classes differ; where a table does not fit;
    or naming the files that cannot be read.
    """
    labels, groups = tables.read(root, "label") if labelled else None, tables.read(root, "group")
    beside = [table for table in (labels, groups) if table]
    walk = Walk(root, labelled and not labels, [str(table.file) for table in beside])
    walk.walk(splits.of(root, walk.labelled))
    if labels:
        walk.label(tables.told(labels, walk))
    classes = splits.classes(walk)
    notes = [*splits.beside(walk), *_split(walk, classes, tables.told(groups, walk) if groups else None)]
    found = sorted(walk.images, key=order)
    label = np.asarray([classes.get(place.kind, -1) for place, _ in found], dtype=np.int64)
    trained = sum(place.split == "train" for place, _ in found)
    shown = decoded(Files(root, [path for _, path in found], label, trained), side, room, walk.faults, LOST)
    notes += _notes(walk.passed, shown)
    read_too = tuple((table.file.name, table.digest) for table in beside)
    return Folder(
        shown.pixels, label, trained, tuple(map(_text, classes)), shown.digests, tuple(notes), shown.faults, read_too
    )


def _split(walk: Walk, kinds: Iterable[str], groups: Mapping[str, str] | None) -> Iterator[str]:
    """Gives images their split where the folder has none; what is to be said of that, or of groups torn apart."""
    if "" in walk.kinds:
        yield from splits.by_contents(walk, kinds, groups)
    elif groups is not None:
        yield from splits.torn(walk, groups)


def _text(name: str) -> str:
    """A file's name as UTF-8, whatever the locale; bytes that are not are escaped as Python does it (PEP 383)."""
    return os.fsencode(name).decode(errors="surrogateescape")


# --- what is in the files -----------------------------------------------------------------------------------------


def decoded(
    files: Files, side: int, room: Room | None, faults: Mapping[str, str] | None = None, share: float = 0
) -> Decoded:
    """The images of files, in a room or, where none is given, all in memory.

    Raises: Problem, naming each file that cannot be read, where that is more than a share of those asked for; those
    that `faults` names are known to be so, and one is too many.
    """
    found = decoding.decoded(files, side, room)
    if faults or len(found.faults) > share * found.asked:
        raise Problem(_faulty(files, {**(faults or {}), **found.unread}))
    return found


# --- what is said -------------------------------------------------------------------------------------------------


def _faulty(files: Files, faults: Mapping[str, str]) -> str:
    lines = [f"  {printable(files.name(path))}: {printable(why)}" for path, why in sorted(faults.items())]
    more = [f"  and {len(lines) - SHOWN:,} more"] if len(lines) > SHOWN else []
    head = (
        f"{printable(files.root)}: {counted(len(lines), 'file')} cannot be read; replace or remove what is named here"
    )
    return "\n".join([head, *lines[:SHOWN], *more])


def _notes(passed: Mapping[tuple[Place, str], int], shown: Decoded) -> Iterator[str]:
    total: Counter[str] = Counter()
    for (_, kind), count in passed.items():
        total[kind] += count
    total["later page"] = sum(each.later for each in shown.found)
    if said := passed_over(total):
        yield f"passed over: {said}"
    if unread := shown.unread:
        named = some(f"{printable(shown.files.name(path))} ({printable(why)})" for path, why in sorted(unread.items()))
        yield f"left out, since it cannot be read: {named}"
    if deep := [brightest for each in shown.found for brightest in each.brightest]:
        count = counted(len(deep), "grey image")
        yield f"{count} of more than 8 bits, whose brightest value is {100 * max(deep):.3g} % of white"
