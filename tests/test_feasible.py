import functools
import itertools
import time
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from test_config import cell

from entia import datasets, feeding, plan, pretrain, stages
from entia.artefacts import packed, store
from entia.config import Augmentation, Encoder, Optimizer, Projector, Subset
from entia.fields import Problem
from entia.methods import BYOL, BarlowTwins, Diet, MoCo, SDiet, SimCLR, SpectralContrastive, Supervised, VICReg
from entia.planning import feasible
from entia.probes import MLPProbe, Neighbours, Ridge

TEXT = (ROOT / "params.yaml").read_text()
BASE = {
    "subset": {"dataset": "mnist5k", "limit": 300},
    "encoder": {"name": "narrow_resnet", "width": 2},
    "projector": {"width": 8},
    "epochs": 3,
    "batch": 64,
    "probe": {"name": "ridge"},
}


def study(block, report=None) -> str:
    raw = yaml.safe_load(TEXT)
    raw["scale"] = "laptop"
    raw["scales"]["laptop"] = {"defaults": BASE, "experiments": {"one": block}}
    raw["reports"] = {"R": {"title": "r", "table": "accounting", "experiments": ["one"], **(report or {})}}
    return yaml.safe_dump(raw)


def refusal(tmp_path, block, report=None) -> str:
    path = tmp_path / "params.yaml"
    path.write_text(study(block, report))
    with pytest.raises(Problem) as found:
        plan.load(path)
    return str(found.value)


# Each was accepted at planning and refused by a stage later, or drawn empty.
IMPOSSIBLE = {
    "several penalties, nothing to choose on": ({"subset.validation": 0.0}, "probe.penalties: 8 given and no validation rows"),
    "more neighbours than rows": ({"probe": {"name": "neighbours", "k": 271}}, "probe.k: 271 neighbours asked of 270"),
    "a mean for each of three colours": ({"augmentation.mean": [1, 2, 3]}, "augmentation.mean: 3 numbers, and images of mnist5k have 1 channel"),
    "a deviation for each of three colours": ({"augmentation.std": [1, 2, 3]}, "augmentation.std: 3 numbers"),
    "another data set of other colours": ({"embed.on": "cifar10"}, "embed.on: cifar10's images have 3 channels, and those of mnist5k"),
    "a batch larger than the subset": ({"batch": [300, 280, 64]}, "batch: 300 is more than the 270 images to train on"),
    "a last batch of one image": ({"batch": 269, "drop_last": False}, "batch: the last batch of 270 images in batches of 269 is one image"),
    "a batch of one image": ({"batch": 1}, "batch: a batch is one image, and the loss compares images"),
    "a warm-up longer than the run": ({"optimizer.warmup": 4}, "optimizer.warmup: 4 epochs of warm-up are more than the 3"),
    "a queue shorter than a step": ({"method": {"name": "moco", "queue": 64}}, "method.queue: 64 is less than"),
    "an empty axis": ({"seed": []}, "experiments.one.seed: an empty list"),
    "a date for a seed": ({"seed": 20240101120000}, "experiments.one.seed: 20240101120000 is not a whole number from 0 to 4294967295"),
    "colours asked of a network": ({"encoder": {"name": "alexnet", "stem": "imagenet"}, "augmentation.size": 64}, "encoder: alexnet takes images of 3 channels, not 1"),
    "a side that a network has not": ({"subset.dataset": "cifar10", "encoder": {"name": "swin_t", "stem": "imagenet"}}, "encoder: side: swin_t takes 224"),
    "images smaller than a stride": ({"augmentation.size": 4}, "encoder: side: 4 pixels are fewer than narrow_resnet's stride of 8"),
    "crops smaller than a stride": ({"crops": {"views": 2, "size": 4}}, "encoder: side: 4 pixels are fewer"),
    "crops for a network of one size": (
        {"encoder": {"name": "mlp_mixer_8", "stem": "imagenet"}, "augmentation.size": 32, "crops": {"views": 2, "size": 16}},
        "encoder: crops.size: mlp_mixer_8 takes views of one size",
    ),
    "fewer images than classes": ({"subset.limit": 9}, "subset.limit: 9 images cannot hold the 10 classes of mnist5k"),
    "no image left to choose on": ({"subset.limit": 10, "batch": 5}, "probe.penalties: 8 given and no validation rows"),
    "no penalty": ({"probe": {"name": "ridge", "penalties": []}}, "probe.penalties: an empty list"),
}  # fmt: skip


@pytest.mark.parametrize(("block", "expected"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_a_stage_would_refuse_is_refused_at_planning(block, expected, tmp_path):
    found = refusal(tmp_path, block)
    assert expected in found and "experiments.one" in found


def test_all_causes_are_said_at_once_each_with_how_many_runs_it_costs(tmp_path):
    found = refusal(tmp_path, [{"batch": [300, 280], "seed": [0, 1]}, {"probe": {"name": "neighbours", "k": 999}}])
    assert found.count("\n") == 2
    assert "batch: 300 is more than the 270 images to train on; lower it (2 readouts; the first: barlow_twins" in found
    assert "batch: 280 is more" in found and "probe.k: 999" in found


@pytest.mark.parametrize("scale", plan.SCALES)
def test_every_stage_of_every_scale_passes_its_own_check(scale):
    start = time.process_time()
    found = plan.load(ROOT / "params.yaml", scale)
    assert found.readouts and not list(feasible.refused(found.readouts))
    assert not list(feasible.mistakes(found.readouts, found.reports, found.rows))
    assert time.process_time() - start < 60


@settings(max_examples=60, deadline=None)
@given(
    dataset=st.sampled_from(["mnist5k", "optdigits"]),
    limit=st.none() | st.integers(10, 1500),
    fraction=st.floats(0.001, 1),
    balanced=st.booleans(),
    validation=st.sampled_from([0.0]) | st.floats(0, 0.99),
)
def test_what_a_subset_is_expected_to_hold_is_what_it_holds(dataset, limit, fraction, balanced, validation):
    asked = Subset(dataset=dataset, limit=limit, fraction=fraction, balanced=balanced, validation=validation)
    found, raw = feasible.expected(asked), whole(dataset)
    parts = datasets.pack(asked, raw)
    _, channels, side, _ = parts.train.pixels.shape
    assert found == (len(parts.train), len(parts.validation), len(parts.test), channels, side, 10)


@functools.cache
def whole(dataset):
    return datasets.read(dataset, Path())


METHODS = (
    *(BarlowTwins(weight=0.01), VICReg(), SimCLR(), SimCLR(form="leave_one_out"), SpectralContrastive(weight=1.0)),
    *(Diet(), SDiet(), Supervised(), BYOL(), MoCo(queue=64)),
)
ALONE = [
    each
    for each in itertools.product(METHODS, (1, 2, 3), ("joint", "per_view"), (0, 2), (16, 8))
    if each[1] > 1 or isinstance(each[0], Diet | SDiet | Supervised)
]


def test_a_last_batch_of_one_image_is_refused_where_it_could_not_be_trained_on_and_nowhere_else(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (5, 1, 16, 16), dtype=torch.uint8, generator=generator)
    data = feeding.Data(pixels, torch.arange(5), torch.arange(5) % 2)
    seen = set()
    for method, views, norm, depth, size in ALONE:
        config = cell(
            augmentation=Augmentation(size=size, mean=(127.5,), std=(127.5,)),
            encoder=Encoder(name="narrow_resnet", width=1),
            projector=Projector(width=4, depth=depth),
            method=method,
            optimizer=Optimizer(name="adamw"),
            views=views,
            epochs=1,
            batch=4,
            batch_norm=norm,
            drop_last=False,
        )
        refused = bool(list(feasible.pretrain(config, feasible.Held(5, 0, 5, 1, 16))))
        seen.add(refused)
        with monkeypatch.context() as patch:
            patch.setattr(feasible, "pretrain", lambda config, held: iter(()))
            try:
                (end,) = pretrain.pretrain(config, data)
                failed = "diverged" in end.row
            except ValueError as error:
                assert "Expected more than 1 value per channel" in str(error)
                failed = True
        assert refused == failed, (method, views, norm, depth, size)
    assert seen == {True, False}


@given(st.integers(1, 400), st.integers(1, 400))
def test_neighbours_and_networks_are_asked_of_rows_that_are_there(k, rows):
    assert bool(list(feasible.probe(Neighbours(k=k), rows, None))) == (k > rows)
    assert bool(list(feasible.probe(MLPProbe(), rows, None))) == (rows < 2)
    assert not list(feasible.probe(Ridge(), rows, None))  # what is not known yet is not refused


# --- once subsets are packed --------------------------------------------------------------------------------------


def folder_study(tmp_path):
    """Two runs on images whose number is known only once they are packed: one that can be, one that cannot."""
    block = {
        "subset": {"dataset": "image_folder/mine", "side": 16, "validation": 0.1},
        "augmentation": {"mean": [1, 2, 3], "std": [1, 2, 3]},
        "batch": [8, 64],
    }
    (tmp_path / "params.yaml").write_text(study(block))
    return plan.load(tmp_path / "params.yaml")


def test_a_subset_that_does_not_serve_every_planned_run_is_refused_when_packed_before_any_trains(tmp_path):
    found = folder_study(tmp_path)
    (subset,) = set(found.subsets.values())
    check = partial(packed.refuse_on, found, subset)
    check(feasible.Held(64, 8, 20, 3, 16))
    with pytest.raises(Problem) as refused:
        check(feasible.Held(40, 8, 20, 1, 16))
    lines = str(refused.value).splitlines()
    assert (
        "params.yaml: experiments.one: augmentation.mean: 3 numbers, and images of image_folder/mine have 1 channel"
        in lines[0]
    )
    assert any("batch: 64 is more than the 40 images to train on; lower it (barlow_twins" in line for line in lines)
    with pytest.raises(Problem, match="batch: 64 is more than the 40"):
        stages.subset(Subset(dataset="mnist5k", limit=50), lambda held: check(held._replace(train=40, channels=3)))


def test_subsets_that_are_there_already_are_held_against_the_plan_by_their_headers(tmp_path):
    found = folder_study(tmp_path)
    packed.refuse(found, packed.holds(tmp_path))  # nothing packed yet: nothing known
    (subset,) = set(found.subsets.values())
    import numpy as np

    arrays = {
        f"{part}/{name}": np.zeros((count, *((3, 16, 16) if name == "pixels" else ())), np.uint8)
        for part, count in (("train", 40), ("validation", 4), ("test", 9))
        for name in ("pixels", "label", "index")
    }
    store.write_hdf5(store.path(tmp_path, subset), arrays, stages.header("subset", subset, raw_sha256="0"))
    assert packed.holds(tmp_path)(subset) == (40, 4, 9, 3, 16, None)
    with pytest.raises(Problem, match="batch: 64 is more than the 40 images"):
        packed.refuse(found, packed.holds(tmp_path))
