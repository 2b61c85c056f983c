"""Published sets of image files on small copies in their own layouts: the lists decide, not what else lies there."""

import hashlib
import json
import shutil
from collections.abc import Callable
from importlib.resources import files
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


SYNSETS = "n01440764", "n02869837"


def devkit(root: Path, truth: list[int]) -> None:
    """The numbers of ImageNet's development kit are in no order of the names; inner nodes of the tree come last."""
    from scipy.io import savemat

    fields = [(name, object) for name in ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children")]
    rows = [(1, SYNSETS[1], "bonnet", "", 0), (2, SYNSETS[0], "tench", "", 0), (3, "n00001740", "entity", "", 2)]
    data = root / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    savemat(data / "meta.mat", {"synsets": np.array([*map(tuple, rows)], dtype=fields)[:, None]})
    text(data / "ILSVRC2012_validation_ground_truth.txt", *map(str, truth))


def imagenet1k(raw: Path) -> None:
    root = raw / "imagenet"
    for kind, grey in zip(SYNSETS, (20, 10), strict=True):
        picture(root / "train" / kind / f"{kind}_{grey}.JPEG", grey)
        text(root / "train" / kind / ".DS_Store", "")
    for number, grey in ((1, 110), (2, 120)):
        picture(root / "val" / f"ILSVRC2012_val_{number:08d}.JPEG", grey)
    devkit(root, [1, 2])


def inaturalist(raw: Path) -> None:
    root = raw / "inaturalist"
    kinds = (
        "00000_Animalia_Annelida_Clitellata_Haplotaxida_Lumbricidae_Lumbricus_terrestris",
        "00001_Animalia_Arthropoda_Insecta_Coleoptera_Carabidae_Carabus_nemoralis",
    )
    for kind, greys in zip(kinds, ((20, 120), (10, 110)), strict=True):
        for split, grey in zip(("train_mini", "val"), greys, strict=True):
            picture(root / split / kind / f"{grey:08x}-0000-4000-8000-000000000000.jpg", grey)


def cars(raw: Path) -> None:
    from scipy.io import savemat

    root = raw / "stanford_cars"
    (root / "devkit").mkdir(parents=True)
    names = [["AM General Hummer SUV 2000", "Acura RL Sedan 2012"]]
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": np.array(names, dtype=object)})
    fields = [(f"bbox_{corner}", object) for corner in ("x1", "y1", "x2", "y2")]
    fields += [("class", object), ("fname", object)]
    for split, annotations, greys in (
        ("train", "devkit/cars_train_annos.mat", (10, 20)),
        ("test", "cars_test_annos_withlabels.mat", (110, 120)),
    ):
        rows = [(1, 1, 12, 9, kind, f"{grey:05d}.jpg") for kind, grey in zip((2, 1), greys, strict=True)]
        savemat(root / annotations, {"annotations": np.array(rows, dtype=fields)[None]})
        for grey in greys:
            picture(root / f"cars_{split}" / f"{grey:05d}.jpg", grey)


LAYOUTS: dict[str, Callable[[Path], None]] = {
    each.__name__: each
    for each in (
        food101, aircraft, dtd, pets, flowers102, tinyimagenet, cub200, imagenet1k, inaturalist, cars,
    )
}  # fmt: skip


@pytest.fixture(autouse=True)
def small_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two classes, where a list in code does not say how many there are; and torchvision's as it was, afterwards."""
    from torchvision.datasets import Flowers102

    monkeypatch.setattr(Flowers102, "_file_dict", dict(Flowers102._file_dict))
    for name in LAYOUTS.keys() - {"flowers102"}:
        monkeypatch.setattr(catalogue, name.upper(), catalogue.DATASETS[name]._replace(classes=2))


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


VALIDATION = {
    "tinyimagenet": "tiny-imagenet-200/val/images/val_0.JPEG",
    "imagenet1k": "imagenet/val/ILSVRC2012_val_00000001.JPEG",
}


@pytest.mark.parametrize("name", sorted(LAYOUTS.keys() - {"inaturalist"}))  # has no list
def test_an_image_that_a_list_names_and_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    LAYOUTS[name](tmp_path)
    gone = min(path for path in tmp_path.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg") and path.stem != "9")
    gone.unlink()
    if listed := VALIDATION.get(name):  # their training images are those that lie there
        (gone := tmp_path / listed).unlink()
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


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_set_of_fewer_classes_than_published_is_refused_and_of_fewer_images_is_said(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    LAYOUTS[name](tmp_path)
    row = getattr(catalogue, name.upper())
    assert f"to test, where {row.train:,} and {row.test:,} are published" in datasets.read(name, tmp_path, 8).said
    monkeypatch.setattr(catalogue, name.upper(), row._replace(classes=300))
    with pytest.raises(Problem, match=r": (2|102) classes are there, of 300; unpack"):
        datasets.read(name, tmp_path, 8)


def test_inaturalists_species_lie_in_its_archives_folders_or_in_torchvisions(tmp_path: Path) -> None:
    from torchvision.datasets import INaturalist

    inaturalist(tmp_path)
    root = tmp_path / "inaturalist"
    before = datasets.read("inaturalist", tmp_path, 8)
    for split, other in (("train_mini", "2021_train_mini"), ("val", "2021_valid")):
        (root / split).rename(root / other)
    after = datasets.read("inaturalist", tmp_path, 8)
    np.testing.assert_array_equal(after.train.pixels, before.train.pixels)
    assert list(after.classes) == INaturalist(root, "2021_train_mini").all_categories == list(before.classes)


@pytest.mark.parametrize("folder", ["train_mini", "val"])
def test_a_species_that_lies_in_one_part_alone_is_refused(folder: str, tmp_path: Path) -> None:
    inaturalist(tmp_path)
    shutil.rmtree(next((tmp_path / "inaturalist" / folder).iterdir()))
    with pytest.raises(Problem, match="has not the layout of train_mini.tar.gz|1 classes are there, of 2"):
        datasets.read("inaturalist", tmp_path, 8)


# --- ImageNet -----------------------------------------------------------------------------------------------------


def sort_validation(root: Path) -> None:
    """As everybody does it."""
    for number, kind in ((1, SYNSETS[1]), (2, SYNSETS[0])):
        (root / "val" / kind).mkdir()
        name = f"ILSVRC2012_val_{number:08d}.JPEG"
        (root / "val" / name).rename(root / "val" / kind / name)


def test_imagenets_validation_images_are_the_same_in_folders_as_by_the_development_kit(tmp_path: Path) -> None:
    imagenet1k(tmp_path)
    flat = datasets.read("imagenet1k", tmp_path, 8)
    sort_validation(tmp_path / "imagenet")
    shutil.rmtree(tmp_path / "imagenet" / "ILSVRC2012_devkit_t12")
    sorted_ = datasets.read("imagenet1k", tmp_path, 8)
    assert flat.classes == sorted_.classes == SYNSETS
    assert flat.test.label.tolist() == sorted_.test.label.tolist() == [0, 1]
    np.testing.assert_array_equal(flat.test.pixels, sorted_.test.pixels)


def test_a_damaged_development_kit_is_one_message(tmp_path: Path) -> None:
    imagenet1k(tmp_path)
    meta = tmp_path / "imagenet/ILSVRC2012_devkit_t12/data/meta.mat"
    whole = meta.read_bytes()
    for content in (b"", whole[:100], whole[: len(whole) // 2], whole[:-3], b"x" * 400):
        meta.write_bytes(content)
        with pytest.raises(Problem, match="has not the layout of ILSVRC2012_img_train.tar"):
            datasets.read("imagenet1k", tmp_path, 8)


def hundred() -> list[str]:
    return (files("entia.datasets") / "imagenet100.txt").read_text().split()


def classes(raw: Path, *names: str) -> None:
    """Folders of ImageNet with an image to train on and one to test each."""
    for name in names:
        for split, grey in (("train", 20), ("val", 120)):
            picture(raw / "imagenet" / split / name / f"{name}.JPEG", grey)


def test_imagenet100_is_the_hundred_classes_of_a_list_out_of_imagenet(tmp_path: Path) -> None:
    assert len({*hundred()}) == 100 == catalogue.IMAGENET100.classes
    classes(tmp_path, *hundred(), "n01440764", "n15075141")
    found = datasets.read("imagenet100", tmp_path, 8)
    assert found.classes == tuple(sorted(hundred()))
    assert found.train.label.tolist() == found.test.label.tolist() == list(range(100))
    assert "classes of CMC" in found.said


def test_a_list_beside_imagenet_is_taken_in_place_of_ours_and_changes_the_checksum(tmp_path: Path) -> None:
    classes(tmp_path, *hundred(), "n01440764")
    before = datasets.read("imagenet100", tmp_path, 8)
    own = tmp_path / "imagenet" / "imagenet100.txt"
    own.write_text(",".join(reversed(hundred())))
    assert datasets.read("imagenet100", tmp_path, 8).checksum == before.checksum
    own.write_text("\n".join(["n01440764", *hundred()[1:]]))
    after = datasets.read("imagenet100", tmp_path, 8)
    assert after.classes[0] == "n01440764" and after.checksum != before.checksum
    assert f"classes of {own}" in after.said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda names: names[:-1], "asked for, and there are 99"),
        (lambda names: [*names[:-1], names[0]], "is there twice"),
        (lambda names: ["tench", *names[1:]], "'tench' is none"),
    ],
)
def test_a_list_that_is_not_of_a_hundred_classes_is_one_message(
    change: Callable[[list[str]], list[str]], said: str, tmp_path: Path
) -> None:
    classes(tmp_path, *hundred())
    (own := tmp_path / "imagenet" / "imagenet100.txt").write_text(" ".join(change(hundred())))
    with pytest.raises(Problem, match=said) as caught:
        datasets.read("imagenet100", tmp_path, 8)
    assert str(caught.value).startswith(f"{own}: ")


def test_a_class_of_the_list_that_is_not_there_is_named(tmp_path: Path) -> None:
    classes(tmp_path, *hundred()[1:])
    with pytest.raises(Problem, match=f"no folder train/{hundred()[0]}"):
        datasets.read("imagenet100", tmp_path, 8)
