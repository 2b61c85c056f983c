"""What lies in a folder: images, each once, by the split and class that their folders name; and what is passed over.

Names count as the file system has them, byte by byte: `A` and `a` are two classes. Hidden names are passed over. Each
file counts once, and so does each folder: where it lies itself, or else at the first link to it. A link to a folder
that holds the link leads nowhere.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from entia.datasets import pictures

SYSTEM = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "@tmp", "#recycle", "#snapshot"}
    | {"$recycle.bin", "system volume information", "lost+found"}
)
"""Names that file managers and disks leave behind, in small letters: as hidden as those that begin with a dot."""
SHOWN = 20  # names in one message
KINDS = 8  # of what was passed over, in one summary


class Place(NamedTuple):
    """A class's folder in a split's; of no name where it lies beside them, or where a folder has none."""

    split: str
    kind: str


@dataclass
class Walk:
    """Meets every name below the splits: what lies there itself first, then what links lead to.

    A walk of its own, since it has to count what is passed over, to end where links lead in a circle, and to go deeper
    than Python's recursion.
    """

    root: Path
    labelled: bool = True
    """False: a folder is no class."""
    tables: Collection[str] = ()
    """Paths of files that say something of the images: they are not met."""
    kinds: dict[str, set[str]] = field(default_factory=dict)
    """The classes of each split; of no name where the folder has none."""
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
            links, self.links = sorted(self.links, key=order), []
            for place, path in links:
                self._follow(place, path)
        for place, path in sorted(self.linked, key=order):
            self._take(place, path, os.path.realpath(path))

    def _begin(self, split: str) -> None:
        folder = str(self.root / split)
        self.known.add(real := os.path.realpath(folder))
        entries = self.entries(folder)
        named = {entry.name for entry in entries if os.path.isdir(entry.path) and not _is_hidden(entry)}
        self.kinds[split] = named if self.labelled else set()
        for entry in entries:
            self._meet(Place(split, entry.name if entry.name in self.kinds[split] else ""), entry, real)

    def _enter(self) -> None:
        while self.folders:
            place, path, real = self.folders.pop()
            if real in self.known:
                self.passed[place, "repeated link"] += 1
                continue
            self.known.add(real)
            for entry in self.entries(path):
                self._meet(place, entry, real)

    def _follow(self, place: Place, path: str) -> None:
        target = os.path.realpath(path)
        if any(_holds(target, os.path.realpath(each)) for each in (os.path.dirname(path), self.root)):
            self.passed[place, "repeated link"] += 1
        else:
            self.folders.append((place, path, target))
            self._enter()

    def entries(self, path: str) -> list["os.DirEntry[str]"]:
        """What lies in a folder, by name; a fault where that cannot be told."""
        try:
            with os.scandir(path) as entries:
                return sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            self.faults[path] = error.strerror or str(error)
            return []

    def label(self, kinds: Mapping[str, str]) -> None:
        """Gives each image its class, by its path, where folders are none."""
        self.labelled = True
        self.images = [(Place(place.split, kinds[path]), path) for place, path in self.images]
        for split in self.kinds:
            self.kinds[split] = {place.kind for place, _ in self.images if place.split == split}

    def _meet(self, place: Place, entry: "os.DirEntry[str]", real: str) -> None:
        ending = os.path.splitext(entry.name)[1].lower()
        if entry.path in self.tables:
            pass
        elif _is_hidden(entry):
            self.passed[place, "hidden name"] += 1
        elif entry.is_symlink() and not os.path.exists(entry.path):
            self.faults[entry.path] = "a link to nothing that can be read"
        elif entry.is_dir() and entry.is_symlink():
            self.links.append((place, entry.path))
        elif entry.is_dir():
            self.folders.append((place, entry.path, os.path.join(real, entry.name)))
        elif self.labelled and not place.kind:
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


def _is_hidden(entry: "os.DirEntry[str]") -> bool:
    return entry.name.startswith(".") or entry.name.lower() in SYSTEM


def _holds(folder: str, path: str) -> bool:
    return os.path.commonpath([folder, path]) == folder


def order(image: tuple[Place, str]) -> tuple[bool, bytes, bytes, bytes]:
    """Train first, by class, by folder, by name: as bytes, since what a name decodes to depends on the locale."""
    place, path = image
    folder, name = os.path.split(path)
    return place.split != "train", os.fsencode(place.kind), os.fsencode(folder), os.fsencode(name)


# --- words -----------------------------------------------------------------------------------------------------------


def printable(name: str | Path) -> str:
    """The name with what does not print (line breaks, bytes that are not UTF-8) written as an escape."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(name))


def named(walk: Walk, place: Place) -> str:
    """A place's name, with what was passed over there."""
    there = passed_over({kind: count for (at, kind), count in walk.passed.items() if at == place})
    name = "/".join(printable(part) for part in place if part) or "it"
    return name + (f" (there: {there})" if there else "")


def passed_over(total: Mapping[str, int]) -> str:
    """How many of each kind, the most first."""
    ordered = sorted((-count, kind) for kind, count in total.items() if count)
    return some((counted(-count, kind) for count, kind in ordered), KINDS)


def some(names: Iterable[str], most: int = SHOWN) -> str:
    """The first names, and how many more there are."""
    listed = [*names]
    return ", ".join([*listed[:most], *([f"{len(listed) - most:,} more"] if len(listed) > most else [])])


def counted(count: int, noun: str) -> str:
    """So many of something."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
