"""What figures have in common: style, panels, lines, legends, and the levels that an accuracy has to beat."""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false, reportUnknownLambdaType=false

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd

mpl.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entia.fields import Problem
from entia.reports import captions

# Okabe and Ito's colours, told apart by nearly every eye
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", ":", "-.")
STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": mpl.cycler(color=COLOURS),
    "font.size": 10,
    "axes.titlesize": 10,
    "legend.frameon": False,
    "svg.hashsalt": "entia",  # the same figure gives the same bytes
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
# No dates in files: the same figure gives the same bytes.
METADATA: dict[str, dict[str, str | None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
DESCRIBED = {"pdf": "Subject", "svg": "Description", "png": "Description"}
"""Where each format keeps what the page must say beside a figure."""
FLOORS = {"chance": ":", "untrained": "-.", "pixels": "--"}
"""What an accuracy has to be better than, with the style of its line."""


def save(figure: Figure, path: Path, ending: str) -> None:
    """Writes a figure, its label among the metadata; the same figure gives the same bytes."""
    said = {DESCRIBED[ending]: str(figure.get_label())} if figure.get_label() else {}
    with mpl.rc_context(STYLE):
        figure.savefig(path, format=ending, dpi=150, metadata=METADATA[ending] | said)


def panels(
    rows: int, columns: int, width: float = 4.6, height: float = 3.7, key: float = 0
) -> tuple[Figure, list[list[Axes]]]:
    """Axes, row by row; with a `key` of so many lines, one more below each row, across it, for a legend."""
    if not rows * columns:
        raise Problem("there is nothing to draw")
    tall = 0.2 * key + 0.15 if key else 0.0
    figure = Figure(
        figsize=(width * columns + 0.6 * (columns == 1), (height + tall) * rows + 0.5), layout="constrained"
    )
    grid = figure.add_gridspec(rows * (2 if key else 1), columns, height_ratios=[height, tall] * rows if key else None)
    found: list[list[Axes]] = []
    for row in range(rows):
        place = row * (2 if key else 1)
        found.append([figure.add_subplot(grid[place, column]) for column in range(columns)])
        if key:
            found[-1].append(figure.add_subplot(grid[place + 1, :]))
            found[-1][-1].set_axis_off()
    return figure, found


def parts(rows: pd.DataFrame, by: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows by panels, each with its title: what sets it apart from the others."""
    kinds = captions.varied(rows, by)
    for values, part in rows.groupby(kinds or by, sort=True):
        named = zip(kinds, values, strict=True) if kinds else ()
        yield ", ".join(f"{value} epochs" if kind == "epochs" else str(value) for kind, value in named), part


def titled(*parts: str) -> str:
    """A panel's title: a line or more for each part that says something."""
    return "\n".join(wrapped(part, 48) for part in parts if part)


def wrapped(text: str, width: int) -> str:
    """A text in lines of so many letters."""
    return "\n".join(textwrap.wrap(text, width))


def count(number: float) -> str:
    """A large number as people say it: 12 k, 3.4 M."""
    return f"{number / 1e6:.3g} M" if number >= 1e6 else f"{number / 1e3:.3g} k"


def floors(axes: Axes, rows: pd.DataFrame, show: str = "accuracy", across: str = "y") -> None:
    """Chance, the untrained encoder and raw pixels as grey lines on the axis `across`, or in words where they are far.

    Each is the mean over the rows that have it. A line may cost the curves no more than half of the axis.
    """
    far: list[str] = []
    for name, style in FLOORS.items():
        if name not in rows or rows[name].isna().all():
            continue
        level = 100 * (rows[name].mean() if show == "accuracy" else 1 - rows[name].mean())
        label = "raw pixels" if name == "pixels" else name
        low, high = axes.get_ylim() if across == "y" else axes.get_xlim()
        if min(low, level) + 2 * (high - low) >= max(high, level):
            line = axes.axhline if across == "y" else axes.axvline
            line(level, color="0.5", lw=0.9, ls=style, label=label, zorder=0)
        else:
            far.append(f"{label} {level:.3g} %")
    if far:
        text = f"off the axis: {', '.join(far)}"
        axes.text(0.98, 0.02, text, transform=axes.transAxes, ha="right", fontsize=7, color="0.4")


def means(
    axes: Axes,
    rows: pd.DataFrame,
    x: str,
    y: str,
    name: str | None,
    marker: str = "o",
    style: str = "-",
    colour: object = None,
) -> None:
    """A line through the means over seeds of `y` (a fraction, drawn in per cent), and every seed's point."""
    means = rows.groupby(x)[y].mean()
    (line,) = axes.plot(means.index, 100 * means, style, marker=marker, ms=5, color=colour, label=name)
    axes.plot(rows[x], 100 * rows[y], marker=".", ms=4, ls="", color=line.get_color(), alpha=0.5)


def width_axis(axes: Axes, widths: "pd.Series") -> None:
    """A log axis with a tick a width, named where the names do not run into each other."""
    ticks, named = sorted(widths.unique()), [0.0]
    for tick in ticks:
        if tick >= 1.3 * named[-1]:
            named.append(tick)
    axes.set_xscale("log")
    axes.set_xticks(ticks, [str(tick) if tick in named else "" for tick in ticks], rotation=45 if len(ticks) > 8 else 0)
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())


def plain(axes: Axes) -> None:
    """Numbers on log axes as people write them."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(mpl.ticker.NullLocator())
