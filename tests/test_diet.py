"""DIET's tables and figures on frames whose right answers are known; its linear model; MedMNIST's files."""

import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy
from matplotlib.text import Text
from test_config import cell
from test_tables import KNOWN, run, runs

from entia import config, datasets, results
from entia.claims.intervals import spearman
from entia.config import Embed, Optimizer, Readout
from entia.fields import Problem
from entia.planning import columns, drawings
from entia.planning.reports import Report
from entia.probes import Ridge
from entia.reports import diet_figures, diet_tables, draw, linear, rendering
from entia.theory import linear_model


def trained(accuracy, **fields) -> pd.DataFrame:
    """One run of DIET's grid: 1,000 images times the fraction, an accuracy (per cent) for each saved epoch."""
    base = {
        "method.name": "diet", "method.smoothing": 0.8, "views": 1, "projector.depth": 0, "optimizer.lr": 0.001,
        "optimizer.weight_decay": 0.05, "augmentation.erase": 0.25, "optimizer.lr_per": None, "weight": math.nan,
    }  # fmt: skip
    base |= {"level": 3, "rate": (base | fields)["optimizer.lr"]}
    base["images"] = round(1000 * fields.get("subset.fraction", 1.0))
    return run(accuracy, **(base | fields))


# --- last epoch, best epoch, online probe -----------------------------------------------------------------------------


def peaked(seed: int = 0) -> pd.DataFrame:
    """Offline and online accuracies whose last, best and early values all differ."""
    shift = seed / 100
    rows = trained([50, 80, 60], seed=seed)
    return rows.assign(accuracy=rows["accuracy"] + shift, probe_accuracy=np.array([0.40, 0.45, 0.30]) + shift)


def test_last_and_best_epoch_are_never_confused_offline_or_online():
    table = diet_tables.accuracy(runs(peaked(), peaked(1)), KNOWN)
    row = table.iloc[0]
    assert len(table) == 1 and row["n"] == 2
    assert (row["last epoch %"], row["best epoch on test %"]) == pytest.approx((60.5, 80.5))
    assert (row["online, last %"], row["online, best on test %"]) == pytest.approx((30.5, 45.5))
    assert (row["sd"], row["sd of best"]) == pytest.approx((0.71, 0.71))


def test_the_order_of_rows_does_not_matter():
    rows = runs(peaked(), peaked(1))
    pd.testing.assert_frame_equal(diet_tables.accuracy(rows, KNOWN), diet_tables.accuracy(rows.iloc[::-1], KNOWN))


def test_a_single_saved_epoch_has_no_best_one():
    rows = peaked()
    row = diet_tables.accuracy(rows[rows["epoch"] == 3], KNOWN).iloc[0]
    assert row["last epoch %"] == pytest.approx(60) and math.isnan(row["best epoch on test %"])


def test_the_logs_running_best_counts_epochs_that_were_not_saved():
    rows = peaked().assign(probe_best=[0.40, 0.52, 0.52])
    assert diet_tables.accuracy(rows, KNOWN).iloc[0]["online, best on test %"] == pytest.approx(52)


def test_nothing_stands_in_for_an_online_probe_that_was_not_trained():
    simclr = trained([50, 60], views=2, **{"method.name": "simclr", "method.smoothing": math.nan})
    table = diet_tables.accuracy(runs(peaked(), simclr), KNOWN).set_index("method")
    assert table.loc["diet", "online, last %"] == pytest.approx(30)
    assert table.loc["simclr", ["online, last %", "online, best on test %"]].isna().all()


# --- rows of a table ----------------------------------------------------------------------------------------------------


def test_a_readout_that_two_experiments_share_counts_once():
    table = diet_tables.accuracy(runs(trained([40]), trained([40], experiment="two", arm="other")), KNOWN)
    assert table["n"].tolist() == [1] and len(table) == 1


def test_only_what_varies_within_a_method_is_a_column():
    simclr = {"method.name": "simclr", "method.smoothing": math.nan, "views": 2, "optimizer.weight_decay": 1e-6}
    table = diet_tables.accuracy(
        runs(trained([40]), trained([50], **{"method.smoothing": 0.1}), trained([45], **simclr)), KNOWN
    )
    assert "smoothing" in table and not {"weight decay", "batch", "data"} & set(table)
    assert table["method"].tolist() == ["diet", "diet", "simclr"]


def test_runs_that_the_table_cannot_tell_apart_are_refused():
    with pytest.raises(
        ValueError, match="runs of one seed differ in no column of the table: encoder.name, method.name"
    ):
        diet_tables.accuracy(runs(trained([40]), trained([50], **{"encoder.width": 9})), KNOWN)


def test_the_rate_is_scaled_by_the_batch_and_the_level_is_read_from_the_pipeline():
    asked = [
        cell(batch=64, optimizer=Optimizer(lr=0.001, lr_per=256)),
        cell(batch=64, optimizer=Optimizer(lr=0.001)),
        cell(augmentation=config.Augmentation(jitter=0.3)),
    ]
    rows = [results.columns(Readout(embed=Embed(pretrain=one, on=one.subset), probe=Ridge())) for one in asked]
    assert [row["rate"] for row in rows[:2]] == pytest.approx([0.00025, 0.001]) and rows[2]["level"] == 2


def smoothings() -> pd.DataFrame:
    """Validation prefers 0.1, the test split 0.8."""
    parts = [
        trained([accuracy], seed=seed, **{"method.smoothing": level}).assign(validation=held)
        for seed in (0, 1)
        for level, accuracy, held in ((0.1, 60, 0.7), (0.8, 70, 0.6))
    ]
    other = {"method.name": "supervised", "method.smoothing": math.nan}
    return runs(*parts, trained([65], **other).assign(validation=0.5))


def test_the_best_smoothing_is_picked_on_validation_and_never_on_test():
    table = diet_tables.accuracy(smoothings(), KNOWN, pick="method.smoothing").set_index("method")
    heading = "smoothing (best on the validation split)"
    assert table.loc["diet", [heading, "last epoch %", "n"]].tolist() == [0.1, 60, 2]
    assert table.loc["supervised", "last epoch %"] == 65


def test_a_value_picked_on_the_test_split_says_so_in_its_heading():
    table = diet_tables.accuracy(smoothings().drop(columns="validation"), KNOWN, pick="method.smoothing").set_index(
        "method"
    )
    assert table.loc["diet", "smoothing (best on the TEST split)"] == 0.8


def test_reported_and_literature_values_stand_apart_and_only_beside_their_own_data_and_encoder():
    fields = ["artefact", "dataset", "method", "width", "arm", "quantity", "value", "unit", "source", "note"]
    known = pd.DataFrame(
        [
            ["DIET-TA", "cifar10", "diet", "", "net", "linear readout accuracy", "71.4", "%", "abstract", ""],
            ["DIET-TA", "cifar10", "simclr", "", "net", "literature linear accuracy", "90", "%", "README", ""],
        ],
        columns=fields,
    )
    simclr = {"method.name": "simclr", "method.smoothing": math.nan}
    rows = runs(trained([40]), trained([40], **{"encoder.name": "other"}), trained([40], **simclr))
    table = diet_tables.accuracy(rows, known).set_index(["encoder", "method"])
    assert table.loc[("net", "diet"), ["reported %", "literature %"]].tolist() == ["71.4 (abstract)", "not known"]
    assert table.loc[("net", "simclr"), ["reported %", "literature %"]].tolist() == ["not known", "90 (README)"]
    assert table.loc[("other", "diet"), "reported %"] == "not known"
    elsewhere = diet_tables.accuracy(rows.assign(**{"subset.dataset": "mnist5k"}), known)
    assert not {"reported %", "literature %"} & set(elsewhere)


def test_cost_counts_seconds_an_epoch_and_leaves_those_of_two_machines_out():
    rows = runs(trained([40, 50]), trained([40, 50], views=2, **{"method.name": "simclr"}))
    table = diet_tables.cost(rows, KNOWN).set_index("method")
    assert table["seconds an epoch"].to_dict() == pytest.approx({"diet": 60, "simclr": 120})
    rows.loc[0, "machines"] = "another"
    mixed = diet_tables.cost(rows, KNOWN).set_index("method")
    assert mixed[["minutes", "seconds an epoch"]].isna().all(axis=None)
    pd.testing.assert_series_equal(mixed["last epoch %"], table["last epoch %"])


def test_tables_are_rendered_with_the_best_epochs_spread_beside_the_best():
    shown = rendering.readable(diet_tables.accuracy(runs(peaked(), peaked(1)), KNOWN))
    assert shown.iloc[0][["last epoch %", "best epoch on test %"]].tolist() == ["60.5 ± 0.7", "80.5 ± 0.7"]


def test_columns_without_a_value_are_left_out_and_nothing_is_said_of_them():
    report = Report(title="t", table="diet_accuracy")
    bare = draw.table(report, trained([60]), "laptop", "X")
    assert not any(name in text for text in bare.values() for name in ("best epoch", "online", ", sd", "–"))
    assert "last epoch: a probe" in bare["md"]
    full = draw.table(report, runs(peaked(), peaked(1)), "laptop", "X")["md"]
    assert "best epoch: the largest" in full and "online: the probe" in full


# --- loss against accuracy ----------------------------------------------------------------------------------------------


def scattered(seed: int, smoothing: float = 0.8, noise: float = 1.0) -> pd.DataFrame:
    """Accuracy rises over ten epochs; the loss lies above its floor by as much as accuracy lacks, with noise."""
    generator = np.random.default_rng(seed)
    rows = trained(np.linspace(30, 75, 10) + generator.normal(size=10), seed=seed, **{"method.smoothing": smoothing})
    above = 1 - rows["accuracy"] + 0.1 * noise * generator.normal(size=10)
    return rows.assign(loss=linear_model.floor(smoothing, 1000) + above)


def test_rho_is_spearmans_over_all_epochs_and_counts_the_runs_without_an_interval():
    rows = runs(*(scattered(seed) for seed in range(5)))
    expected = scipy.stats.spearmanr(rows["loss"], rows["accuracy"]).statistic
    assert diet_figures._rho_text(rows, "loss") == f"ρ = {expected:.2f}, 5 runs".replace("-", "−")
    assert diet_figures._rho_text(scattered(0, noise=0), "loss") == "ρ = −1.00, 1 run"
    assert diet_figures._rho_text(scattered(0, noise=0)[:1], "loss") == "1 run"


def test_levels_of_smoothing_are_comparable_once_the_floor_is_subtracted():
    rows = runs(*(scattered(seed, level, noise=0) for seed, level in enumerate((0.0, 0.4, 0.8))))
    above = diet_figures.above_floor(rows)
    assert above["excess"].to_numpy() == pytest.approx(1 - rows["accuracy"].to_numpy())
    assert spearman(above["excess"], above["accuracy"]) == pytest.approx(-1)
    assert spearman(above["loss"], above["accuracy"]) > -0.5


def test_the_floor_is_that_of_the_runs_own_number_of_images():
    rows = scattered(0)
    moved = diet_figures.above_floor(rows)["excess"] - diet_figures.above_floor(rows.assign(images=1100))["excess"]
    assert moved.to_numpy() == pytest.approx(linear_model.floor(0.8, 1100) - linear_model.floor(0.8, 1000))


def test_every_saved_epoch_of_diet_is_a_point_and_no_other_methods_is():
    rows = runs(scattered(0), scattered(1, 0.1), scattered(2).assign(**{"method.name": "simclr", "readout": "x"}))
    left, right = diet_figures.loss(rows).axes
    points = np.concatenate([np.asarray(part.get_offsets()) for part in left.collections])
    kept = rows[rows["method.name"] == "diet"]
    assert np.sort(points[:, 0]) == pytest.approx(np.sort(100 * kept["accuracy"]))
    lowest = np.concatenate([np.asarray(part.get_offsets()) for part in right.collections])[:, 1].min()
    assert lowest == pytest.approx(diet_figures.above_floor(rows)["excess"].min())
    assert [text.get_text() for text in left.get_legend().get_texts()][2:] == ["chance"]


# --- the other figures --------------------------------------------------------------------------------------------------


def named_lines(axes) -> dict[str, tuple[list[float], list[float]]]:
    found = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()}
    return {name: ends for name, ends in found.items() if not name.startswith("_")}


def test_sizes_are_images_and_a_missing_arm_leaves_the_other():
    labelled = {"method.name": "supervised", "method.smoothing": 0.0}
    rows = runs(
        *(trained([20, accuracy], seed=seed, **{"subset.fraction": share}) for seed in (0, 1)
          for share, accuracy in ((0.25, 40 + 2 * seed), (1.0, 60 + 2 * seed))),
        trained([20, 70], **labelled),
    )  # fmt: skip
    lines = named_lines(diet_figures.sizes(rows).axes[0])
    assert lines["diet"] == (pytest.approx([250, 1000]), pytest.approx([41, 61]))
    assert lines["supervised"] == (pytest.approx([1000]), pytest.approx([70]))
    assert set(named_lines(diet_figures.sizes(rows[rows["method.name"] == "diet"]).axes[0])) - {"chance"} == {"diet"}


def test_curves_follow_saved_epochs_and_leave_other_methods_out():
    rows = runs(
        trained([40, 60]), trained([30, 50], **{"method.smoothing": 0.1}), trained([1, 2], **{"method.name": "moco"})
    )
    lines = named_lines(diet_figures.curves(rows).axes[0])
    assert lines["smoothing 0.8"] == ([1, 2], pytest.approx([40, 60]))
    assert lines["smoothing 0.1"] == ([1, 2], pytest.approx([30, 50]))
    assert set(lines) - {"chance"} == {"smoothing 0.8", "smoothing 0.1"}


def test_early_best_and_last_accuracies_of_a_batch_size_are_three_things():
    course = np.full(40, 50.0)
    course[10], course[35], course[39] = 70, 90, 60
    found = diet_figures._by_batch(trained(course), "accuracy").iloc[0]
    assert (found["early"], found["overall"], found["last"]) == pytest.approx((0.7, 0.9, 0.6))
    assert found["seconds"] == pytest.approx(60) and not found["scaled"]
    short = diet_figures._by_batch(trained(course[:31]), "accuracy").iloc[0]
    assert math.isnan(short["early"]) and short["overall"] == pytest.approx(0.7)


def test_batch_sizes_draw_the_online_probe_only_where_every_run_has_it():
    probed = [trained([40, 50], batch=size).assign(probe_accuracy=[0.2, 0.1]) for size in (32, 64)]
    assert diet_figures.batch(runs(*probed)).axes[0].get_ylabel().startswith("online")
    assert diet_figures.batch(runs(probed[0], trained([40, 50], batch=64))).axes[0].get_ylabel().startswith("readout")


def test_ranks_are_drawn_in_falling_order_of_their_means():
    rows = [
        trained([40, 50], seed=seed, **{"method.name": name}).assign(rankme=[1.0, rank + seed])
        for seed in (0, 1)
        for name, rank in (("simclr", 5.0), ("diet", 9.0), ("vicreg", 7.0))
    ]
    after = diet_figures.rank(runs(*rows)).axes[0]
    assert [text.get_text() for text in after.get_xticklabels()] == ["diet", "vicreg", "simclr"]
    assert [bar.get_height() for bar in after.patches] == pytest.approx([9.5, 7.5, 5.5])


@pytest.mark.parametrize("kind", [name for name in drawings.KINDS if name.startswith("diet_")])
@pytest.mark.parametrize("alone", [True, False])
def test_a_method_that_nobody_knows_is_drawn_in_every_table_and_figure(kind, alone):
    own = [trained([30, 50], seed=seed, batch=batch, **{"method.name": name}).assign(rankme=5.0)
           for name in ("mine", "another") for seed in (0, 1) for batch in (32, 64)]  # fmt: skip
    own = [part.assign(loss=5 - part["accuracy"]) for part in own]
    known = trained([40, 60]).assign(rankme=6.0, loss=[4.6, 4.4])
    of_diet = kind in ("diet_loss", "diet_curves")
    rows = runs(*own).drop(columns="method.smoothing") if alone and not of_diet else runs(*own, known)
    if kind in drawings.TABLES:
        text = draw.table(Report(title="t", table=kind), rows, "laptop", "X")["md"]
        assert "mine" in text and "another" in text and "cannot be drawn" not in text
    elif not issubclass(drawings.KINDS[kind], drawings.Theory):
        figure = draw.figure(Report(title="t", figure=kind), rows, "laptop")
        figure.savefig(io.BytesIO(), format="png", dpi=20)
        named = " ".join(text.get_text() for text in figure.findobj(Text))
        assert "cannot be drawn" not in named and (of_diet or ("mine" in named and "another" in named))


def test_two_methods_that_nobody_knows_have_two_colours():
    assert len({diet_figures._colour(name) for name in ("mine", "another", *diet_figures.METHODS)}) == 10


# --- the linear model -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cases() -> list[linear.Case]:
    return linear.cases()


def test_training_reaches_every_optimum_to_within_1e_7(cases: list[linear.Case]):
    for case in cases:
        assert abs(case.gap()[-1]) < 1e-7 and case.gap()[0] > 1e-3, case.name


def test_optima_are_the_closed_forms(cases: list[linear.Case]):
    coinciding_square, coinciding_entropy, _, spread_entropy = cases
    assert coinciding_square.optimum == pytest.approx(1 - 4 / 16)
    assert coinciding_entropy.optimum == pytest.approx(linear_model.floor(0.8, 16, 4))
    assert spread_entropy.optimum == pytest.approx(linear_model.floor(0.8, 16))


def test_interactions_lie_inside_the_clusters_blocks(cases: list[linear.Case]):
    shares = [linear_model.block_energy(case.interactions, 4) for case in cases]
    assert shares == pytest.approx([1, 1, shares[2], 1], abs=1e-6) and 0.95 < shares[2] < 1


def test_on_real_digits_descent_reaches_the_closed_form_and_interactions_are_the_heads_gram():
    moments = linear.digits(3, draws=40)
    best, case = linear.on_digits(moments, 6)
    assert abs(case.gap()[-1]) < 1e-7
    np.testing.assert_allclose(best.head @ best.encoder @ moments.means, 40 * best.head @ best.head.T, atol=1e-9)
    np.testing.assert_allclose(case.interactions, best.head @ best.encoder @ moments.means, atol=1e-3)


def test_without_augmentation_every_direction_of_real_digits_is_worth_the_same():
    moments = linear.digits(0)
    spectrum = linear_model.linear_diet(moments.second, moments.means, 4).spectrum
    assert 40 * spectrum[:40] ** 2 == pytest.approx(np.ones(40), abs=1e-6)


@pytest.mark.parametrize("level", range(4))
def test_levels_are_the_levels_that_claims_read(level: int):
    policy = config.Augmentation(**({"flip": 0.0, "mean": (127.5,), "std": (127.5,)} | linear.LEVELS[level]))
    assert columns.augmentation_level(policy) == level


# --- MedMNIST -------------------------------------------------------------------------------------------------------------


def npz(folder: Path, name: str = "pneumoniamnist", channels: tuple[int, ...] = (), **changed) -> Path:
    """Five train, two val and three test images in MedMNIST's layout; image i of all is filled with i."""
    value, parts = 0, {}
    for split, count in (("train", 5), ("val", 2), ("test", 3)):
        shade = np.arange(value, value + count, dtype=np.uint8)
        parts[f"{split}_images"] = np.broadcast_to(
            shade.reshape(-1, 1, 1, *(1 for _ in channels)), (count, 28, 28, *channels)
        ).copy()
        parts[f"{split}_labels"] = (shade % 2).astype(np.uint8)[:, None]
        value += count
    path = folder / f"{name}.npz"
    np.savez(path, **{key: part for key, part in (parts | changed).items() if part is not None})
    return path


def test_medmnist_trains_on_train_then_val_and_tests_on_test(tmp_path: Path):
    npz(tmp_path)
    raw = datasets.read("pneumoniamnist", tmp_path)
    assert raw.train.pixels.shape == (7, 1, 28, 28) and raw.train.pixels[:, 0, 0, 0].tolist() == list(range(7))
    assert raw.test.pixels[:, 0, 0, 0].tolist() == [7, 8, 9] and raw.test.index.tolist() == [0, 1, 2]
    assert raw.train.label.tolist() == [0, 1, 0, 1, 0, 1, 0] and raw.classes == ("normal", "pneumonia")


def test_medmnist_in_colour_has_three_channels_and_is_resized(tmp_path: Path):
    npz(tmp_path, "bloodmnist", (3,))
    raw = datasets.read("bloodmnist", tmp_path, side=14)
    assert raw.train.pixels.shape == (7, 3, 14, 14) and len(raw.classes) == 8


def test_a_missing_file_says_which_file_goes_where(tmp_path: Path):
    with pytest.raises(Problem, match=r"dermamnist.npz is missing .* put MedMNIST's dermamnist.npz .* into "):
        datasets.read("dermamnist", tmp_path)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"val_images": None}, "val_images"),
        ({"val_labels": np.zeros((3, 1), np.uint8)}, "val_labels are not 2 of 0 to 1"),
        ({"test_labels": np.full((3, 1), 2, np.uint8)}, "test_labels are not 3 of 0 to 1"),
        ({"train_images": np.zeros((5, 28, 28))}, r"train_images is float64 \(5, 28, 28\)"),
        ({"train_images": np.array([{}] * 5)}, "allow_pickle"),
    ],
)
def test_a_damaged_file_is_one_clear_problem_and_nothing_is_unpickled(tmp_path: Path, changed: dict, said: str):
    npz(tmp_path, **changed)
    with pytest.raises(Problem, match=rf"pneumoniamnist.npz is damaged or not MedMNIST's \(.*{said}"):
        datasets.read("pneumoniamnist", tmp_path)


def test_a_file_cut_short_is_damaged(tmp_path: Path):
    path = npz(tmp_path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(Problem, match="is damaged"):
        datasets.read("pneumoniamnist", tmp_path)
