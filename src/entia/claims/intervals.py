"""Effects whose ends are known at every level: Student's t, a range's, Fieller's ratio, and a rank correlation's.

An interval is one of independent runs, given the test images: what these images favour by chance does not average out
over seeds. Two arms of which just one is right on 12 % of 1,000 images have a further ± 1.1 points; of 10,000, ± 0.35.
"""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportReturnType=false
# pyright: reportInvalidTypeArguments=false

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pandas as pd


class Missing(Exception):
    """Why an effect cannot be measured from what was run."""


class NotRun(Missing):
    """The same where there are none of the runs at all that it is measured by."""


class Estimate(Protocol):
    """An effect, the number of seeds (or of what `counted` says) behind it, and its one-sided ends at any level."""

    @property
    def effect(self) -> float:
        """What was found."""
        ...

    @property
    def seeds(self) -> int:
        """How many of `counted` it rests on."""
        ...

    @property
    def counted(self) -> str:
        """Seeds, or configurations."""
        ...

    def low(self, level: float) -> float:
        """An end that lies above the truth in a share `level` of studies at most."""
        ...

    def high(self, level: float) -> float:
        """An end that lies below the truth in a share `level` of studies at most."""
        ...


def _same(value: float) -> float:
    return value


@dataclass(frozen=True)
class Mean:
    """A mean with a standard error whose ratio follows t (the normal law, where the degrees of freedom are infinite).

    `prior` of the degrees of freedom are a pooled variance's and do not grow with the seeds. `back`, which rises, takes
    what was measured on another scale, such as a logarithm, to the one that it is told on; `into` undoes it.
    """

    measured: float
    error: float
    freedom: float
    seeds: int
    prior: float = 0.0
    back: Callable[[float], float] = _same
    into: Callable[[float], float] = _same
    counted: str = "seeds"

    @property
    def effect(self) -> float:
        """The mean on the scale that it is told on."""
        return self.back(self.measured)

    def told(self, back: Callable[[float], float], into: Callable[[float], float]) -> "Mean":
        """The same, told on another scale."""
        return replace(self, back=back, into=into)

    def apart(self, value: float) -> float:
        """How many errors lie between the mean and a value on the scale that it is told on."""
        return abs(self.measured - self.into(value)) / self.error

    def low(self, level: float) -> float:
        """The mean less the t quantile's errors; not a number where the runs agree exactly."""
        return self._end(-quantile(level, self.freedom))

    def high(self, level: float) -> float:
        """The mean plus the t quantile's errors; not a number where the runs agree exactly."""
        return self._end(quantile(level, self.freedom))

    def _end(self, errors: float) -> float:
        if not self.error > 1e-12:  # two seeds of a small test split may agree to the last image by chance
            return math.nan
        return self.back(self.measured + errors * self.error)


def exponential(value: float) -> float:
    """eˣ; at two seeds an interval's end may lie beyond what a float holds."""
    return math.exp(min(value, 700.0))


def quantile(level: float, freedom: float) -> float:
    """Student's t above which a share `level` lies; the normal one's where the degrees of freedom are infinite."""
    from scipy.special import stdtrit

    return -float(stdtrit(freedom, level))


def t_interval(values: Sequence[float] | np.ndarray) -> Mean:
    """The mean of independent values, n − 1 degrees of freedom. `Missing` below two values."""
    found = np.asarray(values, dtype=np.float64)
    enough(len(found))
    return Mean(float(found.mean()), float(found.std(ddof=1)) / math.sqrt(len(found)), len(found) - 1, len(found))


def enough(seeds: int) -> None:
    """`Missing` where there are fewer than two seeds."""
    if seeds < 2:
        raise Missing(
            f"{seeds} seed{'s' * (seeds != 1)} in common: an interval over seeds needs 2 or more in every arm"
        )


# --- ranges ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Range:
    """The largest minus the smallest of several means, from the differences of all pairs.

    An observed range is biased upwards by noise. Its lower end is the largest of the pairs' |difference|, each with its
    end at the level divided over pairs and signs; its upper end is the largest of the pairs' upper ends, uncorrected.
    """

    pairs: tuple[Mean, ...]
    counted: str = "seeds"

    @property
    def effect(self) -> float:
        """The observed range."""
        return max(abs(pair.effect) for pair in self.pairs)

    @property
    def seeds(self) -> int:
        """The seeds of the pair that has fewest."""
        return min(pair.seeds for pair in self.pairs)

    def low(self, level: float) -> float:
        """At least this far apart are some two of the means."""
        share = level / (2 * len(self.pairs))
        ends = [end for pair in self.pairs for end in (pair.low(share), -pair.high(share))]
        return math.nan if any(map(math.isnan, ends)) else max(0.0, *ends)

    def high(self, level: float) -> float:
        """At most this far apart are any two of the means."""
        return max(end for pair in self.pairs for end in (pair.high(level), -pair.low(level)))


@dataclass(frozen=True)
class RangeDifference:
    """The mean of some ranges minus another. Each end has the level divided over all the ranges that it is made of."""

    plus: tuple[Range, ...]
    minus: Range
    counted: str = "seeds"

    @property
    def effect(self) -> float:
        """The difference of the observed ranges."""
        return float(np.mean([one.effect for one in self.plus])) - self.minus.effect

    @property
    def seeds(self) -> int:
        """The seeds of the range that has fewest."""
        return min(one.seeds for one in (*self.plus, self.minus))

    def low(self, level: float) -> float:
        """Lower ends of `plus`, less the upper end of `minus`."""
        share = level / (len(self.plus) + 1)
        return float(np.mean([one.low(share) for one in self.plus])) - self.minus.high(share)

    def high(self, level: float) -> float:
        """Upper ends of `plus`, less the lower end of `minus`."""
        share = level / (len(self.plus) + 1)
        return float(np.mean([one.high(share) for one in self.plus])) - self.minus.low(share)


# --- ratios of two coefficients -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fieller:
    """−r / 2q of a regression's coefficients (q, r): where a parabola in x moves as another variable grows.

    Source: Fieller 1954. A slope β is held where |r + 2 β q| is within t errors of zero, which is linear in (q, r). Its
    ends are infinite where the parabola's own q is not told from zero.
    """

    q: float
    r: float
    covariance: np.ndarray
    freedom: int
    seeds: int
    counted: str = "seeds"

    @property
    def effect(self) -> float:
        """The slope."""
        return -self.r / (2 * self.q)

    def low(self, level: float) -> float:
        """The least slope that is held."""
        return self._ends(level)[0]

    def high(self, level: float) -> float:
        """The largest slope that is held."""
        return self._ends(level)[1]

    def bends_down(self, level: float) -> bool:
        """Whether the parabola has a top: q below zero at this level."""
        return self.q < -quantile(level, self.freedom) * math.sqrt(float(self.covariance[0, 0]))

    def _ends(self, level: float) -> tuple[float, float]:
        square = quantile(level, self.freedom) ** 2
        (qq, qr), (_, rr) = self.covariance
        a, b, c = 4 * (self.q**2 - square * qq), 4 * (self.q * self.r - square * qr), self.r**2 - square * rr
        if a <= 0:
            return -math.inf, math.inf
        half = math.sqrt(max(b * b - 4 * a * c, 0.0)) / (2 * a)
        return -b / (2 * a) - half, -b / (2 * a) + half


# --- rank correlation -----------------------------------------------------------------------------------------------


def spearman(x: "pd.Series[float]", y: "pd.Series[float]") -> float:
    """Spearman's rank correlation; ties share their mean rank. Not a number where a variable is constant."""
    return float(x.rank().corr(y.rank())) if min(x.nunique(), y.nunique()) > 1 else math.nan


LEAST = 8
"""Configurations that a level of a rank correlation needs: with five the test has a power of 24 % at ρ = −0.9."""


def rank_correlation(levels: Sequence[pd.DataFrame], x: str, y: str) -> Mean:
    """Spearman's ρ of two columns of independent rows, its mean over levels and its interval.

    Both are those of z = artanh ρ with the error of each level √((1 + ρ²/2) / (n − 3)), over √levels, at the mean ρ;
    ρ is kept within ± (1 − 3 / (n³ − n)). Source: Bonett & Wright 2000. Levels below `LEAST` rows are left to the
    caller to leave out.
    """
    z = [_z(spearman(rows[x], rows[y]), len(rows)) for rows in levels]
    if any(map(math.isnan, z)):
        raise Missing(f"{x} or {y} is the same in all configurations of a level")
    mean = float(np.mean(z))
    share = float(np.mean([1 / (len(rows) - 3) for rows in levels])) / len(levels)
    error = math.sqrt((1 + math.tanh(mean) ** 2 / 2) * share)
    return Mean(mean, error, math.inf, sum(map(len, levels)), back=math.tanh, into=math.atanh, counted="configurations")


def _z(rho: float, rows: int) -> float:
    limit = 1 - 3 / (rows**3 - rows)
    return math.atanh(min(max(rho, -limit), limit)) if not math.isnan(rho) else rho
