"""Speed of our readouts beside scikit-learn's and beside the papers' protocol, on one thread, in one run.

    python benchmarks/readout.py [--quick] [--rounds 3]

Rows are synthetic: a Gaussian mixture passed through a random layer and a ReLU, with a decaying spectrum. Such data
suit least squares, so read the accuracies as a check that no method is starved, and the times as the result. Every
method is run once a round, in turn, so that a busy machine slows all of them. The papers' protocol in its plain form
(torch's DataLoader, layer, loss and optimiser) is timed for a few epochs and scaled to all of them; the column
`scaled` says by how much.
"""

import argparse
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from side_by_side import processor, write
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from threadpoolctl import threadpool_limits

from entia import readout, spectrum
from entia.probes import AdamProbe, Logistic, Neighbours, Ridge
from entia.readout import Features, Problem

LAMBDA = 1e-4
CLASSES = 10


class Timed(NamedTuple):
    """One method: what runs and returns its test accuracy, and how many times longer the whole takes."""

    name: str
    run: Callable[[], float]
    scaled: float = 1.0
    scores: bool = True
    """False where what is returned, or is returned after so few epochs, is not the method's accuracy."""


def draw(train: int, validation: int, test: int, width: int, seed: int) -> Problem:
    """Three parts of one mixture, float32."""
    generator = np.random.default_rng(seed)
    inside = 64
    centres = generator.normal(size=(CLASSES, inside)) * 0.32
    mixing = generator.normal(size=(inside, width)) * np.arange(1, inside + 1)[:, None] ** -0.25

    def part(rows: int) -> Features:
        label = generator.integers(CLASSES, size=rows)
        hidden = (centres[label] + generator.normal(size=(rows, inside))) @ mixing
        noise = 0.5 * generator.normal(size=(rows, width))
        return Features(np.maximum(hidden + noise, 0).astype(np.float32), label)

    return part(train), part(validation), part(test)


def plain_adam(probe: AdamProbe, problem: Problem) -> float:
    """The papers' protocol as anyone would write it."""
    train, _, test = problem
    torch.manual_seed(probe.seed)
    rows = torch.utils.data.TensorDataset(torch.tensor(train.features), torch.tensor(train.label))
    loader = torch.utils.data.DataLoader(rows, batch_size=probe.batch, shuffle=True)
    layer = torch.nn.Linear(train.features.shape[1], CLASSES)
    loss = torch.nn.CrossEntropyLoss(label_smoothing=probe.smoothing)
    optimiser = torch.optim.Adam(layer.parameters(), lr=probe.lr, weight_decay=probe.weight_decay)
    for _ in range(probe.epochs):
        for x, label in loader:
            optimiser.zero_grad()
            loss(layer(x), label).backward()
            optimiser.step()
    with torch.no_grad():
        return (layer(torch.tensor(test.features)).argmax(1).numpy() == test.label).mean().item()


def peer_logistic(problem: Problem) -> float:
    train, _, test = problem
    mean, scale = train.features.mean(0), train.features.std(0)
    peer = LogisticRegression(C=1 / (len(train.label) * LAMBDA), max_iter=1000)
    return peer.fit((train.features - mean) / scale, train.label).score((test.features - mean) / scale, test.label)


def peer_ridge(problem: Problem) -> float:
    train, _, test = problem
    alphas = np.array(Ridge().penalties) * len(train.label) * train.features.var(0).mean()
    return RidgeClassifierCV(alphas=alphas).fit(train.features, train.label).score(test.features, test.label)


def methods(problem: Problem, several: list[Problem], epochs: int, short: int) -> list[Timed]:
    adam, plain = AdamProbe(epochs=epochs), AdamProbe(epochs=short)

    def ours(probe: Ridge | Logistic | AdamProbe | Neighbours) -> Callable[[], float]:
        return lambda: readout.read(probe, *problem, CLASSES)["accuracy"]

    def together() -> float:
        return readout.read_many(AdamProbe(epochs=short), several, CLASSES)[0]["accuracy"]

    return [
        Timed("ridge, 7 penalties", ours(Ridge())),
        Timed("scikit-learn RidgeClassifierCV, 7 penalties", lambda: peer_ridge(problem)),
        Timed("logistic, 1 penalty", ours(Logistic(penalties=(LAMBDA,)))),
        Timed("logistic, 4 penalties", ours(Logistic())),
        Timed("scikit-learn LogisticRegression, 1 penalty", lambda: peer_logistic(problem)),
        Timed("adam, the papers' protocol", ours(adam)),
        Timed("adam, plain torch with DataLoader", lambda: plain_adam(plain, problem), epochs / short, scores=False),
        Timed("adam, one checkpoint", ours(AdamProbe(epochs=short)), epochs / short, scores=False),
        Timed(f"adam, {len(several)} checkpoints", together, epochs / short, scores=False),
        Timed("neighbours, k 200", ours(Neighbours())),
        Timed("spectrum summary", lambda: spectrum.summary(problem[0].features)["alpha_r2"], scores=False),
    ]


def measure(timed: list[Timed], rounds: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of every round, scaled to the whole, and the accuracy, of every method."""
    seconds: dict[str, list[float]] = {each.name: [] for each in timed}
    accuracy: dict[str, float] = {}
    for _ in range(rounds):
        for each in timed:
            start = perf_counter()
            accuracy[each.name] = each.run()
            seconds[each.name].append((perf_counter() - start) * each.scaled)
            print(f"{each.name:45} {seconds[each.name][-1]:8.2f} s  {accuracy[each.name]:.4f}", flush=True)
    return seconds, accuracy


def save(
    timed: list[Timed], seconds: dict[str, list[float]], accuracy: dict[str, float], rows: int, width: int
) -> None:
    reference = median(seconds["adam, the papers' protocol"])
    machine = {
        "rows": rows,
        "features": width,
        "classes": CLASSES,
        "threads": 1,
        "processor": processor(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    lines = [
        {
            "method": each.name,
            "seconds": f"{median(seconds[each.name]):.3f}",
            "least": f"{min(seconds[each.name]):.3f}",
            "most": f"{max(seconds[each.name]):.3f}",
            "rounds": len(seconds[each.name]),
            "scaled": each.scaled,
            "times_faster_than_our_adam": f"{reference / median(seconds[each.name]):.2f}",
            "accuracy": f"{accuracy[each.name]:.4f}" if each.scores else "",
        }
        for each in timed
    ]
    write("readout", [line | machine for line in lines])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="5,000 rows of 128 features, 20 epochs")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)
    rows, width, epochs, short, count = (5000, 128, 20, 4, 20) if arguments.quick else (50_000, 512, 200, 4, 20)
    problem = draw(rows, rows // 10, rows // 5, width, seed=0)
    timed = methods(problem, [problem] * count, epochs, short)
    for each in methods(draw(500, 500, 500, 8, seed=1), [], 1, 1)[:7]:
        each.run()  # what a first call imports is not what is timed
    seconds, accuracy = measure(timed, arguments.rounds)
    save(timed, seconds, accuracy, rows, width)

    def ratio(slow: str, fast: str) -> str:
        return f"{slow} / {fast}: {median(seconds[slow]) / median(seconds[fast]):.2f}"

    ridge, adam = "ridge, 7 penalties", "adam, the papers' protocol"
    print(ratio(adam, ridge), "(goal: 20 or more)")
    print(ratio("adam, plain torch with DataLoader", ridge))
    print(ratio("adam, plain torch with DataLoader", adam))
    print(ratio("scikit-learn LogisticRegression, 1 penalty", "logistic, 1 penalty"))
    print(ratio("scikit-learn RidgeClassifierCV, 7 penalties", ridge))
    print(
        ratio(f"adam, {count} checkpoints", "adam, one checkpoint"),
        "(goal on a GPU: 2 or less; a CPU reads them one by one)",
    )
    print(f"accuracy of ridge less adam's: {accuracy[ridge] - accuracy[adam]:+.4f}")


if __name__ == "__main__":
    main()
