"""Effects with confidence intervals over independent runs: Student's t, Welch's, and the jackknife's.

Two or three runs give wide intervals, and they are meant to: with two, Student's 97.5 % quantile is 12.7.
"""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportReturnType=false
# pyright: reportInvalidTypeArguments=false

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float


class Missing(Exception):
    """Why an effect cannot be measured from what was run."""


class Estimate(NamedTuple):
    """An effect, the two ends of its interval, and the number of seeds (or runs) it rests on."""

    effect: float
    low: float
    high: float
    seeds: int

    def through(self, back: Callable[[float], float]) -> "Estimate":
        """An estimate made on another scale, on its own: `back` must rise."""
        return Estimate(back(self.effect), back(self.low), back(self.high), self.seeds)


def t_interval(values: Sequence[float] | np.ndarray, confidence: float) -> Estimate:
    """Mean of independent values and its Student t interval, n − 1 degrees of freedom. `Missing` below two values."""
    return welch([np.asarray(values, dtype=np.float64)], [1.0], confidence)


def welch(samples: Sequence[np.ndarray], coefficients: Sequence[float], confidence: float) -> Estimate:
    """Σ a_i mean_i over independent samples and its t interval with Welch–Satterthwaite's degrees of freedom.

    df = (Σ v_i)² / Σ v_i² / (n_i − 1), v_i = a_i² s_i² / n_i; one sample has Student's n − 1.
    """
    seeds = enough(samples)
    effect = sum(a * float(sample.mean()) for a, sample in zip(coefficients, samples, strict=True))
    parts = [a * a * float(sample.var(ddof=1)) / len(sample) for a, sample in zip(coefficients, samples, strict=True)]
    total = sum(parts)
    if total == 0:
        return Estimate(effect, effect, effect, seeds)
    freedom = total**2 / sum(part**2 / (len(sample) - 1) for part, sample in zip(parts, samples, strict=True))
    return about(effect, math.sqrt(total), freedom, confidence, seeds)


def enough(samples: Sequence[Any]) -> int:
    """The number of seeds of the smallest sample. `Missing` where it is below two."""
    seeds = min(len(sample) for sample in samples)
    if seeds < 2:
        raise Missing(f"{seeds} seed{'s' * (seeds != 1)}: an interval over seeds needs 2 or more in every arm")
    return seeds


def about(effect: float, error: float, freedom: float | int, confidence: float, seeds: int) -> Estimate:
    """The two-sided t interval around an effect with a standard error."""
    from scipy.special import stdtrit

    half = float(stdtrit(freedom, (1 + confidence) / 2)) * error
    return Estimate(effect, effect - half, effect + half, seeds)


def contrast(samples: Sequence["pd.Series[float]"], coefficients: Sequence[float], confidence: float) -> Estimate:
    """Σ a_i mean_i of samples indexed by seed: paired by seed where all arms have the same seeds, else Welch's."""
    first = samples[0].sort_index()
    if all(sample.sort_index().index.equals(first.index) for sample in samples):
        pairs = zip(coefficients, samples, strict=True)
        return t_interval(sum(a * sample.sort_index().to_numpy(dtype=np.float64) for a, sample in pairs), confidence)
    return welch([sample.to_numpy(dtype=np.float64) for sample in samples], coefficients, confidence)


def smallest(values: Float[np.ndarray, "seed place"], confidence: float) -> Estimate:
    """The smallest of several means (columns), with an interval that allows for having looked for it.

    The lower end is the least of the means' own lower ends, which needs no correction: it lies below that of the mean
    that is really smallest. The upper end is the least of upper ends at a confidence that holds for all of them at once
    (Bonferroni).
    """
    alone = [t_interval(column, confidence) for column in values.T]
    together = [t_interval(column, 1 - (1 - confidence) / values.shape[1]) for column in values.T]
    low, high = min(one.low for one in alone), min(one.high for one in together)
    return Estimate(min(one.effect for one in alone), low, high, len(values))


def spearman(x: "pd.Series[float]", y: "pd.Series[float]") -> float:
    """Spearman's rank correlation; ties share their mean rank. Not a number where a variable is constant."""
    return float(x.rank().corr(y.rank())) if min(x.nunique(), y.nunique()) > 1 else math.nan


def jackknife(
    strata: Sequence[Sequence[pd.DataFrame]], of: Callable[[pd.DataFrame], float], confidence: float
) -> Estimate:
    """Mean over strata of a statistic of each stratum's runs, with the delete-one-run jackknife's t interval.

    Error² = Σ_h (n_h − 1)/n_h Σ_i (θ_hi − mean_i θ_hi)², θ_hi the statistic without run i of stratum h; degrees of
    freedom: runs minus strata. Ends that are not a number: where leaving out any run changes nothing, the runs do not
    say how much they differ.
    """
    effect, error = float(np.mean([of(pd.concat(runs)) for runs in strata])), 0.0
    for runs in strata:
        without = [of(pd.concat([*runs[:place], *runs[place + 1 :]])) / len(strata) for place in range(len(runs))]
        error += (len(runs) - 1) * float(np.var(without))
    count = sum(map(len, strata))
    if not error > 1e-24:  # what rounding leaves of 0
        return Estimate(effect, math.nan, math.nan, count)
    return about(effect, math.sqrt(error), count - len(strata), confidence, count)


def rank_correlation(strata: Sequence[pd.DataFrame], x: str, y: str, confidence: float) -> Estimate:
    """Spearman's ρ of two columns within strata of runs (column `cell`): the mean over strata, and its interval.

    Mean and interval are those of Fisher's z = artanh ρ, by `jackknife`: a run's points depend on each other, so that
    the interval is over runs. Only strata of two runs or more can be given.
    """
    runs = [[run for _, run in stratum.groupby("cell")] for stratum in strata]
    return jackknife(runs, lambda rows: _z(spearman(rows[x], rows[y]), len(rows)), confidence).through(math.tanh)


def _z(rho: float, points: int) -> float:
    """Fisher's artanh ρ. Where ρ is ±1, its distance from it counts as half the least that ranks allow, 6/(n³ − n)."""
    limit = 1 - 6 / max(points**3 - points, 7)
    return math.atanh(min(max(rho, -limit), limit)) if not math.isnan(rho) else rho
