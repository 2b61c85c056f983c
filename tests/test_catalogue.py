from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from entia import catalogue, config, datasets, nets, sizes
from entia.config import Encoder, Subset
from entia.fields import Problem
from entia.planning import feasible
from entia.system import machines


@pytest.mark.parametrize("name", catalogue.NETWORKS)
def test_a_network_is_as_wide_as_its_row_says(name):
    ours = name in ("narrow_resnet", "strided_resnet", "pixels")
    fields = {"width": 8} if ours else {} if name.startswith(("resne", "wide_resne")) else {"stem": "imagenet"}
    encoder = Encoder(name=name, **fields)
    side = next(side for side in (32, 64, 224) if not list(feasible.network(encoder, 3, side)))
    with nets.torch.device("meta"):
        net = nets._encoder(encoder, 3, side)
    if name == "pixels":
        assert config.features(encoder) == 3 * 8**2
    else:
        assert net(nets.torch.zeros(2, 3, side, side, device="meta")).shape == (2, config.features(encoder))


def test_every_encoder_and_no_other_has_a_row():
    assert set(get_args(Encoder.__annotations__["name"])) == set(catalogue.NETWORKS)


def test_every_data_set_that_has_a_reader_says_where_its_files_are_from():
    for name, row in catalogue.DATASETS.items():
        assert name.upper() in vars(catalogue) and vars(catalogue)[name.upper()] is row
        assert row.source.startswith(("https://", "http://")) and row.licence and row.version
        assert len(row.labels) == row.classes
        assert row.place and (row.accessed or name not in catalogue.READ)


def test_files_have_the_checksums_that_torchvision_knows():
    import torchvision

    for row, reader in (
        (catalogue.CIFAR10, torchvision.datasets.CIFAR10),
        (catalogue.CIFAR100, torchvision.datasets.CIFAR100),
    ):
        named = (*reader.train_list, *reader.test_list, (reader.meta["filename"], reader.meta["md5"]))
        assert list(row.files.items()) == [(f"{reader.base_folder}/{name}", md5) for name, md5 in named]
        assert row.archive == (reader.filename, reader.tgz_md5) and row.place == reader.base_folder


@pytest.mark.parametrize("name", ["mnist5k", "optdigits"])
def test_a_row_has_the_numbers_of_the_data(name):
    raw, row = datasets.read(name, Path("nowhere")), catalogue.DATASETS[name]
    assert (len(raw.train), len(raw.test), raw.classes) == (row.train, row.test, row.labels)
    assert raw.train.pixels.shape[1:] == (row.channels, row.side, row.side)


def folder(root: Path, train: int, test: int, other: str = "test") -> Path:
    for part, count in (("train", train), (other, test)):
        for number in range(count):
            path = root / "mine" / part / f"class{number % 2}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return root


MINE = Subset(dataset="image_folder/mine", side=16, validation=0.25)


@pytest.mark.parametrize("other", ["test", "val"])
def test_the_images_of_a_folder_are_counted(tmp_path, other):
    assert sizes.counted(MINE, folder(tmp_path, 40, 6, other)) == (30, 10, 6, 3, 16, 2)


@pytest.mark.parametrize("images", ["labelled", "unlabelled"])
def test_of_a_folder_without_splits_a_fifth_is_expected_to_be_tested_on(tmp_path, images):
    for number in range(50):
        path = tmp_path / "mine" / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    kinds = 2 if images == "labelled" else 1
    assert sizes.counted(replace(MINE, images=images), tmp_path) == (30, 10, 10, 3, 16, kinds)


def test_a_folder_that_is_not_here_has_no_size(tmp_path, monkeypatch):
    assert sizes.counted(MINE, tmp_path).train is None
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Problem, match="image_folder/mine: .* not known until they lie in data/raw/mine"):
        machines.sizes(MINE)


@given(subset=st.builds(Subset, dataset=st.sampled_from(config.DATASETS), limit=st.none() | st.integers(200, 10**6)))
def test_what_is_published_is_never_counted(subset):
    assert sizes.counted(subset, Path("nowhere")) == sizes.expected(subset)
    assert sizes.known(subset) == sizes.expected(subset)[:3]
