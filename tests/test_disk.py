"""What a plan takes on disk: networks' sizes against the networks, artefacts' against the files that stages write."""

import dataclasses

import pytest
import torch
from conftest import ROOT
from msgspec.structs import replace
from test_baselines import CELL

from entia import catalogue, nets, plan, sizes
from entia.config import Embed, Encoder, Projector, Subset
from entia.forecast import disk

OWN = ("narrow_resnet", "strided_resnet")


def counted(encoder: Encoder) -> int:
    with torch.device("meta"):
        return sum(
            part.numel() for part in nets.build(encoder, Projector(depth=0), 3, 224, 0).encoder.state_dict().values()
        )


@pytest.mark.parametrize("name", [name for name in catalogue.NETWORKS if name != "pixels"])
def test_a_networks_parameters_are_those_of_the_network(name):
    encoder = Encoder(name=name, width=64) if name in OWN else Encoder(name=name, stem="imagenet")
    assert disk.parameters(encoder) * 1e6 == pytest.approx(counted(encoder), rel=2e-3)


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("width", [16, 32, 48])
def test_of_another_width_they_are_nearly_right(name, width):
    encoder = Encoder(name=name, width=width)
    assert disk.parameters(encoder) * 1e6 == pytest.approx(counted(encoder), rel=0.02)


def test_an_artefacts_bytes_are_its_arrays():
    cell = replace(CELL, encoder=Encoder(name="strided_resnet", width=16), epochs=7, checkpoint_every=3)
    assert disk.size(cell) == pytest.approx(4 * 78_073 * 3, rel=0.02)  # after epochs 3, 6 and 7
    on = Subset(dataset="pneumoniamnist")
    assert disk.size(on) == (5_232 + 624) * 28 * 28
    embed = Embed(pretrain=cell, on=on)
    assert disk.size(embed) == (5_232 + 624) * 64 * 4
    assert disk.size(replace(embed, dtype="float16", epochs="all")) == (5_232 + 624) * 64 * 2 * 3


def test_what_is_not_known_is_said_and_never_assumed():
    none = Subset(dataset="image_folder/none", side=32)
    assert disk.size(none) is None and sizes.counted(none).train is None
    known = {scale: plan.load(ROOT / "params.yaml", scale) for scale in ("laptop", "paper")}
    for each in known.values():
        assert disk.line(each).startswith("disk, about: images ") and "not known" not in disk.line(each)
    more = {**known["laptop"].subsets, "none": none}
    assert "and what is not known yet" in disk.line(dataclasses.replace(known["laptop"], subsets=more))
