"""The DIET papers' figures of readouts.

Papers: 2302.10260, 2406.10743, OpenReview GFNTbsVFlP.
"""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false, reportUnknownLambdaType=false

import math
import zlib

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entia import results
from entia.claims.intervals import spearman
from entia.planning.columns import AXES
from entia.reports import accuracies, plots
from entia.theory import linear_model

METHODS = ("diet", "supervised", "sdiet", *results.SSL)
"""In the order of their colours."""
EARLY = 31
"""Epochs that the batch-size figure's first curve looks at (DIET spec §7)."""


def loss(rows: pd.DataFrame) -> Figure:
    """DIET's training loss against accuracy, a point for each saved epoch of each run; colour: label smoothing.

    Left the loss; right what it lies above its floor H(a, N), without which levels are not comparable (DIET spec §8.2).
    Spearman's ρ for each level and over all. A row of panels for each data set.
    """
    rows = above_floor(rows)
    parts = list(plots.parts(rows, ["subset.dataset"]))
    levels = sorted(rows["method.smoothing"].unique())
    shade = dict(zip(levels, _shades(len(levels)), strict=True))
    figure, panels = plots.panels(len(parts), 2, width=5.2, height=4.2 + 0.1 * len(levels))
    for pair, (title, part) in zip(panels, parts, strict=True):
        for axes, column, label in zip(
            pair, ("loss", "excess"), ("DIET's training loss (nats)", "training loss − H(a, N) (nats)"), strict=True
        ):
            _scatter(axes, part, column, shade)
            pooled = f"all levels: {_rho_text(part, column)}"
            axes.set(xlabel="test accuracy (%)", ylabel=label)
            axes.set_title(plots.titled(title, pooled), fontsize=9)
    figure.supxlabel(
        "Each point: a saved epoch of a run. ρ: Spearman's. Epochs of a run depend on each other: no interval."
    )
    return figure


def above_floor(rows: pd.DataFrame) -> pd.DataFrame:
    """DIET's rows, each run's epochs once, with `excess`: the loss minus its least, `linear_model.floor`."""
    rows = results.unique(rows[rows["method.name"] == "diet"]).drop_duplicates(["cell", "epoch"])
    pairs = zip(rows["method.smoothing"], rows["images"], strict=True)
    return rows.assign(excess=rows["loss"] - [linear_model.floor(a, int(n)) for a, n in pairs])


def _rho_text(rows: pd.DataFrame, column: str) -> str:
    """Spearman's ρ of a column and accuracy over all saved epochs of all runs, where there is one; how many runs."""
    count, rho = rows["cell"].nunique(), spearman(rows[column], rows["accuracy"])
    runs = f"{count} run{'s' * (count != 1)}"
    return f"ρ = {rho:.2f}, {runs}".replace("-", "−") if math.isfinite(rho) else runs


def _scatter(axes: Axes, rows: pd.DataFrame, column: str, shade: dict[float, tuple[float, ...]]) -> None:
    for level, part in rows.groupby("method.smoothing"):
        name = f"a = {level:g}: {_rho_text(part, column)}"
        axes.scatter(100 * part["accuracy"], part[column], s=16, color=shade[level], label=name, alpha=0.85, lw=0)
    plots.floors(axes, rows, across="x")
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
    found = accuracies.ends(rows)
    figure, panels = _grid(found)
    for (data, encoder), axes in panels:
        part = found[(found["subset.dataset"] == data) & (found["encoder.name"] == encoder)]
        for (method, depth), curve in part.groupby(["method.name", "projector.depth"]):
            name = f"{method}, {depth} projector layers" if depth and method in ("diet", "supervised") else str(method)
            style = "--" if "layers" in name else "-"
            plots.means(axes, curve, "images", "accuracy", name, style=style, colour=_colour(method))
        axes.set(xscale="log", xlabel="training images", ylabel="test accuracy (%)", title=f"{data}, {encoder}")
        ticks = sorted(map(float, part["images"].unique()))
        axes.set_xticks(ticks, [plots.count(tick) if tick >= 1000 else f"{tick:g}" for tick in ticks])
        axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
        plots.floors(axes, part)
        axes.legend(fontsize=8)
    figure.supxlabel("Last epoch. Both train on the same images and are tested on the whole test split.")
    return figure


def _grid(rows: pd.DataFrame) -> tuple[Figure, list[tuple[tuple[str, str], Axes]]]:
    """A panel for each data set (rows) and encoder (columns) that was run together."""
    data, encoders = sorted(rows["subset.dataset"].unique()), sorted(rows["encoder.name"].unique())
    figure, panels = plots.panels(len(data), len(encoders))
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
    """A method's own colour; one of twenty others, by its name, where it is not among `METHODS`."""
    other = mpl.colors.to_hex(mpl.colormaps["tab20b"](zlib.crc32(str(method).encode()) % 20))
    return dict(zip(METHODS, (*plots.COLOURS, "0.5"), strict=True)).get(str(method), other)


def curves(rows: pd.DataFrame, along: str = "method.smoothing", panel: str = "encoder.name") -> Figure:
    """DIET's accuracy along training, a colour for each value of `along`; dashed: the online probe, where there is one.

    Lines are means over seeds, bands a standard deviation (n − 1). A panel for each data set and value of `panel`.
    """
    rows = results.unique(rows[rows["method.name"] == "diet"])
    parts = list(plots.parts(rows, ["subset.dataset", panel]))
    columns = min(4, len(parts))
    figure, panels = plots.panels(math.ceil(len(parts) / columns), columns)
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
        plots.floors(axes, part)
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
    rows = results.unique(rows)
    clocked, machine = results.on_one_machine(rows)
    online = "probe_accuracy" in rows and bool(rows["probe_accuracy"].notna().all())
    found = _by_batch(rows.assign(minutes=clocked["minutes"]), "probe_accuracy" if online else "accuracy")
    parts = list(plots.parts(found, ["subset.dataset"]))
    figure, panels = plots.panels(2, len(parts), width=5.6)
    styles = {"last": "-", "overall": "--", "early": ":"}
    named = {"last": "last epoch", "overall": "best epoch", "early": f"best of the first {EARLY} epochs"}
    for (title, part), top, below in zip(parts, *panels, strict=True):
        shown = [column for column in styles if part[column].notna().any()]
        for (method, scaled), arm in part.groupby(["method.name", "scaled"]):
            name = f"{method}, lr {'∝ batch' if scaled else 'fixed'}"
            for column in shown:
                plots.means(top, arm, "batch", column, None, style=styles[column], colour=_tone(method, scaled))
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
        plots.floors(top, part)
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
    rows = results.unique(rows)
    parts = list(plots.parts(rows, ["subset.dataset"]))
    figure, panels = plots.panels(len(parts), 2)
    for (after, course), (title, part) in zip(panels, parts, strict=True):
        means = results.last(part).groupby("method.name")["rankme"].mean().sort_values(ascending=False)
        for place, method in enumerate(means.index):
            ends = results.last(part)[lambda rows, name=method: rows["method.name"] == name]["rankme"]
            after.bar(place, means[method], color=_colour(method), alpha=0.35)
            after.plot(np.full(len(ends), place), ends, "o", ms=4, color=_colour(method))
            along = part[part["method.name"] == method].groupby("epoch")["rankme"].mean()
            course.plot(along.index, along, "o-", ms=3, color=_colour(method), label=method)
        after.set_xticks(range(len(means)), list(means.index), rotation=30, ha="right")
        after.set(ylabel="RankMe of test embeddings", title=plots.titled(title, "after training"))
        course.set(xlabel="epoch", ylabel="RankMe of test embeddings", title=plots.titled(title, "along training"))
        course.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        _below(course, 4)
    return figure
