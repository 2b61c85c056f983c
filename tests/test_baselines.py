from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from entia import embed, feeding, methods, pretrain, results
from entia.config import Augmentation, Embed, Encoder, Optimizer, Pretrain, Projector, Readout, Subset
from entia.methods import Diet, SimCLR, Untrained
from entia.planning import baselines
from entia.probes import Ridge

CELL = Pretrain(
    subset=Subset(dataset="mnist5k", fraction=0.25),
    augmentation=Augmentation(size=16, mean=(33.4,), std=(78.7,)),
    encoder=Encoder(name="narrow_resnet", width=8),
    projector=Projector(width=64),
    method=SimCLR(),
    optimizer=Optimizer(),
    views=4,
    epochs=3,
    batch=32,
    seed=1,
)


def read(cell: Pretrain) -> Readout:
    return Readout(embed=Embed(pretrain=cell, on=Subset(dataset="mnist5k")), probe=Ridge())


OTHERS = st.fixed_dictionaries(
    {},
    optional={
        "method": st.just(Diet()),
        "views": st.integers(2, 8),
        "epochs": st.integers(1, 9),
        "batch": st.integers(2, 99),
        "projector": st.builds(Projector, width=st.integers(1, 99), depth=st.integers(0, 3)),
        "optimizer": st.builds(Optimizer, lr=st.sampled_from([0.1, 0.2])),
        "subset": st.builds(Subset, dataset=st.just("mnist5k"), fraction=st.sampled_from([0.5, 1.0])),
        "checkpoint_every": st.integers(0, 3),
        "online_probe": st.booleans(),
    },
)


@given(OTHERS)
def test_cells_that_differ_in_their_training_alone_share_their_baselines(other):
    assert list(baselines.of(read(replace(CELL, **other)))) == list(baselines.of(read(CELL)))


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 2},
        {"encoder": Encoder(name="strided_resnet", width=16)},
        {"augmentation": Augmentation(size=24)},
        {"subset": Subset(dataset="mnist5k", limit=1000)},
    ],
)
def test_an_untrained_encoder_is_the_cells_own(other):
    (before,), (after,) = (
        [found for arm, found in baselines.of(read(cell)) if arm == baselines.UNTRAINED]
        for cell in (CELL, replace(CELL, **other))
    )
    assert before != after


def test_raw_pixels_have_no_seed_and_no_more_pixels_than_a_view():
    sides = [found.embed.pretrain.encoder.width for arm, found in baselines.of(read(CELL)) if arm == baselines.PIXELS]
    assert sides == [8, 16]
    other = [found for arm, found in baselines.of(read(replace(CELL, seed=2))) if arm == baselines.PIXELS]
    assert other == [found for arm, found in baselines.of(read(CELL)) if arm == baselines.PIXELS]


def pixels(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (count, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def started(cell: Pretrain, data: feeding.Data) -> dict[str, torch.Tensor]:
    (progress,) = pretrain.pretrain(cell, data)
    return progress.weights()


def untrained(**fields) -> Pretrain:
    (found,) = (
        one.embed.pretrain for arm, one in baselines.of(read(replace(CELL, **fields))) if arm == baselines.UNTRAINED
    )
    return found


def test_an_untrained_encoders_weights_are_those_that_training_starts_from():
    config_ = replace(untrained(), batch=32)
    data = feeding.Data(pixels(64), torch.arange(64))
    weights = started(config_, data)
    start = pretrain._Run(replace(CELL, subset=Subset(dataset="mnist5k")), data, None).weights()
    assert set(weights) == set(start)
    for name, weight in start.items():
        if "running" not in name and "tracked" not in name:
            assert torch.equal(weights[name], weight), name


def test_its_batch_norm_has_the_mean_and_variance_of_all_training_images():
    config_ = replace(untrained(), batch=32)
    weights = started(config_, feeding.Data(pixels(96), torch.arange(96)))
    clean = (pixels(96).double() - 33.4) / 78.7
    maps = torch.nn.functional.conv2d(clean, weights["0.weight"].double(), padding=1)
    assert torch.allclose(weights["1.running_mean"].double(), maps.mean((0, 2, 3)), atol=1e-4)
    assert torch.allclose(weights["1.running_var"].double(), maps.var((0, 2, 3)), rtol=1e-2)


def test_fewer_images_than_a_batch_set_its_statistics_too():
    weights = started(untrained(), feeding.Data(pixels(9), torch.arange(9)))
    assert weights["1.num_batches_tracked"] == 1


def test_raw_pixels_are_the_normalised_images_averaged_down():
    (stage, *_) = (found.embed for arm, found in baselines.of(read(CELL)) if arm == baselines.PIXELS)
    weights = started(stage.pretrain, feeding.Data(pixels(9), torch.arange(9)))
    found = embed.embed(stage, weights, pixels(5, 1), torch.arange(5))
    blocks = pixels(5, 1).double().numpy().reshape(5, 8, 2, 8, 2).mean((2, 4)).reshape(5, 64)
    assert np.allclose(found.numpy(), (blocks - 33.4) / 78.7, atol=1e-5)


def test_the_strongest_pixels_are_chosen_on_validation_images():
    scores = {8: (0.5, 0.9), 16: (0.6, 0.7)}  # validation, test

    def readout(stage: Readout):
        encoder = stage.embed.pretrain.encoder
        held, test = scores[encoder.width] if encoder.name == "pixels" else (0.2, 0.3)
        return {"metrics": {"1": {"validation": held, "accuracy": test}}}

    assert results.beside(read(CELL), readout) == {"untrained": 0.3, "pixels": 0.7}


def test_every_method_of_one_view_is_a_method():
    assert set(methods.ONE_VIEW) < set(get_args(methods.Method))
    assert Untrained in methods.ONE_VIEW
