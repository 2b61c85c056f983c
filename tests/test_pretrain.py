import math

import numpy as np
import pytest
import torch
from test_config import cell

from entia import embed, nets, pretrain
from entia.config import Augmentation, Embed, Encoder, Optimizer, Problem, Projector, Subset, VICReg
from entia.pretrain import Data, learning_rate


@pytest.fixture(scope="module")
def data() -> Data:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(96, 1, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(12, 12), mode="bilinear")
    return Data((255 * smooth).to(torch.uint8), torch.arange(96) * 7)


def small(**fields):
    return cell(
        **{
            "encoder": Encoder(name="narrow_resnet", width=2),
            "projector": Projector(width=8),
            "views": 2,
            "epochs": 3,
            "batch": 32,
            "checkpoint_every": 2,
            **fields,
        }
    )


def run(config, data, **resume):
    return list(pretrain.pretrain(config, data, **resume))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_same_config_gives_the_same_bytes_whatever_ran_before(data):
    first = run(small(), data)
    torch.manual_seed(99)
    torch.rand(5)
    again = run(small(), data)
    assert same(first[-1].weights, again[-1].weights)
    assert [row.row["loss"] for row in first] == [row.row["loss"] for row in again]


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "lars"])
@pytest.mark.parametrize("stop", [1, 2])
def test_a_resumed_run_ends_with_the_bytes_of_an_uninterrupted_one(name, stop, data):
    config = small(optimizer=Optimizer(name=name, lr=0.01, schedule="cosine", warmup=1.0))
    whole = run(config, data)
    rest = run(config, data, state=whole[stop - 1].state, epoch=stop)
    assert [progress.epoch for progress in rest] == list(range(stop + 1, 4))
    assert same(whole[-1].weights, rest[-1].weights) and same(whole[-1].state, rest[-1].state)


def test_the_seed_changes_the_result(data):
    assert not same(run(small(epochs=1), data)[-1].weights, run(small(epochs=1, seed=1), data)[-1].weights)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_the_loss_falls(name, data):
    config = small(epochs=10, encoder=Encoder(name="narrow_resnet", width=4), optimizer=Optimizer(name=name, lr=1e-2))
    losses = [progress.row["loss"] for progress in run(config, data)]
    assert losses[-1] < 0.8 * losses[0]


def test_a_row_says_what_the_epoch_did(data):
    rows = [progress.row for progress in run(small(views=3, drop_last=False, batch=40, method=VICReg()), data)]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert row["view_images"] == 96 * 3 and row["seconds"] > 0 and row["peak_mib"] > 0
        assert row["loss"] == pytest.approx(row["invariance"] + row["variance"] + row["covariance"], rel=1e-5)


def test_a_dropped_last_batch_is_not_counted(data):
    assert run(small(epochs=1, batch=40), data)[0].row["view_images"] == 80 * 2


def test_asked_for_epochs_and_the_last_are_kept():
    assert [epoch for epoch in range(1, 8) if pretrain.is_kept(small(epochs=7, checkpoint_every=3), epoch)] == [3, 6, 7]
    assert [epoch for epoch in range(1, 8) if pretrain.is_kept(small(epochs=7, checkpoint_every=0), epoch)] == [7]


def test_a_loss_that_is_not_finite_names_the_epoch_and_step(data):
    with pytest.raises(Problem, match=r"width 8, .*seed 0: the loss is not finite in epoch 1, step 2 of 3"):
        run(small(optimizer=Optimizer(name="sgd", lr=1e30, momentum=0.0)), data)


def test_a_batch_above_the_images_is_refused(data):
    with pytest.raises(Problem, match="a batch of 200 is more than its 96 images"):
        run(small(batch=200), data)


def test_bfloat16_trains_close_to_float32(data):
    full, low = (run(small(precision=precision), data)[-1].row["loss"] for precision in ("float32", "bfloat16"))
    assert low == pytest.approx(full, rel=0.05) and low != full


def test_batch_norm_per_view_differs_from_joint_by_its_statistics_alone(data):
    joint, per_view = (run(small(epochs=1, batch_norm=kind), data)[0].row["loss"] for kind in ("joint", "per_view"))
    assert joint != per_view and per_view == pytest.approx(joint, rel=0.3)


def test_learning_rate_schedules_have_their_known_values():
    constant = Optimizer(lr=0.1)
    assert {learning_rate(constant, progress, 10) for progress in (0.0, 5.0, 10.0)} == {0.1}
    warm = Optimizer(lr=0.1, schedule="cosine", warmup=2.0, floor=0.1)
    assert learning_rate(warm, 1.0, 10) == pytest.approx(0.05)
    assert learning_rate(warm, 2.0, 10) == pytest.approx(0.1)
    assert learning_rate(warm, 6.0, 10) == pytest.approx(0.1 * (0.1 + 0.9 * 0.5))
    assert learning_rate(warm, 10.0, 10) == pytest.approx(0.01)
    step = Optimizer(lr=0.1, schedule="step")
    values = [learning_rate(step, progress, 100) for progress in (49.9, 50.0, 74.9, 75.0)]
    assert values == pytest.approx([0.1, 0.01, 0.01, 0.001])


def test_lars_scales_a_step_to_the_weights_norm():
    parameter = torch.nn.Parameter(torch.full((4, 4), 2.0))
    parameter.grad = torch.full((4, 4), 1e6)
    pretrain._lars([parameter], weight_decay=0.0)
    assert math.isclose(float(parameter.grad.norm()), 1e-3 * float(parameter.detach().norm()), rel_tol=1e-5)


# --- embeddings ---------------------------------------------------------------------------------------------------


def embedded(config, data, **fields):
    weights = nets.build(config.encoder, config.projector, 1, 12, config.seed).encoder.state_dict()
    stage = Embed(pretrain=config, on=Subset(dataset="mnist5k"), **fields)
    return embed.embed(stage, weights, data.pixels, data.index)


def test_an_embedding_does_not_depend_on_the_other_images(data):
    alone = embedded(small(), Data(data.pixels[3:4], data.index[3:4]))
    torch.testing.assert_close(alone, embedded(small(), data)[3:4], rtol=1e-4, atol=1e-6)


def test_one_view_is_the_clean_one_and_more_are_averaged(data):
    still = small(
        augmentation=Augmentation(crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0), flip=0.0, jitter=0.0, greyscale=0.0)
    )
    torch.testing.assert_close(embedded(still, data), embedded(still, data, views=4), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(embedded(small(), data), embedded(small(), data, views=4), rtol=1e-3)


def test_many_views_bring_two_draws_of_views_together(data):
    def spread(views):
        draws = [embedded(small(seed=0), Data(data.pixels, data.index + 1000 * shift), views=views) for shift in (0, 1)]
        return float((draws[0] - draws[1]).pow(2).mean())

    assert spread(17) < 0.5 * spread(3)


def test_embeddings_are_finite_and_as_wide_as_the_encoder(data):
    found = embedded(small(), data).numpy()
    assert found.shape == (96, 16) and np.isfinite(found).all()
