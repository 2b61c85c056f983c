"""STL-10 in miniature, in its binary layout: pretrained on images without a class, read out on its labelled ones."""

import hashlib
from pathlib import Path
from types import ModuleType
from urllib.error import URLError

import msgspec
import numpy as np
import pytest
from test_config import cell

from entia import catalogue, datasets, naming, sizes, stages
from entia.artefacts import store
from entia.config import Embed, Encoder, Projector, Readout, Subset
from entia.fields import Problem
from entia.methods import Supervised
from entia.planning import layering
from entia.probes import Neighbours

SIZES = {"train": 20, "unlabeled": 30, "test": 10}


@pytest.fixture(scope="module")
def torchvision() -> ModuleType:
    import torchvision

    return torchvision


def planes(name: str) -> np.ndarray:
    """Images as they lie in a file: red, green and blue, each by columns."""
    count = SIZES[name]
    return np.random.Generator(np.random.PCG64(count)).integers(0, 256, (count, 3, 96, 96), dtype=np.uint8)


@pytest.fixture
def raw(tmp_path: Path, torchvision: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A miniature in data/raw of the working folder, whose checksums torchvision and the catalogue then expect."""
    folder = tmp_path / "data" / "raw" / "stl10_binary"
    folder.mkdir(parents=True)
    for name, count in SIZES.items():
        (folder / f"{name}_X.bin").write_bytes(planes(name).tobytes())
        if name != "unlabeled":
            (folder / f"{name}_y.bin").write_bytes(bytes(1 + i % 10 for i in range(count)))  # from 1, as published
    reader = torchvision.datasets.STL10
    md5 = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    for field in ("train_list", "test_list"):
        monkeypatch.setattr(reader, field, [[file, md5[file]] for file, _ in getattr(reader, field)])
    files = {file: md5[Path(file).name] for file in catalogue.STL10.files}
    monkeypatch.setattr(catalogue, "STL10", catalogue.STL10._replace(files=files))
    monkeypatch.chdir(tmp_path)
    return folder.parent


def upright(name: str) -> np.ndarray:
    return planes(name).transpose(0, 1, 3, 2)


def test_files_have_the_checksums_that_torchvision_knows(torchvision: ModuleType) -> None:
    reader, row = torchvision.datasets.STL10, catalogue.STL10
    named = {f"{reader.base_folder}/{name}": md5 for name, md5 in (*reader.train_list, *reader.test_list)}
    assert (row.files, row.archive) == (named, (reader.filename, reader.tgz_md5))


@pytest.mark.parametrize(
    ("images", "parts", "labels"),
    [
        ("labelled", ["train"], [*range(10)] * 2),
        ("unlabelled", ["unlabeled"], [-1] * 30),
        ("all", ["train", "unlabeled"], [*range(10)] * 2 + [-1] * 30),
    ],
)
def test_columns_become_rows_and_images_without_a_class_are_labelled_minus_one(
    raw: Path, images: str, parts: list[str], labels: list[int]
) -> None:
    found = datasets.read(Subset(dataset="stl10", images=images).source, raw)
    np.testing.assert_array_equal(found.train.pixels, np.concatenate([upright(part) for part in parts]))
    np.testing.assert_array_equal(found.test.pixels, upright("test"))
    assert found.train.label.tolist() == labels and found.test.label.tolist() == [*range(10)]
    assert found.classes[0] == "airplane" and len(found.classes) == 10


def test_images_are_packed_at_the_side_that_is_asked_for(raw: Path) -> None:
    found = datasets.read("stl10:unlabelled", raw, 32)
    assert found.train.pixels.shape == (30, 3, 32, 32)
    np.testing.assert_allclose(found.train.pixels.mean((2, 3)), upright("unlabeled").mean((2, 3)), atol=1.5)


def test_a_run_is_pretrained_on_images_without_a_class_and_read_out_on_the_labelled(raw: Path) -> None:
    subset = Subset(dataset="stl10", images="unlabelled", side=16, fraction=0.5, balanced=False, validation=0.0)
    run = cell(
        subset=subset, encoder=Encoder(name="narrow_resnet", width=2), projector=Projector(width=8), batch=5, epochs=1
    )
    on = msgspec.structs.replace(subset, fraction=1.0, balanced=True, images="labelled")
    embed = Embed(pretrain=run, on=on)
    readout = Readout(embed=embed, probe=Neighbours(k=3))
    for each in (subset, on):
        stages.subset(each)
    stages.pretrain(run)
    stages.embed(embed)
    stages.readout(readout)
    arrays, head = store.read_hdf5(store.path(Path("data"), subset))
    assert (arrays["train/label"] == -1).all() and len(arrays["train/label"]) == 15
    embedded, _ = store.read_hdf5(store.path(Path("data"), embed))
    (label,) = (array for name, array in embedded.items() if name.endswith("train/label"))
    assert np.bincount(label).tolist() == [2] * 10
    assert "30 of them without a class" in head["raw"]
    made = store.read_json(store.path(Path("data"), readout))
    assert made["config"]["embed"]["pretrain"]["subset"]["images"] == "unlabelled"
    assert len(made["metrics"]) == 1


def test_a_damaged_file_is_named(raw: Path) -> None:
    (raw / "stl10_binary/unlabeled_X.bin").write_bytes(b"cut short")
    with pytest.raises(Problem, match=r"unlabeled_X\.bin is damaged"):
        datasets.read("stl10", raw)


def test_no_data_and_no_network_say_which_archive_goes_where(
    tmp_path: Path, torchvision: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.datasets.stl10, "download_and_extract_archive", unreachable)
    with pytest.raises(Problem, match="no route to host") as caught:
        datasets.read("stl10:unlabelled", tmp_path)
    for part in ("stl10_binary.tar.gz", "91f7769df0f17e558f3565bffb0c7dfb", str(tmp_path), "the folder stl10_binary"):
        assert part in str(caught.value)


def test_what_has_no_class_is_refused_where_a_class_is_needed() -> None:
    bare = Subset(dataset="stl10", images="unlabelled")
    with pytest.raises(ValueError, match="images: unlabelled: supervised needs each image's class"):
        cell(subset=bare, method=Supervised())
    with pytest.raises(ValueError, match="online_probe needs each image's class"):
        cell(subset=bare, online_probe=True)
    with pytest.raises(ValueError, match="cifar10 has no images without a class"):
        Subset(dataset="cifar10", images="unlabelled")


@pytest.mark.parametrize(("images", "count"), [("labelled", 5_000), ("unlabelled", 100_000), ("all", 105_000)])
def test_planning_counts_the_images_that_are_asked_for(images: str, count: int) -> None:
    assert sizes.expected(Subset(dataset="stl10", images=images, validation=0.0))[:3] == (count, 0, 8_000)


def test_a_readout_is_of_labelled_images_whatever_is_pretrained_on() -> None:
    given = {
        "subset": {"dataset": "stl10", "images": "unlabelled", "fraction": 0.25}, "encoder": {"name": "resnet50"},
        "projector": {"width": 8}, "method": {"name": "barlow_twins", "weight": 0.1}, "optimizer": {"name": "adam"},
        "views": 2, "epochs": 1, "batch": 8, "seed": 0, "probe": {"name": "ridge"}, "embed": {},
        "augmentation": {},
    }  # fmt: skip
    for more, on in (({}, "stl10"), ({"on": "cifar10"}, "cifar10")):
        found = layering.readout(msgspec.convert(given | {"embed": more}, layering.Cell))
        assert (found.embed.on.dataset, found.embed.on.images, found.embed.on.fraction) == (on, "labelled", 1.0)
        assert found.embed.pretrain.subset.images == "unlabelled"
    assert naming.label(found.embed.pretrain.subset) == "stl10:unlabelled 25 %"
