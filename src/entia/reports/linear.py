"""The DIET papers' Figures 4 and 5: the linear model, drawn from `theory` alone."""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false, reportUnknownLambdaType=false

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from entia import config, datasets
from entia.reports import plots
from entia.theory import linear_model

SMOOTHING, NOISE, SPREAD = 0.8, 0.5, 0.3
"""Label smoothing; root-mean-square length of the augmentation noise in Σ and of a sample's way from its cluster's mean
(of length 1). The first is the papers', the others ours."""
RECORD = np.unique(np.geomspace(1, 3000, 150).astype(int)).tolist()
CLASSES, EACH, SIDE, DRAWS = 5, 8, 12, 500
"""The real images: digits 0 to 4, eight each, pixels a side, and augmented views of each that Σ is sampled with."""
LEVELS: tuple[dict[str, object], ...] = (
    {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "jitter": 0.0, "greyscale": 0.0},
    {"jitter": 0.0, "greyscale": 0.0},
    {"jitter": 0.3, "hue": 0.2, "greyscale": 0.2},
    {"jitter": 0.3, "hue": 0.2, "greyscale": 0.2, "blur": 0.2, "erase": 0.25},
)
"""The four augmentation levels (DIET spec §2.2), flips apart, as fields of `config.Augmentation`."""


class Case(NamedTuple):
    """A trained linear model beside its optimum. `interactions` are A = W V X, indices by inputs."""

    name: str
    inputs: Float[np.ndarray, "input datum"]
    training: linear_model.Training
    optimum: float
    interactions: Float[np.ndarray, "index datum"]

    def gap(self) -> Float[np.ndarray, " record"]:
        """How far the loss lies above the optimum at each recorded update, in nats or squared error."""
        return self.training.loss - self.optimum


def cases() -> list[Case]:
    """The papers' setting, four clusters of four samples: coinciding and spread, under both losses.

    Squared error has width 4 and, for spread samples, augmentation noise in Σ: without noise all directions of 16
    independent samples are worth the same. Cross-entropy of spread samples has width 16, for its optimum has no limit
    on rank and needs 15.
    """
    found: list[Case] = []
    for spread, named in ((0.0, "coinciding samples"), (SPREAD, "spread samples")):
        x = linear_model.clusters(np.random.default_rng(0), spread=spread)
        dim, count = x.shape
        moment = x @ x.T / count + (NOISE**2 / dim * np.eye(dim) if spread else 0.0)
        square = linear_model.linear_diet(moment, x, 4).loss
        entropy = linear_model.smoothed_optimum(x, SMOOTHING).loss
        found += [
            _case(f"{named}, squared error", x, linear_model.squared_error(moment, x), 4, square),
            _case(f"{named}, cross-entropy", x, linear_model.cross_entropy(x, SMOOTHING), 16 if spread else 4, entropy),
        ]
    return found


def _case(name: str, x: np.ndarray, objective: linear_model.Objective, width: int, optimum: float) -> Case:
    trained = linear_model.train(objective, (x.shape[1], x.shape[0]), width, [0, *RECORD], np.random.default_rng(1))
    return Case(name, x, trained, optimum, trained.head @ trained.encoder @ x)


class Moments(NamedTuple):
    """Second moment Σ of all augmented views of a few images, and each image's mean view (columns)."""

    second: Float[np.ndarray, "input input"]
    means: Float[np.ndarray, "input datum"]


def digits(level: int, draws: int = DRAWS) -> Moments:
    """`Moments` of real digits, sorted by class, at an augmentation level, sampled with `draws` views of each."""
    import torch  # here, because it takes seconds to import and no other table or figure needs it

    from entia import views

    raw = datasets.read("mnist5k", Path(), SIDE).train
    kept = np.concatenate([np.flatnonzero(raw.label == digit)[:EACH] for digit in range(CLASSES)])
    drawn_by = {"mean": (33.4,), "std": (78.7,), "flip": 0.0, "crop_scale": (0.25, 1.0)} | LEVELS[level]
    policy = config.Augmentation(**drawn_by)
    pixels, index = torch.from_numpy(raw.pixels[kept]), torch.from_numpy(raw.index[kept])
    drawn = views.augment(pixels, index, draws if level else 1, policy, 0, 1)
    flat = drawn.flatten(2).double().numpy()
    means, flat = flat.mean(axis=0).T, flat.reshape(-1, flat.shape[-1])
    return Moments(flat.T @ flat / len(flat), means)


def on_digits(moments: Moments, width: int) -> tuple[linear_model.LinearOptimum, Case]:
    """The closed form on real images, and gradient descent in whitened inputs, where the same optimum is soon reached.

    The case's encoder takes whitened inputs.
    """
    best = linear_model.linear_diet(moments.second, moments.means, width)
    white = linear_model.whitening(moments.second)
    x = white @ moments.means
    objective = linear_model.squared_error(white @ moments.second @ white, x)
    return best, _case("40 digits, squared error", x, objective, width, best.loss)


def linear_optimum() -> Figure:
    """DIET's linear model, learned against optimal: the input, the learned head W, and the loss above its optimum.

    Four rows are the papers' setting (`cases`); the last is real digits at augmentation level 3, with the rows of the
    optimal encoder V* as images and the spectrum N s_k².
    """
    with threadpool_limits(1):  # the number of threads changes a sum's last bits, and many are slower here
        found = cases()
        best, real = on_digits(digits(3), 8)
    figure, panels = plots.panels(len(found) + 1, 3, width=3.7, height=2.7)
    for row, case in zip(panels, found, strict=False):
        _matrix(row[0], case.inputs, f"input X: {case.name.split(',')[0]}", "sample", "input dimension")
        turned = np.linalg.svd(case.training.head, full_matrices=False)
        _matrix(row[1], turned[0] * turned[1], "learned W (principal axes)", "axis", "index")
        _gap(row[2], case)
    rows = best.encoder / np.abs(best.encoder).max(axis=1, keepdims=True)
    filters = rows.reshape(2, 4, SIDE, SIDE).transpose(0, 2, 1, 3).reshape(2 * SIDE, 4 * SIDE)
    _matrix(panels[-1][0], filters, "40 digits, level 3: rows of V* as images", "", "")
    panels[-1][0].set_aspect("equal")
    for edge in (1, 2, 3):
        panels[-1][0].axvline(edge * SIDE - 0.5, color="0.3", lw=0.6)
    panels[-1][0].axhline(SIDE - 0.5, color="0.3", lw=0.6)
    panels[-1][1].plot(np.arange(1, len(best.spectrum) + 1), real.inputs.shape[1] * best.spectrum**2, "o-", ms=3)
    panels[-1][1].axvline(8.5, color="0.6", lw=0.8, ls=":")
    panels[-1][1].set(xlabel="direction k", ylabel="N s_k²", title="share of between-image energy")
    _gap(panels[-1][2], real)
    figure.supxlabel(
        f"Four clusters of four samples as in the paper; dimension 32, spread {SPREAD:g}, noise {NOISE:g} and the real "
        "images are ours. The closed forms are derived by us (the paper's equations were not found). W is turned to "
        "its principal axes, which the loss leaves open; each row of V* has a scale of its own. The gap is cut off at "
        "1e−16, what 64-bit numbers hold."
    )
    return figure


def _matrix(axes: Axes, values: np.ndarray, title: str, xlabel: str, ylabel: str) -> None:
    most = float(np.abs(values).max())
    axes.imshow(values, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto", interpolation="nearest")
    axes.set(xlabel=xlabel, ylabel=ylabel, xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)
    axes.spines[:].set_visible(True)


def _gap(axes: Axes, case: Case) -> None:
    axes.plot(case.training.step[1:], np.maximum(case.gap()[1:], 1e-16))
    axes.axhline(1e-7, color="0.6", lw=0.8, ls=":")
    axes.text(1, 1.6e-7, "1e−7 (the paper's)", fontsize=7, color="0.4")
    axes.set(xscale="log", yscale="log", xlabel="updates", ylabel="loss − optimum")
    end = f"optimum {case.optimum:.6f}\ngap at the end {case.gap()[-1]:.0e}"
    axes.set_title(f"{case.name.split(', ')[1]}: {end}".replace("-", "−").replace("cross−", "cross-"), fontsize=9)


def interactions() -> Figure:
    """The clustered input X beside A = W V X at the trained optimum, with the share of A's energy inside the blocks.

    Below, real digits sorted by class: W V X̄ at augmentation levels 0 to 3 and two widths, by closed form. W Wᵀ is not
    drawn apart: with codes white under Σ, W V X̄ = N W Wᵀ.
    """
    with threadpool_limits(1):
        found = cases()
        moments = [digits(level) for level in range(len(LEVELS))]
        best = {
            (level, width): linear_model.linear_diet(*moments[level], width)
            for width in (CLASSES, 4 * CLASSES)
            for level in range(len(LEVELS))
        }
    figure, panels = plots.panels(4, 4, width=2.9, height=2.7)
    for row, pair in zip(panels, (found[:2], found[2:]), strict=False):
        _matrix(row[0], pair[0].inputs, f"input X: {pair[0].name.split(',')[0]}", "sample", "input dimension")
        for axes, case in zip(row[1:], pair, strict=False):
            _blocks(axes, case.interactions, 4, f"A, {case.name.split(', ')[1]}")
    _shares(
        panels[0][3],
        [(case.name.replace(", ", ",\n"), linear_model.block_energy(case.interactions, 4)) for case in found],
    )
    real = {key: one.head @ one.encoder @ moments[key[0]].means for key, one in best.items()}
    _class_shares(panels[1][3], real)
    for place, (level, width) in enumerate(real):
        axes = panels[2 + place // 4][place % 4]
        _blocks(axes, real[level, width], EACH, f"W V X̄: level {level}, K = {width}")
    figure.supxlabel(
        "Top: four clusters of four. That A is the matrix of predicted interactions W V X is our reading; each "
        "column's share is taken relative to its mean over other clusters' indices, which a softmax ignores. Spread "
        "samples under cross-entropy are told apart one by one, so that A's blocks hold their diagonal alone. Below: "
        f"{CLASSES * EACH} real digits sorted by class (blocks: classes); W Wᵀ is the same picture, W V X̄ / N. At "
        "level 0 nothing tells directions apart (all N s_k² are 1): what is drawn there is one of many optima."
    )
    return figure


def _blocks(axes: Axes, values: np.ndarray, size: int, title: str) -> None:
    share = linear_model.block_energy(values, size)
    _matrix(axes, values, f"{title}\n{100 * share:.1f} % of energy inside", "input", "index")
    for edge in range(size, len(values), size):
        axes.axhline(edge - 0.5, color="0.3", lw=0.4)
        axes.axvline(edge - 0.5, color="0.3", lw=0.4)


def _shares(axes: Axes, shares: list[tuple[str, float]]) -> None:
    names, values = zip(*shares, strict=True)
    axes.barh(range(len(names)), [100 * value for value in values], color=plots.COLOURS[0])
    axes.axvline(25, color="0.6", lw=0.8, ls=":")
    axes.set_yticks(range(len(names)), names, fontsize=6)
    axes.invert_yaxis()
    axes.set_xlabel("% of A's energy inside\n(dotted: of noise)", fontsize=8)


def _class_shares(axes: Axes, real: dict[tuple[int, int], np.ndarray]) -> None:
    for width in dict.fromkeys(width for _, width in real):
        shares = [100 * linear_model.block_energy(real[level, width], EACH) for level in range(len(LEVELS))]
        axes.plot(range(len(LEVELS)), shares, "o-", ms=4, label=f"K = {width}")
    axes.axhline(100 / CLASSES, color="0.6", lw=0.8, ls=":")
    axes.set(xlabel="augmentation level", xticks=range(len(LEVELS)))
    axes.set_ylabel("% of W V X̄ inside classes", fontsize=8)
    axes.legend(fontsize=7)
