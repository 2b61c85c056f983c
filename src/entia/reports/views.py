"""Figures of studies of views. Lines are means over seeds."""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false, reportUnknownLambdaType=false

from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entia import results
from entia.planning.columns import SWEEP
from entia.reports import captions, plots

SHOWN = {
    "loss": "training loss",
    "effective_rank": "effective rank",
    "rankme": "RankMe",
    "alpha": "exponent α of the spectrum",
}
"""What needs no label, in words."""
VIEWS = {1: plots.COLOURS[6], 2: plots.COLOURS[0], 4: plots.COLOURS[1], 8: plots.COLOURS[2], 16: plots.COLOURS[3]}


def convergence(rows: pd.DataFrame, show: str = "accuracy", beside: str = "minutes") -> Figure:
    """Accuracy (or what `show` names) of each arm against epochs, and beside it against minutes or view-images.

    Lines are means over seeds, bands a standard deviation (n − 1) on each side. Minutes are of training alone, of one
    machine's cells. The legend says what each arm spent by its end. A row of panels for each data set and number of
    epochs, and of a loss, whose unit is a method's own, for each method.
    """
    rows = captions.arm_names(results.unique(rows))
    against = {"minutes": _minutes, "view_images": _view_images}[beside]
    parts = list(plots.parts(rows, ["subset.dataset", "epochs", *(["method.name"] if show == "loss" else [])]))
    figure, panels = plots.panels(len(parts), 2, key=rows["name"].nunique() / len(parts) + len(plots.FLOORS))
    for pair, (title, part) in zip(panels, parts, strict=True):
        _curves(pair[0], part, "epoch", show)
        pair[0].set(xlabel="epoch (one pass over the unique images)", title=plots.titled(title, _alike(part)))
        beneath, label, name = against(part)
        _curves(pair[1], beneath, beside, show)
        pair[1].set(xlabel=label, title=plots.titled(title, name))
        _key(pair[2], part)
    return figure


def sample_efficiency(rows: pd.DataFrame) -> Figure:
    """Accuracy against epochs of arms with more views of fewer images, and beside it each arm's last.

    Lines and bars as in `convergence`; the dotted line is the arm of two views of all images. A row of panels for each
    data set and number of epochs.
    """
    rows = captions.arm_names(results.unique(rows))
    parts = list(plots.parts(rows, ["subset.dataset", "epochs"]))
    figure, panels = plots.panels(len(parts), 2, key=rows["name"].nunique() / len(parts) + len(plots.FLOORS))
    for (left, right, key), (title, part) in zip(panels, parts, strict=True):
        _curves(left, part, "epoch", "accuracy")
        left.set(xlabel="epoch (one pass over the arm's own images)", title=plots.titled(title, _alike(part)))
        _ends(right, results.last(part))
        right.set(title=plots.titled(title, "at the last epoch"))
        _key(key, part)
    return figure


def _ends(axes: Axes, final: pd.DataFrame) -> None:
    kinds = sorted({(views, -share) for views, share in zip(final["views"], final["subset.fraction"], strict=True)})
    widths = sorted(final["projector.width"].unique())
    for place, width in enumerate(widths):
        for x, (views, share) in enumerate(kinds):
            of = final[
                (final["projector.width"] == width) & (final["views"] == views) & (final["subset.fraction"] == -share)
            ]
            if of.empty:
                continue
            at, y = x + 0.16 * (place - (len(widths) - 1) / 2), 100 * of["accuracy"]
            axes.errorbar(
                at,
                y.mean(),
                y.std() if len(y) > 1 else 0,
                marker="os^D"[place % 4],
                ms=7,
                capsize=4,
                color=_colour(views),
            )
            axes.plot(np.full(len(y), at + 0.05), y, ".", color="0.4", ms=4)
            if (views, share) == (2, -1.0):
                axes.axhline(y.mean(), color="0.6", lw=0.8, ls=plots.LINES[2 if place else 1], zorder=0)
    axes.set_xticks(range(len(kinds)), [f"{views} views\n{-100 * share:g} %" for views, share in kinds])
    axes.set(ylabel="test accuracy (%)", xlim=(-0.6, len(kinds) - 0.4))
    shapes = [
        mpl.lines.Line2D([], [], marker="os^D"[i % 4], ls="", color="0.4", label=f"width {w}")
        for i, w in enumerate(widths)
    ]
    axes.legend(handles=shapes)
    plots.floors(axes, final)


def pareto(rows: pd.DataFrame) -> Figure:
    """Error against minutes of every arm at every saved epoch, and the frontiers of two views and of more.

    Points are means over seeds; they are larger where more of the images were used. On a frontier nothing of its kind
    has a lower error in no more time.
    """
    rows = results.unique(rows)
    rows, label, title = _minutes(rows)
    means = rows.groupby([*results.ARM, "weight", "epoch"], as_index=False)[["minutes", "accuracy"]].mean()
    means["error"] = 100 * (1 - means["accuracy"])
    figure, panels = plots.panels(1, 1, width=6.4, height=4.6, key=2 + len(plots.FLOORS) / 2)
    axes, key = panels[0]
    kinds = {
        "2 views": (means[means["views"] == 2], "^", plots.COLOURS[0]),
        "more views": (means[means["views"] > 2], "o", plots.COLOURS[6]),
    }
    for name, (part, marker, colour) in kinds.items():
        axes.scatter(
            part["minutes"],
            part["error"],
            marker=marker,
            s=14 + 40 * part["subset.fraction"],
            color=colour,
            alpha=0.35,
            lw=0,
            label=name,
        )
        best = part.iloc[frontier(part["minutes"].to_numpy(), part["error"].to_numpy())]
        axes.plot(
            best["minutes"], best["error"], color=colour, lw=1.5, drawstyle="steps-post", label=f"frontier of {name}"
        )
    axes.set(xscale="log", yscale="log", xlabel=label, ylabel="test error (%)", title=title)
    plots.floors(axes, rows, "error")
    plots.plain(axes)
    spent = rows.groupby("views").agg(images=("view_images", "max"), peak=("peak_mib", "max"))
    text = "; ".join(
        f"{views} views: to {plots.count(float(one['images']))} view-images, {one['peak']:.0f} MiB"
        for views, one in spent.iterrows()
    )
    figure.supxlabel(f"Spent at most by {text}.")
    key.legend(*axes.get_legend_handles_labels(), loc="center", fontsize=8, ncols=2)  # in the axes it may hide a point
    return figure


def frontier(minutes: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Places of the points that no other point beats (lower error in no more time), by rising time."""
    order = np.lexsort((error, minutes))
    best = np.minimum.accumulate(np.concatenate(([np.inf], error[order][:-1])))
    return order[error[order] < best]


def views_curve(rows: pd.DataFrame) -> Figure:
    """Final accuracy against the number of views, a line for each projector width and share of the images.

    Where several weights were run for a number of views, the one that `results.best_weights` chooses.
    """
    final = results.last(results.unique(rows))
    by = ["projector.width", "subset.fraction"]
    best = results.best_weights(final, [*by, "views"])
    figure, panels = plots.panels(1, 1, width=6.0)
    axes, fractions = panels[0][0], sorted(best["subset.fraction"].unique(), reverse=True)
    widths = sorted(best["projector.width"].unique())
    for (width, share), part in best.groupby(by):
        axes.set_prop_cycle(color=[plots.COLOURS[fractions.index(share)]])
        name = f"width {width}, {100 * share:g} % of images"
        plots.means(
            axes, part, "views", "accuracy", name, "os^D"[widths.index(width) % 4], plots.LINES[widths.index(width) % 4]
        )
    ticks = sorted(best["views"].unique())
    axes.set(xscale="log", xlabel="views", ylabel="test accuracy (%)", title="equal epochs")
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    plots.floors(axes, final)
    axes.legend(fontsize=8)
    return figure


def spectra(rows: pd.DataFrame) -> Figure:
    """Power-law exponent α and RankMe of the test embeddings, along training and after it.

    Left: the arms of the study of views against epochs. Right: the weight sweep against weight, a line a width.
    """
    rows = results.unique(rows)
    sweep = results.last(rows[rows["experiment"].str.startswith(SWEEP)])
    arms = captions.arm_names(rows[~rows["experiment"].str.startswith(SWEEP)])
    figure, panels = plots.panels(2, 2, key=arms["name"].nunique() / 2)
    widths = sorted(sweep["projector.width"].unique())
    shades = mpl.colormaps["cividis"](np.linspace(0, 0.9, len(widths)))
    for row, (column, label) in zip(panels, {"alpha": "exponent α", "rankme": "RankMe"}.items(), strict=True):
        _curves(row[0], arms, "epoch", column)
        row[0].set(xlabel="epoch", ylabel=label, title="along training")
        for width, shade in zip(widths, shades, strict=True):
            means = sweep[sweep["projector.width"] == width].groupby("weight")[column].mean()
            row[1].plot(means.index, means, "o-", ms=4, color=shade, label=f"width {width}")
        row[1].set(xscale="log", xlabel="orthogonality weight λ", ylabel=label, title="after training, 2 views")
        row[1].legend(fontsize=7, ncols=1 + len(widths) // 7)
    _key(panels[-1][2], arms)
    return figure


# --- parts -----------------------------------------------------------------------------------------------------------


def _alike(rows: pd.DataFrame) -> str:
    return captions.comparison(rows).split(" (")[0]


def _minutes(rows: pd.DataFrame) -> tuple[pd.DataFrame, str, str]:
    """The rows that an axis of minutes can hold, those of one machine, and its label and title."""
    kept, machine = results.on_one_machine(rows)
    label = f"{results.CLOCKS[results.clock(kept)]} of training alone\n{plots.wrapped(f'on {machine}', 60)}"
    return kept, label, "equal training time"


def _view_images(rows: pd.DataFrame) -> tuple[pd.DataFrame, str, str]:
    return rows, "view-images processed (images × views)", "equal view-images"


def _curves(axes: Axes, rows: pd.DataFrame, x: str, show: str) -> None:
    """A line for each arm through the means over seeds of `show`, with a band; fractions are drawn in per cent."""
    widths = sorted(rows["projector.width"].unique())
    values: Callable[[pd.Series], pd.Series] = {
        "accuracy": lambda y: 100 * y,
        "error": lambda y: 100 * (1 - y),
    }.get(show, lambda y: y)
    column = "accuracy" if show == "error" else show
    for _, arm in rows.groupby("name", sort=False):
        one = arm.iloc[0]
        shown = arm.assign(y=values(arm[column])).groupby("epoch").agg(x=(x, "mean"), y=("y", "mean"), sd=("y", "std"))
        style = plots.LINES[widths.index(one["projector.width"]) % len(plots.LINES)]
        axes.plot(shown["x"], shown["y"], style, marker=".", ms=4, color=_colour(one["views"]))
        axes.fill_between(
            shown["x"],
            shown["y"] - shown["sd"],
            shown["y"] + shown["sd"],
            color=_colour(one["views"]),
            alpha=0.15,
            lw=0,
        )
    if x == "epoch":
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    if x == "view_images":
        axes.xaxis.set_major_formatter(mpl.ticker.EngFormatter())
    if column == "accuracy":
        axes.set_ylabel(f"test {show} (%)")
        plots.floors(axes, rows, show)
    else:
        axes.set_ylabel(SHOWN[show])


def _colour(views: object) -> str:
    return VIEWS.get(views, plots.COLOURS[5])


def _key(axes: Axes, rows: pd.DataFrame) -> None:
    """The legend below: each arm's line, what it spent by its end, and its number of seeds."""
    rows, _ = results.timed(rows)
    widths = sorted(rows["projector.width"].unique())
    handles = list[mpl.lines.Line2D]()
    for name, arm in results.last(rows).groupby("name", sort=False):
        one, style = arm.iloc[0], plots.LINES[widths.index(arm["projector.width"].iloc[0]) % len(plots.LINES)]
        minutes = arm["minutes"].mean()
        spent = f"{plots.count(arm['view_images'].mean())} view-images" + (
            f", {minutes:.3g} min" if minutes >= 0 else ""
        )
        text = f"{name}: {spent}, peak {arm['peak_mib'].max():.0f} MiB, n = {arm['seed'].nunique()}"
        handles.append(mpl.lines.Line2D([], [], ls=style, color=_colour(one["views"]), marker=".", label=text))
    for name, style in plots.FLOORS.items():
        if name in rows and rows[name].notna().any():
            text = f"{'raw pixels' if name == 'pixels' else name}: {100 * rows[name].mean():.3g} %"
            handles.append(mpl.lines.Line2D([], [], ls=style, color="0.5", label=text))
    axes.legend(handles=handles, loc="center", fontsize=8, handlelength=3, ncols=1)
