"""How many images a subset holds, before it is packed: as published, or of a folder as counted in it."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from entia import catalogue
from entia.config import FOLDER, TESTED, Subset
from entia.fields import Problem


class Held(NamedTuple):
    """What a subset holds; None: not known before its images have been read."""

    train: int | None
    validation: int | None
    test: int | None
    channels: int
    side: int
    classes: int | None = None


Holds = Callable[[Subset], Held]


def expected(subset: Subset) -> Held:
    """What a subset will hold, as far as that follows from what is published of its data set.

    A folder's images are RGB, of the side that is asked for; their number is not known. Counts are `datasets.split`'s,
    which never holds out a class's last image, for classes of about one size.
    """
    known = catalogue.DATASETS.get(subset.dataset)
    if known is None:
        return Held(None, 0 if not subset.validation else None, None, 3, subset.side or 1)
    labelled, more = subset.images != "unlabelled", catalogue.UNLABELLED.get(subset.dataset, 0)
    bare = subset.images != "labelled"  # images without a class are split as a class of their own
    train, kinds = labelled * known.train + bare * more, labelled * known.classes + bare
    split = _split(subset, train, known.test, kinds)
    return Held(*split, known.channels, subset.side or known.side, known.classes)


def counted(subset: Subset, raw: Path = Path("data/raw")) -> Held:
    """The same, with a folder's images as many as files lie in it; still not known where it is not there."""
    held = expected(subset)
    if held.train is None and (found := _files((raw / subset.dataset.removeprefix(FOLDER)).resolve())):
        train, test, classes = found
        kinds = 1 if subset.images == "unlabelled" else classes
        return Held(*_split(subset, train, test, kinds), held.channels, held.side, kinds)
    return held


def known(subset: Subset) -> tuple[int, int, int]:
    """Images to train on, held out for validation, and to test.

    Raises: Problem, where they are published nowhere and lie not here to be counted.
    """
    train, validation, test, *_ = counted(subset)
    if train is None or validation is None or test is None:
        raise Problem(unknown(subset))
    return train, validation, test


def unknown(subset: Subset) -> str:
    """What is said where a subset's size is asked for and not known."""
    folder = f"data/raw/{subset.dataset.removeprefix(FOLDER)}"
    return f"{subset.dataset}: its images, and so what its runs take, are not known until they lie in {folder}"


def _split(subset: Subset, train: int, test: int, classes: int) -> tuple[int, int, int]:
    pool = min(train, subset.limit or train)
    held = max(classes, round(subset.validation * pool)) if subset.validation else 0
    held = max(0, min(held, pool - classes))
    least = classes if subset.balanced else 1
    kept = min(pool - held, max(least, round(subset.fraction * (pool - held))))
    return kept, held, min(test, subset.limit or test)


@functools.cache  # asked of every run
def _files(folder: Path) -> tuple[int, int, int] | None:
    """Files to train on and to test, and classes, of a folder of images; None without any.

    Without splits as many are tested on as their hashes let expect.
    """
    train, test, other = (_count(folder / part) for part in ("train", "test", "val"))
    if train and (test or other):
        return train, test or other, _folders(folder / "train")
    if not (every := _count(folder)):
        return None
    test = round(TESTED * every)
    return every - test, test, _folders(folder)


def _count(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def _folders(folder: Path) -> int:
    return sum(entry.is_dir() for entry in os.scandir(folder))
