import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_config import cell

from entia import embed, nets, pretrain
from entia.config import (
    BYOL,
    Augmentation,
    BarlowTwins,
    Crops,
    Diet,
    Embed,
    Encoder,
    MoCo,
    Optimizer,
    Problem,
    Projector,
    SDiet,
    SimCLR,
    SpectralContrastive,
    Subset,
    Supervised,
    VICReg,
)
from entia.pretrain import Data, learning_rate


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


def run(config, data, **resume):
    return list(pretrain.pretrain(config, data, **resume))


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


def test_images_left_on_the_host_give_the_bytes_of_images_on_the_device(data, monkeypatch):
    # Without a GPU there is no memory to pin and no copy to make; which rows are taken, and when, is the same code.
    taken = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda pixels: taken.append(len(pixels)) or pixels)
    config = small(drop_last=False, batch=40)
    held, sent = (pretrain._Run(config, data, None) for _ in range(2))
    sent.resident = False
    for epoch in (1, 2):
        assert held.epoch(epoch)["loss"] == sent.epoch(epoch)["loss"]
    assert same(held.state(), sent.state()) and taken == [40, 40, 16] * 2


def test_a_gpu_compiles_long_runs_and_a_cpu_none(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/cc")
    assert not pretrain.is_compiled(small(epochs=10_000), 50_000, 32, cpu)
    assert pretrain.is_compiled(small(epochs=50), 50_000, 32, gpu)
    assert pretrain.is_compiled(small(epochs=25, views=4), 50_000, 32, gpu)
    assert not pretrain.is_compiled(small(epochs=49), 50_000, 32, gpu)
    assert not pretrain.is_compiled(small(epochs=50), 50_000, 16, gpu)
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert not pretrain.is_compiled(small(epochs=50), 50_000, 32, gpu)


COMPILED = """
import torch
from entia import pretrain
from entia.config import *

torch.set_num_threads(1)
pixels = torch.randint(0, 256, (64, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
data = pretrain.Data(pixels, torch.arange(64))
graphs = []
for config in CONFIGS:
    eager, compiled = (pretrain._Run(config, data, None) for _ in range(2))
    compiled.compile(backend=lambda graph, inputs: graphs.append(graph) or graph)
    compiled.cold = True
    for epoch in (1, 2):
        ours, theirs = compiled.epoch(epoch), eager.epoch(epoch)
        assert abs(ours["loss"] - theirs["loss"]) <= 1e-4 * abs(theirs["loss"]), (ours, theirs)
        assert (ours["warmup_seconds"] > 0) == (epoch == 1) and theirs["warmup_seconds"] == 0
    eager.restore(compiled.state())
print(len(graphs))
"""


def test_views_and_model_compile_to_one_graph_each_and_train_as_without():
    # In a process of its own: the compiler cannot look into the shape checks that tests add to every function.
    kept = {"method": VICReg(), "views": 2, "epochs": 2, "optimizer": ADAMW}
    kinds = [small(**kept), small(**kept, encoder=Encoder(name="resnet18"), batch_norm="per_view")]
    script = COMPILED.replace("CONFIGS", repr(kinds))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["4"]  # two runs, views and model each; no second epoch compiles anew


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
    fair = Augmentation(jitter=0.0)
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
    assert [epoch for epoch in range(1, 8) if pretrain.is_kept(small(epochs=7, checkpoint_every=3), epoch)] == [3, 6, 7]
    assert [epoch for epoch in range(1, 8) if pretrain.is_kept(small(epochs=7, checkpoint_every=0), epoch)] == [7]


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
