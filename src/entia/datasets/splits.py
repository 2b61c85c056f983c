"""Which split and class each of a folder's images is of, and which are tested on where the folder does not say.

That is told by a file's contents, so that it is the same whatever files are called, wherever they lie and whatever is
added. Copies of a file are on one side. Where images are of groups, a group's name is in its files' place.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from unicodedata import normalize

from entia.config import TESTED
from entia.datasets.walking import Place, Walk, counted, named, printable, some
from entia.fields import Problem

MEANT = frozenset("train training test testing val valid validation".split())
"""Names, in small letters, of folders that are meant as splits and not as classes."""
BARE = "For images without a class, write images: unlabelled"


def of(root: Path, labelled: bool) -> tuple[str, ...]:
    """The folders of the splits; one without a name, which is the folder itself, where it has none.

    Raises: Problem, where it is not there, or seems to have one split of two.
    """
    test = next((name for name in ("test", "val") if os.path.isdir(root / name)), None)
    if test is not None and os.path.isdir(root / "train"):
        return "train", test
    half = labelled and any(name.lower() in MEANT for name in _names(root))
    if half or not os.path.isdir(root):
        raise Problem(
            f"{printable(root)}: there must be a folder train and a folder test or val, each with a folder a class; "
            "or a folder a class alone; or, for images: unlabelled, images in any folders; "
            f"there is: {_there(root)}"
        )
    return ("",)


def beside(walk: Walk) -> Iterator[str]:
    """What is to be said of what lies beside the folders of the splits."""
    if "" not in walk.kinds:
        read = {*walk.kinds, *map(os.path.basename, walk.tables)}
        left = [printable(name) for name in _names(walk.root) if name not in read]
        if left:
            yield f"not read, beside {' and '.join(walk.kinds)}: {some(left)}"


def _names(root: Path) -> list[str]:
    return [entry.name for entry in Walk(root).entries(str(root)) if not entry.name.startswith(".")]


def _there(root: Path) -> str:
    try:
        return some(sorted(map(printable, os.listdir(root)))) or "nothing"
    except OSError as error:
        return error.strerror or str(error)


def classes(walk: Walk) -> dict[str, int]:
    """Each class's number. Raises `Problem` where a split lacks one, or its images, unless files already fail."""
    kinds = sorted(set[str]().union(*walk.kinds.values()), key=os.fsencode)
    filled = {place for place, _ in walk.images}
    empty = [place for kind in kinds or [""] for split in walk.kinds if (place := Place(split, kind)) not in filled]
    if walk.faults:
        pass
    elif walk.labelled and (wrong := _unlike(walk, kinds)):
        raise Problem(f"{printable(walk.root)}: {wrong}")
    elif empty:
        remedy = "put images there" + (", or remove that class" if kinds else "")
        remedy += " from both splits" if kinds and len(walk.kinds) > 1 else ""
        raise Problem(f"{printable(walk.root)}: no image in {some(named(walk, place) for place in empty)}; {remedy}")
    return {kind: number for number, kind in enumerate(kinds)}


def _unlike(walk: Walk, kinds: list[str]) -> str:
    """What is wrong with the classes' names; empty where nothing is."""
    splits = " and ".join(walk.kinds)
    if splits and not kinds:
        return f"{splits} must each have a folder a class, with its images in it; there is none. {BARE}"
    if len(walk.kinds) == 1 and len(kinds) < 2:
        there = f"one alone, {printable(kinds[0])}" if kinds else "none"
        return (
            f"there must be a folder a class, of two classes or more, with its images in it; there is {there}. {BARE}"
        )
    differ = [kind for kind in kinds if not all(kind in there for there in walk.kinds.values())]
    if not differ:
        return ""
    alike = len({normalize("NFKC", kind).casefold() for kind in differ}) < len(differ)
    hint = ", some of them differing in capitals or in how an accent is written" if alike else ""
    return f"{splits} must have the same classes; only one of them has {some(map(printable, differ))}{hint}"


# --- by contents --------------------------------------------------------------------------------------------------


def by_contents(walk: Walk, kinds: Iterable[str], groups: Mapping[str, str] | None = None) -> Iterator[str]:
    """Gives each image of a walk its split, unless files already fail, and yields what is to be said of that.

    `groups`: each image's, by its path.

    Raises: Problem, where no image, or none of a class, is left to train on, or none to test on.
    """
    what = "contents" if groups is None else "groups' names"
    for i, digest in enumerate(_digests([path for _, path in walk.images], groups)):
        place, path = walk.images[i]
        if isinstance(digest, str):
            walk.images[i] = Place("test" if is_tested(digest) else "train", place.kind), path
        else:
            walk.faults[path] = digest.strerror or str(digest)
    if walk.faults:
        return
    held = Counter(place for place, _ in walk.images)
    tested = sum(count for place, count in held.items() if place.split == "test")
    untrained, untested = ([kind for kind in kinds if not held[Place(split, kind)]] for split in ("train", "test"))
    if untrained or tested in (0, len(walk.images)):
        left = (
            "to test on" if not tested else "to train on" + f" of {some(map(printable, untrained))}" * bool(untrained)
        )
        raise Problem(
            f"{printable(walk.root)}: it has no splits, and a hash of their {what} puts {tested:,} of its "
            f"{counted(len(walk.images), 'image')} into the test part, so that none is left {left}; "
            "add images, or make folders train and test"
        )
    of = f" (none of {some(map(printable, untested))})" if untested else ""
    yield f"no splits there: {counted(tested, 'image')} to test on, by a hash of their {what}{of}"


def is_tested(digest: str) -> bool:
    """Whether a file of this SHA-256 is tested on: where that lies in the lowest `TESTED` of its range."""
    return int(digest, 16) < TESTED * 2**256


def _digests(paths: Iterable[str], groups: Mapping[str, str] | None) -> Iterator[str | OSError]:
    """Each file's SHA-256, or why it cannot be read. Threads: hashing leaves the interpreter's lock."""
    if groups is not None:
        yield from (sha256(os.fsencode(groups[path])).hexdigest() for path in paths)
        return
    with ThreadPoolExecutor() as pool:
        yield from pool.map(_digest, paths)


def _digest(path: str) -> str | OSError:
    try:
        return sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        return error


def torn(walk: Walk, groups: Mapping[str, str]) -> Iterator[str]:
    """What is to be said of groups that a folder's own splits tear apart."""
    pairs = {(groups[path], place.split) for place, path in walk.images}
    if split := sum(count > 1 for count in Counter(group for group, _ in pairs).values()):
        yield f"{counted(split, 'group')} with images to train on and images to test on"


def copies(digests: list[str], trained: int) -> Iterator[str]:
    """What is to be said of files with the bytes of another, by their SHA-256: the first `trained` are train's."""
    train, test = {*digests[:trained]}, digests[trained:]
    if again := len(digests) - len({*digests}):
        leaked = sum(digest in train for digest in test)
        across = f" ({counted(leaked, 'image')} to test on trained on too)" if leaked else ""
        yield f"{counted(again, 'file')} with the same bytes as another{across}"
