"""Folders as people have them: classes without splits, images without classes, copies. Contents alone decide a split."""

import hashlib
import io
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from entia import config, datasets, fields, naming
from entia.config import Subset
from entia.datasets import splits

BARE = "image_folder/toy:unlabelled"


def png(seed: int) -> bytes:
    """An image of its own for each seed."""
    pixels = np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def is_tested(seed: int) -> bool:
    """In other words than the code's: the first 64 bits, as a share."""
    return int.from_bytes(hashlib.sha256(png(seed)).digest()[:8], "big") / 2**64 < 0.2


TESTED = [seed for seed in range(200) if is_tested(seed)]
TRAINED = [seed for seed in range(200) if not is_tested(seed)]


def put(root: Path, files: dict[str, int]) -> None:
    """Images by their path below the data set's folder."""
    for name, seed in files.items():
        path = root / "toy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(seed))


def read(root: Path, dataset: str = "image_folder/toy") -> datasets.Raw:
    return datasets.read(dataset, root, 6)


def refused(root: Path, dataset: str = "image_folder/toy") -> str:
    with pytest.raises(fields.Problem) as caught:
        read(root, dataset)
    return str(caught.value)


def sides(found: datasets.Raw) -> dict[bytes, str]:
    """The part that each image is in, by its pixels."""
    parts = {"train": found.train, "test": found.test}
    return {pixels.tobytes(): name for name, part in parts.items() for pixels in part.pixels}


def classed(seeds: list[int]) -> dict[str, int]:
    """Two classes in turn."""
    return {f"{'ab'[i % 2]}/{i}.png": seed for i, seed in enumerate(seeds)}


# --- classes without splits -----------------------------------------------------------------------------------------


def test_a_fifth_is_tested_on_and_it_is_the_one_whose_hash_is_lowest(tmp_path):
    put(tmp_path, classed(list(range(200))))
    found = read(tmp_path)
    assert found.classes == ("a", "b") and len(found.train) + len(found.test) == 200
    assert len(found.test) == len(TESTED) and 0.1 < len(TESTED) / 200 < 0.3
    for label, part in ((0, 0), (1, 1)):  # seeds are given to the classes in turn
        assert np.count_nonzero(found.test.label == label) == sum(seed % 2 == part for seed in TESTED)
    assert (
        found.said
        == f"200 images in 2 classes; no splits there: {len(TESTED)} images to test on, by a hash of their contents"
    )


SEEDS = st.lists(st.integers(0, 199), unique=True, max_size=12)


@settings(deadline=None, max_examples=25)
@given(first=SEEDS, more=SEEDS, names=st.randoms(use_true_random=False))
def test_a_split_is_the_same_after_renaming_and_adding_and_moving(first, more, names):
    first = [*TRAINED[:2], *TESTED[:2], *(seed for seed in first if seed not in {*TRAINED[:2], *TESTED[:2]})]
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        put(Path(one), classed(first))
        before = sides(read(Path(one)))
        renamed = {f"{seed % 2}x/{names.randrange(10**6)}-{seed}.PNG": seed for seed in {*first, *more}}
        put(Path(other), {"0x/in.png": TRAINED[2], "1x/in.png": TRAINED[3]} | renamed)
        after = sides(read(Path(other)))
    assert {pixels: after[pixels] for pixels in before} == before


def test_copies_are_on_one_side_whatever_their_class_and_are_counted(tmp_path):
    put(tmp_path, classed([*range(30)]) | {"a/copy.png": TESTED[0], "b/copy.png": TESTED[0], "b/again.png": TRAINED[0]})
    found = read(tmp_path)
    of = [pixels.tobytes() for part in (found.train, found.test) for pixels in part.pixels]
    assert len(of) == 33 and len(sides(found)) == 30
    assert not {*map(bytes, found.train.pixels)} & {*map(bytes, found.test.pixels)}
    assert found.said.endswith("; 3 files with the same bytes as another")


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ([*TRAINED[:4]], "0 of its 4 images into the test part, so that none is left to test on; add images"),
        ([*TESTED[:4]], "4 of its 4 images into the test part, so that none is left to train on of a, b; add images"),
        (
            [TRAINED[0], TESTED[0], TRAINED[1], TESTED[1]],
            "2 of its 4 images into the test part, so that none is left to train on of b; ",
        ),
    ],
)
def test_a_split_that_leaves_nothing_to_train_on_or_to_test_is_refused(tmp_path, seeds, said):
    put(tmp_path, classed(seeds))
    assert said in refused(tmp_path)


def test_a_class_of_which_nothing_is_tested_is_named(tmp_path):
    put(tmp_path, classed([TRAINED[0], TRAINED[1], TESTED[0], TRAINED[2]]))
    assert read(tmp_path).said.endswith("1 image to test on, by a hash of their contents (none of b)")


@pytest.mark.parametrize("name", ["train", "Train", "test", "val", "Validation"])
def test_a_folder_that_is_called_as_a_split_is_taken_for_no_class(tmp_path, name):
    put(tmp_path, {f"{name}/a/1.png": 1, "a/2.png": 2})
    assert "there must be a folder train and a folder test or val" in refused(tmp_path)


@pytest.mark.parametrize(("files", "there"), [({"a/1.png": 1, "2.png": 2}, "one alone, a"), ({"1.png": 1}, "none")])
def test_images_that_are_of_no_two_classes_are_refused_and_the_way_to_read_them_is_said(tmp_path, files, there):
    put(tmp_path, files)
    assert refused(tmp_path).endswith(f"there is {there}. For images without a class, write images: unlabelled")
    put(tmp_path, {f"{i}.png": i for i in range(30)})
    assert len(read(tmp_path, BARE).train)


def test_what_lies_beside_the_splits_is_named(tmp_path):
    put(
        tmp_path,
        {
            f"{split}/{name}.png": i
            for i, (split, name) in enumerate((s, n) for s in ("train", "test", "val") for n in ("a/1", "b/1"))
        },
    )
    (tmp_path / "toy" / "notes.csv").touch()
    (tmp_path / "toy" / ".hidden").touch()
    found = read(tmp_path)
    assert found.said == "4 images in 2 classes; not read, beside train and test: notes.csv, val"


# --- images without a class -----------------------------------------------------------------------------------------

FLAT = {f"{i}.jpg": i for i in range(40)}
NESTED = {f"{'2019 2020/May'.split()[i % 2]}/{i}.jpg": i for i in range(40)}
SPLIT = {f"{'train/a test/b train/c'.split()[i % 3]}/{i}.jpg": i for i in range(40)}


@pytest.mark.parametrize("files", [FLAT, NESTED, {**FLAT, **{f"x/{i}.jpg": i for i in range(40, 50)}}])
def test_images_in_any_folders_are_read_without_classes(tmp_path, files):
    put(tmp_path, files)
    (tmp_path / "toy" / "notes.txt").touch()
    found = read(tmp_path, BARE)
    assert found.classes == () and {*found.train.label, *found.test.label} == {-1}
    assert len(found.train) + len(found.test) == len(files)
    assert sides(found) == {pixels: side for seed in files.values() for pixels, side in [shown(seed)]}
    assert found.said.startswith(f"{len(files)} images without a class; no splits there: ")
    assert found.said.endswith("passed over: 1 .txt file")


def shown(seed: int) -> tuple[bytes, str]:
    pixels = np.asarray(Image.open(io.BytesIO(png(seed)))).transpose(2, 0, 1)
    return pixels.tobytes(), "test" if is_tested(seed) else "train"


def test_splits_that_are_there_are_kept_to_without_classes_too(tmp_path):
    put(tmp_path, SPLIT)
    found = read(tmp_path, BARE)
    assert len(found.test) == sum(name.startswith("test") for name in SPLIT)
    assert found.said == "40 images without a class"


def test_a_copy_in_test_of_what_is_trained_on_is_said(tmp_path):
    put(tmp_path, SPLIT | {"test/b/copy.jpg": 0, "test/again.jpg": 0})
    assert read(tmp_path, BARE).said.endswith(
        "; 2 files with the same bytes as another (2 images to test on trained on too)"
    )


@pytest.mark.parametrize("empty", [{}, {"x/.hidden.png": 1}])
def test_a_folder_without_images_is_refused(tmp_path, empty):
    (tmp_path / "toy").mkdir()
    put(tmp_path, empty)
    assert "no image in it" in refused(tmp_path, BARE)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    assert refused(tmp_path, BARE).endswith("there is: No such file or directory")


def test_files_that_cannot_be_read_are_named_though_their_split_is_unknown(tmp_path, monkeypatch):
    put(tmp_path, FLAT)
    (tmp_path / "toy" / "cut.jpg").write_bytes(png(1)[:90])
    (tmp_path / "toy" / "loose.jpg").symlink_to("nowhere")
    (tmp_path / "toy" / "gone.jpg").write_bytes(png(50))
    whole = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.name == "gone.jpg":
            raise FileNotFoundError(2, "No such file or directory")
        return whole(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    said = refused(tmp_path, BARE)
    assert (
        ": 3 files cannot be read" in said and "\n  gone.jpg: No such file" in said and "\n  cut.jpg: damaged" in said
    )


def test_a_subset_without_classes_is_one_of_a_folder_alone_and_its_name_says_so():
    of = Subset(dataset="image_folder/toy", images="unlabelled", side=8)
    assert of.source == BARE and naming.label(of) == f"{BARE} 100 %"
    assert naming.name(of).startswith("image_folder_toy_unlabelled-100pct-")
    assert naming.key(of) != naming.key(Subset(dataset="image_folder/toy", side=8))
    with pytest.raises(ValueError, match="images: all: image_folder/toy is read by class or"):
        Subset(dataset="image_folder/toy", images="all", side=8)
    with pytest.raises(ValueError, match="mnist5k has no images without a class"):
        Subset(dataset="mnist5k", images="unlabelled")


def test_a_folder_named_unlabelled_is_no_way_of_reading(tmp_path):
    put(tmp_path, {f"unlabelled/{name}": seed for name, seed in classed(list(range(40))).items()})
    assert read(tmp_path, "image_folder/toy/unlabelled").classes == ("a", "b")
    assert read(tmp_path, BARE).classes == ()


def test_is_tested_is_a_share_of_all_hashes():
    digests = [hashlib.sha256(bytes([i, j])).hexdigest() for i in range(64) for j in range(64)]
    assert abs(sum(map(splits.is_tested, digests)) / len(digests) - config.TESTED) < 0.025  # four standard deviations
    assert splits.is_tested("0" * 64) and not splits.is_tested("f" * 64)
