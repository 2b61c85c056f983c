"""Planted effects get the right verdict on each side, noise gets none, and no gap in the data raises."""

import dataclasses
import json
import zlib
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from entia import claims

WIDTHS, WEIGHTS = (64, 256, 1024, 8192), (0.0004, 0.002, 0.02)
IDS = [f"MV-H{number}" for number in range(1, 14)] + [f"DIET-H{number}" for number in range(1, 9)]


def rows(
    experiment: str,
    accuracy: float | Callable[[int], float],
    *,
    seeds: int = 4,
    epochs: int = 10,
    noise: float = 0.001,
    **columns: object,
) -> list[dict[str, object]]:
    """Rows of one arm, a cell a seed: accuracy at the last epoch, or at each of all epochs where it is a function."""
    found: list[dict[str, object]] = []
    given = {name.replace("__", "."): value for name, value in columns.items()}
    for seed in range(seeds):
        name = f"{experiment}-{sorted(given.items())}-{seed}"
        generator = np.random.default_rng(zlib.crc32(name.encode()))
        offset, pace = noise * generator.standard_normal(), 1 + 0.01 * generator.standard_normal()
        for epoch in range(1, epochs + 1) if callable(accuracy) else (epochs,):
            value = (accuracy(epoch) if callable(accuracy) else accuracy) + offset
            common = {
                "arm": "",
                "views": 2,
                "projector.width": 64,
                "subset.fraction": 1.0,
                "method.name": "barlow_twins",
            }
            fixed = {"subset.dataset": "cifar10", "encoder.name": "resnet50", "weight": 0.01, "batch": 128}
            log = {"minutes": epoch * pace, "loss": 5.0 - value, "machines": "one machine", "chance": 0.1}
            measured = {"epoch": epoch, "accuracy": value, "validation": value, "rankme": 20 + 100 * offset}
            said = {"experiment": experiment, "cell": name, "seed": seed, "epochs": epochs, "optimizer.lr": 0.001}
            found.append({**common, **fixed, **log, **measured, **said, **given})
    return found


def judged(claim: str, *parts: list[dict[str, object]]) -> claims.Verdict:
    frame = pd.DataFrame([row for part in parts for row in part])
    return claims.verdict(next(one for one in claims.CLAIMS if one.claim == claim), frame, "laptop")


# --- intervals ----------------------------------------------------------------------------------------------------


def test_the_t_interval_is_scipys():
    values = np.array([0.3, -1.2, 0.8, 2.0])
    found = claims.t_interval(values, 0.95)
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_the_interval_of_unpaired_arms_is_welchs():
    a, b = np.array([1.0, 2.0, 4.0]), np.array([0.0, 5.0, 3.0, 9.0, 2.0])
    found = claims.welch([a, b], [1.0, -1.0], 0.9)
    expected = scipy.stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_arms_that_share_seeds_are_paired_and_others_are_not():
    a = pd.Series([1.0, 2.0, 4.0], index=[0, 1, 2])
    shuffled = pd.Series([3.6, 1.5, 0.3], index=[2, 1, 0])
    paired = claims.contrast([a, shuffled], [1.0, -1.0], 0.95)
    expected = scipy.stats.ttest_rel(a, shuffled.sort_index()).confidence_interval(0.95)
    assert (paired.low, paired.high) == pytest.approx((expected.low, expected.high))
    other = shuffled.set_axis([2, 1, 7])
    unpaired = scipy.stats.ttest_ind(a, other, equal_var=False).confidence_interval(0.95)
    assert claims.contrast([a, other], [1.0, -1.0], 0.95).low == pytest.approx(unpaired.low)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_intervals_hold_the_truth_as_often_as_they_say(seeds: int):
    draws = np.random.default_rng(seeds).normal(1.5, 3, (2000, seeds))
    held = [found.low < 1.5 < found.high for found in (claims.t_interval(draw, 0.95) for draw in draws)]
    assert np.mean(held) == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / 2000))


def test_the_jackknife_of_a_mean_in_one_stratum_is_the_t_interval():
    values = np.array([0.3, -1.2, 0.8, 2.0])
    runs = [pd.DataFrame({"x": [value]}) for value in values]
    found = claims.jackknife([runs], lambda part: float(part["x"].mean()), 0.95)
    assert found == pytest.approx(claims.t_interval(values, 0.95))


def test_rank_correlation_is_scipys_also_with_ties():
    x, y = pd.Series([1.0, 2.0, 2.0, 5.0, 4.0]), pd.Series([2.0, 1.0, 4.0, 4.0, 9.0])
    assert claims.spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic)


# --- rulings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "ruling"),
    [
        (-0.9, 0.9, "supported"),
        (1.1, 3.0, "not supported"),
        (-3.0, -1.1, "not supported"),
        (-1.1, 0.5, "inconclusive"),
        (0.5, 1.5, "inconclusive"),
        (-5.0, 5.0, "inconclusive"),
        (float("nan"), float("nan"), "inconclusive"),
    ],
)
def test_equivalence_needs_the_whole_interval_on_one_side(low: float, high: float, ruling: str):
    assert claims.EQUAL.ruling(claims.Estimate((low + high) / 2, low, high, 3)) == ruling


def test_every_claim_of_the_papers_stands_exactly_once():
    assert [claim.claim for claim in claims.CLAIMS] == IDS


def test_nothing_run_is_inconclusive_but_for_the_theory():
    found = claims.judge(pd.DataFrame(), "laptop")
    assert {one.claim for one in found if one.verdict != "inconclusive"} == {"MV-H13"}
    assert all(reading.note for one in found for reading in one.readings)


def test_one_seed_is_inconclusive_and_says_so():
    views = [rows("views_barlow_twins", accuracy, views=k, seeds=1) for k, accuracy in ((2, 0.5), (4, 0.7), (8, 0.2))]
    found = judged("MV-H12", *views)
    assert (found.verdict, found.seeds) == ("inconclusive", 0)
    assert "2 or more" in found.readings[0].note


def test_seeds_that_agree_exactly_are_no_interval():
    data = [rows("data_barlow_twins", 0.75, noise=0, views=v, subset__fraction=f) for v, f in ((2, 1.0), (4, 0.5))]
    found = judged("MV-H5", *data)
    assert (found.verdict, found.effect) == ("inconclusive", 0)


# --- planted effects, either side ---------------------------------------------------------------------------------


def width_rows(narrow: float, narrow_fixed: float, wide: float, wide_fixed: float = 0.7) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for width, tuned, fixed in ((64, narrow, narrow_fixed), (8192, wide, wide_fixed)):
        found += rows("width_barlow_twins", fixed, arm="fixed", weight=0.0004, projector__width=width)
        for weight in WEIGHTS:
            right = weight == (0.02 if width == 64 else 0.002)
            accuracy = tuned if right else tuned - 0.1
            found += rows("width_barlow_twins", accuracy, arm="tuned", weight=weight, projector__width=width)
    return found


def view_curves(four: float, eight: float = 0.6, late: float = 0.0) -> list[dict[str, object]]:
    """2 views rise to 0.6; 4 views lead by `four` throughout, `late` more in training's second half."""
    found = rows("views_barlow_twins", lambda epoch: 0.1 + 0.05 * epoch)
    found += rows("views_barlow_twins", lambda epoch: 0.1 + 0.05 * epoch + four + late * (epoch > 5), views=4)
    return found + rows("views_barlow_twins", lambda epoch: eight, views=8)


def data_rows(
    half: float, quarter: float, dataset: str = "cifar10", experiment: str = "data_barlow_twins"
) -> list[dict[str, object]]:
    arms = ((2, 1.0, 0.6), (4, 0.5, half), (8, 0.25, quarter))
    return [
        row
        for views, fraction, accuracy in arms
        for row in rows(experiment, accuracy, views=views, subset__fraction=fraction, subset__dataset=dataset)
    ]


def grid_rows(gain: float, fraction: float = 0.25) -> list[dict[str, object]]:
    parts = [(views, share) for views in (4, 8) for share in (fraction, 1.0)]
    return [
        row
        for views, share in parts
        for row in rows("grid_barlow_twins", 0.5 + gain * (views == 8), views=views, subset__fraction=share)
    ]


def sweep_rows(power: float) -> list[dict[str, object]]:
    """Accuracy peaks where weight = width^power · constant, with a peak that moves a little from seed to seed."""
    found: list[dict[str, object]] = []
    for seed in range(4):
        shift = np.random.default_rng(seed).normal(0, 0.15, 6)
        for place, width in enumerate(2.0 ** np.arange(6, 12)):
            peak = power * np.log(width / 64) + np.log(0.05) + shift[place]
            for log_weight in np.linspace(np.log(0.0003), np.log(0.9), 60):
                accuracy = 0.8 - 0.01 * (log_weight - peak) ** 2
                (row,) = rows(
                    "weight_sweep_barlow_twins",
                    accuracy,
                    seeds=1,
                    noise=0,
                    arm="tuned",
                    weight=float(np.exp(log_weight)),
                    projector__width=int(width),
                )
                found.append({**row, "seed": seed, "cell": f"{row['cell']}-{seed}"})
    return found


def budget(diet: float, baseline: float = 0.5, **columns: object) -> list[dict[str, object]]:
    found = rows("diet_budget", diet, method__name="diet", weight=np.nan, **columns)
    for place, name in enumerate(claims.SSL):
        found += rows("diet_budget", baseline - 0.02 * place, method__name=name, weight=np.nan, **columns)
    return found


def batches(diet: float, ssl: float, name: str = "diet") -> list[dict[str, object]]:
    """Accuracy falls by this much from one batch size to the other."""
    found: list[dict[str, object]] = []
    for method, fall in ((name, diet), ("simclr", ssl), ("vicreg", ssl)):
        for batch in (64, 512):
            accuracy = 0.6 - fall * (batch == 512)
            found += rows("diet_batch", accuracy, method__name=method, weight=np.nan, batch=batch)
    return found


def loss_rows(sign: float) -> list[dict[str, object]]:
    """Runs at two smoothing levels whose accuracy rises (sign 1) or falls (−1) as the loss falls, noisily."""
    found: list[dict[str, object]] = []
    for smoothing in (0.1, 0.8):
        for run in range(5):
            noise = np.random.default_rng(run + int(10 * smoothing)).normal(0, 0.02, 21)
            curve = rows(
                "diet_loss",
                lambda epoch: 0.5,
                epochs=20,
                seeds=1,
                noise=0,
                method__name="diet",
                method__smoothing=smoothing,
            )
            for row in curve:
                epoch = int(str(row["epoch"]))
                found.append(
                    {
                        **row,
                        "cell": f"{smoothing}-{run}",
                        "loss": 8 - epoch / 10,
                        "accuracy": 0.5 + sign * epoch / 100 + noise[epoch],
                    }
                )
    return found


PLANTED: list[tuple[str, list[dict[str, object]], str]] = [
    ("MV-H1", width_rows(0.80, 0.70, 0.81), "supported"),
    ("MV-H1", width_rows(0.72, 0.70, 0.81), "not supported"),
    ("MV-H2", width_rows(0.80, 0.60, 0.82), "supported"),
    ("MV-H2", width_rows(0.60, 0.60, 0.82), "not supported"),
    ("MV-H3", view_curves(0.05), "supported"),
    ("MV-H3", view_curves(-0.05), "not supported"),
    ("MV-H3", view_curves(-0.05, late=0.1), "not supported"),
    ("MV-H4", data_rows(0.6, 0.62), "supported"),
    ("MV-H4", data_rows(0.6, 0.55), "not supported"),
    ("MV-H5", data_rows(0.6, 0.2), "supported"),
    ("MV-H5", data_rows(0.55, 0.2), "not supported"),
    ("MV-H7", data_rows(0.6, 0.2), "inconclusive"),
    ("MV-H7", data_rows(0.6, 0.2) + data_rows(0.6, 0.2, "stl10", "data_stl10") + data_rows(0.6, 0.2, "image_folder/imagenet100", "data_imagenet100"), "supported"),
    ("MV-H8", data_rows(0.6, 0.2) + view_curves(0.05), "inconclusive"),
    ("MV-H9", width_rows(0.800, 0.70, 0.802), "supported"),
    ("MV-H9", width_rows(0.75, 0.70, 0.80), "not supported"),
    ("MV-H9", width_rows(0.80, 0.70, 0.75), "not supported"),
    ("MV-H11", grid_rows(0.0), "supported"),
    ("MV-H11", grid_rows(0.05), "not supported"),
    ("MV-H11", grid_rows(0.05, fraction=0.5), "inconclusive"),
    ("MV-H12", view_curves(0.05, eight=0.5), "supported"),
    ("MV-H12", view_curves(0.05, eight=0.9), "not supported"),
    ("DIET-H1", budget(0.714), "inconclusive"),
    ("DIET-H3", budget(0.52), "supported"),
    ("DIET-H3", budget(0.45), "not supported"),
    ("DIET-H4", batches(0.02, 0.10), "supported"),
    ("DIET-H4", batches(0.10, 0.02), "not supported"),
    ("DIET-H5", loss_rows(1), "supported"),
    ("DIET-H5", loss_rows(-1), "not supported"),
    ("DIET-H6", budget(0.5, encoder__name="resnet18") + budget(0.5), "inconclusive"),
    ("DIET-H6", budget(0.5, encoder__name="resnet18") + budget(0.5) + budget(0.5, subset__dataset="pneumoniamnist"), "supported"),
    ("DIET-H6", budget(0.5, encoder__name="resnet18") + budget(0.5) + budget(0.3, subset__dataset="pneumoniamnist"), "not supported"),
]  # fmt: skip


@pytest.mark.parametrize(("claim", "planted", "expected"), PLANTED, ids=[f"{one[0]}-{one[2]}" for one in PLANTED])
def test_a_planted_effect_gets_its_verdict(claim: str, planted: list[dict[str, object]], expected: str):
    assert judged(claim, planted).verdict == expected


@pytest.mark.parametrize(("power", "expected"), [(-1.0, "supported"), (0.0, "not supported"), (-0.6, "inconclusive")])
def test_the_best_weights_slope_is_found_and_ruled_on(power: float, expected: str):
    found = judged("MV-H10", sweep_rows(power))
    assert found.verdict == expected
    assert found.effect == pytest.approx(power, abs=0.15)


@pytest.mark.parametrize(("rate", "expected"), [(4.0, "supported"), (0.8, "not supported")])
def test_the_recipes_speed_is_the_ratio_of_minutes_to_the_baselines_accuracy(rate: float, expected: str):
    slow = rows("views_barlow_twins", lambda epoch: 0.1 + 0.05 * epoch, projector__width=8192)
    fast = rows("data_barlow_twins", lambda epoch: 0.1 + 0.05 * epoch * rate, views=4, subset__fraction=0.5)
    found = judged("MV-H6", slow, fast)
    assert found.readings[0].verdict == expected
    if rate > 1:
        assert found.readings[0].effect == pytest.approx(rate, rel=0.05)


def test_a_recipe_that_never_arrives_cannot_support_the_speed():
    slow = rows("views_barlow_twins", lambda epoch: 0.1 + 0.05 * epoch, projector__width=8192)
    fast = rows("data_barlow_twins", lambda epoch: 0.1 + 0.01 * epoch, views=4, subset__fraction=0.5)
    quick = [{**row, "minutes": row["epoch"] / 100} for row in fast]
    assert judged("MV-H6", slow, quick).readings[0].verdict == "inconclusive"


def test_minutes_of_different_machines_are_refused():
    slow = rows("views_barlow_twins", lambda epoch: 0.1 + 0.05 * epoch, projector__width=8192)
    fast = rows("data_barlow_twins", lambda epoch: 0.1 + 0.2 * epoch, views=4, subset__fraction=0.5, machines="another")
    reading = judged("MV-H6", slow, fast).readings[0]
    assert (reading.verdict, reading.effect) == ("inconclusive", None)
    assert "different machines" in reading.note


def test_a_curve_reaches_its_target_between_saved_epochs():
    epochs, accuracy = np.array([1.0, 2.0, 3.0]), np.array([0.3, 0.5, 0.4])
    assert claims.first_reached(epochs, accuracy, 0.45, 0.1) == pytest.approx(1.75)
    assert claims.first_reached(epochs, accuracy, 0.2, 0.1) == pytest.approx(0.5)
    assert claims.first_reached(epochs, accuracy, 0.6, 0.1) == np.inf


def test_imagenet_claims_are_ruled_on_where_imagenet_was_run():
    parts = data_rows(0.6, 0.2, "image_folder/imagenet100", "data_imagenet100")
    curves = [
        {**row, "experiment": "views_imagenet100", "subset.dataset": "image_folder/imagenet100"}
        for row in view_curves(0.05)
    ]
    assert judged("MV-H8", parts, curves).verdict == "supported"


@pytest.mark.parametrize(
    ("accuracy", "epochs", "expected"),
    [(0.714, 4000, "supported"), (0.60, 4000, "not supported"), (0.714, 100, "inconclusive")],
)
def test_diets_number_is_judged_on_its_own_data_at_its_own_length(accuracy: float, epochs: int, expected: str):
    there = {"subset__dataset": "cifar100", "encoder__name": "resnet101", "method__name": "diet"}
    assert judged("DIET-H1", rows("diet_architectures", accuracy, epochs=epochs, **there)).verdict == expected


def test_the_theory_predicts_the_dynamics():
    found = judged("MV-H13")
    assert (found.verdict, found.cells) == ("supported", ())


def diet_speed(diet: Callable[[int], float], ssl: Callable[[int], float], gap: float) -> list[dict[str, object]]:
    found = rows("diet_budget", diet, method__name="diet") + rows("diet_budget", ssl, method__name="simclr")
    found += rows("diet_levels", 0.5, method__name="diet", augmentation__crop_scale=(1.0, 1.0))
    found += rows(
        "diet_levels", 0.5 + gap, method__name="diet", augmentation__erase=0.25, augmentation__crop_scale=(0.1, 1.0)
    )
    found += rows("diet_smoothing", 0.4, method__name="diet", method__smoothing=0.0)
    return found + rows("diet_smoothing", 0.5, method__name="diet", method__smoothing=0.8)


def test_diets_sensitivity_slowness_and_smoothing_are_each_ruled_on():
    def slow(epoch: int) -> float:
        return 0.1 + 0.05 * epoch

    def quick(epoch: int) -> float:
        return 0.1 + 0.5 * min(1, epoch / 3)

    assert [one.verdict for one in judged("DIET-H7", diet_speed(slow, quick, 0.2)).readings] == ["supported"] * 3
    against = judged("DIET-H7", diet_speed(quick, slow, 0.0)).readings
    assert [one.verdict for one in against] == ["not supported", "not supported", "supported"]


def test_s_diet_is_judged_and_plain_diet_in_its_place_is_not():
    def ranked(name: str, rank: float) -> list[dict[str, object]]:
        return [{**row, "rankme": rank + row["rankme"]} for row in rows("diet_budget", 0.5, method__name=name)]

    own = ranked("sdiet", 50) + ranked("simclr", 0) + ranked("vicreg", 0) + batches(0.01, 0.01, "sdiet")
    assert judged("DIET-H8", own).verdict == "supported"
    lower = ranked("sdiet", -10) + ranked("simclr", 0) + ranked("vicreg", 0) + batches(0.01, 0.01, "sdiet")
    assert judged("DIET-H8", lower).verdict == "not supported"
    plain = ranked("diet", 50) + ranked("simclr", 0) + ranked("vicreg", 0) + batches(0.01, 0.01)
    found = judged("DIET-H8", plain)
    assert found.verdict == "inconclusive"
    assert all(reading.effect is not None for reading in found.readings)


@pytest.mark.parametrize(
    ("policy", "level"),
    [
        ({"crop_scale": (1.0, 1.0)}, 0),
        ({"crop_scale": (0.1, 1.0)}, 1),
        ({"flip": 0.5}, 1),
        ({"jitter": 0.3, "flip": 0.5}, 2),
        ({"erase": 0.25}, 3),
    ],
)
def test_augmentation_levels_are_read_off_the_pipeline(policy: dict[str, object], level: int):
    assert claims.augmentation_level({f"augmentation.{name}": value for name, value in policy.items()}) == level


# --- honesty ------------------------------------------------------------------------------------------------------


def test_noise_supports_nothing_that_asserts_a_difference():
    """Rules on null effects: each is wrong in at most 5 % of draws."""
    claim = next(one for one in claims.CLAIMS if one.claim == "MV-H12")
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(view_curves(0.0, eight=0.6))
    frame = frame[frame["epoch"] == frame["epochs"]].reset_index(drop=True)
    ruled = 0
    for _ in range(100):
        frame["accuracy"] = 0.5 + 0.02 * generator.standard_normal(len(frame))
        ruled += claims.verdict(claim, frame, "laptop").verdict != "inconclusive"
    assert ruled <= 12  # 5 expected; 12 is beyond three standard deviations


def test_criteria_are_the_same_whatever_the_data():
    planted = width_rows(0.8, 0.7, 0.81)
    halved = [{**row, "accuracy": row["accuracy"] / 2, "validation": row["validation"] / 2} for row in planted]
    for claim in ("MV-H1", "MV-H2", "MV-H9"):
        one, other = judged(claim, planted), judged(claim, halved)
        assert one.criterion == other.criterion
        assert one.effect is not None
        assert other.effect == pytest.approx(one.effect / 2, rel=1e-4)


def everything() -> pd.DataFrame:
    parts = [
        *(width_rows(0.8, 0.7, 0.81), view_curves(0.05), data_rows(0.6, 0.62), grid_rows(0.0)),
        *(sweep_rows(-1.0), budget(0.5), batches(0.02, 0.1), loss_rows(1)),
        rows("views_barlow_twins", lambda epoch: 0.05 * epoch, projector__width=8192),
    ]
    return pd.DataFrame([row for part in parts for row in part])


def test_no_missing_arm_raises():
    frame = everything()
    frame = frame[(frame["experiment"] != "weight_sweep_barlow_twins") | (frame["weight"] < 0.01)]
    for column in (
        "experiment",
        "arm",
        "views",
        "projector.width",
        "subset.fraction",
        "method.name",
        "weight",
        "seed",
        "epoch",
        "batch",
        "method.smoothing",
    ):
        for value in list(frame[column].dropna().unique())[: None if column == "experiment" else 3]:
            left = frame[frame[column] != value]
            for claim in claims.CLAIMS:
                if claim.claim != "MV-H13":  # reads no cell
                    assert claims.verdict(claim, left, "laptop").verdict in (
                        "supported",
                        "not supported",
                        "inconclusive",
                    )


def test_several_cells_for_one_seed_are_refused_by_name():
    doubled = data_rows(0.6, 0.2) + rows("data_barlow_twins", 0.7, views=4, subset__fraction=0.5, encoder__width=16)
    found = judged("MV-H5", doubled)
    assert found.verdict == "inconclusive"
    assert "encoder.width" in found.readings[0].note


def test_a_cell_that_two_experiments_share_counts_once():
    planted = data_rows(0.6, 0.2)
    once, twice = judged("MV-H5", planted), judged("MV-H5", planted, [{**row, "arm": "again"} for row in planted])
    assert once.effect == twice.effect
    assert once.seeds == twice.seeds == 4


def test_weights_are_chosen_on_validation_never_on_the_test_split():
    planted = width_rows(0.80, 0.70, 0.80)
    tempting = [
        {**row, "accuracy": 0.99} if row["weight"] == 0.0004 and row["arm"] == "tuned" else row for row in planted
    ]
    assert judged("MV-H9", tempting).effect == judged("MV-H9", planted).effect


def test_a_verdict_is_frozen_and_names_its_cells():
    found = judged("MV-H5", data_rows(0.6, 0.2))
    assert len(found.cells) == 8
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.verdict = "supported"  # pyright: ignore[reportAttributeAccessIssue]


def test_the_report_is_a_table_of_all_claims_and_the_same_bytes_twice():
    frame = everything()
    one, two = (
        claims.render(claims.judge(part, "laptop"), "laptop") for part in (frame, frame.sample(frac=1, random_state=0))
    )
    assert one == two
    content = json.loads(one["json"])
    assert [claim["claim"] for claim in content["claims"]] == IDS
    table = [line for line in one["md"].splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(IDS)
    assert len({line.count(" | ") for line in table}) == 1
