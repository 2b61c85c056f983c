"""How many seeds would decide what is undecided, at the effect and the spread that were seen.

The effect seen is itself uncertain, so this is no more than a size of the study to plan (Hoenig & Heisey 2001).
"""

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from entia.claims.intervals import Estimate, Mean, quantile

POWER, MOST = 0.8, 50


@dataclass(frozen=True)
class Need:
    """Seeds (or what is counted) for 80 % power; None: more than 50. And minutes of training of those not yet run."""

    seeds: int | None
    counted: str
    toward: str
    """What they would show: `supported` or `not supported`."""
    minutes: float | None


def seeds_needed(
    found: Sequence[Estimate], low: float, high: float, at: float, refuted_at: float, minutes: float
) -> Need | None:
    """What it takes to decide a part, by where its effects lie; None where its spread is not known.

    All inside the criterion: the largest number of seeds that one of them takes to be supported. Some outside: the
    least that one of those takes to refute.
    """
    if any(math.isnan(each.low(at)) for each in found):
        return None
    outside = [each for each in found if not low < each.effect < high]
    if outside:
        each = [_least(one, lambda n, one=one: _refutes(one, n, low, high, refuted_at)) for one in outside]
        seeds, toward = min(each), "not supported"
    else:
        each = [_least(one, lambda n, one=one: _supports(one, n, low, high, at)) for one in found]
        seeds, toward = max(each), "supported"
    more = minutes * (seeds - min(one.seeds for one in found))
    capped = seeds > MOST
    counted = found[0].counted
    cost = more if math.isfinite(more) and not capped and counted == "seeds" else None
    return Need(None if capped else seeds, counted, toward, cost)


def _least(found: Estimate, power: Callable[[int], float]) -> int:
    first = 2 if found.counted == "seeds" else 8
    return first + bisect.bisect_left(range(first, MOST + 1), True, key=lambda n: power(n) >= POWER)


def _supports(found: Estimate, seeds: int, low: float, high: float, at: float) -> float:
    """The power of both one-sided tests, at so many seeds."""
    missed = sum(_missed(found, seeds, end, at) for end in (low, high) if math.isfinite(end))
    return 1 - missed


def _refutes(found: Estimate, seeds: int, low: float, high: float, at: float) -> float:
    """The power of the test of the end that the effect lies beyond, at so many seeds."""
    end = low if found.effect <= low else high
    return 1 - _missed(found, seeds, end, at)


def _missed(found: Estimate, seeds: int, end: float, at: float) -> float:
    """The chance that the effect seen is not told from an end of the criterion."""
    from scipy.special import nctdtr, ndtr

    if isinstance(found, Mean):
        freedom = math.inf if math.isinf(found.freedom) else found.prior + seeds - 1
        apart = min(found.apart(end) * math.sqrt(seeds / found.seeds), 30.0)
        q = quantile(at, freedom)
        return float(ndtr(q - apart) if math.isinf(freedom) else nctdtr(freedom, apart, q))
    # of other estimates the ends alone are known: a normal law's, narrower as the square root of the count
    half = abs((found.low(at) if end < found.effect else found.high(at)) - found.effect)
    distance = abs(found.effect - end)
    z = quantile(at, math.inf)
    return float(ndtr(z - z * distance / half * math.sqrt(seeds / found.seeds))) if 0 < half < math.inf else 1.0
