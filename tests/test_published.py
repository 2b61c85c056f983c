"""Published sets of image files on small copies in their own layouts: the lists decide, not what else lies there."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from entia import catalogue, datasets
from entia.artefacts import provenance
from entia.config import Subset
from entia.fields import Problem

Files = dict[str, int]
"""Grey of each file that is written; 7 × class + its number, so that a reader that mixes them up is seen."""


def picture(path: Path, grey: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 9), (grey, grey, grey)).save(path, "PNG")  # JPEG changes greys; endings do not matter


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def food101(raw: Path) -> None:
    root = raw / "food-101"
    for split, greys in (("train", (10, 20)), ("test", (110, 120))):
        lists = {kind: [f"{kind}/{grey}"] for kind, grey in zip(("waffles", "apple_pie"), greys, strict=True)}
        for kind, grey in zip(lists, greys, strict=True):
            picture(root / "images" / kind / f"{grey}.jpg", grey)
        text(root / "meta" / f"{split}.json", json.dumps(lists))
    picture(root / "images" / "waffles" / "9.jpg", 9)  # in no list


def aircraft(raw: Path) -> None:
    data = raw / "fgvc-aircraft-2013b" / "data"
    text(data / "variants.txt", "707-320", "A340 200")
    for split, greys in (("trainval", (20, 10)), ("test", (120, 110))):
        text(
            data / f"images_variant_{split}.txt",
            *(f"{g:07d} {k}" for g, k in zip(greys, ("707-320", "A340 200"), strict=True)),
        )
        for grey in greys:
            picture(data / "images" / f"{grey:07d}.jpg", grey)


def dtd(raw: Path) -> None:
    root = raw / "dtd" / "dtd"
    for split, lines in (("train1", ["zigzagged/10.jpg", "banded/20.jpg"]), ("val1", ["banded/21.jpg", "zigzagged/11.jpg"]), ("test1", ["banded/120.jpg", "zigzagged/110.jpg"])):  # fmt: skip
        text(root / "labels" / f"{split}.txt", *lines)
        for line in lines:
            picture(root / "images" / line, int(Path(line).stem))


def pets(raw: Path) -> None:
    root = raw / "oxford-iiit-pet"
    lists = {"trainval": ["Abyssinian_20 1 1 1", "yorkshire_10 2 2 1"], "test": ["Abyssinian_120 1 1 1", "yorkshire_110 2 2 1"]}  # fmt: skip
    for split, lines in lists.items():
        text(root / "annotations" / f"{split}.txt", *lines)
        for line in lines:
            name = line.split()[0]
            picture(root / "images" / f"{name}.jpg", int(name.split("_")[1]))


def flowers102(raw: Path) -> None:
    from scipy.io import savemat
    from torchvision.datasets import Flowers102

    root = raw / "flowers-102"
    for grey in (10, 20, 11, 21, 110, 120):
        picture(root / "jpg" / f"image_{grey:05d}.jpg", grey)
    labels = np.ones(130, dtype=np.uint8)
    labels[[9, 10, 109]] = 2  # of images 10, 11 and 110
    savemat(root / "imagelabels.mat", {"labels": labels[None]})
    savemat(root / "setid.mat", {"trnid": [[10, 20]], "valid": [[21, 11]], "tstid": [[110, 120]]})
    digest = {name: hashlib.md5((root / name).read_bytes()).hexdigest() for name in ("imagelabels.mat", "setid.mat")}
    Flowers102._file_dict = {key: (name, digest.get(name, md5)) for key, (name, md5) in Flowers102._file_dict.items()}


def tinyimagenet(raw: Path) -> None:
    root = raw / "tiny-imagenet-200"
    text(root / "wnids.txt", "n02", "n01")  # in no order, as there
    for kind, grey in (("n02", 20), ("n01", 10)):
        picture(root / "train" / kind / "images" / f"{kind}_0.JPEG", grey)
        text(root / "train" / kind / f"{kind}_boxes.txt", f"{kind}_0.JPEG\t0\t0\t62\t62")
    picture(root / "val" / "images" / "val_0.JPEG", 110)
    picture(root / "val" / "images" / "val_1.JPEG", 120)
    text(root / "val" / "val_annotations.txt", "val_0.JPEG\tn01\t0\t32\t44\t62", "val_1.JPEG\tn02\t52\t55\t57\t59")


def cub200(raw: Path) -> None:
    root = raw / "CUB_200_2011"
    text(root / "classes.txt", "1 001.Black_footed_Albatross", "2 002.Laysan_Albatross")
    names = {20: (1, 1), 120: (1, 0), 10: (2, 1), 110: (2, 0)}
    folder = {1: "001.Black_footed_Albatross", 2: "002.Laysan_Albatross"}
    text(root / "images.txt", *(f"{i} {folder[k]}/{g}.jpg" for i, (g, (k, _)) in enumerate(names.items(), 1)))
    text(root / "image_class_labels.txt", *(f"{i} {k}" for i, (k, _) in enumerate(names.values(), 1)))
    text(root / "train_test_split.txt", *(f"{i} {t}" for i, (_, t) in enumerate(names.values(), 1)))
    for grey, (kind, _) in names.items():
        picture(root / "images" / folder[kind] / f"{grey}.jpg", grey)


LAYOUTS: dict[str, Callable[[Path], None]] = {
    each.__name__: each for each in (food101, aircraft, dtd, pets, flowers102, tinyimagenet, cub200)
}


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import Flowers102

    monkeypatch.setattr(Flowers102, "_file_dict", dict(Flowers102._file_dict))


@pytest.mark.parametrize("name", LAYOUTS)
def test_lists_say_which_image_is_of_which_part_and_class(name: str, tmp_path: Path) -> None:
    LAYOUTS[name](tmp_path)
    found = datasets.read(name, tmp_path, 8)
    # of the first class the greys are 20 and 120, of the second 10 and 110; food-101's and dtd's are sorted by name
    held = {20: 0, 10: 1} | ({21: 0, 11: 1} if name in ("dtd", "flowers102") else {})  # their val is trained on
    for part, wanted in ((found.train, held), (found.test, {120: 0, 110: 1})):
        assert dict(zip(part.pixels[:, 0, 0, 0].tolist(), part.label.tolist(), strict=True)) == wanted
        assert part.pixels.shape == (len(wanted), 3, 8, 8)
    assert len(found.classes) == (102 if name == "flowers102" else 2)


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_image_that_a_list_names_and_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    LAYOUTS[name](tmp_path)
    gone = min(path for path in tmp_path.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg") and path.stem != "9")
    gone.unlink()
    if name == "tinyimagenet":  # its training images are those that lie there
        (tmp_path / "tiny-imagenet-200/val/images/val_0.JPEG").unlink()
        gone = tmp_path / "tiny-imagenet-200/val/images/val_0.JPEG"
    with pytest.raises(Problem, match=r"cannot be read") as caught:
        datasets.read(name, tmp_path, 8)
    assert gone.name in str(caught.value)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_set_that_cannot_be_downloaded_is_one_message(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import dtd, fgvc_aircraft, flowers102, food101, oxford_iiit_pet

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    for module in (dtd, fgvc_aircraft, flowers102, food101, oxford_iiit_pet):
        monkeypatch.setattr(module, "download_and_extract_archive", unreachable)
    with pytest.raises(Problem, match="is not there and could not be downloaded") as caught:
        datasets.read(name, tmp_path / "raw", 8)
    row = catalogue.DATASETS[name]
    for part in (row.archive[0], row.source, str(tmp_path / "raw" / row.place)):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_archive_half_unpacked_is_one_message(name: str, tmp_path: Path) -> None:
    (tmp_path / next(iter(catalogue.DATASETS[name].files))).mkdir(parents=True)
    with pytest.raises(Problem, match=r"has not the layout of|is not there|could not"):
        datasets.read(name, tmp_path, 8)


def test_each_set_has_its_own_layout_and_row_in_its_fingerprint() -> None:
    for name in LAYOUTS:
        code = provenance.stage_definitions("subset", Subset(dataset=name))
        assert f"{name} " in f" {code['datasets.published']}"
        others = {other for other in LAYOUTS if f" {other} " in f" {code['datasets.published']}".replace(",", "")}
        assert others == {name} and name.upper() in code["catalogue"]
