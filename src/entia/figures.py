"""Figures: readouts in, a matplotlib figure out. Points are cells, lines their means over seeds."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

mpl.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entia import results
from entia.plan import Report

ENDINGS = ("pdf", "png", "svg")
# Okabe and Ito's colours, told apart by nearly every eye
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": mpl.cycler(color=COLOURS),
    "font.size": 10,
    "legend.frameon": False,
    "svg.hashsalt": "entia",  # the same figure gives the same bytes
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
# No dates in files: the same figure gives the same bytes.
METADATA = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}


def draw(report: Report, rows: pd.DataFrame, scale: str) -> Figure:
    """The figure that a report asks for, with its title and the conditions it was made under."""
    with mpl.rc_context(STYLE):
        match report.figure:
            case "width_curve":
                figure = width_curve(rows)
            case "best_weight":
                figure = best_weight(rows)
            case other:
                raise ValueError(f"reports: figure {other!r} is no figure")
        figure.suptitle(report.title, fontsize=11)
        figure.supxlabel(_wrapped(results.conditions(rows, scale)), fontsize=7, color="0.35")
    return figure


def save(figure: Figure, path: Path, ending: str) -> None:
    """Writes a figure; the same figure gives the same bytes."""
    with mpl.rc_context(STYLE):
        figure.savefig(path, format=ending, dpi=150, metadata=METADATA[ending])


def width_curve(rows: pd.DataFrame) -> Figure:
    """Accuracy against projector width, with the weight fixed and tuned; a point a seed, a line through the means."""
    final = results.last(rows)
    by = ["method.name", "projector.width"]
    arms = {"fixed": final[final["arm"] == "fixed"], "tuned": results.best_weights(final[final["arm"] == "tuned"], by)}
    figure, axes = _panel()
    for (arm, part), marker in zip(arms.items(), "os", strict=True):
        name = f"fixed weight {part['weight'].iloc[0]:g}" if arm == "fixed" else "tuned weight"
        _means(axes, part, "projector.width", "accuracy", name, marker)
    axes.axhline(100 * rows["chance"].iloc[0], color="0.6", lw=0.8, ls=":", label="chance")
    axes.set(xlabel="projector width", ylabel="test accuracy (%)")
    _widths(axes, final["projector.width"])
    axes.legend()
    return figure


def best_weight(rows: pd.DataFrame) -> Figure:
    """The best weight against projector width, both on log axes, with the slope of the line fitted through them.

    Faint points: every weight that was tried, larger where it read out better within its width.
    """
    final = results.last(rows)
    final = final[final["arm"] == "tuned"]
    on = results.chosen_on(final)
    best = results.best_weights(final, ["projector.width"]).groupby("projector.width", as_index=False)["weight"].first()
    figure, axes = _panel()
    tried = final.groupby(["projector.width", "weight"], as_index=False)[on].mean()
    spread = tried.groupby("projector.width")[on].transform(lambda part: (part - part.min()) / max(np.ptp(part), 1e-9))
    axes.scatter(tried["projector.width"], tried["weight"], s=8 + 60 * spread, color="0.8", label="tried (larger: better)")
    axes.plot(best["projector.width"], best["weight"], "o", label="best")
    axes.set(xscale="log", yscale="log", xlabel="projector width", ylabel="orthogonality weight λ")
    _widths(axes, best["projector.width"])
    if len(best) >= 3:
        slope, offset = np.polyfit(np.log(best["projector.width"]), np.log(best["weight"]), 1)
        x = np.array([best["projector.width"].min(), best["projector.width"].max()])
        axes.plot(x, np.exp(offset) * x**slope, color=COLOURS[0], lw=1, label=f"fitted slope {slope:.2f}")
        axes.plot(x, np.exp(offset + slope * np.log(x).mean()) * (x / np.exp(np.log(x).mean())) ** -1.0, color="0.5", lw=0.8, ls="--", label="slope −1")
    axes.legend()
    return figure


def _panel(width: float = 5.2, height: float = 4.0) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _means(axes: Axes, rows: pd.DataFrame, x: str, y: str, name: str, marker: str) -> None:
    """A line through the means over seeds of `y` (a fraction, drawn in per cent), and every seed's point."""
    means = rows.groupby(x)[y].mean()
    (line,) = axes.plot(means.index, 100 * means, marker=marker, ms=5, label=name)
    axes.plot(rows[x], 100 * rows[y], marker=".", ms=4, ls="", color=line.get_color(), alpha=0.5)


def _widths(axes: Axes, widths: "pd.Series[int]") -> None:
    ticks = sorted(widths.unique())
    axes.set_xscale("log")
    axes.set_xticks(ticks, [str(tick) for tick in ticks], rotation=45 if len(ticks) > 8 else 0)
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())


def _wrapped(text: str, width: int = 100) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width))
