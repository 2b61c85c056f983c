"""Published sets of image files, each in the layout that its archive unpacks to: which file is of which part and class.

A layout is a function of data/raw, and of whether to download first, that returns a `Listing`. Where torchvision has a
class for the set, that class reads the lists; the others are read here as their archives describe them.
"""

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.io.matlab import MatReadError

from entia import catalogue
from entia.catalogue import DataSet
from entia.datasets import folders, pictures
from entia.datasets.decoding import Files, Room
from entia.fields import Problem

Labelled = list[tuple[str, int]]
"""Files with the number of their class."""


class Listing(NamedTuple):
    """A set's files in its canonical order."""

    train: Labelled
    test: Labelled
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """Which of several lists was read."""


DAMAGED = (OSError, RuntimeError, ValueError, LookupError, TypeError, zlib.error, MatReadError)
"""What readers raise on lists that are missing, cut off or something else."""
Layout = Callable[[Path, bool], Listing]


def read(dataset: str, raw: Path, side: int | None, room: Room | None = None) -> folders.Folder:
    """All images of a set, `side` pixels a side (None: as many as its row says).

    Raises: Problem, where the set is not there and cannot be downloaded, its lists do not fit, or files cannot be read.
    """
    of, layout = _known(dataset)
    listing = _listed(of, layout, raw)
    labelled = [*listing.train, *listing.test]
    label = np.asarray([kind for _, kind in labelled], dtype=np.int64)
    files = Files(raw, [path for path, _ in labelled], label, len(listing.train))
    found = folders.decoded(files, side or of.side, room)
    notes = (*listing.notes, *_unlike(of, listing))
    return folders.Folder(found.pixels, label, files.trained, listing.classes, found.digests, notes)


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
        case "imagenet1k":
            return catalogue.IMAGENET1K, imagenet1k
        case "imagenet100":
            return catalogue.IMAGENET100, imagenet100
        case "inaturalist":
            return catalogue.INATURALIST, inaturalist
        case "cars":
            return catalogue.CARS, cars
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
    except DAMAGED as error:
        raise Problem(
            f"{raw / of.place} has not the layout of {of.archive[0]} ({error}); unpack that archive there anew"
        ) from error
    if not listing.train or not listing.test:
        raise Problem(f"{raw / of.place}: its lists name no image; unpack {of.archive[0]} there anew")
    if len(listing.classes) != of.classes:
        raise Problem(
            f"{raw / of.place}: {len(listing.classes):,} classes are there, of {of.classes:,}; "
            f"unpack {of.archive[0]} there anew"
        )
    return listing


def _unlike(of: DataSet, listing: Listing) -> Iterator[str]:
    """What is to be said where other numbers lie there than are published: an unpacking that was stopped is one."""
    train, test = len(listing.train), len(listing.test)
    if (train, test) != (of.train, of.test):
        yield f"{train:,} images to train on and {test:,} to test, where {of.train:,} and {of.test:,} are published"


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


def cars(raw: Path, download: bool) -> Listing:
    """Stanford Cars, by the annotations of its development kit."""
    from torchvision.datasets import StanfordCars

    _by_hand(download)
    train, test = (StanfordCars(raw, split) for split in ("train", "test"))
    trained, tested = ([(path, int(kind)) for path, kind in part._samples] for part in (train, test))
    return Listing(trained, tested, tuple(train.classes))


def _parts(part: Callable[[str], Any], train: Iterable[str], files: str = "_image_files") -> Listing:
    trained = [pair for split in train for pair in _pairs(part(split), files)]
    tested = part("test")
    return Listing(trained, _pairs(tested, files), tuple(tested.classes))


def _pairs(part: Any, files: str) -> Labelled:
    return [(str(path), int(kind)) for path, kind in zip(getattr(part, files), part._labels, strict=True)]


# --- by their published layouts -----------------------------------------------------------------------------------


def tinyimagenet(raw: Path, download: bool) -> Listing:
    """TinyImageNet: wnids.txt, train/WNID/images, and val/images by val_annotations.txt, which are its test images."""
    _by_hand(download)
    root = raw / "tiny-imagenet-200"
    classes = (root / "wnids.txt").read_text().split()
    number = {name: i for i, name in enumerate(classes)}
    train = [
        (str(path), number[name]) for name in classes for path in sorted((root / "train" / name / "images").iterdir())
    ]
    rows = [line.split("\t") for line in (root / "val" / "val_annotations.txt").read_text().splitlines()]
    return Listing(train, [(f"{root}/val/images/{name}", number[kind]) for name, kind, *_ in rows], tuple(classes))


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
        [(f"{root}/images/{name}", number[kinds[key]]) for key, name in names.items() if trains[key] == part]
        for part in ("1", "0")
    )
    return Listing(train, test, tuple(classes.values()))


def inaturalist(raw: Path, download: bool) -> Listing:
    """The iNaturalist competition's of 2021: train_mini and val, a folder a species; or as torchvision calls them."""
    _by_hand(download)
    root = raw / "inaturalist"
    train, test = (
        next((root / name for name in names if (root / name).exists()), root / names[0])
        for names in (("train_mini", "2021_train_mini"), ("val", "2021_valid"))
    )
    classes = _kinds(train)
    return Listing(_by_class(train, classes), _by_class(test, classes), tuple(classes))


def imagenet1k(raw: Path, download: bool) -> Listing:
    """ImageNet of 2012: train/WNID; and val, which is tested on, in a folder a class too, or flat as in its archive."""
    _by_hand(download)
    root = raw / "imagenet"
    return _imagenet(root, _kinds(root / "train"))


def imagenet100(raw: Path, download: bool) -> Listing:
    """100 classes of ImageNet: those of imagenet100.txt beside its train and val, or of ours, where there is none."""
    _by_hand(download)
    root = raw / "imagenet"
    own = root / "imagenet100.txt"
    # Ours is the list of github.com/HobbitLong/CMC, sorted: the one most used. The papers' own is not known.
    text = own.read_text(encoding="utf-8") if own.exists() else (files("entia.datasets") / own.name).read_text()
    return _imagenet(root, _synsets(own, text))._replace(notes=(f"classes of {own if own.exists() else 'CMC'}",))


def _synsets(source: Path, text: str) -> list[str]:
    """The synset numbers in a list, sorted. Raises `Problem` where they are not 100."""
    names = text.replace(",", " ").split()
    wrong = [name for name in names if not re.fullmatch(r"n\d{8}", name)]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if wrong or twice or len(names) != catalogue.IMAGENET100.classes:
        found = (
            f"{wrong[0]!r} is none" if wrong else f"{twice[0]} is there twice" if twice else f"there are {len(names)}"
        )
        raise Problem(f"{source}: 100 synset numbers such as n01440764 are asked for, and {found}")
    return sorted(names)


def _imagenet(root: Path, classes: list[str]) -> Listing:
    if absent := set(classes) - set(_kinds(root / "train")):
        raise ValueError(f"no folder train/{min(absent)}")
    return Listing(_by_class(root / "train", classes), _validation(root, classes), tuple(classes))


def _validation(root: Path, classes: list[str]) -> Labelled:
    """In one order, by class and then by name, in both layouts."""
    if _kinds(root / "val"):
        return _by_class(root / "val", classes)
    number = {name: i for i, name in enumerate(classes)}
    named = enumerate(_ground_truth(root / "ILSVRC2012_devkit_t12" / "data"), 1)
    found = [(f"{root}/val/ILSVRC2012_val_{i:08d}.JPEG", number[kind]) for i, kind in named if kind in number]
    return sorted(found, key=lambda pair: (pair[1], pair[0]))


def _ground_truth(data: Path) -> list[str]:
    """The synset number of each validation image in turn, as the development kit says it."""
    from scipy.io import loadmat

    synsets = loadmat(data / "meta.mat", squeeze_me=True)["synsets"]
    names = {int(number): str(name) for number, name, *_ in synsets}
    return [names[int(line)] for line in (data / "ILSVRC2012_validation_ground_truth.txt").read_text().split()]


def _kinds(folder: Path) -> list[str]:
    """The names of a folder's folders."""
    return sorted(each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))


def _by_class(folder: Path, classes: Iterable[str]) -> Labelled:
    """The images in a folder a class, by class and then by name."""
    found: Labelled = []
    for number, kind in enumerate(classes):
        names = sorted(each.name for each in (folder / kind).iterdir() if each.suffix.lower() in pictures.ENDINGS)
        found += [(f"{folder}/{kind}/{name}", number) for name in names if not name.startswith(".")]
    return found


def _by_hand(download: bool) -> None:
    if download:
        raise RuntimeError("entia does not download it: its terms, its host or its size ask that you do")
