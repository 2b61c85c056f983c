"""The DIET papers' tables and figures: readouts in, a data frame or a matplotlib figure out.

Accuracy is a probe's on the frozen encoder's embeddings; `online` is the linear probe trained along with the encoder
(DIET spec §3.1). The last epoch's and the best epoch's stand in columns and lines of their own: the papers' scripts
tabulate the best, which is chosen on the test split and so is flattered.

Papers: 2302.10260, 2406.10743, OpenReview GFNTbsVFlP. Figures 4 and 5 are drawn from `theory` alone.
"""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false, reportUnknownLambdaType=false

import math
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from entia import config, datasets, results, theory
from entia.claims.intervals import spearman
from entia.planning import drawings
from entia.planning.drawings import AXES
from entia.reports import figures, tables

METHODS = ("diet", "supervised", "sdiet", *results.SSL)
"""In the order of their colours."""
EARLY = 31
"""Epochs that the batch-size figure's first curve looks at (DIET spec §7)."""

LEVELS: tuple[dict[str, object], ...] = (
    {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "jitter": 0.0, "greyscale": 0.0},
    {"jitter": 0.0, "greyscale": 0.0},
    {"jitter": 0.3, "hue": 0.2, "greyscale": 0.2},
    {"jitter": 0.3, "hue": 0.2, "greyscale": 0.2, "blur": 0.2, "erase": 0.25},
)
"""The four augmentation levels (DIET spec §2.2), flips apart, as fields of `config.Augmentation`."""


READ_AS = (
    "last epoch: a probe on the frozen encoder's embeddings of clean images; best epoch: the largest of the saved "
    "epochs', chosen on the test split, as the papers' scripts tabulate it; online: the probe trained along"
)
"""What a table's columns of accuracy are."""


def draw(drawing: drawings.Drawing, rows: pd.DataFrame) -> Figure:
    """A figure of the DIET papers."""
    match drawing:
        case drawings.DietLoss():
            return loss(rows)
        case drawings.DietSizes():
            return sizes(rows)
        case drawings.DietCurves(along=along, panel=panel):
            return curves(rows, along, panel)
        case drawings.DietBatch():
            return batch(rows)
        case drawings.DietRank():
            return rank(rows)
        case drawings.DietLinearOptimum():
            return linear_optimum()
        case drawings.DietInteractions():
            return interactions()
        case other:
            raise ValueError(f"reports: figure {other!r} is no figure")


# --- readouts, run by run ---------------------------------------------------------------------------------------------


def described(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, each readout once, with the augmentation `level` and the learning `rate`."""
    rows = results.unique(rows)
    per = rows["optimizer.lr_per"].astype(float).fillna(rows["batch"]) if "optimizer.lr_per" in rows else rows["batch"]
    return rows.assign(
        level=[results.augmentation_level(row) for row in rows.to_dict("records")],
        rate=rows["optimizer.lr"] * rows["batch"] / per,
    )


def runs(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a readout: its last epoch's, with `best`, `online` and `online_best` beside `accuracy`.

    `best` is the largest accuracy on the test split over the saved epochs, not a number where one epoch was saved;
    `online` the online probe's at the last epoch and `online_best` its largest, over all epochs where the log's
    running best (`probe_best`) is given, else over the saved ones. No value stands in for a missing one.
    """
    rows = described(rows)
    for column in {"probe_accuracy", "accuracy"} - set(rows):
        rows[column] = math.nan
    groups = rows.groupby("readout")
    saved = groups["epoch"].transform("nunique")
    rows = rows.assign(
        best=groups["accuracy"].transform("max").where(saved > 1),
        online=rows["probe_accuracy"],
        online_best=groups["probe_best" if "probe_best" in rows else "probe_accuracy"].transform("max"),
    )
    return results.last(rows)


def _axes(rows: pd.DataFrame) -> list[str]:
    """The columns of `AXES` that tell rows of one method apart, and the method and encoder always."""
    present = [name for name in AXES if name in rows]
    within = rows.groupby("method.name")[present].nunique(dropna=False).max()
    return [name for name in present if name in ("encoder.name", "method.name") or within[name] > 1]


def picked(found: pd.DataFrame, by: list[str], column: str) -> pd.DataFrame:
    """Of each group, the runs at the value of `column` that `results.best_weights` chooses; those without one stay."""
    chosen = found[found[column].notna()]
    kept = results.best_weights(chosen.assign(weight=chosen[column]), by) if len(chosen) else chosen
    return pd.concat([kept, found[found[column].isna()]])


# --- tables -----------------------------------------------------------------------------------------------------------


def accuracy(rows: pd.DataFrame, known: pd.DataFrame, pick: str = "") -> pd.DataFrame:
    """Accuracy by all that tells runs apart: last epoch and best epoch, offline and online, means over seeds, per cent.

    `pick`: a column of which each row shows the best value alone; the heading says on what it was chosen. `reported` is
    the papers' own and `literature` another source's, where one is known for the row's data, method and encoder.
    """
    return _tabled(runs(rows), known, pick, {})


def cost(rows: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """`accuracy`, and what it took: minutes of training, seconds an epoch, peak memory, rank of the embeddings.

    Memory is a GPU allocator's peak, or a CPU process's, libraries and all.
    """
    found = runs(results.timed(rows)[0])
    found = found.assign(seconds=60 * found["minutes"] / found["epochs"])
    spent = {
        "minutes": ("minutes", "mean"),
        "seconds an epoch": ("seconds", "mean"),
        "peak MiB": ("peak_mib", "max"),
        "RankMe": ("rankme", "mean"),
    }
    return _tabled(found, known, "", {name: how for name, how in spent.items() if how[0] in found})


def _tabled(found: pd.DataFrame, known: pd.DataFrame, pick: str, more: dict[str, tuple[str, str]]) -> pd.DataFrame:
    by = [name for name in _axes(found) if name != pick]
    headings = AXES | {name: tables.NAMES[name] for name in tables.BASELINES}
    if pick:
        on = "the validation split" if results.chosen_on(found) == "validation" else "the TEST split"
        headings |= {pick: f"{AXES[pick]} (best on {on})"}
        found, by = picked(found, by, pick), [*by, pick]
    if found.duplicated([*by, "seed"]).any():
        raise ValueError(f"runs of one seed differ in no column of the table: {', '.join(by)}; add what they differ in")
    groups = results.counted(found).groupby(by, as_index=False, dropna=False)
    table = groups.agg(
        **{
            "last epoch %": ("accuracy", "mean"),
            "sd": ("accuracy", "std"),
            "best epoch on test %": ("best", "mean"),
            "sd of best": ("best", "std"),
            "online, last %": ("online", "mean"),
            "online, best on test %": ("online_best", "mean"),
            "n": ("ended", "nunique"),
            "diverged": ("diverged", "sum"),
            **{name: (name, "mean") for name in tables.BASELINES if name in found},
            **more,
        }
    )
    shares = [
        "last epoch %",
        "sd",
        "best epoch on test %",
        "sd of best",
        "online, last %",
        "online, best on test %",
        *(name for name in tables.BASELINES if name in found),
    ]
    table[shares] = (100 * table[shares]).round(2)
    said = [_said(known, found, row) for row in table.to_dict("records")]
    return (
        tables.without_none(table)
        .rename(columns=headings)
        .assign(**{name: [one[name] for one in said] for name in said[0]})
    )


def _said(known: pd.DataFrame, found: pd.DataFrame, row: dict[str, object]) -> dict[str, str]:
    """The values known for a table's row, by heading."""
    data = row.get("subset.dataset", found["subset.dataset"].iloc[0])
    of = known[
        (known["dataset"] == results.plain(data))
        & (known["method"] == row["method.name"])
        & (known["arm"] == row["encoder.name"])
    ]
    literature = of["quantity"].str.startswith("literature")
    parts = {"reported %": of[~literature], "literature %": of[literature]}
    return {
        name: f"{part.iloc[0]['value']} ({part.iloc[0]['source']})" if len(part) else tables.UNKNOWN
        for name, part in parts.items()
    }


# --- figures of readouts ----------------------------------------------------------------------------------------------


def loss(rows: pd.DataFrame) -> Figure:
    """DIET's training loss against accuracy, a point for each saved epoch of each run; colour: label smoothing.

    Left the loss; right what it lies above its floor H(a, N), without which levels are not comparable (DIET spec §8.2).
    Spearman's ρ for each level and over all. A row of panels for each data set.
    """
    rows = above_floor(rows)
    parts = list(figures._parts(rows, ["subset.dataset"]))
    levels = sorted(rows["method.smoothing"].unique())
    shade = dict(zip(levels, _shades(len(levels)), strict=True))
    figure, panels = figures._panels(len(parts), 2, width=5.2, height=4.2 + 0.1 * len(levels))
    for pair, (title, part) in zip(panels, parts, strict=True):
        for axes, column, label in zip(
            pair, ("loss", "excess"), ("DIET's training loss (nats)", "training loss − H(a, N) (nats)"), strict=True
        ):
            _scatter(axes, part, column, shade)
            pooled = f"all levels: {_rho_text(part, column)}"
            axes.set(xlabel="test accuracy (%)", ylabel=label)
            axes.set_title(figures._titled(title, pooled), fontsize=9)
    figure.supxlabel(
        "Each point: a saved epoch of a run. ρ: Spearman's. Epochs of a run depend on each other: no interval."
    )
    return figure


def above_floor(rows: pd.DataFrame) -> pd.DataFrame:
    """DIET's rows, each run's epochs once, with `excess`: the loss minus `theory.floor` of its smoothing and images."""
    rows = described(rows[rows["method.name"] == "diet"]).drop_duplicates(["cell", "epoch"])
    pairs = zip(rows["method.smoothing"], rows["images"], strict=True)
    return rows.assign(excess=rows["loss"] - [theory.floor(a, int(n)) for a, n in pairs])


def _rho_text(rows: pd.DataFrame, column: str) -> str:
    """Spearman's ρ of a column and accuracy over all saved epochs of all runs, and the number of runs."""
    count = rows["cell"].nunique()
    text = f"ρ = {spearman(rows[column], rows['accuracy']):.2f}, {count} run{'s' * (count != 1)}"
    return text.replace("-", "−")


def _scatter(axes: Axes, rows: pd.DataFrame, column: str, shade: dict[float, tuple[float, ...]]) -> None:
    for level, part in rows.groupby("method.smoothing"):
        name = f"a = {level:g}: {_rho_text(part, column)}"
        axes.scatter(100 * part["accuracy"], part[column], s=16, color=shade[level], label=name, alpha=0.85, lw=0)
    figures._floors(axes, rows, across="x")
    _below(axes, 2)


def _below(axes: Axes, columns: int) -> None:
    """A legend under the axis, where it hides no point."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), fontsize=7, ncols=columns, handlelength=3)


def _shades(count: int) -> list[tuple[float, ...]]:
    """Plasma, from yellow to purple as in the papers' Figure 1."""
    return list(map(tuple, mpl.colormaps["plasma"](np.linspace(0.88, 0.0, count))))


def sizes(rows: pd.DataFrame) -> Figure:
    """Accuracy against the number of training images, DIET's and supervised training's; a point a seed.

    A row of panels for each data set, a column for each encoder.
    """
    found = runs(rows)
    figure, panels = _grid(found)
    for (data, encoder), axes in panels:
        part = found[(found["subset.dataset"] == data) & (found["encoder.name"] == encoder)]
        for (method, depth), curve in part.groupby(["method.name", "projector.depth"]):
            name = f"{method}, {depth} projector layers" if depth and method in ("diet", "supervised") else str(method)
            _line(axes, curve, "images", "accuracy", name, _colour(method), "--" if "layers" in name else "-")
        axes.set(xscale="log", xlabel="training images", ylabel="test accuracy (%)", title=f"{data}, {encoder}")
        ticks = sorted(map(float, part["images"].unique()))
        axes.set_xticks(ticks, [figures._count(tick) if tick >= 1000 else f"{tick:g}" for tick in ticks])
        axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
        figures._floors(axes, part)
        axes.legend(fontsize=8)
    figure.supxlabel("Last epoch. Both train on the same images and are tested on the whole test split.")
    return figure


def _grid(rows: pd.DataFrame) -> tuple[Figure, list[tuple[tuple[str, str], Axes]]]:
    """A panel for each data set (rows) and encoder (columns) that was run together."""
    data, encoders = sorted(rows["subset.dataset"].unique()), sorted(rows["encoder.name"].unique())
    figure, panels = figures._panels(len(data), len(encoders))
    there = set(zip(rows["subset.dataset"], rows["encoder.name"], strict=True))
    found: list[tuple[tuple[str, str], Axes]] = []
    for row, one in zip(panels, data, strict=True):
        for axes, encoder in zip(row, encoders, strict=True):
            if (one, encoder) in there:
                found.append(((one, encoder), axes))
            else:
                axes.set_axis_off()
    return figure, found


def _colour(method: object) -> str:
    """A method's own colour; one for all that are not among `METHODS`."""
    return dict(zip(METHODS, (*figures.COLOURS, "0.5"), strict=True)).get(str(method), "0.75")


def _line(axes: Axes, rows: pd.DataFrame, x: str, y: str, name: str, colour: object, style: str = "-") -> None:
    """A line through the means over seeds of `y` (a fraction, drawn in per cent), and every seed's point."""
    means = rows.groupby(x)[y].mean()
    axes.plot(means.index, 100 * means, style, marker="o", ms=4, color=colour, label=name or None)
    axes.plot(rows[x], 100 * rows[y], marker=".", ms=4, ls="", color=colour, alpha=0.5)


def curves(rows: pd.DataFrame, along: str = "method.smoothing", panel: str = "encoder.name") -> Figure:
    """DIET's accuracy along training, a colour for each value of `along`; dashed: the online probe, where there is one.

    Lines are means over seeds, bands a standard deviation (n − 1). A panel for each data set and value of `panel`.
    """
    rows = described(rows[rows["method.name"] == "diet"])
    parts = list(figures._parts(rows, ["subset.dataset", panel]))
    columns = min(4, len(parts))
    figure, panels = figures._panels(math.ceil(len(parts) / columns), columns)
    for axes in [axes for row in panels for axes in row][len(parts) :]:
        axes.set_axis_off()
    values = sorted(rows[along].unique())
    shade = dict(zip(values, _shades(len(values)), strict=True))
    for axes, (title, part) in zip((axes for row in panels for axes in row), parts, strict=False):
        for value, arm in part.groupby(along):
            _curve(axes, arm, "accuracy", shade[value], f"{AXES[along]} {value:g}")
            if "probe_accuracy" in arm and arm["probe_accuracy"].notna().any():
                _curve(axes, arm, "probe_accuracy", shade[value], "")
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        axes.set(xlabel="epoch", ylabel="test accuracy (%)", title=title)
        figures._floors(axes, part)
        axes.legend(fontsize=7)
    figure.supxlabel(
        "Solid: a probe on frozen embeddings; dashed: the online probe. Bands: a standard deviation over seeds."
    )
    return figure


def _curve(axes: Axes, rows: pd.DataFrame, column: str, colour: object, name: str) -> None:
    online = column == "probe_accuracy"
    shown = rows.groupby("epoch")[column].agg(["mean", "std"]) * 100
    axes.plot(
        shown.index, shown["mean"], "--" if online else "-", lw=0.9 if online else 1.6, color=colour, label=name or None
    )
    if not online:
        low, high = shown["mean"] - shown["std"], shown["mean"] + shown["std"]
        axes.fill_between(shown.index, low, high, color=colour, alpha=0.15, lw=0)


def batch(rows: pd.DataFrame) -> Figure:
    """Accuracy and seconds an epoch against batch size, by method and by whether lr grows with the batch.

    Three curves of accuracy, all by one probe, the online one where every run has it: at the last epoch, best of all
    saved epochs, best of those in the first `EARLY`. A column for each data set. Times are of one machine's cells.
    """
    rows = described(rows)
    clocked, machine = results.on_one_machine(rows)
    online = "probe_accuracy" in rows and bool(rows["probe_accuracy"].notna().all())
    found = _by_batch(rows, "probe_accuracy" if online else "accuracy")
    parts = list(figures._parts(found, ["subset.dataset"]))
    figure, panels = figures._panels(2, len(parts), width=5.6)
    styles = {"last": "-", "overall": "--", "early": ":"}
    named = {"last": "last epoch", "overall": "best epoch", "early": f"best of the first {EARLY} epochs"}
    for (title, part), top, below in zip(parts, *panels, strict=True):
        shown = [column for column in styles if part[column].notna().any()]
        for (method, scaled), arm in part.groupby(["method.name", "scaled"]):
            name = f"{method}, lr {'∝ batch' if scaled else 'fixed'}"
            for column in shown:
                _line(top, arm, "batch", column, "", _tone(method, scaled), styles[column])
            seconds = arm[arm["cell"].isin(clocked["cell"])].groupby("batch")["seconds"].mean()
            below.plot(seconds.index, seconds, "o-", ms=4, color=_tone(method, scaled), label=name)
        top.set(ylabel=f"{'online' if online else 'readout'} accuracy (%)", title=title)
        below.set(ylabel="seconds an epoch", ylim=(0, None))
        for axes in (top, below):
            axes.set_xscale("log", base=2)
            axes.set_xticks(sorted(part["batch"].unique()), [str(size) for size in sorted(part["batch"].unique())])
            axes.set(xlabel="batch")
        for column in shown:
            top.plot([], [], styles[column], color="0.4", label=named[column])
        figures._floors(top, part)
        _below(top, 3)
        _below(below, 3)
    figure.supxlabel(f"Best epochs are of the saved ones and chosen on the test split. Times on {machine}.")
    return figure


def _tone(method: object, scaled: object) -> tuple[float, ...]:
    """A method's colour, paler where its learning rate stays fixed."""
    red, green, blue = mpl.colors.to_rgb(_colour(method))
    return (red, green, blue) if scaled else tuple(1 - 0.5 * (1 - part) for part in (red, green, blue))


def _by_batch(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """One row a readout: `last`, `overall` (best epoch), `early` (best of the first `EARLY`), `seconds`, `scaled`."""
    groups = rows.groupby("readout")
    early = rows[rows["epoch"] <= EARLY].groupby("readout")[column].max()
    last = results.last(rows)
    per = last["optimizer.lr_per"] if "optimizer.lr_per" in last else pd.Series(math.nan, index=last.index)
    return last.assign(
        last=last[column],
        overall=last["readout"].map(groups[column].max()),
        early=last["readout"].map(early).where(last["epochs"] > EARLY),  # of a short run it is the best epoch
        seconds=60 * last["minutes"] / last["epochs"],
        scaled=per.astype(float).notna(),
    )


def rank(rows: pd.DataFrame) -> Figure:
    """RankMe of the test embeddings by method: after training, a point a seed, and along training, means over seeds.

    RankMe is the exponential of the entropy of the normalised singular values of the test features, not centred; the
    paper's own definition was not found (DIET spec §9). A row of panels for each data set.
    """
    rows = described(rows)
    parts = list(figures._parts(rows, ["subset.dataset"]))
    figure, panels = figures._panels(len(parts), 2)
    for (after, course), (title, part) in zip(panels, parts, strict=True):
        means = results.last(part).groupby("method.name")["rankme"].mean().sort_values(ascending=False)
        for place, method in enumerate(means.index):
            ends = results.last(part)[lambda rows, name=method: rows["method.name"] == name]["rankme"]
            after.bar(place, means[method], color=_colour(method), alpha=0.35)
            after.plot(np.full(len(ends), place), ends, "o", ms=4, color=_colour(method))
            along = part[part["method.name"] == method].groupby("epoch")["rankme"].mean()
            course.plot(along.index, along, "o-", ms=3, color=_colour(method), label=method)
        after.set_xticks(range(len(means)), list(means.index), rotation=30, ha="right")
        after.set(ylabel="RankMe of test embeddings", title=figures._titled(title, "after training"))
        course.set(xlabel="epoch", ylabel="RankMe of test embeddings", title=figures._titled(title, "along training"))
        course.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        _below(course, 4)
    return figure


# --- the linear model -------------------------------------------------------------------------------------------------

SMOOTHING, NOISE, SPREAD = 0.8, 0.5, 0.3
"""Label smoothing; root-mean-square length of the augmentation noise in Σ and of a sample's way from its cluster's mean
(of length 1). The first is the papers', the others ours."""
RECORD = np.unique(np.geomspace(1, 3000, 150).astype(int)).tolist()
CLASSES, EACH, SIDE, DRAWS = 5, 8, 12, 500
"""The real images: digits 0 to 4, eight each, pixels a side, and augmented views of each that Σ is sampled with."""


class Case(NamedTuple):
    """A trained linear model beside its optimum. `interactions` are A = W V X, indices by inputs."""

    name: str
    inputs: Float[np.ndarray, "input datum"]
    training: theory.Training
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
        x = theory.clusters(np.random.default_rng(0), spread=spread)
        dim, count = x.shape
        moment = x @ x.T / count + (NOISE**2 / dim * np.eye(dim) if spread else 0.0)
        square = theory.linear_diet(moment, x, 4).loss
        entropy = theory.smoothed_optimum(x, SMOOTHING).loss
        found += [
            _case(f"{named}, squared error", x, theory.squared_error(moment, x), 4, square),
            _case(f"{named}, cross-entropy", x, theory.cross_entropy(x, SMOOTHING), 16 if spread else 4, entropy),
        ]
    return found


def _case(name: str, x: np.ndarray, objective: theory.Objective, width: int, optimum: float) -> Case:
    trained = theory.train(objective, (x.shape[1], x.shape[0]), width, [0, *RECORD], np.random.default_rng(1))
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


def on_digits(moments: Moments, width: int) -> tuple[theory.LinearOptimum, Case]:
    """The closed form on real images, and gradient descent in whitened inputs, where the same optimum is soon reached.

    The case's encoder takes whitened inputs.
    """
    best = theory.linear_diet(moments.second, moments.means, width)
    white = theory.whitening(moments.second)
    x = white @ moments.means
    objective = theory.squared_error(white @ moments.second @ white, x)
    return best, _case("40 digits, squared error", x, objective, width, best.loss)


def linear_optimum() -> Figure:
    """DIET's linear model, learned against optimal: the input, the learned head W, and the loss above its optimum.

    Four rows are the papers' setting (`cases`); the last is real digits at augmentation level 3, with the rows of the
    optimal encoder V* as images and the spectrum N s_k².
    """
    with threadpool_limits(1):  # the number of threads changes a sum's last bits, and many are slower here
        found = cases()
        best, real = on_digits(digits(3), 8)
    figure, panels = figures._panels(len(found) + 1, 3, width=3.7, height=2.7)
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
            (level, width): theory.linear_diet(*moments[level], width)
            for width in (CLASSES, 4 * CLASSES)
            for level in range(len(LEVELS))
        }
    figure, panels = figures._panels(4, 4, width=2.9, height=2.7)
    for row, pair in zip(panels, (found[:2], found[2:]), strict=False):
        _matrix(row[0], pair[0].inputs, f"input X: {pair[0].name.split(',')[0]}", "sample", "input dimension")
        for axes, case in zip(row[1:], pair, strict=False):
            _blocks(axes, case.interactions, 4, f"A, {case.name.split(', ')[1]}")
    _shares(
        panels[0][3], [(case.name.replace(", ", ",\n"), theory.block_energy(case.interactions, 4)) for case in found]
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
    share = theory.block_energy(values, size)
    _matrix(axes, values, f"{title}\n{100 * share:.1f} % of energy inside", "input", "index")
    for edge in range(size, len(values), size):
        axes.axhline(edge - 0.5, color="0.3", lw=0.4)
        axes.axvline(edge - 0.5, color="0.3", lw=0.4)


def _shares(axes: Axes, shares: list[tuple[str, float]]) -> None:
    names, values = zip(*shares, strict=True)
    axes.barh(range(len(names)), [100 * value for value in values], color=figures.COLOURS[0])
    axes.axvline(25, color="0.6", lw=0.8, ls=":")
    axes.set_yticks(range(len(names)), names, fontsize=6)
    axes.invert_yaxis()
    axes.set_xlabel("% of A's energy inside\n(dotted: of noise)", fontsize=8)


def _class_shares(axes: Axes, real: dict[tuple[int, int], np.ndarray]) -> None:
    for width in dict.fromkeys(width for _, width in real):
        shares = [100 * theory.block_energy(real[level, width], EACH) for level in range(len(LEVELS))]
        axes.plot(range(len(LEVELS)), shares, "o-", ms=4, label=f"K = {width}")
    axes.axhline(100 / CLASSES, color="0.6", lw=0.8, ls=":")
    axes.set(xlabel="augmentation level", xticks=range(len(LEVELS)))
    axes.set_ylabel("% of W V X̄ inside classes", fontsize=8)
    axes.legend(fontsize=7)
