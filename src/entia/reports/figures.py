"""Figures: readouts in, a matplotlib figure out. Points are cells, lines their means over seeds."""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false, reportUnknownLambdaType=false

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

mpl.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from entia import results, theory
from entia.claims import tuning
from entia.config import Problem
from entia.planning import drawings
from entia.planning.drawings import Report

ENDINGS = ("pdf", "png", "svg")
# Okabe and Ito's colours, told apart by nearly every eye
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
VIEWS = {1: COLOURS[6], 2: COLOURS[0], 4: COLOURS[1], 8: COLOURS[2], 16: COLOURS[3]}
CHOOSING = ("width_curve", "best_weight", "heat_map", "views_curve")  # figures that show a chosen weight
TIMED = ("convergence", "sample_efficiency", "pareto", "spectra", "diet_batch")  # figures that show minutes
GRIDS = ("best_weight", "heat_map", "spectra", "diet_loss")  # figures of all that was tried
LINES = ("-", "--", ":", "-.")
STYLE = {
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


def draw(report: Report, rows: pd.DataFrame, scale: str) -> Figure:
    """The figure that a report asks for, with its title and the conditions it was made under.

    Where a `Problem` keeps it from being drawn, a figure that says so. What the page must say beside it is its label.
    """
    rows = tuning.trained(rows)
    try:
        if rows.empty and report.experiments:
            raise Problem("none of its experiments has a cell at this scale")
        return _entitled(report, rows, scale)
    except Problem as problem:
        return _cannot(report.title, " ".join(str(problem).split()), scale)


def _cannot(title: str, why: str, scale: str) -> Figure:
    figure = Figure(figsize=(6.4, 2.4), layout="constrained", label=f"cannot be drawn: {why}")
    figure.suptitle(_wrapped(title, 80), fontsize=11)
    figure.text(0.5, 0.5, _wrapped(f"cannot be drawn: {why}", 90), ha="center", va="center", fontsize=9)
    figure.supxlabel(f"{scale} scale", fontsize=7, color="0.35")
    return figure


def _entitled(report: Report, rows: pd.DataFrame, scale: str) -> Figure:
    lost, rows = results.diverged(rows), results.ended(rows)
    if report.figure not in GRIDS:
        rows = tuning.judged(rows)
    if lost and rows.empty:
        raise Problem(f"every run diverged: {lost}")
    with mpl.rc_context(STYLE):
        figure = _drawn(report.drawing, rows)
        across = round(18 * figure.get_figwidth())
        figure.suptitle(_wrapped(results.heading(report.title, rows, scale), round(0.7 * across)), fontsize=11)
        if report.figure in TIMED and (several := results.several(rows)):
            figure.set_label(f"{several}: minutes are of one of them alone, or left out")
        said = [figure.get_supxlabel(), results.conditions(rows, scale, chosen=report.figure in CHOOSING), lost]
        said += [figure.get_label()]
        figure.supxlabel("\n".join(_wrapped(part, across) for part in said if part), fontsize=7, color="0.35")
    return figure


def _drawn(drawing: drawings.Drawing, rows: pd.DataFrame) -> Figure:
    match drawing:
        case drawings.WidthCurve():
            return width_curve(rows)
        case drawings.BestWeight():
            return best_weight(rows)
        case drawings.Convergence(show=show, beside=beside):
            return convergence(rows, show, beside)
        case drawings.SampleEfficiency():
            return sample_efficiency(rows)
        case drawings.Pareto():
            return pareto(rows)
        case drawings.ViewsCurve():
            return views_curve(rows)
        case drawings.HeatMap():
            return heat_map(rows)
        case drawings.Spectra():
            return spectra(rows)
        case drawings.Dynamics():
            return dynamics(rows)
        case drawings.GraphSpectrum():
            return graph_spectrum()
        case _:
            from entia.reports import diet  # which is a layer of its own beside this one, and imports it

            return diet.draw(drawing, rows)


def save(figure: Figure, path: Path, ending: str) -> None:
    """Writes a figure, its label among the metadata; the same figure gives the same bytes."""
    said = {DESCRIBED[ending]: str(figure.get_label())} if figure.get_label() else {}
    with mpl.rc_context(STYLE):
        figure.savefig(path, format=ending, dpi=150, metadata=METADATA[ending] | said)


# --- projector widths and weights ------------------------------------------------------------------------------------


def width_curve(rows: pd.DataFrame) -> Figure:
    """Accuracy against projector width, with the weight fixed and tuned; a point a seed, a line through the means.

    A panel for each method and number of epochs.
    """
    final = results.last(rows)
    parts = list(_parts(final, ["method.name", "epochs"]))
    figure, panels = _panels(1, len(parts))
    for axes, (title, part) in zip(panels[0], parts, strict=True):
        tuned = results.best_weights(part[part["arm"] == "tuned"], ["projector.width"])
        arms = {"fixed": part[part["arm"] == "fixed"], "tuned": tuned}
        for (arm, kept), marker in zip(arms.items(), "os", strict=True):
            if kept.empty:
                continue
            name = f"fixed weight {kept['weight'].iloc[0]:g}" if arm == "fixed" else "tuned weight"
            _means(axes, kept, "projector.width", "accuracy", name, marker)
        axes.set(xlabel="projector width", ylabel="test accuracy (%)", title=title)
        _widths(axes, part["projector.width"])
        _floors(axes, part)
        axes.legend()
    return figure


def best_weight(rows: pd.DataFrame) -> Figure:
    """The best weight against projector width, both on log axes, with the slope of the line fitted through them.

    Faint points: every weight that was tried, larger where it read out better within its width. A panel for each method
    and data set.
    """
    final = results.last(results.unique(rows))
    final = final[final["weight"] > 0]
    parts = list(_parts(final, ["method.name", "subset.dataset"]))
    figure, panels = _panels(1, len(parts))
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
    _widths(axes, best["projector.width"])
    if len(best) >= 3:
        slope, offset = log_slope(best["projector.width"].to_numpy(), best["weight"].to_numpy())
        x = np.array([best["projector.width"].min(), best["projector.width"].max()])
        axes.plot(
            x, np.exp(offset) * x**slope, color=COLOURS[0], lw=1, label=f"fitted slope {slope:.2f}".replace("-", "−")
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
    parts = list(_parts(final, ["method.name", "subset.dataset"]))
    figure, panels = _panels(1, len(parts), width=5.6, height=4.4)
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


# --- studies of views ------------------------------------------------------------------------------------------------


def convergence(rows: pd.DataFrame, show: str = "accuracy", beside: str = "minutes") -> Figure:
    """Accuracy (or `show: error`) of each arm against epochs, and beside it against minutes or view-images.

    Lines are means over seeds, bands a standard deviation (n − 1) on each side. Minutes are of training alone, of one
    machine's cells. The legend says what each arm spent by its end. A row of panels for each data set and number of
    epochs.
    """
    rows = results.arm_names(results.unique(rows))
    against = {"minutes": _minutes, "view_images": _view_images}[beside]
    parts = list(_parts(rows, ["subset.dataset", "epochs"]))
    figure, panels = _panels(len(parts), 2, key=rows["name"].nunique() / len(parts) + len(FLOORS))
    for pair, (title, part) in zip(panels, parts, strict=True):
        _curves(pair[0], part, "epoch", show)
        pair[0].set(xlabel="epoch (one pass over the unique images)", title=_titled(title, _alike(part)))
        beneath, label, name = against(part)
        _curves(pair[1], beneath, beside, show)
        pair[1].set(xlabel=label, title=_titled(title, name))
        _key(pair[2], part)
    return figure


def sample_efficiency(rows: pd.DataFrame) -> Figure:
    """Accuracy against epochs of arms with more views of fewer images, and beside it each arm's last.

    Lines and bars as in `convergence`; the dotted line is the arm of two views of all images. A row of panels for each
    data set and number of epochs.
    """
    rows = results.arm_names(results.unique(rows))
    parts = list(_parts(rows, ["subset.dataset", "epochs"]))
    figure, panels = _panels(len(parts), 2, key=rows["name"].nunique() / len(parts) + len(FLOORS))
    for (left, right, key), (title, part) in zip(panels, parts, strict=True):
        _curves(left, part, "epoch", "accuracy")
        left.set(xlabel="epoch (one pass over the arm's own images)", title=_titled(title, _alike(part)))
        _ends(right, results.last(part))
        right.set(title=_titled(title, "at the last epoch"))
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
                axes.axhline(y.mean(), color="0.6", lw=0.8, ls=LINES[2 if place else 1], zorder=0)
    axes.set_xticks(range(len(kinds)), [f"{views} views\n{-100 * share:g} %" for views, share in kinds])
    axes.set(ylabel="test accuracy (%)", xlim=(-0.6, len(kinds) - 0.4))
    shapes = [
        mpl.lines.Line2D([], [], marker="os^D"[i % 4], ls="", color="0.4", label=f"width {w}")
        for i, w in enumerate(widths)
    ]
    axes.legend(handles=shapes)
    _floors(axes, final)


def pareto(rows: pd.DataFrame) -> Figure:
    """Error against minutes of every arm at every saved epoch, and the frontiers of two views and of more.

    Points are means over seeds; they are larger where more of the images were used. On a frontier nothing of its kind
    has a lower error in no more time.
    """
    rows = results.unique(rows)
    rows, label, title = _minutes(rows)
    means = rows.groupby([*results.ARM, "weight", "epoch"], as_index=False)[["minutes", "accuracy"]].mean()
    means["error"] = 100 * (1 - means["accuracy"])
    figure, panels = _panels(1, 1, width=6.4, height=4.6)
    axes = panels[0][0]
    kinds = {
        "2 views": (means[means["views"] == 2], "^", COLOURS[0]),
        "more views": (means[means["views"] > 2], "o", COLOURS[6]),
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
        best = part.iloc[results.frontier(part["minutes"].to_numpy(), part["error"].to_numpy())]
        axes.plot(
            best["minutes"], best["error"], color=colour, lw=1.5, drawstyle="steps-post", label=f"frontier of {name}"
        )
    axes.set(xscale="log", yscale="log", xlabel=label, ylabel="test error (%)", title=title)
    _floors(axes, rows, "error")
    _plain(axes)
    spent = rows.groupby("views").agg(images=("view_images", "max"), peak=("peak_mib", "max"))
    text = "; ".join(
        f"{views} views: to {_count(float(one['images']))} view-images, {one['peak']:.0f} MiB"
        for views, one in spent.iterrows()
    )
    figure.supxlabel(f"Spent at most by {text}.")
    axes.legend(fontsize=8)
    return figure


def views_curve(rows: pd.DataFrame) -> Figure:
    """Final accuracy against the number of views, a line for each projector width and share of the images.

    Where several weights were run for a number of views, the one that `results.best_weights` chooses.
    """
    final = results.last(results.unique(rows))
    by = ["projector.width", "subset.fraction"]
    best = results.best_weights(final, [*by, "views"])
    figure, panels = _panels(1, 1, width=6.0)
    axes, fractions = panels[0][0], sorted(best["subset.fraction"].unique(), reverse=True)
    widths = sorted(best["projector.width"].unique())
    for (width, share), part in best.groupby(by):
        axes.set_prop_cycle(color=[COLOURS[fractions.index(share)]])
        name = f"width {width}, {100 * share:g} % of images"
        _means(axes, part, "views", "accuracy", name, "os^D"[widths.index(width) % 4], LINES[widths.index(width) % 4])
    ticks = sorted(best["views"].unique())
    axes.set(xscale="log", xlabel="views", ylabel="test accuracy (%)", title="equal epochs")
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    _floors(axes, final)
    axes.legend(fontsize=8)
    return figure


def spectra(rows: pd.DataFrame) -> Figure:
    """Power-law exponent α and RankMe of the test embeddings, along training and after it.

    Left: the arms of the study of views against epochs. Right: the weight sweep against weight, a line a width.
    """
    rows = results.unique(rows)
    sweep = results.last(rows[rows["experiment"].str.startswith(drawings.SWEEP)])
    arms = results.arm_names(rows[~rows["experiment"].str.startswith(drawings.SWEEP)])
    figure, panels = _panels(2, 2, key=arms["name"].nunique() / 2)
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


# --- theory ----------------------------------------------------------------------------------------------------------

# The toy of spec §2.3: 40 eigenfunctions of the augmentation operator, ten outputs. Ours; the paper's is not known.
EIGENVALUES = np.exp(-np.arange(40) / 12)
OUTPUTS, BETAS = 10, (0.05, 0.5, 5.0)


def dynamics(rows: pd.DataFrame) -> Figure:
    """Gradient descent on the reformulated loss at low and at high β, and the rank of trained networks' embeddings.

    Left two: strengths of the output directions. Third: the share of the features' energy inside the top eigenspace.
    All three follow from the eigenvalues alone. Right: small networks that were really trained, one a weight.
    """
    record = np.unique(np.geomspace(1, 40_000, 120).astype(int)).tolist()
    with threadpool_limits(1):  # the number of threads changes a sum's last bits
        runs = {
            beta: theory.gradient_descent(EIGENVALUES, OUTPUTS, beta, record, np.random.default_rng(0))
            for beta in BETAS
        }
    figure, panels = _panels(1, 4, width=3.6, height=3.6)
    low, high, inside, trained = panels[0]
    for axes, beta in ((low, BETAS[0]), (high, BETAS[-1])):
        run, most = runs[beta], theory.active_directions(beta, EIGENVALUES, OUTPUTS)
        axes.plot(run.step, run.amplitude, color=COLOURS[0] if beta == BETAS[0] else COLOURS[1], lw=0.9)
        end = f"{run.active()[-1]} of {OUTPUTS} directions active (theory: {most})"
        axes.set(
            xscale="log",
            xlabel="updates",
            ylabel="strength of a direction",
            title=f"toy, β = {beta:g}\n{end}",
            ylim=(-0.03, 1.05),
        )
    for beta, run in runs.items():
        inside.plot(run.step, run.share, label=f"β = {beta:g}")
    inside.set(xscale="log", xlabel="updates", ylabel="energy in the top eigenspace", title="toy\nalignment")
    inside.legend(fontsize=8)
    for place, (weight, part) in enumerate(rows.groupby("weight")):
        means = part.groupby("epoch")["effective_rank"].mean()
        trained.plot(means.index, means, "o-", ms=3, color=COLOURS[place % len(COLOURS)], label=f"weight {weight:g}")
    named = " and ".join(rows["method.name"].unique())
    trained.set(xlabel="epoch", ylabel="effective rank of test embeddings", title=f"trained networks\n{named}")
    trained.legend(fontsize=8)
    for axes in panels[0]:
        axes.title.set_fontsize(9)
    return figure


def graph_spectrum(images: int = 64, resamplings: int = 20) -> Figure:
    """Eigenvalues of the augmentation graph when each image shows a few of its views, against the complete graph's.

    Left: Rayleigh quotients of the known directions (class, style, both). Middle: the eigenvalues by order. Right: what
    the sampled graph's eigenfunctions are worth on the complete graph. Bars: a standard deviation over resamplings.
    """
    views = [2, 4, 8, 16, 32, None]
    with threadpool_limits(1):  # the number of threads changes a sum's last bits
        found = theory.subsampled_spectra(views, resamplings, np.random.default_rng(0), images)
    truth = theory.block_eigenvalues()
    figure, panels = _panels(1, 3, width=3.8, height=3.9)
    drawn = {
        "matched: quotients of known directions": (found.matched, ("class", "style", "class × style")),
        "ordered: the graph's own eigenvalues": (found.ordered, ("second", "third", "fourth")),
        "worth: its eigenfunctions\non the complete graph": (found.worth(), ("second", "third", "fourth")),
    }
    x = np.arange(len(views))
    for axes, (title, (values, names)) in zip(panels[0], drawn.items(), strict=True):
        for place, name in enumerate(names):
            part = values[:, :, place + 1]
            axes.axhline(truth[place + 1], color=COLOURS[place], lw=0.8, ls=":")
            axes.errorbar(
                x + 0.06 * (place - 1),
                part.mean(axis=1),
                part.std(axis=1, ddof=1),
                marker="os^"[place],
                ms=5,
                capsize=3,
                label=name,
            )
        axes.set_xticks(x, [str(number or "all") for number in views])
        axes.set(xlabel="views seen of each image", ylabel="eigenvalue", ylim=(-0.05, 1.02))
        axes.set_title(title, fontsize=9)
        axes.legend(fontsize=8)
    note = (
        f"Four blocks of {images} images: two classes × two styles; bars: a standard deviation over {resamplings} "
        "resamplings; dotted: the complete graph (0.6 class, 0.5 style, 0.3 both). Parameters are ours, the paper's "
        "are not known. With few views the eigenvalues by order rise and draw together, and the fourth eigenfunction "
        "is worth nothing."
    )
    figure.supxlabel(note)
    return figure


# --- parts -----------------------------------------------------------------------------------------------------------


def _panels(
    rows: int, columns: int, width: float = 4.6, height: float = 3.7, key: float = 0
) -> tuple[Figure, list[list[Axes]]]:
    """Axes, row by row; with a `key` of so many lines, one more below each row, across it, to be `_key`."""
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


def _parts(rows: pd.DataFrame, by: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows by panels, each with its title: what sets it apart from the others."""
    kinds = results.varied(rows, by)
    for values, part in rows.groupby(kinds or by, sort=True):
        named = zip(kinds, values, strict=True) if kinds else ()
        yield ", ".join(f"{value} epochs" if kind == "epochs" else str(value) for kind, value in named), part


def _titled(*parts: str) -> str:
    return "\n".join(_wrapped(part, 48) for part in parts if part)


def _alike(rows: pd.DataFrame) -> str:
    return results.comparison(rows).split(" (")[0]


def _minutes(rows: pd.DataFrame) -> tuple[pd.DataFrame, str, str]:
    """The rows that an axis of minutes can hold, those of one machine, and its label and title."""
    kept, machine = results.on_one_machine(rows)
    return kept, f"minutes of training alone\n{_wrapped(f'on {machine}', 60)}", "equal training time"


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
        style = LINES[widths.index(one["projector.width"]) % len(LINES)]
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
        _floors(axes, rows, show)


def _colour(views: object) -> str:
    return VIEWS.get(views, COLOURS[5])


def _key(axes: Axes, rows: pd.DataFrame) -> None:
    """The legend below: each arm's line, what it spent by its end, and its number of seeds."""
    rows, _ = results.timed(rows)
    widths = sorted(rows["projector.width"].unique())
    handles = list[mpl.lines.Line2D]()
    for name, arm in results.last(rows).groupby("name", sort=False):
        one, style = arm.iloc[0], LINES[widths.index(arm["projector.width"].iloc[0]) % len(LINES)]
        minutes = arm["minutes"].mean()
        spent = f"{_count(arm['view_images'].mean())} view-images" + (f", {minutes:.3g} min" if minutes >= 0 else "")
        text = f"{name}: {spent}, peak {arm['peak_mib'].max():.0f} MiB, n = {arm['seed'].nunique()}"
        handles.append(mpl.lines.Line2D([], [], ls=style, color=_colour(one["views"]), marker=".", label=text))
    for name, style in FLOORS.items():
        if name in rows and rows[name].notna().any():
            text = f"{'raw pixels' if name == 'pixels' else name}: {100 * rows[name].mean():.3g} %"
            handles.append(mpl.lines.Line2D([], [], ls=style, color="0.5", label=text))
    axes.legend(handles=handles, loc="center", fontsize=8, handlelength=3, ncols=1)


def _count(number: float) -> str:
    return f"{number / 1e6:.3g} M" if number >= 1e6 else f"{number / 1e3:.3g} k"


FLOORS = {"chance": ":", "untrained": "-.", "pixels": "--"}
"""What an accuracy has to be better than, with the style of its line."""


def _floors(axes: Axes, rows: pd.DataFrame, show: str = "accuracy", across: str = "y") -> None:
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


def _means(axes: Axes, rows: pd.DataFrame, x: str, y: str, name: str, marker: str, style: str = "-") -> None:
    """A line through the means over seeds of `y` (a fraction, drawn in per cent), and every seed's point."""
    means = rows.groupby(x)[y].mean()
    (line,) = axes.plot(means.index, 100 * means, style, marker=marker, ms=5, label=name)
    axes.plot(rows[x], 100 * rows[y], marker=".", ms=4, ls="", color=line.get_color(), alpha=0.5)


def _widths(axes: Axes, widths: "pd.Series") -> None:
    """A log axis with a tick a width, named where the names do not run into each other."""
    ticks, named = sorted(widths.unique()), [0.0]
    for tick in ticks:
        if tick >= 1.3 * named[-1]:
            named.append(tick)
    axes.set_xscale("log")
    axes.set_xticks(ticks, [str(tick) if tick in named else "" for tick in ticks], rotation=45 if len(ticks) > 8 else 0)
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())


def _plain(axes: Axes) -> None:
    """Numbers on log axes as people write them."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(mpl.ticker.NullLocator())


def _wrapped(text: str, width: int = 100) -> str:
    return "\n".join(textwrap.wrap(text, width))
