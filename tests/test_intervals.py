"""Intervals are scipy's where scipy has them, and hold the truth as often as they say."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy

from entia.claims import intervals
from entia.claims.intervals import Fieller, Mean, Missing, Range, RangeDifference


def test_the_t_interval_is_scipys():
    values = np.array([0.3, -1.2, 0.8, 2.0])
    found = intervals.t_interval(values)
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert (found.low(0.05), found.high(0.05)) == pytest.approx((expected.low, expected.high))


def test_one_seed_has_no_interval_and_seeds_that_agree_have_no_ends():
    with pytest.raises(Missing, match="2 or more"):
        intervals.t_interval([1.0])
    found = intervals.t_interval([1.0, 1.0])
    assert found.effect == 1 and math.isnan(found.low(0.05)) and math.isnan(found.high(0.05))


def test_a_ratio_is_told_from_logarithms():
    found = intervals.t_interval([math.log(2), math.log(8)]).told(intervals.exponential, math.log)
    assert found.effect == pytest.approx(4)
    assert found.low(0.05) == pytest.approx(16 / found.high(0.05))
    assert found.apart(4 * math.exp(found.error)) == pytest.approx(1)


def pairs(means: np.ndarray, error: float) -> tuple[Mean, ...]:
    places = [(i, j) for i in range(len(means)) for j in range(i)]
    return tuple(Mean(float(means[i] - means[j]), math.sqrt(2) * error, 50, 3) for i, j in places)


@pytest.mark.parametrize("true", [np.zeros(3), np.array([0.0, 1.0, 4.0])])
def test_the_ends_of_a_range_lie_beyond_it_as_rarely_as_they_say(true: np.ndarray):
    draws = np.random.default_rng(0).normal(true, 1, (1500, 3))
    found = [Range(pairs(draw, 1.0)) for draw in draws]
    most = 0.05 + 3 * math.sqrt(0.05 * 0.95 / len(draws))
    assert np.mean([one.low(0.05) > np.ptp(true) for one in found]) < most
    assert np.mean([one.high(0.05) < np.ptp(true) for one in found]) < most


def test_a_range_is_largest_minus_smallest():
    assert Range(pairs(np.array([1.0, 5.0, 3.0]), 0.1)).effect == pytest.approx(4)
    difference = RangeDifference((Range(pairs(np.array([0.0, 9.0]), 0.1)),), Range(pairs(np.array([0.0, 4.0]), 0.1)))
    assert difference.effect == pytest.approx(5)
    assert difference.low(0.05) < 5 < difference.high(0.05)


def test_fiellers_ends_are_where_the_linear_test_is_at_its_quantile():
    found = Fieller(-1.0, -2.0, np.array([[0.01, 0.002], [0.002, 0.04]]), 20, 3)
    assert found.effect == -1
    for end in (found.low(0.05), found.high(0.05)):
        error = math.sqrt(0.04 + 4 * end * 0.002 + 4 * end**2 * 0.01)
        assert abs(found.r + 2 * end * found.q) / error == pytest.approx(intervals.quantile(0.05, 20))


def test_a_parabola_that_may_be_flat_holds_every_slope():
    found = Fieller(-0.1, -0.2, np.array([[0.01, 0.0], [0.0, 0.01]]), 20, 3)
    assert (found.low(0.05), found.high(0.05)) == (-math.inf, math.inf)
    assert not found.bends_down(0.05)


def test_spearman_is_scipys_also_with_ties():
    x, y = pd.Series([1.0, 2.0, 2.0, 5.0, 4.0]), pd.Series([2.0, 1.0, 4.0, 4.0, 9.0])
    assert intervals.spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic)


def level(rho: float, rows: int, generator: np.random.Generator) -> pd.DataFrame:
    normal = 2 * math.sin(math.pi * rho / 6)  # the correlation of a normal law whose Spearman's ρ this is
    x, y = generator.standard_normal((2, rows))
    return pd.DataFrame({"loss": x, "accuracy": normal * x + math.sqrt(1 - normal**2) * y})


@pytest.mark.parametrize(("levels", "rows"), [(1, 15), (3, 8)])
def test_a_rank_correlation_at_the_boundary_is_called_strong_as_rarely_as_it_says(levels: int, rows: int):
    generator = np.random.default_rng(levels)
    found = [
        intervals.rank_correlation([level(-0.5, rows, generator) for _ in range(levels)], "loss", "accuracy")
        for _ in range(600)
    ]
    assert np.mean([one.high(0.05) < -0.5 for one in found]) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 600)
    assert np.mean([one.low(0.025) < -0.5 < one.high(0.025) for one in found]) > 0.95 - 3 * math.sqrt(0.0475 / 600)


def test_rank_correlations_stay_within_one():
    x = np.arange(10.0)
    found = intervals.rank_correlation([pd.DataFrame({"loss": x, "accuracy": -x})], "loss", "accuracy")
    assert -1 < found.low(0.05) < found.effect < found.high(0.05) < -0.9
