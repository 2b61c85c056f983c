"""Figures of projector widths and weights. Points are runs, lines their means over seeds."""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false, reportUnknownLambdaType=false

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entia import results
from entia.reports import plots


def width_curve(rows: pd.DataFrame) -> Figure:
    """Accuracy against projector width, with the weight fixed and tuned; a point a seed, a line through the means.

    A panel for each method and number of epochs.
    """
    final = results.last(rows)
    parts = list(plots.parts(final, ["method.name", "epochs"]))
    figure, panels = plots.panels(1, len(parts))
    for axes, (title, part) in zip(panels[0], parts, strict=True):
        tuned = results.best_weights(part[part["arm"] == "tuned"], ["projector.width"])
        arms = {"fixed": part[part["arm"] == "fixed"], "tuned": tuned}
        for (arm, kept), marker in zip(arms.items(), "os", strict=True):
            if kept.empty:
                continue
            name = f"fixed weight {kept['weight'].iloc[0]:g}" if arm == "fixed" else "tuned weight"
            plots.means(axes, kept, "projector.width", "accuracy", name, marker)
        axes.set(xlabel="projector width", ylabel="test accuracy (%)", title=title)
        plots.width_axis(axes, part["projector.width"])
        plots.floors(axes, part)
        axes.legend()
    return figure


def best_weight(rows: pd.DataFrame) -> Figure:
    """The best weight against projector width, both on log axes, with the slope of the line fitted through them.

    Faint points: every weight that was tried, larger where it read out better within its width. A panel for each method
    and data set.
    """
    final = results.last(results.unique(rows))
    final = final[final["weight"] > 0]
    parts = list(plots.parts(final, ["method.name", "subset.dataset"]))
    figure, panels = plots.panels(1, len(parts))
    for axes, (title, part) in zip(panels[0], parts, strict=True):
        _best_weight(axes, part)
        axes.set(title=title)
    return figure


def _best_weight(axes: Axes, rows: pd.DataFrame) -> None:
    on = results.chosen_on(rows)
    best = results.best_weights(rows, ["projector.width"]).groupby("projector.width", as_index=False)["weight"].first()
    tried = rows.groupby(["projector.width", "weight"], as_index=False)[on].mean()
    spread = tried.groupby("projector.width")[on].transform(lambda part: (part - part.min()) / max(np.ptp(part), 1e-9))
    axes.scatter(
        tried["projector.width"], tried["weight"], s=8 + 60 * spread, color="0.8", label="tried (larger: better)"
    )
    axes.plot(best["projector.width"], best["weight"], "o", label="best")
    name = (
        "λ = μ (stronger orthogonalisation is lower)"
        if set(rows["method.name"]) == {"vicreg"}
        else "orthogonality weight λ"
    )
    axes.set(xscale="log", yscale="log", xlabel="projector width", ylabel=name)
    plots.width_axis(axes, best["projector.width"])
    if len(best) >= 3:
        slope, offset = log_slope(best["projector.width"].to_numpy(), best["weight"].to_numpy())
        x = np.array([best["projector.width"].min(), best["projector.width"].max()])
        axes.plot(
            x,
            np.exp(offset) * x**slope,
            color=plots.COLOURS[0],
            lw=1,
            label=f"fitted slope {slope:.2f}".replace("-", "−"),
        )
        if set(rows["method.name"]) != {"vicreg"}:
            middle = np.exp(np.log(x).mean())
            axes.plot(
                x, np.exp(offset) * middle**slope * (x / middle) ** -1.0, color="0.5", lw=0.8, ls="--", label="slope −1"
            )
    axes.legend(fontsize=8)


def log_slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and offset of the least-squares line through log y against log x, every point alike."""
    slope, offset = np.polyfit(np.log(x), np.log(y), 1)
    return float(slope), float(offset)


def heat_map(rows: pd.DataFrame) -> Figure:
    """Mean final accuracy (%) by projector width and weight; a ring marks each width's chosen weight.

    A panel for each method and data set.
    """
    final = results.last(results.unique(rows))
    parts = list(plots.parts(final, ["method.name", "subset.dataset"]))
    figure, panels = plots.panels(1, len(parts), width=5.6, height=4.4)
    for axes, (title, part) in zip(panels[0], parts, strict=True):
        grid = 100 * part.pivot_table(index="weight", columns="projector.width", values="accuracy")
        image = axes.imshow(grid, origin="lower", aspect="auto", cmap="cividis")
        axes.set_xticks(
            range(len(grid.columns)),
            [str(width) for width in grid.columns],
            rotation=45 if len(grid.columns) > 8 else 0,
        )
        axes.set_yticks(range(len(grid)), [f"{weight:g}" for weight in grid.index])
        best = results.best_weights(part, ["projector.width"]).drop_duplicates("projector.width")
        at = (grid.columns.get_indexer(best["projector.width"]), grid.index.get_indexer(best["weight"]))
        axes.scatter(
            *at, s=420 if len(grid.columns) <= 8 else 180, facecolors="none", edgecolors="#D55E00", linewidths=2
        )
        middle = (np.nanmin(grid) + np.nanmax(grid)) / 2
        for (y, x), value in np.ndenumerate(grid.to_numpy()):
            if np.isfinite(value):
                axes.text(
                    x,
                    y,
                    f"{value:.1f}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color="black" if value > middle else "white",
                )
        axes.set(xlabel="projector width", ylabel="weight", title=title)
        axes.spines[:].set_visible(False)
        figure.colorbar(image, ax=axes, label="test accuracy (%)")
    return figure
