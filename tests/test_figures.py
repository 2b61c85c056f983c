"""Figures on frames whose right answers are known: what is drawn is read back from the axes."""

import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from test_tables import MACHINE, drawn, run, runs

from entia import plan
from entia.plan import Report
from entia.reports import draw, plots, theory_figures, views, widths
from entia.theory import descent


def sweep(slope: float) -> pd.DataFrame:
    """Accuracy peaks at the weight 3 · width^slope, of a fine grid of weights."""
    widths, weights = [16, 64, 256, 1024], np.geomspace(1e-5, 10, 241)
    rows = []
    for width in widths:
        best = 3 * width**slope
        rows += [
            run(80 - 5 * np.log(weight / best) ** 2, weight=weight, **{"projector.width": width}) for weight in weights
        ]
    return runs(*rows)


def lines(axes) -> dict[str, mpl.lines.Line2D]:
    return {line.get_label(): line for line in axes.get_lines()}


@pytest.mark.parametrize("slope", [-1.0, -0.5])
def test_the_fitted_slope_is_the_planted_one(slope):
    figure = widths.best_weight(sweep(slope).assign(accuracy=lambda rows: rows["accuracy"].clip(lower=0)))
    (label,) = [name for name in lines(figure.axes[0]) if name.startswith("fitted slope")]
    assert float(label.split()[-1].replace("−", "-")) == pytest.approx(slope, abs=0.03)


def test_the_slope_of_a_power_law_is_exact():
    x = np.array([2.0, 8.0, 64.0])
    slope, offset = widths.log_slope(x, 5 * x**-0.7)
    assert (slope, np.exp(offset)) == pytest.approx((-0.7, 5.0))


def test_a_frontier_keeps_what_nothing_beats():
    minutes = np.array([1.0, 2, 2, 3, 4, 5])
    error = np.array([50.0, 40, 45, 60, 20, 20])
    assert views.frontier(minutes, error).tolist() == [0, 1, 4]


def test_a_frontier_falls_and_no_point_lies_below_it():
    generator = np.random.default_rng(0)
    minutes, error = generator.uniform(size=(2, 200))
    kept = views.frontier(minutes, error)
    assert (np.diff(minutes[kept]) > 0).all() and (np.diff(error[kept]) < 0).all()
    beaten = [(minutes[kept] <= x) & (error[kept] <= y) for x, y in zip(minutes, error, strict=True)]
    assert all(any(part) for part in beaten)


def arms() -> pd.DataFrame:
    return runs(
        *(run([40 + 4 * seed, 60, 70], seed=seed) for seed in (0, 1)),
        *(run([50, 70, 80 + 2 * seed], seed=seed, views=4) for seed in (0, 1)),
    )


def test_convergence_draws_means_over_seeds_against_epochs_and_beside_against_minutes():
    figure = views.convergence(arms())
    epochs, minutes, key = figure.axes
    two, four = epochs.get_lines()[:2]
    assert two.get_ydata().tolist() == [42, 60, 70] and four.get_ydata().tolist() == [50, 70, 81]
    assert two.get_xdata().tolist() == [1, 2, 3]
    assert minutes.get_lines()[0].get_xdata().tolist() == [2, 4, 6]
    assert minutes.get_lines()[1].get_xdata().tolist() == [4, 8, 12]
    assert "equal unique images" in epochs.get_title() and "equal training time" in minutes.get_title()
    assert MACHINE in minutes.get_xlabel()
    texts = [text.get_text() for text in key.get_legend().get_texts()]
    assert texts == [
        "2 views: 6 k view-images, 6 min, peak 700 MiB, n = 2",
        "4 views: 12 k view-images, 12 min, peak 700 MiB, n = 2",
        "chance: 10 %",
    ]


def test_the_band_is_a_standard_deviation_over_seeds():
    band = views.convergence(arms()).axes[0].collections[0].get_paths()[0].vertices
    sd = np.std([40, 44], ddof=1)
    assert {round(float(y), 6) for x, y in band if x == 1} == {round(42 - sd, 6), round(42 + sd, 6)}


def test_error_is_what_accuracy_leaves():
    axes = views.convergence(arms(), show="error", beside="view_images").axes
    assert axes[0].get_lines()[0].get_ydata() == pytest.approx([58, 40, 30])
    assert axes[1].get_lines()[0].get_xdata().tolist() == [2000, 4000, 6000]
    assert axes[1].get_title() == "equal view-images"


@pytest.mark.parametrize("name", ["convergence", "pareto", "sample_efficiency"])
def test_of_cells_of_several_machines_minutes_are_those_of_one_and_it_is_said(name):
    rows = arms()
    rows.loc[rows["views"] == 4, "machines"] = "another"
    figure = draw.figure(Report(title="t", figure=name), rows, "laptop")
    said = f"cells were trained on 2 machines (another; {MACHINE})"
    assert figure.get_label().startswith(said) and said in figure.get_supxlabel().replace("\n", " ")
    if name == "convergence":
        epochs, minutes, key = figure.axes
        assert len(epochs.get_lines()) >= 2 and "another alone (2 of 4 cells)" in minutes.get_xlabel()
        assert [line.get_xdata().tolist() for line in minutes.get_lines() if len(line.get_xdata()) == 3] == [[4, 8, 12]]
        assert not any("min," in text.get_text() for text in key.get_legend().get_texts())


def test_a_figure_that_shows_no_minutes_says_nothing_of_machines():
    rows = runs(run(50, arm="fixed"), run(60, arm="tuned", weight=0.1, machines="another"))
    assert not draw.figure(Report(title="t", figure="width_curve"), rows, "laptop").get_label()


def test_sample_efficiency_says_that_view_images_are_equal():
    rows = runs(run([40, 60]), run([45, 61], views=4, **{"subset.fraction": 0.5}))
    left, right, _ = views.sample_efficiency(rows).axes
    assert "equal view-images at equal epochs" in left.get_title().replace("\n", " ")
    assert [tick.get_text() for tick in right.get_xticklabels()] == ["2 views\n100 %", "4 views\n50 %"]


def test_no_legend_of_a_frontier_lies_over_the_points():
    figure = views.pareto(arms())
    axes, key = figure.axes
    figure.canvas.draw()
    assert axes.get_legend() is None
    assert not key.get_legend().get_window_extent().overlaps(axes.get_window_extent())


def test_pareto_draws_a_frontier_for_two_views_and_one_for_more():
    found = lines(views.pareto(arms()).axes[0])
    two, more = found["frontier of 2 views"], found["frontier of more views"]
    assert two.get_ydata() == pytest.approx([58, 40, 30]) and two.get_xdata() == pytest.approx([2, 4, 6])
    assert more.get_ydata() == pytest.approx([50, 30, 19])


def test_the_width_curve_takes_the_weight_that_validation_prefers():
    rows = runs(
        *(run(60 + width / 64, arm="fixed", **{"projector.width": width}).assign(validation=0.5) for width in (16, 64)),
        *(run(70, arm="tuned", weight=0.1, **{"projector.width": width}).assign(validation=0.6) for width in (16, 64)),
        *(run(90, arm="tuned", weight=0.2, **{"projector.width": width}).assign(validation=0.4) for width in (16, 64)),
    )
    tuned = lines(widths.width_curve(rows).axes[0])["tuned weight"]
    assert tuned.get_ydata() == pytest.approx([70, 70]) and tuned.get_xdata().tolist() == [16, 64]


def test_views_are_drawn_with_each_ones_best_weight():
    rows = runs(run(50), run(60, views=4), run(70, views=16, weight=0.1), run(65, views=16, weight=0.2))
    (line,) = [line for name, line in lines(views.views_curve(rows).axes[0]).items() if name.startswith("width")]
    assert line.get_xdata().tolist() == [2, 4, 16] and line.get_ydata() == pytest.approx([50, 60, 70])


def test_a_heat_map_holds_mean_accuracies_and_rings_the_chosen():
    rows = runs(
        *(run(50 + seed, weight=0.1, seed=seed) for seed in (0, 2)),
        run(60, weight=0.2),
        run(70, weight=0.1, **{"projector.width": 256}),
    )
    axes = widths.heat_map(rows).axes[0]
    np.testing.assert_allclose(axes.images[0].get_array().filled(np.nan), [[51, 70], [60, np.nan]])
    assert sorted(axes.collections[0].get_offsets().tolist()) == [[0, 1], [1, 0]]


def test_chance_is_a_line_where_it_fits_and_words_where_it_would_squash_the_curves():
    near, far = (views.convergence(run(values)).axes[0] for values in ([12, 30], [80, 81]))
    assert "chance" in lines(near) and "chance" not in lines(far)
    assert any("off the axis: chance 10 %" in text.get_text() for text in far.texts)


def test_baselines_are_lines_beside_the_curves_they_are_to_be_beaten_by():
    rows = arms().assign(untrained=0.38, pixels=0.55)
    axes = views.convergence(rows).axes[0]
    levels = {line.get_label(): line.get_ydata()[0] for line in axes.get_lines()}
    assert levels["untrained"] == pytest.approx(38) and levels["raw pixels"] == pytest.approx(55)
    texts = [text.get_text() for text in views.convergence(rows).axes[2].get_legend().get_texts()]
    assert texts[-2:] == ["untrained: 38 %", "raw pixels: 55 %"]


def test_dynamics_counts_the_directions_that_theory_predicts():
    rows = run([1, 2]).assign(effective_rank=[3.0, 4.0], **{"method.name": "spectral_contrastive"})
    low, high, inside, trained = theory_figures.dynamics(rows).axes
    assert "5 of 10 directions active (theory: 5)" in low.get_title() and "10 of 10" in high.get_title()
    amplitudes = sorted(line.get_ydata()[-1] for line in low.get_lines())[-5:]
    assert amplitudes == pytest.approx(sorted(descent.amplitude(0.05, theory_figures.EIGENVALUES[:5])), abs=1e-3)
    assert [line.get_label() for line in inside.get_lines()] == ["β = 0.05", "β = 0.5", "β = 5"]
    assert trained.get_lines()[0].get_ydata().tolist() == [3, 4]


def test_the_graph_spectrum_ends_at_the_complete_graphs_and_says_what_each_panel_is():
    figure = theory_figures.graph_spectrum(images=32, resamplings=5)
    matched, ordered, worth = figure.axes
    for axes, name in ((matched, "matched"), (ordered, "ordered"), (worth, "worth")):
        assert axes.get_title().startswith(name)
        ends = [container.lines[0].get_ydata()[-1] for container in axes.containers]
        assert ends == pytest.approx([0.6, 0.5, 0.3])
        assert axes.get_xticklabels()[-1].get_text() == "all"
    # what the paper's figure is said to show: class and style merge at two views, and both-together is worth nothing
    few = [container.lines[0].get_ydata()[0] for container in ordered.containers]
    assert few[0] - few[1] < 0.05 and worth.containers[2].lines[0].get_ydata()[0] < 0.1


def test_every_figure_says_its_scale_data_and_seeds():
    figure = draw.figure(Report(title="Views on STL-10", figure="convergence"), arms(), "laptop")
    assert "laptop scale: cifar10" in figure.get_supxlabel() and "2 seeds" in figure.get_supxlabel()
    assert "[here cifar10, laptop scale]" in figure.get_suptitle().replace("\n", " ")


def test_the_same_frame_gives_the_same_bytes(tmp_path):
    files = []
    for name in ("one", "two"):
        figure = draw.figure(Report(title="t", figure="convergence"), arms(), "laptop")
        plots.save(figure, tmp_path / name, "svg")
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]


FIGURES = [
    (scale, artefact)
    for scale in plan.SCALES
    for artefact, report in plan.load(ROOT / "params.yaml", scale).reports.items()
    if report.figure not in (None, "diet_linear_optimum", "diet_interactions")  # those alone take ten seconds
    and artefact.startswith(("MV-", "DIET-"))
    and (scale == "laptop" or artefact in ("MV-F2b", "MV-F4c", "MV-A5"))
]


@pytest.mark.parametrize(("scale", "artefact"), FIGURES)
def test_every_figure_of_params_yaml_is_drawn(scale, artefact):
    found = plan.load(ROOT / "params.yaml", scale)
    rows = drawn(found, artefact) if found.rows[artefact] else pd.DataFrame()
    figure = draw.figure(found.reports[artefact], rows, scale)
    figure.savefig(io.BytesIO(), format="png", dpi=20)
    assert figure.axes and scale in figure.get_supxlabel()
