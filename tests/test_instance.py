"""DIET's head: its loss is torch's, its bounds are the theory's, and s-DIET's optimiser is AdamW on fewer rows."""

import math
import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_config import cell
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from entia import embed, losses, nets, pretrain
from entia.config import Augmentation, Embed, Encoder, Optimizer, Pretrain, Projector, Subset
from entia.feeding import Data
from entia.losses import Batch, Setting, instance
from entia.losses.instance import AdamW, Rows
from entia.methods import Diet, SDiet, Supervised
from entia.theory import linear_model

STILL = Augmentation(
    crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0), flip=0.0, jitter=0.0, greyscale=0.0, mean=(127.5,), std=(127.5,)
)
ADAMW = Optimizer(name="adamw", lr=1e-2, weight_decay=0.05)


def small(**fields) -> Pretrain:
    given = {
        "encoder": Encoder(name="narrow_resnet", width=2),
        "projector": Projector(depth=0),
        "method": Diet(),
        "optimizer": ADAMW,
        "views": 1,
        "epochs": 2,
        "batch": 32,
    }
    return cell(**{**given, **fields})


def images(count: int, side: int = 12) -> Data:
    pixels = torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(0))
    return Data((255 * pixels).to(torch.uint8), 5 * torch.arange(count), torch.arange(count) % 3)


def setting(config: Pretrain, count: int, steps: int = 10) -> Setting:
    model = nets.build(config.encoder, config.projector, 1, 12, config.seed)
    return Setting(config, model, count, 3, [config.optimizer.lr] * steps)


def batch(row: list[int], step: int = 0) -> Batch:
    return Batch(torch.zeros(1, len(row), 1, 12, 12), torch.tensor(row), None, step)


def draw(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


# The loss


def both(dtype: torch.dtype, smoothing: float, bias: bool, chunk: int) -> tuple[list[Tensor], list[Tensor]]:
    """Value and gradients, ours and torch's."""
    z, weight, b = 3 * draw(7, 4, dtype=dtype), draw(11, 4, dtype=dtype, seed=1), draw(11, dtype=dtype, seed=2)
    target = torch.tensor([3, 3, 0, 10, 5, 9, 1])
    found: list[list[Tensor]] = []
    for ours in (True, False):
        inputs = [part.clone().requires_grad_() for part in ((z, weight, b) if bias else (z, weight))]
        head = inputs[2] if bias else None
        if ours:
            loss = instance.cross_entropy(inputs[0], inputs[1], head, target, smoothing, chunk)
        else:
            loss = F.cross_entropy(F.linear(inputs[0], inputs[1], head), target, label_smoothing=smoothing)
        found.append([loss, *torch.autograd.grad(2.5 * loss, inputs)])
    return found[0], found[1]


@pytest.mark.parametrize("chunk", [1, 22, 44, 77, 1000], ids=lambda chunk: f"{chunk} logits")
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.8])
def test_value_and_gradient_are_torchs_in_any_chunks(smoothing: float, bias: bool, chunk: int) -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        for ours, theirs in zip(*both(dtype, smoothing, bias, chunk), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("chunk", [10, 1000])
def test_gradient_is_that_of_finite_differences(chunk: int) -> None:
    inputs = [part.requires_grad_() for part in (draw(3, 4), draw(5, 4, seed=1), draw(5, seed=2))]
    target = torch.tensor([4, 0, 4])
    assert torch.autograd.gradcheck(lambda *x: instance.cross_entropy(*x, target, 0.3, chunk), inputs)


def test_large_logits_do_not_overflow() -> None:
    z, weight = 1e4 * torch.eye(3), torch.eye(3)
    assert float(instance.cross_entropy(z, weight, None, torch.arange(3), 0.0)) == 0
    assert float(instance.cross_entropy(z, weight, None, (torch.arange(3) + 1) % 3, 0.0)) == 1e4


class Live(TorchDispatchMode):
    """The most bytes that tensors made inside, and not those given, held at one time."""

    def __init__(self, *given: Tensor) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known = {part.untyped_storage().data_ptr() for part in given}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for part in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(part, Tensor):
                self.count(part.untyped_storage())
        return out

    def count(self, storage: torch.UntypedStorage) -> None:
        place, size = storage.data_ptr(), storage.nbytes()
        if place and place not in self.known:
            self.known.add(place)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self.free, place, size)

    def free(self, place: int, size: int) -> None:
        self.known.discard(place)
        self.now -= size


@pytest.mark.parametrize(("chunk", "logits"), [(1 << 26, 64 * 4000), (8 * 4000, 8 * 4000)])
def test_logits_are_held_once_and_in_chunks_a_chunk_at_a_time(chunk: int, logits: int) -> None:
    z, weight = draw(64, 4, dtype=torch.float32).requires_grad_(), draw(4000, 4, dtype=torch.float32).requires_grad_()
    target = torch.arange(64)
    with Live(z, weight) as live:
        torch.autograd.grad(instance.cross_entropy(z, weight, None, target, 0.8, chunk), (z, weight))
    gradients = 4 * (weight.numel() + 4 * z.numel() + 1000)
    assert 4 * logits <= live.most <= 4 * logits + gradients


@settings(max_examples=30, deadline=None)
@given(st.floats(0.0, 0.99), st.integers(2, 12), st.integers(0, 10**6), st.floats(0.0, 30.0))
def test_the_loss_is_never_below_its_floor(smoothing: float, count: int, seed: int, scale: float) -> None:
    logits = scale * draw(count, count, seed=seed)
    loss = instance.cross_entropy(
        torch.eye(count, dtype=torch.float64), logits.mT, None, torch.arange(count), smoothing
    )
    assert float(loss) >= linear_model.floor(smoothing, count) - 1e-9


@pytest.mark.parametrize("smoothing", [0.1, 0.8, 0.95])
def test_the_floor_is_reached_at_the_theorys_logit_gap(smoothing: float) -> None:
    one = torch.eye(50, dtype=torch.float64)
    loss = instance.cross_entropy(reference.logit_gap(smoothing, 50) * one, one, None, torch.arange(50), smoothing)
    assert float(loss) == pytest.approx(linear_model.floor(smoothing, 50), abs=1e-12)


# DIET in the loop


@pytest.fixture(scope="module")
def started() -> dict[tuple[float, int], tuple[float, float]]:
    """The first step's loss and the features' mean square, by smoothing and seed."""
    found: dict[tuple[float, int], tuple[float, float]] = {}
    data = images(4000)
    for smoothing, seed in ((0.0, 0), (0.8, 0), (0.8, 1)):
        config = small(encoder=Encoder(name="narrow_resnet", width=8), method=Diet(smoothing=smoothing), seed=seed)
        run = pretrain._Run(config, data, None)
        seen: list[Tensor] = []
        run.objective.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        rows = torch.arange(0, 4000, 8)
        loss = run.step(run.data.pixels[rows], rows, 1, 0)["loss"]
        found[smoothing, seed] = float(loss), float(seen[0].detach().square().mean())
    return found


def test_the_first_loss_is_within_two_per_cent_of_log_n(started: dict[tuple[float, int], tuple[float, float]]) -> None:
    for loss, _ in started.values():
        assert abs(loss / math.log(4000) - 1) < 0.02


def test_the_first_loss_exceeds_log_n_by_half_the_logits_variance(
    started: dict[tuple[float, int], tuple[float, float]],
) -> None:
    """Weights uniform to ±1/√K have variance 1/(3K), so logits have a third of the features' mean square."""
    for smoothing in (0.8,):
        for seed in (0, 1):
            loss, square = started[smoothing, seed]
            assert loss - math.log(4000) == pytest.approx(square / 6, rel=0.3)


@pytest.mark.parametrize("smoothing", [0.0, 0.8])
def test_training_nears_the_floor_and_stays_above(smoothing: float) -> None:
    config = small(method=Diet(smoothing=smoothing), epochs=60, augmentation=STILL, batch=16)
    rows = [progress.row["loss"] for progress in pretrain.pretrain(config, images(16))]
    floor = linear_model.floor(smoothing, 16)
    assert min(rows) > floor
    assert rows[-1] - floor < 0.2 * (rows[0] - floor)


def test_the_index_is_memorised_without_smoothing_and_augmentation() -> None:
    data = images(32)
    config = small(
        method=Diet(smoothing=0.0), epochs=40, augmentation=STILL, encoder=Encoder(name="narrow_resnet", width=4)
    )
    last = [*pretrain.pretrain(config, data)][-1]
    features = embed.embed(
        Embed(pretrain=config, on=Subset(dataset="mnist5k")), last.weights(), data.pixels, data.index
    )
    found = (features @ last.state()["objective/head.weight"].mT).argmax(1)
    assert (found == torch.arange(32)).float().mean() > 0.95


def test_every_view_of_an_image_has_the_images_row_for_its_target() -> None:
    objective = losses.objective(setting(small(), 9))
    z = draw(3, 2, 16, dtype=torch.float32)
    together = objective(z, batch([7, 4]))["index"]
    apart = [objective(view[None], batch([7, 4]))["index"] for view in z]
    torch.testing.assert_close(together, torch.stack(apart).mean())
    torch.testing.assert_close(objective(z[:, [1, 0]], batch([4, 7]))["index"], together)


def test_the_heads_rate_and_decay_are_its_own() -> None:
    config = small(method=Diet(lr_factor=3.0, decay_factor=7.0))
    run = pretrain._Run(config, images(64), None)
    body, head = run.updates.groups
    assert (body.lr_factor, body.decay_factor, head.lr_factor, head.decay_factor) == (1, 1, 3, 7)
    assert [part.shape for part in head.parameters] == [(64, 16)]


# s-DIET


def schedule(steps: int) -> list[float]:
    return [0.02 * min(1.0, step / 5) * (1.1 + math.cos(3 * step / steps)) / 2 for step in range(steps)]


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize(("steps", "often"), [(60, 0.3), (700, 0.004)], ids=["often", "seldom"])
def test_rows_visited_now_and_then_end_where_plain_adamw_has_them(steps: int, often: float, decay: float) -> None:
    """Plain AdamW sees a zero gradient in the rows that are not visited. Gaps of 700 are beyond where the sum ends."""
    rates, betas, generator = schedule(steps), (0.9, 0.999), torch.Generator().manual_seed(0)
    plain = nn.Parameter(draw(12, 5))
    rows, seen = (
        Rows(plain.detach().clone(), torch.zeros(12, 5).double(), torch.zeros(12, 5).double()),
        torch.zeros(12).long(),
    )
    theirs = torch.optim.AdamW([plain], betas=betas, weight_decay=decay)
    ours = AdamW(rates, betas, decay, torch.device("cpu"))
    for step, rate in enumerate(rates):
        visited = torch.nonzero(torch.rand(12, generator=generator) < (1.0 if step == 3 else often))[:, 0]
        gradient = torch.zeros(12, 5).double()
        # Across many sizes, one of them near AdamW's epsilon, and a feature that is always zero.
        gradient[visited] = draw(len(visited), 5, seed=step) * torch.tensor([1.0, 1e-4, 1e-8, 0.0, 30.0]).double()
        plain.grad, theirs.param_groups[0]["lr"] = gradient, rate
        theirs.step()
        current = ours.missed(Rows(*(part[visited] for part in rows)), seen[visited], step)
        for held, part in zip(rows, ours.step(current, gradient[visited], step), strict=True):
            held[visited] = part
        seen[visited] = step + 1
    final = ours.missed(rows, seen, steps)
    state = theirs.state[plain]
    torch.testing.assert_close(final.weight, plain.detach(), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(final.first, state["exp_avg"], rtol=1e-11, atol=1e-30)
    torch.testing.assert_close(final.second, state["exp_avg_sq"], rtol=1e-11, atol=1e-30)


def test_betas_whose_sum_does_not_fall_are_summed_to_the_end() -> None:
    ours = AdamW([0.01] * 40, (0.9, 0.7), 0.0, torch.device("cpu"))
    plain = nn.Parameter(draw(1, 3))
    theirs = torch.optim.AdamW([plain], lr=0.01, betas=(0.9, 0.7), weight_decay=0.0)
    rows, zero = (
        Rows(plain.detach().clone(), torch.zeros(1, 3).double(), torch.zeros(1, 3).double()),
        torch.zeros(1, 3).double(),
    )
    for step in range(40):
        plain.grad = draw(1, 3) if step == 0 else zero
        theirs.step()
    rows = ours.missed(ours.step(rows, draw(1, 3), 0), torch.ones(1).long(), 40)
    torch.testing.assert_close(rows.weight, plain.detach(), rtol=1e-12, atol=1e-13)


def test_a_step_reads_and_writes_the_batchs_rows_alone() -> None:
    objective = losses.objective(setting(small(method=SDiet()), 9))
    before = {name: part.clone() for name, part in objective.state_dict().items()}
    for step in range(3):
        now = batch([7, 4], step)
        objective(draw(1, 2, 16, dtype=torch.float32, seed=step), now)["index"].backward()
        objective.after_step(now)
    others = [0, 1, 2, 3, 5, 6, 8]
    for name, part in objective.state_dict().items():
        assert torch.equal(part[others], before[name][others])
        assert not torch.equal(part[[7, 4]], before[name][[7, 4]])
    assert not [*objective.parameters()]


def test_at_a_batch_of_all_images_it_is_diet() -> None:
    data = images(48)
    ends = {
        kind: [
            (now.row["loss"], now.state())
            for now in pretrain.pretrain(small(method=kind(), batch=48, epochs=3, views=2), data)
        ]
        for kind in (Diet, SDiet)
    }
    for diet, sdiet in zip(ends[Diet], ends[SDiet], strict=True):
        assert sdiet[0] == pytest.approx(diet[0], rel=1e-5)
    first = ends[Diet][0][1], ends[SDiet][0][1]
    torch.testing.assert_close(first[0]["objective/head.weight"], first[1]["objective/weight"], rtol=1e-3, atol=1e-4)
    assert (first[0]["objective/head.weight"] - nets.linear(16, 48, nets.stream(0, 1)).weight).abs().max() > 5e-3


def test_catching_up_and_not_differ_but_from_the_first_missed_step_on() -> None:
    caught, left = (
        [progress.row["loss"] for progress in pretrain.pretrain(small(method=SDiet(catch_up=on), epochs=3), images(96))]
        for on in (True, False)
    )
    assert caught[0] == pytest.approx(left[0], rel=1e-4) and caught[2] != left[2]


def test_offloaded_rows_train_to_the_same_bytes() -> None:
    here, there = (
        [*pretrain.pretrain(small(method=SDiet(offload=on)), images(64))][-1].state() for on in (False, True)
    )
    assert here.keys() == there.keys() and all(torch.equal(here[name], there[name]) for name in here)


def test_normalised_features_have_no_scale_and_the_temperature_divides() -> None:
    z, now = draw(1, 3, 16, dtype=torch.float32), batch([0, 5, 8])
    normed, plain, cold = (
        losses.objective(setting(small(method=SDiet(**fields)), 9))
        for fields in ({"normalise": True}, {}, {"temperature": 0.5})
    )
    torch.testing.assert_close(normed(5 * z, now)["index"], normed(z, now)["index"])
    torch.testing.assert_close(plain(2 * z, now)["index"], cold(z, now)["index"])


def test_a_step_of_sdiet_holds_less_than_one_of_diet() -> None:
    most: dict[type, int] = {}
    for kind in (Diet, SDiet):
        objective = losses.objective(setting(small(method=kind()), 3000))
        z, now = draw(1, 32, 16, dtype=torch.float32).requires_grad_(), batch([*range(32)], 5)
        with Live(z, now.row, *objective.state_dict().values()) as live:
            objective(z, now)["index"].backward()
            objective.after_step(now)
        most[kind] = live.most
    assert most[Diet] > 4 * (3000 * 16 + 32 * 3000)
    assert most[SDiet] < most[Diet] / 3


# Labels


def test_supervised_training_needs_labels() -> None:
    unlabelled = replace(images(64), label=None)
    with pytest.raises(ValueError, match="supervised: needs labels"):
        next(pretrain.pretrain(small(method=Supervised()), unlabelled))


def test_supervised_loss_is_torchs_on_the_head() -> None:
    objective = losses.objective(setting(small(method=Supervised(smoothing=0.1)), 9))
    z, label = draw(2, 4, 16, dtype=torch.float32), torch.tensor([0, 2, 1, 1])
    now = batch([0, 1, 2, 3])._replace(label=label)
    head = SimpleNamespace(**objective.head.state_dict())
    logits = z.flatten(0, 1) @ head.weight.mT + head.bias
    expected = F.cross_entropy(logits, torch.cat((label, label)), label_smoothing=0.1)
    torch.testing.assert_close(objective(z, now)["label"], expected)
