"""Planted effects get the right verdict on each side, noise gets none, and no gap in the data raises."""

import dataclasses
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from entia import arms, claims, config, intervals, judging, plan, results, theory

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
            diets = {"method.smoothing": 0.8, "images": 1000}
            log = {"minutes": epoch * pace, "loss": 5.0 - value, "machines": "one machine", "chance": 0.1}
            measured = {"epoch": epoch, "accuracy": value, "validation": value, "rankme": 20 + 100 * offset}
            said = {"experiment": experiment, "cell": name, "seed": seed, "epochs": epochs, "optimizer.lr": 0.001}
            found.append({**common, **fixed, **diets, **log, **measured, **said, **given})
    return found


def judged(claim: str, *parts: list[dict[str, object]]) -> judging.Verdict:
    frame = pd.DataFrame([row for part in parts for row in part])
    return judging.verdict(next(one for one in claims.CLAIMS if one.claim == claim), frame, "laptop")


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
    assert judging.EQUAL.ruling(intervals.Estimate((low + high) / 2, low, high, 3)) == ruling


def test_every_claim_of_the_papers_stands_exactly_once():
    assert [claim.claim for claim in claims.CLAIMS] == IDS


def test_nothing_run_is_inconclusive_but_for_the_theory():
    found = claims.judge(pd.DataFrame(), "laptop")
    assert {one.claim for one in found if one.verdict != "inconclusive"} == {"MV-H13"}
    assert all(reading.note or reading.data for one in found for reading in one.readings)


def test_one_seed_is_inconclusive_and_says_so():
    views = [rows("views_barlow_twins", accuracy, views=k, seeds=1) for k, accuracy in ((2, 0.5), (4, 0.7), (8, 0.2))]
    found = judged("MV-H12", *views)
    assert (found.verdict, found.shown.seeds) == ("inconclusive", 0)
    assert "2 or more" in found.readings[0].note


def test_seeds_that_agree_exactly_are_no_interval():
    data = [rows("data_barlow_twins", 0.75, noise=0, views=v, subset__fraction=f) for v, f in ((2, 1.0), (4, 0.5))]
    found = judged("MV-H5", *data)
    assert (found.verdict, found.shown.effect) == ("inconclusive", 0)


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


def budget(
    diet: float, baseline: float = 0.5, experiment: str = "diet_budget", method: str = "diet", **columns: object
) -> list[dict[str, object]]:
    found = rows(experiment, diet, method__name=method, weight=np.nan, **columns)
    for place, name in enumerate(results.SSL):
        found += rows(experiment, baseline - 0.02 * place, method__name=name, weight=np.nan, **columns)
    return found


def encoders(natural: float, medical: float) -> list[dict[str, object]]:
    """DIET against the best baseline's 0.5, on two encoders and on chest X-rays."""
    found = budget(natural, experiment="diet_encoders_cifar100")
    found += budget(natural, experiment="diet_encoders_cifar100", encoder__name="resnet18")
    return found + budget(medical, experiment="diet_medical", subset__dataset="pneumoniamnist")


def number(accuracy: float, dataset: str, encoder: str, epochs: int = 4000) -> list[dict[str, object]]:
    """DIET on a data set and an encoder, and beside it the study of sizes: longer on fewer images, and far lower."""
    there = {"subset__dataset": dataset, "encoder__name": encoder, "method__name": "diet"}
    name = f"diet_encoders_{dataset.rsplit('/', 1)[-1]}"
    sized = rows("diet_supervised", 0.1, epochs=25 * epochs, subset__fraction=0.01, **there)
    return rows(name, accuracy, epochs=epochs, **there) + sized


def speeds(rate: float) -> list[dict[str, object]]:
    """The recipe learns `rate` times as fast as the baseline."""
    slow = rows("views_barlow_twins", lambda epoch: 0.1 + 0.05 * epoch, projector__width=8192)
    return slow + rows("data_barlow_twins", lambda epoch: 0.1 + 0.05 * epoch * rate, views=4, subset__fraction=0.5)


def on_imagenet(half: float, lead: float) -> list[dict[str, object]]:
    name = "image_folder/imagenet100"
    curves = [{**row, "experiment": "views_imagenet100", "subset.dataset": name} for row in view_curves(lead)]
    return data_rows(half, 0.2, name, "data_imagenet100") + curves


def on_three(stl10: float) -> list[dict[str, object]]:
    """Half of the data on CIFAR-10, ImageNet-100 and STL-10, there at two lengths, of which the shorter is no good."""
    short = [{**row, "epochs": 5, "epoch": 5, "cell": f"{row['cell']}-5", "accuracy": 0.1}
             for row in data_rows(0.1, 0.1, "stl10", "data_stl10")]  # fmt: skip
    long = data_rows(stl10, 0.2, "stl10", "data_stl10")
    return data_rows(0.6, 0.2) + short + long + data_rows(0.6, 0.2, "image_folder/imagenet100", "data_imagenet100")


def s_diet(rank: float) -> list[dict[str, object]]:
    """s-DIET beside its baselines, its embeddings' rank higher by this much."""
    others = [row for row in budget(0.5, method="sdiet") if row["method.name"] in ("simclr", "vicreg")]
    own = [{**row, "rankme": rank + row["rankme"]} for row in rows("diet_budget", 0.5, method__name="sdiet")]
    return own + others + batches(0.01, 0.01, "sdiet")


def batches(diet: float, ssl: float, name: str = "diet") -> list[dict[str, object]]:
    """Accuracy falls by this much from one batch size to the other."""
    found: list[dict[str, object]] = []
    for method, fall in ((name, diet), ("simclr", ssl), ("vicreg", ssl)):
        for batch in (64, 512):
            accuracy = 0.6 - fall * (batch == 512)
            found += rows("diet_batch", accuracy, method__name=method, weight=np.nan, batch=batch)
    return found


def loss_rows(sign: float) -> list[dict[str, object]]:
    """Runs at two smoothing levels whose accuracy rises (sign 1) or falls (−1) as the loss falls, noisily: noise is 0.02."""
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


def diet_speed(diet: Callable[[int], float], ssl: Callable[[int], float], gap: float) -> list[dict[str, object]]:
    found = rows("diet_budget", diet, method__name="diet") + rows("diet_budget", ssl, method__name="simclr")
    found += rows("diet_levels", 0.5, method__name="diet", augmentation__crop_scale=(1.0, 1.0))
    strong = {"augmentation__erase": 0.25, "augmentation__crop_scale": (0.1, 1.0)}
    found += rows("diet_levels", 0.5 + gap, method__name="diet", **strong)
    found += rows("diet_smoothing", 0.4, method__name="diet", method__smoothing=0.0)
    return found + rows("diet_smoothing", 0.5, method__name="diet", method__smoothing=0.8)


def slow(epoch: int) -> float:
    return 0.1 + 0.05 * epoch


def quick(epoch: int) -> float:
    return 0.1 + 0.5 * min(1, epoch / 3)


IMAGENET, TINY = "image_folder/imagenet100", "image_folder/tinyimagenet"
# Of each claim what supports it, what does not, and what lies across its criterion's edge.
PLANTED: dict[str, tuple[list[dict[str, object]], ...]] = {
    "MV-H1": (width_rows(0.80, 0.70, 0.81), width_rows(0.72, 0.70, 0.81), width_rows(0.80, 0.70, 0.902)),
    "MV-H2": (width_rows(0.80, 0.60, 0.82), width_rows(0.60, 0.60, 0.82), width_rows(0.69, 0.60, 0.82)),
    "MV-H3": (view_curves(0.05), view_curves(-0.05), view_curves(0.0)),
    "MV-H4": (data_rows(0.6, 0.62), data_rows(0.6, 0.55), data_rows(0.6, 0.59)),
    "MV-H5": (data_rows(0.6, 0.2), data_rows(0.55, 0.2), data_rows(0.59, 0.2)),
    "MV-H6": (speeds(4.0), speeds(0.8), speeds(1.5)),
    "MV-H7": (on_three(0.6), on_three(0.55), on_three(0.59)),
    "MV-H8": (on_imagenet(0.6, 0.05), on_imagenet(0.5, 0.05), on_imagenet(0.59, 0.05)),
    "MV-H9": (width_rows(0.800, 0.70, 0.802), width_rows(0.75, 0.70, 0.80), width_rows(0.80, 0.70, 0.811)),
    "MV-H10": (sweep_rows(-1.0), sweep_rows(0.0), sweep_rows(-0.6)),
    "MV-H11": (grid_rows(0.0), grid_rows(0.05), grid_rows(0.01)),
    "MV-H12": (view_curves(0.05, eight=0.5), view_curves(0.05, eight=0.9), view_curves(0.05, eight=0.65)),
    "DIET-H1": tuple(number(accuracy, "cifar100", "resnet101") for accuracy in (0.714, 0.60, 0.704)),
    "DIET-H2": tuple(number(accuracy, TINY, "resnext50_32x4d") for accuracy in (0.525, 0.60, 0.515)),
    "DIET-H3": (budget(0.52), budget(0.45), budget(0.49)),
    "DIET-H4": (batches(0.02, 0.10), batches(0.10, 0.02), batches(0.05, 0.05)),
    "DIET-H5": (loss_rows(1), loss_rows(-1), loss_rows(0.2)),
    "DIET-H6": (encoders(0.5, 0.5), encoders(0.5, 0.3), encoders(0.45, 0.5)),
    "DIET-H7": (diet_speed(slow, quick, 0.2), diet_speed(quick, slow, 0.0), diet_speed(slow, quick, 0.048)),
    "DIET-H8": (s_diet(50), s_diet(-10), s_diet(0)),
}


@pytest.mark.parametrize("place", range(3), ids=judging.RULINGS)
@pytest.mark.parametrize("claim", PLANTED)
def test_a_planted_effect_gets_its_verdict_and_says_what_it_rests_on(claim: str, place: int):
    found = judged(claim, PLANTED[claim][place])
    assert found.verdict == judging.RULINGS[place]
    shown = found.shown
    assert shown.effect is not None and shown.low is not None and shown.high is not None
    assert shown.low <= shown.effect <= shown.high
    assert found.scale == "laptop" and shown.seeds > 1 and shown.cells and shown.criterion


def test_all_claims_are_planted_but_the_theorys_which_reads_no_cell():
    assert [*PLANTED, "MV-H13"] == [*IDS[:12], *IDS[13:], "MV-H13"]


def test_the_theory_predicts_the_dynamics():
    found = judged("MV-H13")
    assert (found.verdict, found.shown.cells) == ("supported", ())


@pytest.mark.parametrize(
    ("shifts", "expected"), [([0.01] * 6, "not supported"), ([0.0, 0.0, 0.0004, 0.0, 0.001, 0.0], "inconclusive")]
)
def test_a_closed_form_that_is_off_is_noticed(shifts, expected, monkeypatch):
    amplitude, waiting = theory.amplitude, iter(shifts)
    monkeypatch.setattr(theory, "amplitude", lambda beta, values: amplitude(beta, values) + next(waiting))
    assert judged("MV-H13").verdict == expected


@pytest.mark.parametrize(
    ("claim", "planted"),
    [
        ("MV-H7", data_rows(0.6, 0.2)),
        ("MV-H8", data_rows(0.6, 0.2) + view_curves(0.05)),
        ("MV-H11", grid_rows(0.05, fraction=0.5)),
        ("DIET-H1", number(0.714, "cifar100", "resnet18")),
        ("DIET-H1", number(0.714, "cifar100", "resnet101", epochs=100)),
        ("DIET-H6", budget(0.5, experiment="diet_encoders_cifar100")),
    ],
)
def test_what_a_claim_does_not_speak_of_rules_on_nothing_and_says_why(claim: str, planted: list[dict[str, object]]):
    found = judged(claim, planted)
    assert found.verdict == "inconclusive"
    assert all(reading.note for reading in found.readings if reading.verdict == "inconclusive")


def test_a_curve_that_falls_behind_in_the_first_half_alone_is_not_ahead():
    assert judged("MV-H3", view_curves(-0.05, late=0.1)).verdict == "not supported"


def test_the_slope_of_the_best_weight_is_found():
    assert judged("MV-H10", sweep_rows(-1.0)).shown.effect == pytest.approx(-1, abs=0.15)


def test_smoothing_is_compared_in_the_shortest_runs_of_each_data_set():
    def pair(dataset: str, epochs: int, gain: float) -> list[dict[str, object]]:
        there = {"subset__dataset": dataset, "method__name": "diet", "epochs": epochs}
        plain = rows("diet_smoothing", 0.4, method__smoothing=0.0, **there)
        return plain + rows("diet_smoothing", 0.4 + gain, method__smoothing=0.8, **there)

    found = judged("DIET-H7", pair("cifar100", 5, 0.1) + pair("cifar100", 50, 0.9) + pair(TINY, 20, 0.3))
    assert found.readings[2].effect == pytest.approx(20, abs=0.5)


def test_a_range_over_batch_sizes_is_over_those_that_all_methods_have():
    more = rows("diet_batch", 0.1, method__name="diet", weight=np.nan, batch=2048)
    alone, beside = judged("DIET-H4", batches(0.02, 0.1)), judged("DIET-H4", batches(0.02, 0.1), more)
    assert alone.shown.effect == beside.shown.effect


@pytest.mark.parametrize(("rate", "expected"), [(4.0, "supported"), (0.8, "not supported")])
def test_the_recipes_speed_is_the_ratio_of_minutes_to_the_baselines_accuracy(rate: float, expected: str):
    found = judged("MV-H6", speeds(rate))
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
    assert "minutes of different machines are not compared: cells were trained on 2 machines" in reading.note


def timed(*accuracies: list[float]) -> arms.Times:
    curves = [
        pd.DataFrame({"seed": seed, "epoch": range(1, 1 + len(curve)), "accuracy": curve})
        for seed, curve in enumerate(accuracies)
    ]
    return arms.times(pd.concat(curves), dict.fromkeys(range(len(curves)), 0.45), "epoch")


def test_times_say_which_runs_were_there_before_anything_was_measured_and_which_never_arrived():
    found = timed([0.3, 0.5, 0.4], [0.5, 0.6, 0.7], [0.1, 0.2, 0.3])
    assert np.exp(found.log).tolist() == pytest.approx([1.75, 1, 3])
    assert (found.early, found.never) == (1, 1)


@pytest.mark.parametrize(
    ("over", "under", "barred"),
    [
        ([0.3, 0.5], [0.3, 0.5], ()),
        ([0.5, 0.6], [0.3, 0.5], ("supported",)),
        ([0.3, 0.4], [0.3, 0.5], ("not supported",)),
        ([0.3, 0.5], [0.5, 0.6], ("not supported",)),
        ([0.3, 0.5], [0.3, 0.4], ("supported",)),
    ],
)
def test_a_bound_on_a_time_rules_on_one_side_alone(over, under, barred):
    found = judging.Finding(intervals.Estimate(1, 1, 1, 2))
    assert arms.bounded(found, [timed(over)], [timed(under)]).barred == barred


def test_diets_sensitivity_slowness_and_smoothing_are_each_ruled_on():
    assert [one.verdict for one in judged("DIET-H7", diet_speed(slow, quick, 0.2)).readings] == ["supported"] * 3
    against = judged("DIET-H7", diet_speed(quick, slow, 0.0)).readings
    assert [one.verdict for one in against] == ["not supported", "not supported", "supported"]


def test_plain_diet_in_the_place_of_s_diet_is_shown_and_rules_on_nothing():
    found = judged(
        "DIET-H8", [{**row, "method.name": str(row["method.name"]).replace("sdiet", "diet")} for row in s_diet(50)]
    )
    assert found.verdict == "inconclusive"
    assert all(reading.effect is not None and "s-DIET was not run" in reading.note for reading in found.readings)


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
    assert results.augmentation_level({f"augmentation.{name}": value for name, value in policy.items()}) == level


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
        ruled += judging.verdict(claim, frame, "laptop").verdict != "inconclusive"
    assert ruled <= 12  # 5 expected; 12 is beyond three standard deviations


def test_criteria_are_the_same_whatever_the_data():
    planted = width_rows(0.8, 0.7, 0.81)
    halved = [{**row, "accuracy": row["accuracy"] / 2, "validation": row["validation"] / 2} for row in planted]
    for claim in ("MV-H1", "MV-H2", "MV-H9"):
        one, other = judged(claim, planted), judged(claim, halved)
        assert one.shown.criterion == other.shown.criterion
        assert one.shown.effect is not None
        assert other.shown.effect == pytest.approx(one.shown.effect / 2, rel=1e-4)


def everything() -> pd.DataFrame:
    parts = [
        *(width_rows(0.8, 0.7, 0.81), view_curves(0.05), data_rows(0.6, 0.62), grid_rows(0.0)),
        *(sweep_rows(-1.0), budget(0.5), batches(0.02, 0.1), loss_rows(1)),
        rows("views_barlow_twins", lambda epoch: 0.05 * epoch, projector__width=8192),
    ]
    return pd.DataFrame([row for part in parts for row in part])


COLUMNS = (
    *("experiment", "arm", "views", "projector.width", "subset.fraction", "method.name", "weight", "seed", "epoch"),
    *("batch", "method.smoothing"),
)


@pytest.mark.parametrize("column", COLUMNS)
def test_no_missing_arm_raises(column: str):
    frame = everything()
    frame = frame[(frame["experiment"] != "weight_sweep_barlow_twins") | (frame["weight"] < 0.01)]
    for value in list(frame[column].dropna().unique())[: None if column == "experiment" else 2]:
        left = frame[frame[column] != value]
        found = [judging.verdict(claim, left, "laptop") for claim in claims.CLAIMS if claim.claim != "MV-H13"]
        assert {one.verdict for one in found} <= set(judging.RULINGS)


def test_several_cells_for_one_seed_are_refused_by_name():
    doubled = data_rows(0.6, 0.2) + rows("data_barlow_twins", 0.7, views=4, subset__fraction=0.5, encoder__width=16)
    found = judged("MV-H5", doubled)
    assert found.verdict == "inconclusive"
    assert "encoder.width" in found.readings[0].note


def test_a_cell_that_two_experiments_share_counts_once():
    planted = data_rows(0.6, 0.2)
    once, twice = judged("MV-H5", planted), judged("MV-H5", planted, [{**row, "arm": "again"} for row in planted])
    assert once.shown.effect == twice.shown.effect
    assert once.shown.seeds == twice.shown.seeds == 4


def test_weights_are_chosen_on_validation_never_on_the_test_split():
    planted = width_rows(0.80, 0.70, 0.80)
    tempting = [
        {**row, "accuracy": 0.99} if row["weight"] == 0.0004 and row["arm"] == "tuned" else row for row in planted
    ]
    assert judged("MV-H9", tempting).shown.effect == judged("MV-H9", planted).shown.effect


def test_a_verdict_is_frozen_and_names_its_cells():
    found = judged("MV-H5", data_rows(0.6, 0.2))
    assert len(found.shown.cells) == 8
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.verdict = "supported"  # pyright: ignore[reportAttributeAccessIssue]


def test_what_was_chosen_on_the_test_split_says_so():
    planted = [{**row, "validation": np.nan} for row in width_rows(0.80, 0.70, 0.81)]
    assert "TEST split" in judged("MV-H9", planted).shown.note
    assert "TEST split" not in judged("MV-H9", width_rows(0.80, 0.70, 0.81)).shown.note


# --- what params.yaml plans ---------------------------------------------------------------------------------------


def planned(scale: str) -> pd.DataFrame:
    """Made-up readouts of all that the claims read at a scale, at four epochs of those that are saved."""
    found = plan.load(ROOT / "params.yaml", scale)
    asked = dict.fromkeys(row for part in found.rows.values() for row in part if claims.reads(row.experiment))

    def epochs(stage: config.Readout) -> list[int]:
        last = stage.embed.pretrain.epochs
        return [last] if stage.embed.epochs == "last" else sorted({max(1, last * part // 8) for part in (1, 2, 4, 8)})

    def readout(stage: config.Readout) -> dict[str, Any]:
        offset = 0.003 * np.random.default_rng(zlib.crc32(config.name(stage).encode())).standard_normal()
        pretrain = stage.embed.pretrain
        values = {epoch: 0.5 + 0.2 * epoch / pretrain.epochs + offset for epoch in epochs(stage)}
        held = {"validation"} if pretrain.subset.validation else set()
        metrics = {str(epoch): dict.fromkeys({"accuracy", "rankme"} | held, value) for epoch, value in values.items()}
        return {"chance": 0.1, "metrics": metrics}

    def log(stage: config.Readout) -> Iterator[dict[str, str]]:
        pretrain = stage.embed.pretrain
        images = str(round(1000 * pretrain.subset.fraction))
        for epoch in epochs(stage):
            loss = 5 - epoch / pretrain.epochs
            counts = dict.fromkeys(("view_images", "images"), images)
            yield {"epoch": str(epoch), "seconds": "60", "peak_mib": "1", "machine": "one", "loss": str(loss), **counts}

    return results.frame(found, tuple(asked), readout, lambda stage: list(log(stage)))


@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_params_yaml_plans_what_every_claim_measures(scale: str):
    found = claims.judge(planned(scale), scale)
    missing = {
        f"{one.claim}: {reading.what}"
        for one in found
        for reading in one.readings
        if reading.decides and reading.effect is None
    }
    assert missing == ({"DIET-H6: medical images: the same"} if scale == "laptop" else set())  # digits stand in there
    assert "several cells a seed" not in str([reading.note for one in found for reading in one.readings])


# --- the report ---------------------------------------------------------------------------------------------------


def test_the_report_has_a_line_a_claim_and_is_the_same_bytes_twice():
    frame = everything()
    one, two = (
        claims.render(claims.judge(part, "laptop"), "laptop") for part in (frame, frame.sample(frac=1, random_state=0))
    )
    assert one == two
    content = json.loads(one["json"])
    assert [claim["claim"] for claim in content["claims"]] == IDS
    assert all(claim["cells"] for claim in content["claims"] if claim["effect"] is not None and claim["seeds"] > 3)
    table = [line for line in one["md"].splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(IDS)
    assert len({line.count(" | ") for line in table}) == 1
    assert all(line.split(" | ")[0].strip("| ") in judging.RULINGS for line in table[2:])


def test_the_report_states_each_parts_criterion_before_what_was_found_and_the_scale():
    verdicts = claims.judge(everything(), "laptop")
    text = claims.render(verdicts, "laptop")["md"]
    assert text.startswith("**What the papers claim, judged at laptop scale: ")
    sections = text.split("\n## ")[1:]
    assert len(sections) == len(IDS)
    for section, found in zip(sections, verdicts, strict=True):
        lines = [line for line in section.splitlines() if ". Asserted: " in line]
        assert len(lines) == len(found.readings)
        for line, reading in zip(lines, found.readings, strict=True):
            assert 0 < line.index(reading.criterion) < line.index("Found: ") < line.index(f"**{reading.verdict}")
