"""Published sets of image files, each in the layout that its archive unpacks to: which file is of which part and class.

A layout is a function of data/raw, and of whether to download first, that returns a `Listing`. Where torchvision has a
class for the set, that class reads the lists; the others are read here as their archives describe them.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from entia import catalogue
from entia.catalogue import DataSet
from entia.datasets import folders
from entia.datasets.decoding import Files, Room
from entia.fields import Problem

Labelled = list[tuple[Path, int]]
"""Files with the number of their class."""


class Listing(NamedTuple):
    """A set's files in its canonical order."""

    train: Labelled
    test: Labelled
    classes: tuple[str, ...]


Layout = Callable[[Path, bool], Listing]


def read(dataset: str, raw: Path, side: int | None, room: Room | None = None) -> folders.Folder:
    """All images of a set, `side` pixels a side (None: as many as its row says).

    Raises: Problem, where the set is not there and cannot be downloaded, its lists do not fit, or files cannot be read.
    """
    of, layout = _known(dataset)
    listing = _listed(of, layout, raw)
    labelled = [*listing.train, *listing.test]
    label = np.asarray([kind for _, kind in labelled], dtype=np.int64)
    files = Files(raw, [str(path) for path, _ in labelled], label, len(listing.train))
    found = folders.decoded(files, side or of.side, room)
    return folders.Folder(found.pixels, label, files.trained, listing.classes, found.digests, ())


def _known(dataset: str) -> tuple[DataSet, Layout]:
    """A set's row and layout. By `case`, so that a code fingerprint holds the chosen set's alone."""
    match dataset:
        case "food101":
            return catalogue.FOOD101, food101
        case "aircraft":
            return catalogue.AIRCRAFT, aircraft
        case "dtd":
            return catalogue.DTD, dtd
        case "pets":
            return catalogue.PETS, pets
        case "flowers102":
            return catalogue.FLOWERS102, flowers102
        case "tinyimagenet":
            return catalogue.TINYIMAGENET, tinyimagenet
        case "cub200":
            return catalogue.CUB200, cub200
        case _:
            raise ValueError(f"dataset: {dataset!r} has no layout")


def _listed(of: DataSet, layout: Layout, raw: Path) -> Listing:
    if not (raw / of.place).exists():
        try:
            return layout(raw, True)
        except (OSError, RuntimeError) as error:
            raise Problem(
                f"{raw / of.place} is not there and could not be downloaded ({error}). Fetch {of.archive[0]} from "
                f"{of.source} and unpack it into {raw}, so that {raw / of.place} is there"
            ) from error
    try:
        listing = layout(raw, False)
    except (OSError, RuntimeError, ValueError, KeyError, IndexError) as error:
        raise Problem(
            f"{raw / of.place} has not the layout of {of.archive[0]} ({error}); unpack that archive there anew"
        ) from error
    if not listing.train or not listing.test:
        raise Problem(f"{raw / of.place}: its lists name no image; unpack {of.archive[0]} there anew")
    return listing


# --- by torchvision's classes -------------------------------------------------------------------------------------


def food101(raw: Path, download: bool) -> Listing:
    """Food-101: lists by class in meta/*.json."""
    from torchvision.datasets import Food101

    return _parts(lambda split: Food101(raw, split, download=download), ("train",))


def aircraft(raw: Path, download: bool) -> Listing:
    """FGVC-Aircraft by variant; train and val are trained on."""
    from torchvision.datasets import FGVCAircraft

    return _parts(lambda split: FGVCAircraft(raw, split, download=download), ("trainval",))


def dtd(raw: Path, download: bool) -> Listing:
    """Describable textures, the first of its ten partitions; train and val are trained on."""
    from torchvision.datasets import DTD

    return _parts(lambda split: DTD(raw, split, download=download), ("train", "val"))


def pets(raw: Path, download: bool) -> Listing:
    """Oxford-IIIT pets by breed."""
    from torchvision.datasets import OxfordIIITPet

    return _parts(lambda split: OxfordIIITPet(raw, split, download=download), ("trainval",), "_images")


def flowers102(raw: Path, download: bool) -> Listing:
    """Oxford's 102 flowers; train and val are trained on."""
    from torchvision.datasets import Flowers102

    return _parts(lambda split: Flowers102(raw, split, download=download), ("train", "val"))


def _parts(part: Callable[[str], Any], train: Iterable[str], files: str = "_image_files") -> Listing:
    trained = [pair for split in train for pair in _pairs(part(split), files)]
    tested = part("test")
    return Listing(trained, _pairs(tested, files), tuple(tested.classes))


def _pairs(part: Any, files: str) -> Labelled:
    return [(Path(path), int(kind)) for path, kind in zip(getattr(part, files), part._labels, strict=True)]


# --- by their published layouts -----------------------------------------------------------------------------------


def tinyimagenet(raw: Path, download: bool) -> Listing:
    """TinyImageNet: wnids.txt, train/WNID/images, and val/images by val_annotations.txt, which are its test images."""
    _by_hand(download)
    root = raw / "tiny-imagenet-200"
    classes = (root / "wnids.txt").read_text().split()
    number = {name: i for i, name in enumerate(classes)}
    train = [(path, number[name]) for name in classes for path in sorted((root / "train" / name / "images").iterdir())]
    rows = [line.split("\t") for line in (root / "val" / "val_annotations.txt").read_text().splitlines()]
    return Listing(train, [(root / "val" / "images" / row[0], number[row[1]]) for row in rows], tuple(classes))


def cub200(raw: Path, download: bool) -> Listing:
    """CUB-200-2011: images.txt, image_class_labels.txt and train_test_split.txt, each by an image's number."""
    _by_hand(download)
    root = raw / "CUB_200_2011"
    names, kinds, trains = (
        dict(line.split() for line in (root / f"{name}.txt").read_text().splitlines())
        for name in ("images", "image_class_labels", "train_test_split")
    )
    classes = dict(line.split() for line in (root / "classes.txt").read_text().splitlines())
    number = {key: i for i, key in enumerate(classes)}
    train, test = (
        [(root / "images" / name, number[kinds[key]]) for key, name in names.items() if trains[key] == part]
        for part in ("1", "0")
    )
    return Listing(train, test, tuple(classes.values()))


def _by_hand(download: bool) -> None:
    if download:
        raise RuntimeError("entia does not download it: its terms or its host ask that you do")
