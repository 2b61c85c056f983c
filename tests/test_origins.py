"""Which data a study needs, and how they come: said before anything runs, and in docs/data.md from the same table."""

from dataclasses import replace
from pathlib import Path

import pytest

from entia import catalogue, config, plan
from entia.forecast import origins

ROOT = Path(__file__).parent.parent


def test_the_table_of_data_sets_is_the_catalogues() -> None:
    assert origins.table(Path("data/raw")) in (ROOT / "docs/data.md").read_text()


def said(scale: str, raw: Path) -> list[str]:
    return list(origins.lines(plan.load(ROOT / "params.yaml", scale), raw))


def test_a_plan_says_of_each_data_set_how_it_comes(tmp_path: Path) -> None:
    found = {line.split(": ")[1]: line for line in said("paper", tmp_path)}
    assert {"stl10", "food101", "tinyimagenet", "pathmnist", "imagenet1k"} <= found.keys()
    assert "downloaded" in found["stl10"] and catalogue.STL10.source in found["stl10"]
    assert f"unpack tiny-imagenet-200.zip into {tmp_path}" in found["tinyimagenet"]
    assert f"put pathmnist.npz into {tmp_path}" in found["pathmnist"]
    assert f"so that {tmp_path}/imagenet is there" in found["imagenet1k"] and "ILSVRC2012" in found["imagenet100"]
    assert "train_mini.tar.gz" in found["inaturalist"] and f"so that {tmp_path}/stanford_cars is there" in found["cars"]


def test_a_folder_of_ones_own_is_told_from_a_published_set(tmp_path: Path) -> None:
    of = config.Subset(dataset="image_folder/mine", side=16)
    planned = replace(plan.load(ROOT / "params.yaml", "laptop"), subsets={"mine": of})
    (line,) = origins.lines(planned, tmp_path)
    assert f"put train/CLASS and test/CLASS (or val/CLASS) into {tmp_path}/mine" in line


def test_data_that_lie_there_are_said_to_be_here(tmp_path: Path) -> None:
    (tmp_path / "stl10_binary").mkdir()
    (tmp_path / "imagenet").mkdir()
    here = [line for line in said("paper", tmp_path) if ": here, " in line]
    assert [line.split(": ")[1] for line in here] == ["imagenet100", "imagenet1k", "stl10"]


def test_what_a_package_ships_is_not_spoken_of(tmp_path: Path) -> None:
    assert said("laptop", tmp_path) == []


@pytest.mark.parametrize("name", catalogue.DOWNLOADED)
def test_what_is_said_to_be_downloaded_has_a_class_that_downloads(name: str) -> None:
    import inspect

    from torchvision import datasets

    known = {each.lower(): getattr(datasets, each) for each in datasets.__all__}
    alias = {"aircraft": "fgvcaircraft", "pets": "oxfordiiitpet"}
    assert "download" in inspect.signature(known[alias.get(name, name)].__init__).parameters
