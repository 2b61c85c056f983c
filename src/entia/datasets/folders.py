"""A folder of images, read by class: which files count, and what was passed over.

Names count as the file system has them, byte by byte: `A` and `a` are two classes. Hidden names are passed over. Each
file counts once, and so does each folder: where it lies itself, or else at the first link to it. A link to a folder
that holds the link leads nowhere.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import normalize

import numpy as np
from jaxtyping import Int64, UInt8

from entia.config import FOLDER
from entia.datasets import decoding, pictures
from entia.datasets.decoding import Decoded, Files, Room
from entia.fields import Problem

SYSTEM = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "@tmp", "#recycle", "#snapshot"}
    | {"$recycle.bin", "system volume information", "lost+found"}
)
"""Names that file managers and disks leave behind, in small letters: as hidden as those that begin with a dot."""
SHOWN = 20  # names in one message
LOST = 0.001
"""Share of a folder's images that may be left out as damaged. Collections of millions hold a few; more is a copy that
failed, or a kind of file that is not read, and no study of what is left."""
KINDS = 8  # of what was passed over, in one summary


class Place(NamedTuple):
    """A class's folder in a split's; no class: beside them."""

    split: str
    kind: str


@dataclass(frozen=True, eq=False)
class Folder:
    """All images of a folder: train's come first, `trained` of them; each split's by class, by folder, then by name."""

    pixels: UInt8[Any, "datum 3 side side"]
    """An array, or `decoding.Rows`."""
    label: Int64[np.ndarray, "datum"]
    trained: int
    classes: tuple[str, ...]
    digests: list[tuple[str, str]]
    """Each file's name below the folder, and its SHA-256."""
    notes: tuple[str, ...]
    """What was passed over, and what was read in one of several ways."""
    lost: Collection[int] = ()
    """Positions of what cannot be read."""


def below(raw: Path, name: str) -> Path:
    """The folder `name` in `raw`. Raises `Problem` where that would not lie in it."""
    if "\0" in name or {"", ".", ".."} & {*name.split("/")}:
        raise Problem(f"{FOLDER}{printable(name)}: NAME must be a folder inside {raw}, written without '.' and '..'")
    return raw / name


def read(root: Path, side: int, room: Room | None = None) -> Folder:
    """All images of `root`/train/CLASS and `root`/test/CLASS (or else val/CLASS), at any depth, told by their endings.

    Raises: Problem, where a split or a class has no images or the splits' classes differ; or naming the files that
    cannot be read.
    """
    walk = _Walk(root)
    walk.walk(_splits(root))
    classes = _classes(walk)
    found = sorted(walk.images, key=_order)
    label = np.asarray([classes[place.kind] for place, _ in found], dtype=np.int64)
    trained = sum(place.split == "train" for place, _ in found)
    shown = decoded(Files(root, [path for _, path in found], label, trained), side, room, walk.faults, LOST)
    notes = tuple(_notes(walk.passed, shown))
    return Folder(shown.pixels, label, trained, tuple(map(_text, classes)), shown.digests, notes, shown.faults)


def printable(name: str | Path) -> str:
    """The name with what does not print (line breaks, bytes that are not UTF-8) written as an escape."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(name))


# --- what lies there ----------------------------------------------------------------------------------------------


@dataclass
class _Walk:
    """Meets every name below the splits: what lies there itself first, then what links lead to.

    A walk of its own, since it has to count what is passed over, to end where links lead in a circle, and to go deeper
    than Python's recursion.
    """

    root: Path
    kinds: dict[str, set[str]] = field(default_factory=dict)
    """The classes of each split."""
    images: list[tuple[Place, str]] = field(default_factory=list)
    passed: Counter[tuple[Place, str]] = field(default_factory=Counter)
    """How many of each kind, at each place, were passed over."""
    faults: dict[str, str] = field(default_factory=dict)
    """Why a path cannot be read."""
    known: set[str] = field(default_factory=set)
    """Resolved paths of the folders and images met."""
    folders: list[tuple[Place, str, str]] = field(default_factory=list)
    """Folders still to be entered, each with its resolved path."""
    links: list[tuple[Place, str]] = field(default_factory=list)
    linked: list[tuple[Place, str]] = field(default_factory=list)
    """Links to folders still to be followed; links to images."""

    def walk(self, splits: Iterable[str]) -> None:
        """Meets all that is below these folders of the root."""
        for split in splits:
            self._begin(split)
            self._enter()
        while self.links:
            links, self.links = sorted(self.links, key=_order), []
            for place, path in links:
                self._follow(place, path)
        for place, path in sorted(self.linked, key=_order):
            self._take(place, path, os.path.realpath(path))

    def _begin(self, split: str) -> None:
        folder = str(self.root / split)
        self.known.add(real := os.path.realpath(folder))
        entries = self._entries(folder)
        self.kinds[split] = {entry.name for entry in entries if os.path.isdir(entry.path) and not _is_hidden(entry)}
        for entry in entries:
            self._meet(Place(split, entry.name if entry.name in self.kinds[split] else ""), entry, real)

    def _enter(self) -> None:
        while self.folders:
            place, path, real = self.folders.pop()
            if real in self.known:
                self.passed[place, "repeated link"] += 1
                continue
            self.known.add(real)
            for entry in self._entries(path):
                self._meet(place, entry, real)

    def _follow(self, place: Place, path: str) -> None:
        target = os.path.realpath(path)
        if any(_holds(target, os.path.realpath(each)) for each in (os.path.dirname(path), self.root)):
            self.passed[place, "repeated link"] += 1
        else:
            self.folders.append((place, path, target))
            self._enter()

    def _entries(self, path: str) -> list["os.DirEntry[str]"]:
        try:
            with os.scandir(path) as entries:
                return sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            self.faults[path] = error.strerror or str(error)
            return []

    def _meet(self, place: Place, entry: "os.DirEntry[str]", real: str) -> None:
        ending = os.path.splitext(entry.name)[1].lower()
        if _is_hidden(entry):
            self.passed[place, "hidden name"] += 1
        elif entry.is_symlink() and not os.path.exists(entry.path):
            self.faults[entry.path] = "a link to nothing that can be read"
        elif entry.is_dir() and entry.is_symlink():
            self.links.append((place, entry.path))
        elif entry.is_dir():
            self.folders.append((place, entry.path, os.path.join(real, entry.name)))
        elif not place.kind:
            self.passed[place, "classless file"] += 1
        elif ending not in pictures.ENDINGS:
            self.passed[place, f"{printable(ending) or 'endingless'} file"] += 1
        elif not entry.is_file():
            self.faults[entry.path] = "not a regular file"
        elif entry.is_symlink():
            self.linked.append((place, entry.path))
        else:
            self._take(place, entry.path, os.path.join(real, entry.name))

    def _take(self, place: Place, path: str, real: str) -> None:
        if real in self.known:
            self.passed[place, "repeated link"] += 1
        else:
            self.known.add(real)
            self.images.append((place, path))


def _splits(root: Path) -> tuple[str, str]:
    test = next((name for name in ("test", "val") if os.path.isdir(root / name)), None)
    if test is None or not os.path.isdir(root / "train"):
        raise Problem(
            f"{printable(root)}: there must be a folder train and a folder test or val, each with a folder a class; "
            f"there is: {_there(root)}"
        )
    return "train", test


def _there(root: Path) -> str:
    try:
        return _some(sorted(map(printable, os.listdir(root)))) or "nothing"
    except OSError as error:
        return error.strerror or str(error)


def _classes(walk: _Walk) -> dict[str, int]:
    """Each class's number. Raises `Problem` where a split lacks one, or its images, unless files already fail."""
    one, other = walk.kinds
    differ = walk.kinds[one] ^ walk.kinds[other]
    kinds = sorted(walk.kinds[one] | walk.kinds[other], key=os.fsencode)
    filled = {place for place, _ in walk.images}
    empty = [place for kind in kinds for place in (Place(one, kind), Place(other, kind)) if place not in filled]
    if walk.faults:
        pass
    elif differ or not kinds:
        raise Problem(_unlike(walk, differ))
    elif empty:
        raise Problem(
            f"{printable(walk.root)}: no image in {_some(_place(walk, place) for place in empty)}; "
            "put images there, or remove that class from both splits"
        )
    return {kind: number for number, kind in enumerate(kinds)}


def _unlike(walk: _Walk, differ: set[str]) -> str:
    name, (one, other) = printable(walk.root), walk.kinds
    if not differ:
        return f"{name}: {one} and {other} must each have a folder a class, with its images in it; there is none"
    alike = len({normalize("NFKC", kind).casefold() for kind in differ}) < len(differ)
    hint = ", some of them differing in capitals or in how an accent is written" if alike else ""
    only = _some(printable(kind) for kind in sorted(differ, key=os.fsencode))
    return f"{name}: {one} and {other} must have the same classes; only one of them has {only}{hint}"


def _place(walk: _Walk, place: Place) -> str:
    passed = _passed({kind: count for (at, kind), count in walk.passed.items() if at == place})
    return f"{place.split}/{printable(place.kind)}" + (f" (there: {passed})" if passed else "")


def _is_hidden(entry: "os.DirEntry[str]") -> bool:
    return entry.name.startswith(".") or entry.name.lower() in SYSTEM


def _holds(folder: str, path: str) -> bool:
    return os.path.commonpath([folder, path]) == folder


def _order(image: tuple[Place, str]) -> tuple[bool, bytes, bytes, bytes]:
    """Train first, by class, by folder, by name: as bytes, since what a name decodes to depends on the locale."""
    place, path = image
    folder, name = os.path.split(path)
    return place.split != "train", os.fsencode(place.kind), os.fsencode(folder), os.fsencode(name)


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
    head = f"{printable(files.root)}: {_count(len(lines), 'file')} cannot be read; replace or remove what is named here"
    return "\n".join([head, *lines[:SHOWN], *more])


def _notes(passed: Mapping[tuple[Place, str], int], shown: Decoded) -> Iterator[str]:
    total: Counter[str] = Counter()
    for (_, kind), count in passed.items():
        total[kind] += count
    total["later page"] = sum(each.later for each in shown.found)
    if said := _passed(total):
        yield f"passed over: {said}"
    if unread := shown.unread:
        named = _some(f"{printable(shown.files.name(path))} ({printable(why)})" for path, why in sorted(unread.items()))
        yield f"left out, since it cannot be read: {named}"
    if deep := [brightest for each in shown.found for brightest in each.brightest]:
        count = _count(len(deep), "grey image")
        yield f"{count} of more than 8 bits, whose brightest value is {100 * max(deep):.3g} % of white"


def _passed(total: Mapping[str, int]) -> str:
    ordered = sorted((-count, kind) for kind, count in total.items() if count)
    return _some((_count(-count, kind) for count, kind in ordered), KINDS)


def _some(names: Iterable[str], most: int = SHOWN) -> str:
    listed = [*names]
    return ", ".join([*listed[:most], *([f"{len(listed) - most:,} more"] if len(listed) > most else [])])


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
