"""Tables on frames whose right answers are known."""

import dataclasses
import io
import itertools
import math

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from entia import config, naming, plan, results
from entia.claims import tuning
from entia.fields import Problem
from entia.plan import Report
from entia.reports import accuracies, captions, draw, rendering, tables

KNOWN = pd.DataFrame(
    columns=["artefact", "dataset", "method", "width", "arm", "quantity", "value", "unit", "source", "note"]
)
MACHINE = "one machine"


def run(accuracy, **fields) -> pd.DataFrame:
    """One run's readouts: an accuracy (in per cent) for each epoch; epoch e ends after e minutes times views."""
    accuracy = np.atleast_1d(accuracy)
    epochs = np.arange(1, len(accuracy) + 1)
    base = {
        "experiment": "one", "arm": "small", "method.name": "barlow_twins", "subset.dataset": "cifar10", "views": 2,
        "subset.fraction": 1.0, "projector.width": 64, "weight": 0.01, "seed": 0, "batch": 50, "encoder.name": "net",
        "encoder.width": 8, "probe.name": "ridge", "embed.views": 1, "embed.on.dataset": "cifar10", "chance": 0.1,
        "machines": MACHINE, "peak_mib": 700, "epochs": len(accuracy),
    } | fields  # fmt: skip
    base |= {"all_views": base["views"]}
    part = pd.DataFrame(
        {"epoch": epochs, "accuracy": accuracy / 100, **{name: [value] * len(epochs) for name, value in base.items()}}
    )
    part["minutes"] = 1.0 * epochs * base["views"] * base["subset.fraction"]
    part["view_images"] = 1000 * epochs * base["views"] * base["subset.fraction"]
    name = "/".join(f"{key}={value}" for key, value in base.items() if key not in ("experiment", "arm"))
    return part.assign(readout=name, cell=name)


def runs(*parts) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True)


def test_an_accuracys_baselines_stand_beside_it():
    rows = runs(run(70, untrained=0.4, pixels=0.55), run(74, seed=1, untrained=0.5, pixels=0.55))
    table = accuracies.by_group(rows, ["method.name"])
    assert table[["accuracy %", "raw pixels %", "untrained %", "chance %"]].to_numpy().tolist() == [[72, 55, 45, 10]]


def test_baselines_own_rows_are_no_rows_of_a_table():
    rows = runs(run(70), run(40, experiment="baselines", arm="untrained"))
    assert tuning.trained(rows)["accuracy"].tolist() == [0.7]


# --- time to a target -------------------------------------------------------------------------------------------------


def test_time_to_a_target_is_linear_between_saved_epochs():
    curve = run([40, 60, 80])  # at minutes 2, 4, 6
    assert results.time_to(curve, 0.65) == pytest.approx(4.5)
    assert results.time_to(curve, 0.65, "epoch") == pytest.approx(2.25)
    assert results.time_to(curve, 0.60) == pytest.approx(4)


def test_time_to_a_target_is_the_first_crossing_whatever_follows_and_however_rows_lie():
    curve = run([40, 70, 50, 80])
    assert results.time_to(curve, 0.55) == pytest.approx(3)
    assert results.time_to(curve.iloc[::-1], 0.55) == pytest.approx(3)


def test_a_target_never_reached_has_no_time_and_one_reached_at_once_the_first_epochs():
    curve = run([40, 60])
    assert math.isnan(results.time_to(curve, 0.7))
    assert results.time_to(curve, 0.3) == pytest.approx(2)


def arms() -> pd.DataFrame:
    """Baseline: width 256 ends at 60 % after 6 minutes, seed 1 at 70 %; four views cross both."""
    return runs(
        run([40, 50, 60], **{"projector.width": 256}),
        run([50, 60, 70], seed=1, **{"projector.width": 256}),
        run([50, 70, 80], views=4),
        run([50, 60, 80], views=4, seed=1),
        run([10, 20, 30], views=4, **{"subset.fraction": 0.5}),
        run([10, 20, 75], views=4, seed=1, **{"subset.fraction": 0.5}),
    )


def test_arms_are_timed_to_what_the_baselines_run_of_their_seed_ends_at():
    table = tables.time_to_target(arms(), KNOWN).set_index(["width", "views", "% of images"])
    base, four, half = (table.loc[key] for key in ((256, 2, 100), (64, 4, 100), (64, 4, 50)))
    assert base["minutes"] == pytest.approx(6) and base["× sooner than baseline"] == pytest.approx(1)
    # to 60 %: halfway between 4 and 8 minutes; to 70 %: halfway between 8 and 12
    assert four["minutes"] == pytest.approx((6 + 10) / 2) and four["sd"] == pytest.approx(4 / math.sqrt(2))
    assert four["× sooner than baseline"] == pytest.approx(6 / 8) and four["target %"] == pytest.approx(65)
    assert half["reached"] == "1 of 2" and half["minutes"] == pytest.approx(4 + 50 / 55 * 2)
    assert "reported minutes" not in table


def test_a_fixed_target_holds_on_its_own_data_set_alone():
    rows = runs(arms(), arms().assign(**{"subset.dataset": "mnist5k"}))
    table = tables.time_to_target(rows.assign(readout=rows["readout"] + rows["subset.dataset"]), KNOWN, 0.5, "cifar10")
    assert set(table["target %"]) == {50, 65, 60, 70} - {60, 70}


def moved() -> pd.DataFrame:
    """Six cells of the first machine, one of which went on, after its first epoch, on the second."""
    rows = arms().assign(machines="first")
    rows.loc[[1, 2], "machines"] = "first + second"
    return rows


@pytest.mark.parametrize("name", ["time_to_target", "accounting"])
def test_minutes_of_two_machines_are_left_out_and_all_else_is_as_it_was(name):
    report = Report(title="t", table=name)
    one, two = (
        pd.read_csv(io.StringIO(draw.table(report, rows, "laptop", "MV-T2")["csv"]))
        for rows in (arms().assign(machines="first"), moved())
    )
    timed = [column for column in one if column in ("minutes", "sd", "× sooner than baseline")]
    timed = [column for column in timed if name == "time_to_target" or column == "minutes"]  # sd of accuracy
    assert one["minutes"].notna().any() and not {*timed} & {*two}  # a column without a value is left out
    rest = [column for column in one if column not in (*timed, "conditions")]
    pd.testing.assert_frame_equal(one[rest], two[rest])
    said = "no minutes: cells were trained on 2 machines (first; second), whose times cannot be compared"
    assert said in two["conditions"][0] and "all on first" in one["conditions"][0]
    assert said in draw.table(report, moved(), "laptop", "MV-T2")["md"]


def test_an_axis_of_minutes_is_the_machines_that_trained_most_cells():
    rows, text = results.on_one_machine(moved())
    assert text == "first alone (5 of 6 cells)" and rows["cell"].nunique() == 5 and len(rows) == 15
    assert results.on_one_machine(rows)[1] == "first"
    every = run([40, 50]).assign(machines=["first", "first + second"])
    with pytest.raises(Problem, match="every cell was trained on several machines in turn: first; second"):
        results.on_one_machine(every)


@pytest.mark.parametrize(
    ("machine", "logged", "said"),
    [
        ("AMD EPYC, no GPU", True, "processor minutes of"),
        ("AMD EPYC, no GPU", False, "minutes of"),
        ("H200", True, "minutes of"),
        ("H200, shared by 2", True, "minutes of"),
    ],
)
def test_time_is_the_processors_where_it_alone_trains_and_other_work_slows_the_clock(machine, logged, said):
    rows = arms().assign(machines=machine)
    worked = rows["minutes"] / 2
    slowed = rows.assign(minutes=rows["minutes"] * np.where(rows["seed"] == 0, 1, 7), cpu_minutes=worked)
    if not logged:  # by a run of before it was
        slowed.loc[slowed.index[0], "cpu_minutes"] = np.nan
    truth = rows.assign(minutes=worked) if said.startswith("processor") else slowed
    columns = ["minutes", "sd", "× sooner than baseline"]
    table = tables.time_to_target(slowed, KNOWN)
    expected = tables.time_to_target(truth.drop(columns="cpu_minutes", errors="ignore"), KNOWN)
    pd.testing.assert_frame_equal(table[columns], expected[columns])
    assert results.timed(slowed)[1].startswith(said)
    kept = results.on_one_machine(slowed)[0]
    assert kept["minutes"].tolist() == truth["minutes"].tolist()


# --- choices ------------------------------------------------------------------------------------------------------------


def sweep() -> pd.DataFrame:
    """Validation prefers weight 0.1, the test split 0.01, on average over two seeds; single seeds disagree."""
    validation = {0.01: (0.70, 0.72), 0.1: (0.80, 0.68)}
    accuracy = {0.01: (70, 90), 0.1: (60, 62)}
    parts = [
        run(accuracy[weight][seed], weight=weight, seed=seed, arm="tuned").assign(validation=validation[weight][seed])
        for weight, seed in itertools.product(validation, (0, 1))
    ]
    return runs(*parts)


def test_the_weight_is_chosen_on_validation_and_never_on_test():
    best = results.best_weights(sweep(), ["projector.width"])
    assert set(best["weight"]) == {0.1} and len(best) == 2
    rows = runs(sweep(), sweep().query("weight == 0.01").assign(arm="fixed"))
    table = tables.width_table(rows, KNOWN).set_index("arm")
    assert table.loc["tuned", ["weight", "accuracy %", "n"]].tolist() == [0.1, 61.0, 2]
    assert table.loc["tuned", "sd"] == pytest.approx(np.std([60, 62], ddof=1), abs=0.01)
    assert "weights chosen on the validation split" in captions.conditions(rows, "laptop")


def test_without_held_out_images_the_caption_says_that_the_test_split_chose():
    rows = sweep().drop(columns="validation")
    assert set(results.best_weights(rows, ["projector.width"])["weight"]) == {0.01}
    assert "weights chosen on the TEST split" in captions.conditions(rows, "paper")


def test_a_tie_goes_to_the_smaller_weight():
    rows = runs(run(50, weight=0.1), run(50, weight=0.01))
    assert results.best_weights(rows, ["projector.width"])["weight"].tolist() == [0.01]


def test_choosing_on_test_shows_what_it_flatters_by():
    row = tables.held_out(sweep()).iloc[0]
    assert (row["weight, held out"], row["weight, test"]) == (0.1, 0.01)
    assert row["flattery"] == pytest.approx(80 - 61)


def test_a_column_of_reported_values_is_there_where_one_is_known_and_nowhere_else():
    rows, columns = runs(run(60, arm="tuned"), run(61, arm="fixed")), dict.fromkeys(KNOWN, "")
    known = pd.DataFrame(
        [columns | {"method": "barlow_twins", "width": "64", "arm": "fixed", "value": "9", "source": "x"}]
    )
    table = tables.width_table(rows, known).set_index("arm")
    assert table["reported %"].to_dict() == {"fixed": "9 (x)", "tuned": "not known"}
    assert "reported %" not in tables.width_table(rows, known.assign(width="128"))


# --- the other tables -----------------------------------------------------------------------------------------------------


def test_differences_are_paired_by_seed_and_by_all_that_sets_rows_apart():
    rows = runs(
        *(run(60 + 10 * seed + views, arm="plain", seed=seed, views=views) for seed in (0, 1) for views in (2, 4)),
        *(
            run(63 + 12 * seed + views, arm="other", seed=seed, views=views, weight=0.02)
            for seed in (0, 1)
            for views in (2, 4)
        ),
    )
    table = tables.differences(rows, baseline="plain")
    assert list(zip(table["views"], table["arm"], strict=True)) == [
        (2, "plain"),
        (2, "other"),
        (4, "plain"),
        (4, "other"),
    ]
    other = table[table["arm"] == "other"]
    assert other["difference"].tolist() == [4, 4] and other["pairs"].tolist() == [
        2,
        2,
    ]  # (3 + 5) / 2, not spread by seeds
    assert other["sd of difference"].to_numpy() == pytest.approx(math.sqrt(2), abs=0.01)


def test_a_run_without_a_baseline_of_its_seed_adds_to_no_difference():
    rows = runs(run(60), run(70, views=4), run(99, views=4, seed=1))
    four = tables.differences(rows, along="views", baseline=2.0).set_index("views").loc[4]
    assert four["difference"] == 10 and four["pairs"] == 1 and four["n"] == 2


def test_a_baseline_that_no_row_has_is_an_error():
    with pytest.raises(ValueError, match="no row has arm 'nothing'"):
        tables.differences(run(60), baseline="nothing")


def test_accounting_tells_unique_images_from_view_images():
    rows = runs(run([1, 2, 3, 4]), run([1, 2, 3, 4], views=4, **{"subset.fraction": 0.5}))
    two, four = (row for _, row in tables.accounting(rows).iterrows())
    assert (two["view-images"], four["view-images"]) == (8000, 8000)
    assert (two["unique images"], four["unique images"]) == (1000, 500)
    assert (two["steps"], four["steps"]) == (80, 40) and two["peak MiB"] == 700
    assert (two["accuracy %"], two["minutes"]) == (4, 8)


def test_runs_that_several_experiments_share_count_once():
    one = run([1, 2])
    table = tables.accounting(runs(one, one.assign(experiment="two", arm="wide")))
    assert table["n"].tolist() == [1] and len(table) == 1


def test_transfer_keeps_readouts_of_other_data_alone():
    rows = runs(run(70), run(40, **{"embed.on.dataset": "stl10"}))
    table = tables.transfer(rows)
    assert table[["data", "read out on", "accuracy %"]].values.tolist() == [["cifar10", "stl10", 40.0]]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (({"views": 2}, {"views": 4}), "equal unique images at equal epochs"),
        (({"views": 2}, {"views": 4, "subset.fraction": 0.5}), "equal view-images at equal epochs"),
        (({"views": 2}, {"views": 4}, {"views": 4, "subset.fraction": 0.5}), "equal neither"),
        (({"views": 2}, {"views": 2, "projector.width": 256}), ""),
    ],
)
def test_the_comparison_that_arms_make_is_told_from_the_arms(fields, said):
    found = captions.comparison(runs(*(run(50, **part) for part in fields)))
    assert found.startswith(said) and bool(found) == bool(said)


def test_below_paper_scale_the_title_says_what_was_really_drawn_on():
    assert captions.heading("Widths on STL-10", run(50), "laptop") == "Widths on STL-10 [here cifar10, laptop scale]"
    assert captions.heading("Widths on STL-10", run(50), "paper") == "Widths on STL-10"


def test_texts_carry_spread_conditions_and_what_the_papers_say(monkeypatch):
    monkeypatch.chdir(ROOT)
    rows = runs(sweep(), sweep().query("weight == 0.01").assign(arm="fixed"))
    text = draw.table(Report(title="Widths", table="width_table"), rows, "laptop", "MV-T1")
    assert "| barlow_twins | 64 | tuned | 0.1 | 61.0 ± 1.4 | 2 | 10 |" in text["md"]
    assert "64 and 8192 width" in text["md"] and "2 seeds" in text["md"]
    assert r"61.0 $\pm$ 1.4" in text["tex"] and "laptop scale" in text["csv"]


def test_readable_numbers_have_no_exponents_and_missing_ones_a_dash():
    table = pd.DataFrame(
        {"minutes": [1.234, np.nan], "sd": [np.nan, np.nan], "n": [1, 2], "images": [1234567.0, 0.0004]}
    )
    assert rendering.readable(table).values.tolist() == [["1.23", "1", "1,234,567"], ["–", "2", "0.0004"]]


def test_every_table_of_params_yaml_can_be_drawn(monkeypatch):
    monkeypatch.chdir(ROOT)
    for scale in plan.SCALES:
        found = plan.load("params.yaml", scale)
        for artefact, report in found.reports.items():
            if report.table and artefact.startswith(("MV-", "DIET-")):  # a report of one's own is not the tests' matter
                text = draw.table(report, drawn(found, artefact), scale, artefact)["md"]
                assert text.count("\n|") > 2 and "nan" not in text


def drawn(found: plan.Plan, artefact: str) -> pd.DataFrame:
    """A frame of an artefact's own rows, with made-up readouts (seeded by the cell) of every epoch that is kept."""

    def read(stage: config.Readout) -> dict[str, object]:
        generator = np.random.default_rng(int(naming.key(stage), 16))
        cell = stage.embed.pretrain
        every = cell.checkpoint_every if stage.embed.epochs == "all" and cell.checkpoint_every else cell.epochs
        kept = sorted({*range(every, cell.epochs + 1, every), cell.epochs})
        held = {"validation": 0.5} if cell.subset.validation else {}
        names = ("accuracy", "alpha", "rankme", "effective_rank")
        metrics = {str(epoch): {**held, **{name: generator.uniform(0.3, 0.9) for name in names}} for epoch in kept}
        return {"chance": 0.1, "metrics": metrics}

    def log(stage: config.Readout) -> results.Log:
        cell = stage.embed.pretrain
        one = {
            "loss": "1",
            "seconds": "60",
            "images": f"{1000 * cell.subset.fraction:.0f}",
            "view_images": f"{1000 * cell.views}",
            "peak_mib": "9",
            "machine": "m",
        } | ({"probe_loss": "1", "probe_accuracy": "0.5"} if cell.online_probe else {})
        return [one | {"epoch": str(epoch + 1)} for epoch in range(cell.epochs)]

    return results.frame(found, found.rows[artefact], read, log)


def test_a_frame_adds_up_the_log_to_each_saved_epoch():
    found = plan.load(ROOT / "params.yaml", "laptop")
    frame = drawn(dataclasses.replace(found, rows={"x": found.rows["MV-F4a"][:1]}), "x")
    views = found.readouts[found.rows["MV-F4a"][0].readout].embed.pretrain.views
    assert frame["epoch"].tolist() == [2, 4, 5] and frame["minutes"].tolist() == [2, 4, 5]
    assert frame["view_images"].tolist() == [1000 * views * epoch for epoch in (2, 4, 5)]
    assert set(frame["images"]) == {1000}
    assert set(frame["readout"]) == {found.rows["MV-F4a"][0].readout}
