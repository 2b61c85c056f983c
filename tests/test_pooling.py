"""The noise that an effect borrows: by hand, by its laws, and through the judging code on simulated studies.

Which mutation of the code each test fails on (each was made once by hand):
- the seeds' effects left in the residuals: `by_hand`, `a_constant_added_to_one_seed_changes_nothing`
- arms counted once an experiment: `a_cell_that_experiments_share_counts_once`
- the pooled variance alone (d₀ infinite): `by_hand`, and the simulated studies whose sds are eightfold apart, and kin
- no division over parts (the refutations' level): `claims_of_several_parts`, `test_judging`
- the level not halved for two ends: `test_judging`
- the best baseline alone: `test_judging`
- a weight chosen on the judged seed's own images: `test_judging`
- a pooled variance for an accuracy alone: `an_accuracy_alone_borrows_nothing`
"""

import math
import sys

import numpy as np
import pandas as pd
import pytest
import scipy
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from entia.claims import pooling, tuning
from entia.claims.arms import difference
from entia.claims.intervals import Missing
from entia.claims.pooling import Sample, Stratum
from entia.claims.study import POINTS, Study

sys.path.insert(0, str(ROOT / "benchmarks"))
import judging as simulated  # pyright: ignore[reportMissingImports]

Y = np.array([[70.0, 71.0], [72.0, 72.5], [69.0, 71.5], [75.0, 74.0]])


def study(y: np.ndarray, method: str = "one", **columns: object) -> Study:
    """A study of arms (rows, not a number where a cell is missing) by seeds."""
    arm, seed = np.nonzero(np.isfinite(y))
    cells = [f"cell {a} {s}" for a, s in zip(arm, seed, strict=True)]
    fixed = {"experiment": "e", "epoch": 5, "epochs": 5, "subset.dataset": "d", "encoder.name": "n", "weight": np.nan}
    told = {"arm": [f"arm {a}" for a in arm], "cell": cells, "readout": cells, "seed": seed, "projector.width": arm}
    made = pd.DataFrame(
        {**told, **fixed, "method.name": method, "minutes": 1.0, "accuracy": y[arm, seed] / 100, **columns}
    )
    return Study.of(made)


def effect(found: Study, plus: int, minus: int):
    test = difference("e", {"arm": f"arm {plus}"}, {"arm": f"arm {minus}"})
    return test(found).comparisons[0].estimate


# --- by hand ------------------------------------------------------------------------------------------------------


def test_four_arms_and_two_seeds_by_hand():
    """Seed 1 minus seed 0: 1, 0.5, 2.5, −1, mean 0.75; residuals ± half of 0.25, −0.25, 1.75, −1.75.

    Σ r² = 2 · (0.125² + 0.125² + 0.875² + 0.875²) = 3.125; ν = 3, S = 3.125 / 3 = 1.041667. Contrast 0 − 1: −2, −1.5, s² =
    0.125; P = 2 S = 2.083333; d₀ = min(4, 3 / 3) = 1; V = (1 · 2.083333 + 1 · 0.125) / 2 = 1.104167; df = min(2, 3) = 2.
    """
    found = study(Y)
    stratum = found.pool(POINTS).of(("d|n|5|", "one"))[1]
    assert (stratum.variance, stratum.freedom) == pytest.approx((3.125 / 3, 3.0), abs=1e-9)
    estimate = effect(found, 0, 1)
    assert (estimate.effect, estimate.freedom) == pytest.approx((-1.75, 2.0), abs=1e-9)
    assert estimate.error**2 == pytest.approx(1.1041667 / 2, abs=1e-6)
    assert estimate.low(0.05) == pytest.approx(-1.75 - 2.9199856 * math.sqrt(1.1041667 / 2), abs=1e-6)


def test_a_large_stratum_counts_for_four_degrees_of_freedom():
    y = np.random.default_rng(0).normal(70, 1.5, (20, 3))
    found = effect(study(y), 0, 1)
    assert (found.prior, found.freedom) == (4, 6)


def test_unbalanced_degrees_of_freedom_sum_to_those_of_the_residuals():
    y = np.random.default_rng(1).normal(size=(6, 4))
    y[0, 1:] = y[1, 0] = y[2, 2:] = np.nan
    squares, freedom = pooling.residuals(y)
    arms, seeds = 6, 4
    assert freedom.sum() == pytest.approx(np.isfinite(y).sum() - (arms + seeds - 1))
    assert freedom[0] == 0 and squares[0] == pytest.approx(0)


def test_complete_residuals_are_those_of_two_way_analysis():
    y = np.random.default_rng(2).normal(size=(5, 3))
    expected = y - y.mean(1, keepdims=True) - y.mean(0) + y.mean()
    squares, freedom = pooling.residuals(y)
    assert squares == pytest.approx((expected**2).sum(1))
    assert freedom == pytest.approx(np.full(5, 2 * 4 / 5))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 4), st.floats(-30, 30))
def test_a_constant_added_to_one_seed_changes_nothing(seed: int, arms: int, seeds: int, constant: float):
    y = np.random.default_rng(seed).normal(50, 2, (arms, seeds))
    moved = y.copy()
    moved[:, 0] += constant
    before, after = effect(study(y), 0, 1), effect(study(moved), 0, 1)
    assert (after.effect, after.error) == pytest.approx((before.effect, before.error), rel=1e-5, abs=1e-6)


def test_an_accuracy_alone_borrows_nothing():
    y = np.random.default_rng(3).normal(70, 1.5, (20, 3))
    found = study(y)
    sample = simulated.arms_of(found)[0][0]
    alone = pooling.contrast([[(1.0, sample)]], found.pool(POINTS))
    expected = scipy.stats.ttest_1samp(y[0], 0).confidence_interval(0.9)
    assert (alone.low(0.05), alone.high(0.05)) == pytest.approx((expected.low, expected.high))


def test_without_other_arms_it_is_students_t():
    found = effect(study(Y[:2]), 0, 1)
    expected = scipy.stats.ttest_rel(Y[0], Y[1]).confidence_interval(0.9)
    assert (found.low(0.05), found.high(0.05)) == pytest.approx((expected.low, expected.high))


def test_only_seeds_that_all_arms_have_count():
    y = np.random.default_rng(4).normal(70, 1.5, (8, 4))
    y[1, 3] = np.nan
    found = effect(study(y), 0, 1)
    assert found.seeds == 3 and found.effect == pytest.approx(y[0, :3].mean() - y[1, :3].mean())
    y[1, 1:] = np.nan
    with pytest.raises(Missing, match="1 seed in common"):
        effect(study(y), 0, 1)


# --- strata -------------------------------------------------------------------------------------------------------


def test_methods_have_strata_of_their_own_and_small_ones_share_the_rest():
    y = np.random.default_rng(5).normal(70, 1, (20, 2))
    y[10:] = 70 + 4 * (y[10:] - 70)
    methods = ["calm"] * 10 + ["wild"] * 8 + ["rare", "other"]
    found = study(y, method=[methods[a] for a in np.nonzero(np.isfinite(y))[0]])
    pool = found.pool(POINTS)
    calm, wild, rare, other = (pool.of(("d|n|5|", name))[1] for name in ("calm", "wild", "rare", "other"))
    assert calm.variance < wild.variance and rare == other
    assert rare.freedom == pytest.approx(19)  # a rest below six takes the whole protocol


def test_a_cell_that_experiments_share_counts_once():
    once = study(Y)
    twice = Study.of(pd.concat([once.frame, once.frame.assign(experiment="f"), once.frame.assign(arm="again")]))
    assert twice.pool(POINTS) == once.pool(POINTS)


def test_batch_sizes_that_an_experiment_compares_are_one_protocol_and_others_are_not():
    y = np.random.default_rng(6).normal(70, 1, (6, 2))
    arm = np.nonzero(np.isfinite(y))[0]
    sizes = np.array([32, 64, 128, 128, 512, 512])[arm]
    experiments = np.array(["a", "a", "a", "b", "b", "c"])[arm]
    found = study(y, batch=sizes, experiment=experiments).frame
    assert found.drop_duplicates("batch").groupby("protocol")["batch"].apply(sorted).tolist() == [[32, 64, 128, 512]]
    apart = study(y, batch=sizes, experiment=np.array(["a", "a", "b", "b", "c", "c"])[arm]).frame
    assert apart["protocol"].nunique() == 3


def test_a_cell_that_stands_on_both_sides_of_a_contrast_has_no_noise():
    sample = Sample({0: 70.0, 1: 72.0}, {0: "a", 1: "b"}, ("p", "m"))
    assert pooling._sizes([(2.0, sample), (-1.0, sample)]) == [(("p", "m"), 1.0)]


def test_a_tuning_seed_is_one_that_ran_more_weights_than_others():
    frame = pd.DataFrame(
        [
            {"experiment": "e", "arm": "tuned", "seed": seed, "projector.width": 64, "weight": weight, "views": 2}
            for seed, weights in ((0, (0.1,)), (1, (0.1,)), (9, (0.01, 0.1, 1.0)))
            for weight in weights
        ]
    )
    assert tuning.seeds_that_chose(frame) == {("e", 9)}
    assert tuning.seeds_that_chose(frame[frame["seed"] != 9]) == set()


# --- simulated ----------------------------------------------------------------------------------------------------

CONTRASTS = 4_000
"""A design here; `python benchmarks/judging.py` draws five times as many."""


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("kind", simulated.KINDS)
def test_simulated_studies_rule_wrongly_and_cover_as_they_say(kind: str, seeds: int):
    found = simulated.rates(kind, 20, seeds, CONTRASTS)
    assert list(simulated.wrong(kind, found, 0.65 if (kind, seeds) == ("equal", 2) else 0.0)) == []


@pytest.mark.parametrize("kind", ["equal", "recorded"])
@pytest.mark.parametrize(("parts", "at_edge"), [(2, 1), (2, 2), (3, 1), (3, 3)])
def test_simulated_claims_of_several_parts_rule_wrongly_as_rarely(parts: int, at_edge: int, kind: str):
    found = simulated.of_parts(kind, 20, 2, CONTRASTS // 4, at_edge, parts)
    assert list(simulated.wrong(kind, found)) == []


def test_what_is_resampled_are_the_recorded_studys_residuals_by_method():
    """The five-epoch protocol by hand: seed 1 minus seed 0 of each arm, less their mean; its square is two variances."""
    rows = pd.read_csv(simulated.RECORDED)
    assert set(rows["seed"]) == {0, 1} and rows.groupby("arm")["seed"].count().eq(2).all()
    part = rows[rows["protocol"] == "mnist5k|strided_resnet|32|5|64"].pivot_table(
        index=["method", "arm"], columns="seed", values="accuracy"
    )
    apart = 100 * (part[1] - part[0])
    residual = apart - apart.mean()
    expected = residual.abs() / math.sqrt(2 * (1 - 1 / len(part)))
    sizes = simulated.residuals()["barlow_twins"]
    assert sorted(sizes) == pytest.approx(sorted(expected["barlow_twins"]))
    drawn = simulated.noise("recorded", 20, 4, np.random.default_rng(0))
    for method, noise in zip(simulated.methods("recorded", 20), drawn, strict=True):
        assert np.isin(np.abs(noise).round(9), simulated.residuals()[method].round(9)).all()


def test_the_simulation_measures_what_picking_arms_by_name_finds():
    made = Study.of(simulated.frame("kin", 12, 3, np.random.default_rng(0)))
    (arms,) = simulated.arms_of(made)
    for plus, minus in simulated.pairs("kin", 12):
        quick = simulated.part(arms, plus, minus, 0.0).test(made).comparisons[0].estimate
        named = difference("simulated", {"arm": f"arm {plus}"}, {"arm": f"arm {minus}"})(made).comparisons[0].estimate
        assert quick == named


def test_the_noisiest_method_is_held_against_the_others_and_its_p_is_that_of_the_f_distribution():
    strata = {("p", "quiet"): Stratum(1.0, 8.0), ("p", "loud"): Stratum(9.0, 7.0), ("q", "alone"): Stratum(4.0, 6.0)}
    rest = {"p": Stratum(2.0, 6.0), "q": Stratum(4.0, 6.0)}  # q's is all of its arms
    found = {(each.protocol, each.method): each for each in pooling.noise(pooling.Pool(strata, rest))}
    assert {place: each.deviation for place, each in found.items()} == pytest.approx(
        {("p", "quiet"): 1.0, ("p", "loud"): 3.0, ("p", "others"): math.sqrt(2), ("q", "alone"): 2.0}
    )
    others = (8 * 1.0 + 6 * 2.0) / 14
    assert found["p", "loud"].unlike == pytest.approx(3 * stats.f.sf(9 / others, 7, 14))
    assert [each.unlike for place, each in found.items() if place != ("p", "loud")] == [None] * 3


def test_equal_noise_is_called_unlike_in_no_more_than_five_of_a_hundred_studies():
    generator, called = np.random.default_rng(0), 0
    for _ in range(400):
        variances = [float(generator.chisquare(8)) / 8 for _ in range(4)]
        strata = {("p", str(place)): Stratum(one, 8.0) for place, one in enumerate(variances)}
        found = pooling.noise(pooling.Pool(strata, {"p": Stratum(1.0, 32.0)}))
        called += min(each.unlike for each in found if each.unlike is not None) < 0.05
    assert 0 < called <= 400 * 0.05 + 3 * math.sqrt(400 * 0.05 * 0.95)
