import itertools
import math
import subprocess
import sys
import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from test_config import cell

from entia import config, devices, embed, nets, pretrain
from entia.config import Augmentation, Crops, Embed, Encoder, Optimizer, Pretrain, Projector, Subset
from entia.feeding import Data
from entia.fields import Problem
from entia.methods import BYOL, BarlowTwins, Diet, MoCo, SDiet, SimCLR, SpectralContrastive, Supervised, VICReg
from entia.optim import learning_rate


@pytest.fixture(scope="module")
def data() -> Data:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(96, 1, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(12, 12), mode="bilinear")
    return Data((255 * smooth).to(torch.uint8), torch.arange(96) * 7, torch.arange(96) % 4)


METHODS = {
    "barlow_twins": BarlowTwins(weight=0.005),
    "vicreg": VICReg(),
    "simclr": SimCLR(),
    "spectral_contrastive": SpectralContrastive(weight=0.5),
    "diet": Diet(lr_factor=2.0, decay_factor=0.5, bias=True),
    "sdiet": SDiet(normalise=True, temperature=0.5),
    "supervised": Supervised(),
    "byol": BYOL(momentum=0.9),
    "moco": MoCo(momentum=0.9, queue=100),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
ADAMW = Optimizer(name="adamw", lr=0.01, weight_decay=0.05, schedule="cosine", warmup=1.0)


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


class Kept(NamedTuple):
    """An epoch's end with copies of what can be had until the next epoch begins."""

    epoch: int
    row: pretrain.Row
    weights: pretrain.State
    state: pretrain.State


def run(config, data, **resume) -> list[Kept]:
    return [Kept(at.epoch, at.row, at.weights(), at.state()) for at in pretrain.pretrain(config, data, **resume)]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_crops_of_the_views_own_size_and_law_are_further_views(data):
    """Batch statistics of a pass a view, so that how views are passed makes no difference."""
    plain = pretrain._Run(small(batch_norm="per_view"), data, None)
    more = pretrain._Run(small(batch_norm="per_view", crops=Crops(views=2, size=12)), data, None)
    some = data.pixels[:32], data.index[:32]
    large, small_ = more.draw(*some, 1)
    assert large.shape == small_.shape and not torch.equal(large, small_)
    assert torch.equal(large, plain.draw(*some, 1)[0])
    spread = [part.std().item() for part in (large, small_)]
    assert spread[0] == pytest.approx(spread[1], rel=0.1)


def test_small_crops_are_seen_by_the_loss_counted_and_resumed_like_any_view(data):
    config = small(crops=Crops(views=3, size=8, crop_scale=(0.1, 0.3)))
    whole = run(config, data)
    assert whole[0].row["view_images"] == 96 * 5
    assert not same(whole[-1].weights, run(small(), data)[-1].weights)
    halfway = run(config, data, state=whole[0].state, epoch=1)
    assert same(whole[-1].weights, halfway[-1].weights) and same(whole[-1].state, halfway[-1].state)


def test_crops_smaller_than_the_encoders_stride_are_refused(data):
    with pytest.raises(Problem, match="4 pixels are fewer than narrow_resnet's stride"):
        run(small(crops=Crops(views=1, size=4)), data)


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


def test_images_that_are_fetched_give_the_bytes_of_images_at_hand(data):
    config, asked = small(drop_last=False, batch=40), []
    held = pretrain._Run(config, data, None)
    sent = pretrain._Run(config, replace(data, ahead=lambda rows: asked.append(list(rows))), None)
    for epoch in (1, 2):
        assert held.epoch(epoch)["loss"] == sent.epoch(epoch)["loss"]
    assert same(held.state(), sent.state())
    orders = [held.order(epoch).tolist() for epoch in (1, 2)]
    assert asked == [order[start : start + 40] for order in orders for start in (0, 40, 80)]


# --- warming up, and compiling ------------------------------------------------------------------------------------


@every_method
def test_warming_up_leaves_no_trace_but_its_seconds(method, data):
    config = small(method=method, optimizer=ADAMW, online_probe=True)
    cold, warm = (pretrain._Run(config, data, data) for _ in range(2))
    before = torch.get_rng_state()
    warm.warm_up(1)
    assert torch.equal(before, torch.get_rng_state())
    assert [cold.epoch(now)["loss"] for now in (1, 2)] == [warm.epoch(now)["loss"] for now in (1, 2)]
    assert same(cold.state(), warm.state())


def test_a_process_warms_up_apart_from_its_first_epoch_also_after_a_resume(data, monkeypatch):
    slow = [True]  # as CUDA's start-up, or the compiler
    step = pretrain._Run.step

    def first_is_slow(*arguments):
        if slow:
            time.sleep(0.5)
            slow.pop()
        return step(*arguments)

    monkeypatch.setattr(pretrain._Run, "step", first_is_slow)
    whole = run(small(), data)
    slow.append(True)
    rest = run(small(), data, state=whole[0].state, epoch=1)
    for rows in (whole, rest):
        assert [now.row["warmup_seconds"] >= 0.5 for now in rows] == [True] + [False] * (len(rows) - 1)
        assert all(now.row["seconds"] < 0.4 for now in rows)


@pytest.fixture
def compilable(monkeypatch) -> list[bool]:
    """A CPU that takes itself for a GPU with a compiler, whose use is noted."""
    compiled: list[bool] = []
    monkeypatch.setattr(devices, "can_compile", lambda device: True)
    monkeypatch.setattr(pretrain._Run, "compile", lambda run: compiled.append(True))
    return compiled


@pytest.mark.parametrize(("steps", "expected"), [(182, 1), (178, 0)])
def test_a_cell_is_compiled_where_the_rest_of_it_then_takes_a_minute_less(
    steps, expected, data, compilable, monkeypatch
):
    monkeypatch.setattr(pretrain._Run, "trial", lambda run, epoch, count: count * 1.0)  # a second each
    monkeypatch.setattr(pretrain._Run, "epoch", lambda run, epoch: {"compiled": int(run.compiled)})
    config = small(epochs=steps + 10, batch=96)
    assert next(pretrain.pretrain(config, data, epoch=10)).row["compiled"] == expected == len(compilable)


@pytest.mark.parametrize("first", [True, False])
def test_a_resumed_cell_is_computed_as_it_began_whatever_the_clock_says_then(first, data, compilable, monkeypatch):
    monkeypatch.setattr(devices, "earns_compiling", lambda seconds: first)
    whole = run(small(), data)
    monkeypatch.setattr(devices, "earns_compiling", lambda seconds: not first)
    rest = run(small(), data, state=whole[0].state, epoch=1)
    assert [now.row["compiled"] for now in whole + rest] == [int(first)] * 5
    assert len(compilable) == 2 * first


@pytest.mark.parametrize("field", ["deterministic", "recompute"])
def test_what_is_to_be_deterministic_or_computed_again_is_not_compiled(field, data, compilable, monkeypatch):
    monkeypatch.setattr(devices, "earns_compiling", lambda seconds: True)
    before = torch.are_deterministic_algorithms_enabled()
    assert run(small(epochs=1, **{field: True}), data)[0].row["compiled"] == 0 and not compilable
    assert run(small(epochs=1), data)[0].row["compiled"] == 1 and compilable
    assert torch.are_deterministic_algorithms_enabled() == before


def test_a_cpu_and_a_machine_without_a_compiler_for_c_compile_nothing(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/cc")
    assert devices.can_compile(torch.device("cuda")) and not devices.can_compile(torch.device("cpu"))
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert not devices.can_compile(torch.device("cuda"))


COMPILED = """
import msgspec, torch
from torch._dynamo.utils import counters
from entia import feeding, pretrain
from entia.config import *
from entia.methods import *

torch.set_num_threads(1)
pixels = torch.randint(0, 256, (56, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
data = feeding.Data(pixels, torch.arange(56) * 3, torch.arange(56) % 4)
for config, seeds in CASES:
    for seed in range(seeds):
        config = msgspec.structs.replace(config, seed=seed)
        eager, compiled = (pretrain._Run(config, data, None) for _ in range(2))
        compiled.compile(backend="eager")
        compiled.compiled = True
        for epoch in (1, 2):
            rows = slice(0, config.batch)
            ours, theirs = (run.draw(pixels[rows], data.index[rows], epoch) for run in (compiled, eager))
            assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)), seed
            ours, theirs = compiled.epoch(epoch), eager.epoch(epoch)
            assert abs(ours["loss"] - theirs["loss"]) <= 1e-4 * abs(theirs["loss"]), (ours, theirs)
        eager.restore(compiled.state())
    print(counters["stats"]["unique_graphs"])
    torch._dynamo.reset()
    counters.clear()
"""


def compiled_graphs(*cases: tuple[Pretrain, int]) -> list[int]:
    """The graphs that each cell's seeds compile, in a process: the compiler cannot see into what tests add to functions."""
    done = subprocess.run(
        [sys.executable, "-c", COMPILED.replace("CASES", repr(list(cases)))], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [int(count) for count in done.stdout.split()]


def test_all_seeds_share_one_graph_of_the_views_and_one_of_the_model_and_train_as_without():
    """More seeds than the compiler keeps graphs of a function. Epochs share them too, and a smaller last batch has none."""
    kept = {"method": VICReg(), "views": 2, "epochs": 2, "batch": 16, "optimizer": ADAMW, "drop_last": False}
    cropped = small(**kept, crops=Crops(views=1, size=8))
    assert compiled_graphs((small(**kept), 12), (cropped, 2)) == [2, 4]  # crops: both once more, for their size


def test_a_methods_second_network_is_compiled_too():
    byol = small(method=BYOL(), epochs=2, batch=16, optimizer=ADAMW)
    resnet = small(method=VICReg(), epochs=2, batch=28, encoder=Encoder(name="resnet18"), batch_norm="per_view")
    assert compiled_graphs((byol, 3), (resnet, 1)) == [3, 2]


# --- what an epoch's end gives ------------------------------------------------------------------------------------


def test_nothing_is_copied_but_what_is_asked_for(data, monkeypatch):
    copied = []
    copy = pretrain._on_cpu
    monkeypatch.setattr(pretrain, "_on_cpu", lambda state: copied.append(len(state)) or copy(state))
    *_, now = pretrain.pretrain(small(), data)
    assert copied == []
    assert now.size == sum(part.nbytes for name, part in now.state().items() if name != "run/compiled")
    assert len(copied) == 1


def test_an_epochs_state_cannot_be_had_once_the_next_has_begun(data):
    epochs = pretrain.pretrain(small(), data)
    first = next(epochs)
    held = first.state()
    next(epochs)
    for late in (first.state, first.weights):
        with pytest.raises(RuntimeError, match="epoch 1 is over"):
            late()
    rest = run(small(), data, state=held, epoch=1)
    assert same(rest[-1].state, run(small(), data)[-1].state)


# --- activations computed again -----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_norm", ["joint", "per_view"])
@pytest.mark.parametrize("method", [VICReg(), BYOL(momentum=0.9)], ids=["vicreg", "byol"])
def test_computing_activations_again_changes_no_number(method, batch_norm, data):
    kept, again = (
        run(small(method=method, batch_norm=batch_norm, optimizer=ADAMW, recompute=on), data) for on in (False, True)
    )
    assert same(kept[-1].state, again[-1].state)
    assert [now.row["loss"] for now in kept] == [now.row["loss"] for now in again]


# --- order, views and rates of a run ------------------------------------------------------------------------------


def test_every_epoch_has_its_own_order_of_images_and_its_own_views_of_each(data):
    training = pretrain._Run(small(batch=24), data, None)
    drawn, augment = {}, training.augment

    def noted(pixels, index, *rest):
        found = augment(pixels, index, *rest)
        for at, datum in enumerate(index.tolist()):
            drawn.setdefault(epoch, {})[datum] = found[:, at]
        return found

    training.augment = noted
    for epoch in (1, 2, 3):
        training.epoch(epoch)
    orders = [list(seen) for seen in drawn.values()]
    assert all(sorted(order) == data.index.tolist() for order in orders)
    for one, other in itertools.combinations(drawn, 2):
        assert list(drawn[one]) != list(drawn[other])
        assert not any(torch.equal(drawn[one][datum], drawn[other][datum]) for datum in drawn[one])


def test_each_step_is_made_at_the_rate_of_the_progress_before_it(data, monkeypatch):
    config = small(optimizer=Optimizer(lr=0.01, schedule="cosine", warmup=1.5))
    training, rates = pretrain._Run(config, data, None), []
    step = training.updates.step
    monkeypatch.setattr(training.updates, "step", lambda lr: rates.append(lr) or step(lr))
    for epoch in (1, 2, 3):
        training.epoch(epoch)
    assert rates == [learning_rate(config.optimizer, number / 3, 3, 32) for number in range(9)]
    assert rates[0] == 0.0 < rates[1] < rates[4] > rates[8]


@pytest.mark.parametrize("name", ["byol", "moco"])
def test_a_second_network_follows_the_first_after_its_step(name, data):
    training = pretrain._Run(small(method=METHODS[name], optimizer=ADAMW), data, None)
    training.model.train()
    for step in range(2):  # they begin alike
        before = [part.detach().clone() for part in training.objective.target.parameters()]
        rows = torch.arange(32 * step, 32 * step + 32)
        training.step(data.pixels[rows], rows, 1, step)
        share = 0.1 * ((math.cos(math.pi * step / 9) + 1) / 2 if name == "byol" else 1)
        for was, now, online in zip(
            before, training.objective.target.parameters(), training.model.parameters(), strict=True
        ):
            torch.testing.assert_close(now.detach(), was.lerp(online.detach(), share))


@every_method
def test_every_methods_own_state_is_resumed(method, data):
    config = small(method=method, optimizer=ADAMW, online_probe=True, drop_last=False, batch=40)
    whole = run(config, data, test=data)
    rest = run(config, data, test=data, state=whole[0].state, epoch=1)
    for ours, theirs in zip(rest, whole[1:], strict=True):
        assert same(ours.weights, theirs.weights) and same(ours.state, theirs.state)
        assert ours.row["loss"] == theirs.row["loss"]
        assert ours.row["probe_accuracy"] == theirs.row["probe_accuracy"]


@every_method
def test_every_method_trains_every_number(method, data):
    first, last = (run(small(method=method, optimizer=ADAMW), data)[at].state for at in (0, -1))
    for name, part in first.items():
        if name.startswith(("model/", "objective/")) and part.is_floating_point():
            assert not torch.equal(part, last[name]), name


@every_method
def test_training_leaves_the_global_random_state_alone(method, data):
    before = torch.get_rng_state()
    run(small(method=method, optimizer=ADAMW, epochs=1), data)
    assert torch.equal(before, torch.get_rng_state())


def test_dropout_is_drawn_anew_each_epoch_and_as_in_an_uninterrupted_run(data, monkeypatch):
    build = nets._encoder
    monkeypatch.setattr(nets, "_encoder", lambda *a: build(*a).append(torch.nn.Dropout(0.5)))
    whole = run(small(), data)
    rest = run(small(), data, state=whole[0].state, epoch=1)
    assert same(whole[-1].state, rest[-1].state)
    assert not same(whole[0].weights, run(small(seed=1), data)[0].weights)


@pytest.mark.parametrize("drop_last", [True, False])
def test_a_row_says_how_many_images_are_trained_on_also_where_a_batch_is_dropped(drop_last, data):
    count = len(data.index) - 1
    part = replace(data, pixels=data.pixels[:count], index=data.index[:count], label=data.label[:count])
    assert count % 32
    assert {progress.row["images"] for progress in run(small(drop_last=drop_last), part)} == {count}


# --- labels -------------------------------------------------------------------------------------------------------


@every_method
def test_labels_reach_supervised_training_alone(method, data):
    config = small(method=method, optimizer=ADAMW, epochs=2)
    other = replace(data, label=data.label.flip(0))
    alike = same(run(config, data)[-1].state, run(config, other)[-1].state)
    assert alike == (not isinstance(method, Supervised))


@every_method
def test_the_encoder_is_the_same_with_and_without_an_online_probe(method, data):
    without, probed = (
        run(small(method=method, optimizer=ADAMW, epochs=2, online_probe=on), data, test=data) for on in (False, True)
    )
    assert same(without[-1].weights, probed[-1].weights)
    assert [one.row["loss"] for one in without] == [one.row["loss"] for one in probed]
    assert {name: part for name, part in probed[-1].row.items() if name not in without[-1].row}.keys() == {
        "probe_loss", "probe_accuracy"
    }  # fmt: skip


def bright() -> Data:
    """Two classes that brightness tells apart."""
    label = torch.arange(96) % 2
    noise = torch.randint(0, 60, (96, 1, 12, 12), generator=torch.Generator().manual_seed(0))
    return Data((noise + 180 * label[:, None, None, None]).to(torch.uint8), torch.arange(96), label)


def test_the_online_probe_reads_a_label_that_can_be_read_and_not_one_that_cannot():
    data = bright()
    fair = Augmentation(jitter=0.0, mean=(127.5,), std=(127.5,))
    config = small(
        method=Diet(), views=1, optimizer=Optimizer(name="adamw", lr=0.01), epochs=6, online_probe=True,
        augmentation=fair, encoder=Encoder(name="narrow_resnet", width=4),
    )  # fmt: skip
    rows = [progress.row for progress in run(config, data, test=data)]
    assert rows[-1]["probe_accuracy"] > 0.95 and rows[-1]["probe_loss"] < rows[0]["probe_loss"]
    shuffled = replace(data, label=torch.randint(0, 2, (96,), generator=torch.Generator().manual_seed(1)))
    assert run(config, shuffled, test=data)[-1].row["probe_accuracy"] < 0.95


def test_probe_accuracy_is_the_share_of_the_test_images_told_rightly(data):
    config = small(online_probe=True, optimizer=ADAMW)
    last = run(config, data, test=data)[-1]
    stage = Embed(pretrain=config, on=Subset(dataset="mnist5k"))
    features = embed.embed(stage, last.weights, data.pixels, data.index)
    told = features @ last.state["probe/weight"].mT + last.state["probe/bias"]
    assert last.row["probe_accuracy"] == pytest.approx(float((told.argmax(1) == data.label).double().mean()))


def test_an_online_probe_needs_labels_and_test_images(data):
    for train, test in ((replace(data, label=None), None), (data, None)):
        with pytest.raises(ValueError, match="online_probe: needs labels and test images"):
            run(small(online_probe=True), train, test=test)


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
    assert config.kept(small(epochs=7, checkpoint_every=3)) == [3, 6, 7]
    assert config.kept(small(epochs=6, checkpoint_every=3)) == [3, 6]
    assert config.kept(small(epochs=7, checkpoint_every=0)) == config.kept(small(epochs=7, checkpoint_every=9)) == [7]


def test_a_loss_that_is_not_finite_ends_the_run_and_its_last_row_says_where(data):
    (end,) = run(small(optimizer=Optimizer(name="sgd", lr=1e30, momentum=0.0)), data)
    assert end.row["diverged"] == "epoch 1, step 2 of 3: the loss is not finite"
    assert end.weights == {} and end.state == {}


def test_a_batch_above_the_images_is_refused(data):
    with pytest.raises(Problem, match="batch: 200 is more than the 96 images"):
        run(small(batch=200), data)


def test_bfloat16_trains_close_to_float32(data):
    full, low = (run(small(precision=precision), data)[-1].row["loss"] for precision in ("float32", "bfloat16"))
    assert low == pytest.approx(full, rel=0.05) and low != full


def test_batch_norm_per_view_differs_from_joint_by_its_statistics_alone(data):
    joint, per_view = (run(small(epochs=1, batch_norm=kind), data)[0].row["loss"] for kind in ("joint", "per_view"))
    assert joint != per_view and per_view == pytest.approx(joint, rel=0.3)


def test_learning_rate_schedules_have_their_known_values():
    constant = Optimizer(lr=0.1)
    assert {learning_rate(constant, progress, 10, 64) for progress in (0.0, 5.0, 10.0)} == {0.1}
    warm = Optimizer(lr=0.1, schedule="cosine", warmup=2.0, floor=0.1)
    assert learning_rate(warm, 1.0, 10, 64) == pytest.approx(0.05)
    assert learning_rate(warm, 2.0, 10, 64) == pytest.approx(0.1)
    assert learning_rate(warm, 6.0, 10, 64) == pytest.approx(0.1 * (0.1 + 0.9 * 0.5))
    assert learning_rate(warm, 10.0, 10, 64) == pytest.approx(0.01)
    step = Optimizer(lr=0.1, schedule="step")
    values = [learning_rate(step, progress, 100, 64) for progress in (49.9, 50.0, 74.9, 75.0)]
    assert values == pytest.approx([0.1, 0.01, 0.01, 0.001])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("diet_i", {0.0: 0.0, 5.0: 0.5, 10.0: 1.0, 105.0: (1 + 0.001) / 2, 200.0: 0.001}),
        ("diet_ii", {0.0: 0.001, 2.5: (1 + 0.001) / 2, 5.0: 1.0, 15.0: 1.0, 107.5: (1 + 0.005) / 2, 200.0: 0.005}),
        ("diet_iii", {0.0: 0.0, 2.5: 0.5, 5.0: 1.0, 102.5: (1 + 0.005) / 2, 200.0: 0.005}),
    ],
)
def test_diets_candidate_schedules_are_those_of_the_specification(name, values):
    optimizer = Optimizer(lr=0.2, schedule=name)
    for progress, share in values.items():
        assert learning_rate(optimizer, progress, 200, 64) == pytest.approx(0.2 * share, abs=1e-12)


def test_the_learning_rate_grows_with_the_batch_where_it_is_asked_to():
    scaled = Optimizer(lr=0.001, lr_per=256)
    assert [learning_rate(scaled, 0.0, 10, batch) for batch in (128, 256, 2048)] == pytest.approx([5e-4, 1e-3, 8e-3])


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
        augmentation=Augmentation(
            crop_scale=(1.0, 1.0),
            crop_ratio=(1.0, 1.0),
            flip=0.0,
            jitter=0.0,
            greyscale=0.0,
            mean=(127.5,),
            std=(127.5,),
        )
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
