"""Laws of BYOL and MoCo, then agreement with lightly's losses."""

import copy
import itertools

import pytest
import torch
from test_config import cell
from torch import Tensor
from torch.nn import functional as F

from entia import losses, nets
from entia.config import Encoder, Projector
from entia.losses import Batch, Setting, momentum
from entia.methods import BYOL, MoCo


def draw(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)


def objective(method: BYOL | MoCo, steps: int = 10, **fields) -> losses.Objective:
    small = {"encoder": Encoder(name="narrow_resnet", width=2), "projector": Projector(width=8), "views": 3, "batch": 4}
    config = cell(**{**small, "method": method, **fields})
    return losses.objective(
        Setting(config, nets.build(config.encoder, config.projector, 1, 12, 0), 40, 0, [0.1] * steps)
    )


def batch(step: int = 0, views: int = 3) -> Batch:
    return Batch(draw(views, 4, 1, 12, 12, dtype=torch.float32, seed=step), torch.arange(4), None, step)


def parts(method: momentum.Averaged) -> list[tuple[Tensor, Tensor]]:
    return [
        (kept.detach().clone(), new.detach().clone())
        for kept, new in zip(method.target.parameters(), method.online, strict=True)
    ]


# Laws


@pytest.mark.parametrize("views", [2, 3, 5])
def test_losses_ignore_the_order_of_views_and_of_images(views: int) -> None:
    x, y, queue = draw(views, 6, 4), draw(views, 6, 4, seed=1), unit(draw(9, 4, seed=2))
    view, image = torch.randperm(views), torch.randperm(6)
    moved = [part[view][:, image] for part in (x, y)]
    torch.testing.assert_close(momentum.prediction(*moved), momentum.prediction(x, y))
    ours = momentum.contrast(x, unit(y), queue, 0.2)
    torch.testing.assert_close(momentum.contrast(moved[0], unit(moved[1]), queue.flip(0), 0.2), ours)


def test_gradients_are_those_of_finite_differences() -> None:
    x, y, queue = draw(3, 4, 5).requires_grad_(), draw(3, 4, 5, seed=1), unit(draw(7, 5, seed=2))
    assert torch.autograd.gradcheck(lambda x: momentum.prediction(x, y), x)
    assert torch.autograd.gradcheck(lambda x: momentum.contrast(x, unit(y), queue, 0.3), x)


def test_a_right_prediction_costs_nothing_and_an_opposite_one_eight() -> None:
    x = draw(1, 6, 4).expand(3, -1, -1)
    assert float(momentum.prediction(2 * x, x)) == pytest.approx(0, abs=1e-12)
    assert float(momentum.prediction(-x, x)) == pytest.approx(8)


def test_without_a_difference_among_keys_contrast_is_the_log_of_their_number() -> None:
    key = unit(draw(1, 1, 4))
    loss = momentum.contrast(draw(3, 6, 4, seed=1), key.expand(3, 6, 4), key[0].expand(20, 4), 0.1)
    torch.testing.assert_close(loss, torch.tensor(21.0).double().log())


# Agreement with lightly


@pytest.mark.parametrize("views", [2, 3, 4])
def test_prediction_is_four_and_four_times_lightlys_mean_over_ordered_pairs(views: int) -> None:
    from lightly.loss import NegativeCosineSimilarity  # here: it takes seconds, and each worker reads every file

    x, y = draw(views, 6, 4), draw(views, 6, 4, seed=1)
    cosine = NegativeCosineSimilarity()
    pairs = [cosine(x[i], y[j]) for i, j in itertools.permutations(range(views), 2)]
    torch.testing.assert_close(momentum.prediction(x, y), 4 + 4 * torch.stack(pairs).mean())


@pytest.mark.parametrize("views", [2, 3, 4])
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_contrast_is_the_mean_over_ordered_pairs_of_lightlys_with_a_memory_bank(views: int, temperature: float) -> None:
    from lightly.loss import NTXentLoss

    x, y, queue = (
        draw(*shape, dtype=torch.float32, seed=s) for s, shape in enumerate([(views, 6, 4), (views, 6, 4), (9, 4)])
    )
    x.requires_grad_()
    pairs: list[Tensor] = []
    for i, j in itertools.permutations(range(views), 2):
        published = NTXentLoss(temperature, memory_bank_size=(9, 4))
        published.memory_bank.bank = unit(queue)
        pairs.append(published(x[i], y[j]))
    expected = torch.stack(pairs).mean()
    ours = momentum.contrast(x, unit(y), unit(queue), temperature)
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(torch.autograd.grad(ours, x)[0], torch.autograd.grad(expected, x)[0])


# The second network


@pytest.mark.parametrize("method", [BYOL(), MoCo(queue=20)], ids=["byol", "moco"])
def test_the_target_starts_as_the_online_network_and_takes_no_gradient(method: BYOL | MoCo) -> None:
    found = objective(method)
    assert isinstance(found, momentum.Averaged)
    assert all(torch.equal(kept, new) for kept, new in parts(found))
    (loss,) = found(draw(3, 4, 8, dtype=torch.float32).requires_grad_(), batch()).values()
    loss.backward()
    assert all(part.grad is None and not part.requires_grad for part in found.target.parameters())
    assert not any(name.startswith("online") for name in found.state_dict())


@pytest.mark.parametrize(
    ("method", "step", "share"),
    [
        (BYOL(momentum=0.9), 0, 0.1),
        (BYOL(momentum=0.9), 5, 0.05),
        (BYOL(momentum=0.9), 10, 0.0),
        (BYOL(momentum=0.9, course="constant"), 5, 0.1),
        (MoCo(momentum=0.8, queue=20), 5, 0.2),
    ],
)
def test_after_a_step_the_target_has_gone_its_share_of_the_way(method: BYOL | MoCo, step: int, share: float) -> None:
    found = objective(method)
    assert isinstance(found, momentum.Averaged)
    with torch.no_grad():
        for part in found.online:
            part.add_(1.0)
    before = parts(found)
    found(draw(3, 4, 8, dtype=torch.float32), batch(step))
    found.after_step(batch(step))
    for (kept, new), after in zip(before, found.target.parameters(), strict=True):
        torch.testing.assert_close(after.detach(), (1 - share) * kept + share * new)


def test_the_queue_holds_the_newest_keys_and_goes_round() -> None:
    found = objective(MoCo(queue=20))
    start, seen = found.keys.clone(), []
    for step in range(3):  # 12 keys a step: 36 in all
        assert int(found.pointer) == 12 * step % 20
        keys = copy.deepcopy(found).project(batch(step))
        found(draw(3, 4, 8, dtype=torch.float32), batch(step))
        assert step or torch.equal(found.keys, start)  # negatives are of earlier steps alone
        found.after_step(batch(step))
        seen.append(unit(keys).flatten(0, 1))
    order = (torch.arange(20) + int(found.pointer)) % 20  # oldest first
    torch.testing.assert_close(found.keys[order], torch.cat(seen)[-20:])


def test_the_predictor_is_trained_and_the_queue_is_not() -> None:
    trained = [name for name, part in objective(BYOL(hidden=32)).named_parameters() if part.requires_grad]
    assert trained and all(name.startswith("predictor") for name in trained)
    assert not [part for part in objective(MoCo(queue=20)).parameters() if part.requires_grad]
    hidden = dict(objective(BYOL(hidden=32)).named_parameters())["predictor.0.weight"]
    assert hidden.shape == (32, 8)


def test_batch_norm_per_view_takes_each_views_own_statistics_in_predictor_and_target() -> None:
    found = objective(BYOL(), batch_norm="per_view")
    assert isinstance(found, momentum.Bootstrap)
    z = draw(3, 4, 8, dtype=torch.float32)
    moved = torch.cat((z[:1], z[1:] + 5))
    torch.testing.assert_close(found.predict(z)[0], found.predict(moved)[0])
    joint = objective(BYOL())
    assert isinstance(joint, momentum.Bootstrap)
    assert not torch.allclose(joint.predict(z)[0], joint.predict(moved)[0], rtol=1e-2)
