import subprocess
import sys

import numpy as np
import pytest
import scipy.special
import torch
from test_config import cell
from threadpoolctl import threadpool_limits

from entia import readout, spectrum, stages
from entia.artefacts import check, store
from entia.config import Embed, Readout, Subset
from entia.probes import AdamProbe, Logistic, MLPProbe, Neighbours, Probe, Ridge
from entia.readout import Features

ADAM = AdamProbe(lr=1e-2, epochs=12, batch=64)
MLP = MLPProbe(lr=1e-2, epochs=12, batch=64)
PROBES = [Ridge(), Logistic(), ADAM, MLP, Neighbours(k=20)]
CHOOSERS = [Ridge(), Logistic()]
EMPTY = Features(np.empty((0, 8)), np.empty(0, np.int64))


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield


def named(probe: Probe) -> str:
    return type(probe).__name__


def blobs(rows: int, width: int = 8, classes: int = 3, distance: float = 1.5, seed: int = 0) -> Features:
    """A Gaussian about each class's centre; the centres are the same for every seed."""
    centres = np.random.default_rng(99).normal(size=(classes, width)) * distance
    generator = np.random.default_rng(seed)
    label = generator.integers(classes, size=rows)
    return Features(centres[label] + generator.normal(size=(rows, width)) + 1, label)


def problem(**shape: float) -> readout.Problem:
    return blobs(300, seed=0, **shape), blobs(100, seed=1, **shape), blobs(400, seed=2, **shape)


def onehot(label: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes)[label]


# What every probe keeps to


@pytest.mark.parametrize("probe", PROBES, ids=named)
def test_labels_that_are_noise_give_chance(probe: Probe):
    generator = np.random.default_rng(5)
    parts = [Features(generator.normal(size=(n, 8)), generator.integers(10, size=n)) for n in (500, 2000, 2000)]
    found = readout.read(probe, *parts, classes=10)
    four_sigma = 4 * (0.1 * 0.9 / 2000) ** 0.5
    assert found["accuracy"] == pytest.approx(0.1, abs=four_sigma)
    assert found["top5"] == pytest.approx(0.5, abs=4 * (0.25 / 2000) ** 0.5)


@pytest.mark.parametrize("probe", PROBES, ids=named)
def test_separable_classes_give_one(probe: Probe):
    found = readout.read(probe, *problem(distance=8.0), classes=3)
    assert found["accuracy"] == found["validation"] == found.get("train", 1.0) == 1.0


@pytest.mark.parametrize("probe", [Ridge(), Logistic(), Neighbours(k=20)], ids=named)
def test_order_of_training_rows_changes_nothing(probe: Probe):
    train, validation, test = problem(distance=0.5)
    order = np.random.default_rng(1).permutation(len(train.label))
    shuffled = Features(train.features[order], train.label[order])
    assert readout.read(probe, train, validation, test, 3) == pytest.approx(
        readout.read(probe, shuffled, validation, test, 3), abs=2e-5
    )


@pytest.mark.parametrize("probe", PROBES, ids=named)
def test_order_of_test_rows_changes_nothing(probe: Probe):
    train, validation, test = problem(distance=0.5)
    turned = Features(test.features[::-1].copy(), test.label[::-1].copy())
    assert readout.read(probe, train, validation, turned, 3) == readout.read(probe, train, validation, test, 3)


@pytest.mark.parametrize("probe", [Ridge(), Logistic(), Neighbours(k=20)], ids=named)
def test_scale_of_the_features_changes_nothing(probe: Probe):
    parts = problem(distance=0.5)
    scaled = [Features(1000 * part.features, part.label) for part in parts]
    assert readout.read(probe, *scaled, 3) == pytest.approx(readout.read(probe, *parts, 3), abs=2e-5)


@pytest.mark.parametrize("probe", [Ridge(), Neighbours(k=20)], ids=named)
def test_rotation_of_the_features_changes_nothing(probe: Probe):
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(8, 8)))[0]
    parts = problem(distance=0.5)
    rotated = [Features(part.features @ rotation, part.label) for part in parts]
    assert readout.read(probe, *rotated, 3) == readout.read(probe, *parts, 3)


@pytest.mark.parametrize("probe", PROBES, ids=named)
def test_same_problem_gives_the_same_numbers_twice(probe: Probe):
    parts = problem(distance=0.5)
    assert readout.read(probe, *parts, 3) == readout.read(probe, *parts, 3)


@pytest.mark.parametrize("probe", PROBES, ids=named)
def test_read_many_gives_what_read_gives_also_where_shapes_differ(probe: Probe):
    small = tuple(Features(part.features[:90], part.label[:90]) for part in problem(distance=0.4))
    others = [blobs(n, distance=0.6, seed=s) for s, n in enumerate((300, 100, 400), start=10)]
    problems = [problem(distance=0.5), small, tuple(others)]
    for together, alone in zip(readout.read_many(probe, problems, 3), problems, strict=True):
        assert together == pytest.approx(readout.read(probe, *alone, 3), abs=0.003)


@pytest.mark.parametrize("probe", PROBES, ids=named)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_stored_precision_hardly_matters(probe: Probe, dtype: type):
    parts = problem(distance=0.8)
    rounded = [Features(part.features.astype(dtype), part.label) for part in parts]
    accuracy = readout.read(probe, *parts, 3)["accuracy"]
    assert readout.read(probe, *rounded, 3)["accuracy"] == pytest.approx(accuracy, abs=0.011)


@pytest.mark.parametrize("probe", PROBES, ids=named)
def test_a_collapsed_embedding_scores_no_more_than_guessing(probe: Probe):
    generator = np.random.default_rng(0)
    parts = [Features(np.full((n, 4), 0.1, np.float32), generator.integers(10, size=n)) for n in (300, 100, 1000)]
    found = readout.read(probe, *parts, classes=10)
    most = np.bincount(parts[2].label).max() / 1000
    assert found["accuracy"] <= most
    assert found["top5"] < 0.6


# without mlp, whose hidden layer they widen: another network
@pytest.mark.parametrize("probe", [Ridge(), Logistic(), ADAM, Neighbours(k=20)], ids=named)
def test_dead_features_change_little(probe: Probe):
    parts = problem(distance=0.8)
    dead = [Features(np.c_[part.features, np.zeros((len(part.label), 2))], part.label) for part in parts]
    accuracy = readout.read(probe, *parts, 3)["accuracy"]
    assert readout.read(probe, *dead, 3)["accuracy"] == pytest.approx(accuracy, abs=0.02)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_features_that_are_not_finite_are_refused_by_name(part: int):
    parts = list(problem())
    parts[part].features[7, 2] = np.inf
    with pytest.raises(ValueError, match=rf"{readout.PARTS[part]} features: 1 of .* first is row 7"):
        readout.read(Ridge(), *parts, 3)


def test_inputs_that_do_not_fit_are_refused_with_the_value():
    train, validation, test = problem()
    with pytest.raises(ValueError, match="train labels: 0 to 2, not within 0 to 1"):
        readout.read(Ridge(), train, validation, test, 2)
    with pytest.raises(ValueError, match="test: features"):
        readout.read(Ridge(), train, validation, Features(test.features[1:], test.label), 3)
    with pytest.raises(ValueError, match="widths differ"):
        readout.read(Ridge(), train, validation, Features(test.features[:, 1:], test.label), 3)
    with pytest.raises(ValueError, match="test features: no rows"):
        readout.read(Ridge(), train, validation, EMPTY, 3)
    with pytest.raises(ValueError, match="k: 301 neighbours asked of 300"):
        readout.read(Neighbours(k=301), train, validation, test, 3)


# Choosing a penalty


@pytest.mark.parametrize("probe", CHOOSERS, ids=named)
def test_test_labels_have_no_say_in_the_penalty(probe: Probe):
    train, validation, test = problem(distance=0.3)
    found = readout.read(probe, train, validation, test, 3)
    other = readout.read(probe, train, validation, Features(test.features, test.label[::-1].copy()), 3)
    same = ("penalty", "validation", "train")
    assert [found[name] for name in same] == [other[name] for name in same]
    assert found["accuracy"] != other["accuracy"]


@pytest.mark.parametrize("probe", CHOOSERS, ids=named)
def test_the_penalty_chosen_is_the_best_on_validation(probe: Ridge | Logistic):
    parts = blobs(40, 30, distance=0.3), blobs(300, 30, distance=0.3, seed=1), blobs(300, 30, distance=0.3, seed=2)
    probe = type(probe)(penalties=(1e-4, 1e-2, 1.0, 10.0))
    alone = {p: readout.read(type(probe)(penalties=(p,)), *parts, 3)["validation"] for p in probe.penalties}
    found = readout.read(probe, *parts, 3)
    assert len(set(alone.values())) > 1
    assert found["validation"] == max(alone.values())
    assert found["penalty"] == max(p for p in alone if alone[p] == max(alone.values()))


@pytest.mark.parametrize("probe", CHOOSERS, ids=named)
def test_of_penalties_equally_good_the_strongest_is_chosen(probe: Ridge | Logistic):
    assert readout.read(probe, *problem(distance=8.0), 3)["penalty"] == max(probe.penalties)


@pytest.mark.parametrize("probe", CHOOSERS, ids=named)
def test_several_penalties_need_validation_rows(probe: Probe):
    train, _, test = problem()
    with pytest.raises(ValueError, match=r"hold out a share .* or give one penalty"):
        readout.read(probe, train, EMPTY, test, 3)
    with pytest.raises(ValueError, match="none given"):
        readout.read(type(probe)(penalties=()), *problem(), 3)


@pytest.mark.parametrize(
    "probe", [Ridge(penalties=(0.1,)), Logistic(penalties=(0.1,)), ADAM, MLP, Neighbours(k=20)], ids=named
)
def test_nothing_is_said_of_validation_without_validation_rows(probe: Probe):
    train, validation, test = problem()
    found = readout.read(probe, train, EMPTY, test, 3)
    full = readout.read(probe, train, validation, test, 3)
    assert found == {name: value for name, value in full.items() if name != "validation"}


# Ridge


@pytest.mark.parametrize("width", [6, 90], ids=["primal", "dual"])
def test_ridge_solves_the_normal_equations(width: int):
    x, label = blobs(50, width)
    (fit,) = readout._ridge(Features(x, label), [0.03], 3)
    xc, yc = x - x.mean(0), onehot(label, 3) - onehot(label, 3).mean(0)
    penalty = 0.03 * len(x) * (xc**2).mean()
    np.testing.assert_allclose(xc.T @ xc @ fit.weight + penalty * fit.weight, xc.T @ yc, atol=1e-9)


@pytest.mark.parametrize("width", [6, 90], ids=["primal", "dual"])
def test_ridge_agrees_with_scikit_learn_at_every_penalty(width: int):
    from sklearn.linear_model import Ridge as PeerRidge

    x, label = blobs(50, width)
    penalties = [1e-4, 1e-2, 1.0]
    for penalty, fit in zip(penalties, readout._ridge(Features(x, label), penalties, 3), strict=True):
        peer = PeerRidge(alpha=penalty * len(x) * ((x - x.mean(0)) ** 2).mean()).fit(x, onehot(label, 3))
        np.testing.assert_allclose(readout._affine(fit, x), peer.predict(x), atol=1e-7)
        np.testing.assert_allclose(fit.weight, peer.coef_.T, atol=1e-7)


@pytest.mark.parametrize("width", [6, 90])
def test_primal_and_dual_factors_give_the_same_weights(width: int):
    train = blobs(50, width)
    mean, prior = train.features.mean(0), np.bincount(train.label) / 50
    weights = [
        left @ (right / (squares + 0.7)[:, None])
        for left, squares, right in (form(train, mean, prior) for form in (readout._primal, readout._dual))
    ]
    np.testing.assert_allclose(*weights, atol=1e-10)


def test_ridge_with_a_huge_penalty_predicts_the_class_shares():
    train = blobs(60)
    (fit,) = readout._ridge(train, [1e12], 3)
    np.testing.assert_allclose(
        readout._affine(fit, train.features), onehot(train.label, 3).mean(0)[None] * np.ones((60, 1))
    )


# Logistic


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_logistic_is_at_the_minimum_of_the_stated_loss(dtype: type, classes: int):
    """Softmax's, whose slope is zero there, at every penalty; also where a class has no rows, and with two classes."""
    x, label = blobs(300, distance=0.5, classes=classes)
    label = np.where(label == 1, classes, label)  # none of class 1
    x = (x * np.arange(1, 9)).astype(dtype)
    standard, scale = (x - x.mean(0)) / x.std(0), x.std(0)[:, None]
    penalties = [1e-3, 1e-1, 1e-2]
    for penalty, fit in zip(penalties, readout._logistic(Features(x, label), penalties, classes + 1), strict=True):
        share = scipy.special.softmax(readout._affine(fit, x), axis=1)
        assert (share[:, 1] == 0).all()
        error = (share - onehot(label, classes + 1)) / len(x)
        assert np.abs(standard.T @ error + penalty * fit.weight * scale).max() < 1e-4
        assert np.abs(error.sum(0)).max() < 1e-4


def test_logistic_of_one_class_says_that_class():
    train, validation, test = problem()
    one = Features(train.features, np.full_like(train.label, 2))
    assert readout.read(Logistic(), one, validation, test, 3)["train"] == 1.0


def test_logistic_is_free_of_each_features_unit_and_origin():
    parts = problem(distance=0.5)
    moved = [Features(part.features * np.arange(1, 9) - 50, part.label) for part in parts]
    assert readout.read(Logistic(), *moved, 3) == pytest.approx(readout.read(Logistic(), *parts, 3), abs=2e-5)


# Neighbours


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.1), (15, 0.1), (40, 0.02)])
def test_neighbours_agree_with_scikit_learn(k: int, temperature: float):
    from sklearn.neighbors import KNeighborsClassifier

    train, validation, test = (blobs(n, distance=0.4, seed=n) for n in (3000, 100, 400))
    peer = KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / temperature))
    accuracy = peer.fit(train.features, train.label).score(test.features, test.label)
    found = readout.read(Neighbours(k=k, temperature=temperature), train, validation, test, 3)
    assert found["accuracy"] == pytest.approx(accuracy)


def test_a_single_neighbour_finds_itself():
    train, validation, _ = problem(distance=0.1)
    assert readout.read(Neighbours(k=1), train, validation, train, 3)["accuracy"] == 1.0


def test_length_of_a_row_does_not_move_its_neighbours():
    train, validation, test = problem(distance=0.5)
    length = np.random.default_rng(0).uniform(0.1, 10, size=(300, 1))
    stretched = Features(train.features * length, train.label)
    probe = Neighbours(k=20)
    assert readout.read(probe, stretched, validation, test, 3) == readout.read(probe, train, validation, test, 3)


def test_a_tiny_temperature_is_the_single_nearest_neighbour():
    parts = problem(distance=0.3)
    cold = readout.read(Neighbours(k=50, temperature=1e-9), *parts, 3)
    assert cold == readout.read(Neighbours(k=1), *parts, 3)


# Adam


def torch_course(probe: AdamProbe, train: Features, classes: int) -> list[torch.Tensor]:
    """[feature + 1, class] weights after each epoch, by torch's own layer, loss and optimiser."""
    generator = torch.Generator().manual_seed(probe.seed)
    x, label = torch.tensor(train.features, dtype=torch.float32), torch.tensor(train.label)
    layer = torch.nn.Linear(x.shape[1], classes)
    torch.nn.init.kaiming_uniform_(layer.weight, a=5**0.5, generator=generator)
    torch.nn.init.uniform_(layer.bias, -(x.shape[1] ** -0.5), x.shape[1] ** -0.5, generator=generator)
    loss = torch.nn.CrossEntropyLoss(label_smoothing=probe.smoothing)
    rule = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[probe.optimizer]
    optimiser = rule(layer.parameters(), lr=probe.lr, weight_decay=probe.weight_decay)
    course = []
    for _ in range(probe.epochs):
        for drawn in torch.randperm(len(x), generator=generator).split(probe.batch):
            optimiser.zero_grad()
            loss(layer(x[drawn]), label[drawn]).backward()
            optimiser.step()
        course.append(torch.cat((layer.weight.detach().T, layer.bias.detach()[None])).clone())
    return course


@pytest.mark.parametrize("decay", [1e-6, 0.1])
@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_adam_probe_follows_torchs_layer_loss_and_optimiser(optimizer: str, decay: float):
    train = blobs(300, distance=0.5)
    probe = AdamProbe(optimizer=optimizer, lr=1e-2, weight_decay=decay, epochs=4, batch=64, seed=3)  # pyright: ignore[reportArgumentType]
    x, label = readout._stack([train], "cpu")
    ours = [score(x)[0] for score in readout._epochs(probe, x, label, 3)]
    for mine, theirs in zip(ours, torch_course(probe, train, 3), strict=True):
        torch.testing.assert_close(mine, x[0] @ theirs[:-1] + theirs[-1], rtol=1e-4, atol=1e-4)


def test_problems_trained_together_keep_their_own_scores_and_course():
    problems = [tuple(blobs(n, distance=d, seed=n) for n in (300, 100, 400)) for d in (0.3, 0.6, 2.0)]
    together = readout._trained(ADAM, problems, 3, "cpu")
    for (scores, course), problem in zip(together, problems, strict=True):
        ((alone, lone_course),) = readout._trained(ADAM, [problem], 3, "cpu")
        for name in ("train", "validation", "test"):
            np.testing.assert_allclose(getattr(scores, name), getattr(alone, name), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(course, lone_course, atol=0.003)
        assert course.shape == (ADAM.epochs,)


def test_adam_accuracy_is_the_last_epochs_and_the_best_is_beside_it():
    parts = problem(distance=0.3)
    courses = [readout.read(AdamProbe(lr=1e-2, epochs=n, batch=64), *parts, 3) for n in range(1, 7)]
    accuracies = [found["accuracy"] for found in courses]
    assert len(set(accuracies)) > 1
    assert [found["accuracy_best_epoch"] for found in courses] == list(np.maximum.accumulate(accuracies))


def test_adam_seed_sets_start_and_order():
    train = blobs(300)
    x, label = readout._stack([train], "cpu")
    ends = [[*readout._epochs(AdamProbe(epochs=1, seed=s), x, label, 3)][-1](x) for s in (0, 0, 1)]
    assert torch.equal(ends[0], ends[1])
    assert not torch.allclose(ends[0], ends[2], atol=1e-3)


def test_adam_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    readout.read(ADAM, *problem(), 3)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("probe", [ADAM, MLP], ids=named)
def test_training_that_diverges_is_an_error_not_an_accuracy(probe: Probe):
    parts = [Features(part.features * 1e38, part.label) for part in problem()]
    with pytest.raises(ValueError, match=r"^(adam|mlp): scores are not finite"):
        readout.read(probe, *parts, 3)


# MLP


class Perceptron(torch.nn.Module):
    """The network of DIET spec §3.2, as one would write it down."""

    def __init__(self, width: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.first = torch.nn.Linear(width, hidden, bias=False)
        self.last = torch.nn.Linear(hidden, classes)
        self.norm = torch.nn.BatchNorm1d(hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.norm(self.first(x))))


def torch_scores(probe: MLPProbe, train: Features, rows: Features, classes: int) -> list[np.ndarray]:
    """Scores of `rows` after each epoch, by torch's own modules, loss and optimiser."""
    with torch.random.fork_rng():
        torch.manual_seed(probe.seed)
        net = Perceptron(train.features.shape[1], probe.expansion * train.features.shape[1], classes)
    x, label, other = (torch.tensor(part) for part in (train.features, train.label, rows.features))
    loss = torch.nn.CrossEntropyLoss(label_smoothing=probe.smoothing)
    optimiser = torch.optim.AdamW(net.parameters(), lr=probe.lr, weight_decay=probe.weight_decay)
    generator, found = torch.Generator().manual_seed(probe.seed), []
    for _ in range(probe.epochs):
        net.train()
        for drawn in torch.randperm(len(x), generator=generator).split(probe.batch):
            optimiser.zero_grad()
            loss(net(x[drawn].float()), label[drawn]).backward()
            optimiser.step()
        with torch.no_grad():
            found.append(net.eval()(other.float()).numpy())
    return found


@pytest.mark.parametrize("decay", [1e-5, 0.5])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_mlp_probe_follows_torchs_modules_loss_and_optimiser(smoothing: float, decay: float):
    train, test = blobs(300, distance=0.5), blobs(50, distance=0.5, seed=1)
    probe = MLPProbe(lr=1e-2, weight_decay=decay, epochs=4, batch=64, smoothing=smoothing, expansion=2, seed=3)
    (x, rows), (label, _) = zip(*(readout._stack([part], "cpu") for part in (train, test)), strict=True)
    ours = [score(rows)[0].numpy() for score in readout._epochs(probe, x, label, 3)]
    for mine, theirs in zip(ours, torch_scores(probe, train, test, 3), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)


def exclusive_or(rows: int, seed: int) -> Features:
    """The class is whether the first two of eight features have one sign: no half-space holds more than chance."""
    features = np.random.default_rng(seed).normal(size=(rows, 8))
    return Features(features, (features[:, 0] * features[:, 1] > 0).astype(np.int64))


def test_mlp_reads_what_no_linear_probe_can():
    parts = [exclusive_or(rows, seed) for seed, rows in enumerate((2000, 500, 2000))]
    linear = [readout.read(probe, *parts, 2)["accuracy"] for probe in (Ridge(), Logistic(), ADAM)]
    assert linear == pytest.approx([0.5] * 3, abs=0.06)
    assert readout.read(MLP, *parts, 2)["accuracy"] > 0.9


def test_mlp_seed_sets_start_and_order_to_the_last_byte():
    x, label = readout._stack([blobs(300)], "cpu")
    probes = [MLPProbe(epochs=2, batch=64, seed=seed) for seed in (0, 0, 1)]
    one, again, other = ([*readout._epochs(probe, x, label, 3)][-1](x) for probe in probes)
    assert one.numpy().tobytes() == again.numpy().tobytes()
    assert not torch.allclose(one, other, atol=1e-3)


def test_mlp_accuracy_is_the_last_epochs_and_the_best_is_beside_it():
    parts = problem(distance=0.3)
    courses = [readout.read(MLPProbe(lr=1e-2, epochs=n, batch=64), *parts, 3) for n in range(1, 7)]
    accuracies = [found["accuracy"] for found in courses]
    assert len(set(accuracies)) > 1
    assert [found["accuracy_best_epoch"] for found in courses] == list(np.maximum.accumulate(accuracies))


def test_mlp_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    readout.read(MLP, *problem(), 3)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_mlp_leaves_out_a_last_batch_of_one_row_and_refuses_a_training_set_of_one():
    train, validation, test = problem()
    odd = Features(train.features[:129], train.label[:129])
    assert readout.read(MLP, odd, validation, test, 3)["accuracy"] > 0.9
    one = Features(train.features[:1], train.label[:1])
    with pytest.raises(ValueError, match="train features: 1 row, and mlp's batch-norm needs two"):
        readout.read(MLP, one, validation, test, 3)


# Start-up


def test_ridge_and_spectrum_import_neither_torch_nor_scipy():
    script = """
import sys, numpy as np
from entia import readout, spectrum
from entia.probes import Ridge
part = readout.Features(np.eye(4), np.arange(4))
readout.read(Ridge(), part, part, part, 4)
spectrum.summary(part.features)
print(sorted({"torch", "scipy", "sklearn", "pandas", "h5py"} & set(sys.modules)))
"""
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


# --- the stage ----------------------------------------------------------------------------------------------------


def stage_of(probe: Probe, monkeypatch) -> dict:
    """What the readout stage writes for embeddings whose train, validation and test rows differ."""
    draw = np.random.default_rng(0)
    arrays = {}
    for part, count, wide in (("train", 40, 1.0), ("validation", 20, 2.0), ("test", 30, 5.0)):
        arrays[f"00003/{part}/features"] = (draw.normal(size=(count, 6)) * wide ** np.arange(6)).astype(np.float32)
        arrays[f"00003/{part}/label"] = np.arange(count) % 2
    written = {}
    head = {"classes": ["a", "b"], "raw_sha256": "0"}
    monkeypatch.setattr(check, "open_whole", lambda *_: (arrays, head))
    monkeypatch.setattr(store, "write_json", lambda path, content, head: written.update(content))
    stages.readout(Readout(embed=Embed(pretrain=cell(), on=Subset(dataset="mnist5k")), probe=probe))
    return written["metrics"]["3"] | {"test features": arrays["00003/test/features"]}


def test_a_readouts_spectrum_is_of_the_test_embeddings(monkeypatch):
    found = stage_of(Ridge(), monkeypatch)
    wanted = spectrum.summary(found["test features"])
    assert wanted and {name: found[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("probe", "asked"),
    [(Ridge(), 0), (Logistic(), 0), (Neighbours(k=3), 0), (AdamProbe(epochs=2), 1), (MLPProbe(epochs=2), 1)],
)
def test_a_probe_that_is_trained_takes_a_device_and_no_other_does(probe, asked, monkeypatch):
    taken, used = [], []
    read = readout.read_many
    monkeypatch.setattr(stages, "take_device", lambda threads: taken.append(threads) or torch.device("meta"))
    monkeypatch.setattr(readout, "read_many", lambda *given: used.append(given[3]) or read(*given[:3]))
    stage_of(probe, monkeypatch)
    assert taken == [1] * asked and used == ["meta" if asked else "cpu"]
