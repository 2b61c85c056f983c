"""Figures drawn from theory: learning at low and high weight, the spectrum of an augmentation graph."""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false, reportUnknownLambdaType=false

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from entia.reports import plots
from entia.theory import descent, graphs

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
            beta: descent.gradient_descent(EIGENVALUES, OUTPUTS, beta, record, np.random.default_rng(0))
            for beta in BETAS
        }
    figure, panels = plots.panels(1, 4, width=3.6, height=3.6)
    low, high, inside, trained = panels[0]
    for axes, beta in ((low, BETAS[0]), (high, BETAS[-1])):
        run, most = runs[beta], descent.active_directions(beta, EIGENVALUES, OUTPUTS)
        axes.plot(run.step, run.amplitude, color=plots.COLOURS[0] if beta == BETAS[0] else plots.COLOURS[1], lw=0.9)
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
        trained.plot(
            means.index, means, "o-", ms=3, color=plots.COLOURS[place % len(plots.COLOURS)], label=f"weight {weight:g}"
        )
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
        found = graphs.subsampled_spectra(views, resamplings, np.random.default_rng(0), images)
    truth = graphs.block_eigenvalues()
    figure, panels = plots.panels(1, 3, width=3.8, height=3.9)
    drawn = {
        "matched: quotients of known directions": (found.matched, ("class", "style", "class × style")),
        "ordered: the graph's own eigenvalues": (found.ordered, ("second", "third", "fourth")),
        "worth: its eigenfunctions\non the complete graph": (found.worth(), ("second", "third", "fourth")),
    }
    x = np.arange(len(views))
    for axes, (title, (values, names)) in zip(panels[0], drawn.items(), strict=True):
        for place, name in enumerate(names):
            part = values[:, :, place + 1]
            axes.axhline(truth[place + 1], color=plots.COLOURS[place], lw=0.8, ls=":")
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
