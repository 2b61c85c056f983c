"""Intervals are scipy's where scipy has them, and hold the truth as often as they say."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy

from entia import intervals


def test_the_t_interval_is_scipys():
    values = np.array([0.3, -1.2, 0.8, 2.0])
    found = intervals.t_interval(values, 0.95)
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_the_interval_of_unpaired_arms_is_welchs():
    a, b = np.array([1.0, 2.0, 4.0]), np.array([0.0, 5.0, 3.0, 9.0, 2.0])
    found = intervals.welch([a, b], [1.0, -1.0], 0.9)
    expected = scipy.stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_arms_that_share_seeds_are_paired_and_others_are_not():
    a = pd.Series([1.0, 2.0, 4.0], index=[0, 1, 2])
    shuffled = pd.Series([3.6, 1.5, 0.3], index=[2, 1, 0])
    paired = intervals.contrast([a, shuffled], [1.0, -1.0], 0.95)
    expected = scipy.stats.ttest_rel(a, shuffled.sort_index()).confidence_interval(0.95)
    assert (paired.low, paired.high) == pytest.approx((expected.low, expected.high))
    other = shuffled.set_axis([2, 1, 7])
    unpaired = scipy.stats.ttest_ind(a, other, equal_var=False).confidence_interval(0.95)
    assert intervals.contrast([a, other], [1.0, -1.0], 0.95).low == pytest.approx(unpaired.low)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_intervals_hold_the_truth_as_often_as_they_say(seeds: int):
    draws = np.random.default_rng(seeds).normal(1.5, 3, (2000, seeds))
    held = [found.low < 1.5 < found.high for found in (intervals.t_interval(draw, 0.95) for draw in draws)]
    assert np.mean(held) == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / 2000))


def test_the_jackknife_of_a_mean_in_one_stratum_is_the_t_interval():
    values = np.array([0.3, -1.2, 0.8, 2.0])
    runs = [pd.DataFrame({"x": [value]}) for value in values]
    found = intervals.jackknife([runs], lambda part: float(part["x"].mean()), 0.95)
    assert found == pytest.approx(intervals.t_interval(values, 0.95))


def test_rank_correlation_is_scipys_also_with_ties():
    x, y = pd.Series([1.0, 2.0, 2.0, 5.0, 4.0]), pd.Series([2.0, 1.0, 4.0, 4.0, 9.0])
    assert intervals.spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic)


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("means", [np.zeros(10), np.array([0.0, 0.5, 3.0])])
def test_the_interval_of_the_smallest_mean_allows_for_having_looked_for_it(seeds: int, means: np.ndarray):
    draws = np.random.default_rng(seeds).normal(means, 1, (1000, seeds, len(means)))
    found = [intervals.smallest(draw, 0.95) for draw in draws]
    assert np.mean([one.low <= 0 <= one.high for one in found]) > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 1000)


def test_the_smallest_of_one_mean_is_its_t_interval():
    values = np.array([0.3, -1.2, 0.8])
    assert intervals.smallest(values[:, None], 0.9) == pytest.approx(intervals.t_interval(values, 0.9))


def curve(cell: int, noise: float, points: int = 21) -> pd.DataFrame:
    x = np.arange(points)
    y = x + noise * np.random.default_rng(cell).standard_normal(points)
    return pd.DataFrame({"cell": cell, "loss": -x, "accuracy": y})


def test_the_interval_of_a_rank_correlation_widens_with_how_much_runs_differ_and_stays_within_one():
    calm, noisy = (
        intervals.rank_correlation([pd.concat([curve(cell, noise) for cell in range(4)])], "loss", "accuracy", 0.95)
        for noise in (1.0, 8.0)
    )
    assert -1 <= calm.low < calm.effect < calm.high < noisy.effect < noisy.high <= 1
    assert calm.high - calm.low < noisy.high - noisy.low


@pytest.mark.parametrize("points", [5, 21, 200])
def test_a_rank_correlation_that_no_run_changes_has_no_interval(points: int):
    found = intervals.rank_correlation(
        [pd.concat([curve(cell, 0.0, points) for cell in range(3)])], "loss", "accuracy", 0.95
    )
    assert found.effect < -0.9 and math.isnan(found.low) and math.isnan(found.high)


def test_rank_correlations_near_one_keep_an_interval_of_some_width():
    runs = pd.concat([curve(cell, 0.5, 300) for cell in range(4)])
    found = intervals.rank_correlation([runs], "loss", "accuracy", 0.95)
    assert found.effect < -0.9995  # beyond where a fixed cut would have made all ρ alike
    assert found.low < found.effect < found.high
