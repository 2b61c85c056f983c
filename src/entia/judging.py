"""A claim of a paper as a predicate: its parts, each with a criterion fixed before any data, and the verdict on it.

A part measures an effect with a confidence interval over seeds and asserts that the effect lies inside its criterion:
supported where the whole interval does, not supported where the whole interval lies outside, else inconclusive. A claim
is supported where every deciding part is, and not supported where one is not. With k deciding parts each interval's
confidence is 1 − 0.05 / k, so that a wrong ruling on the claim stays at 5 % (Bonferroni). Claims are not corrected for
each other. What is missing, or cannot be judged from what was run, is inconclusive and says why.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import pandas as pd

from entia.intervals import Estimate, Missing

Ruling = Literal["supported", "not supported", "inconclusive"]
SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE = RULINGS = ("supported", "not supported", "inconclusive")
ERROR = 0.05
"""Chance of a wrong ruling on a claim, over all of its parts."""
MARGIN = 1.0
"""Points that count as equal: the multi-view spec's §8 `within 1 point` (MV-T1, MV-F5a)."""


@dataclass(frozen=True)
class Criterion:
    """The effects that a claim asserts: those between `low` and `high`, in `unit`, and why these."""

    low: float
    high: float
    unit: str
    reason: str

    def __str__(self) -> str:
        if math.isinf(self.high):
            text = f"above {_amount(self.low, self.unit)}"
        elif math.isinf(self.low):
            text = f"below {_amount(self.high, self.unit)}"
        else:
            text = f"from {self.low:g} to {self.high:g} {self.unit}"
        return text.rstrip().replace("-", "−")

    def ruling(self, found: Estimate) -> Ruling:
        """Where the whole interval lies. An interval that is not a number lies nowhere."""
        if self.low < found.low and found.high < self.high:
            return SUPPORTED
        if found.high < self.low or found.low > self.high:
            return NOT_SUPPORTED
        return INCONCLUSIVE


def _amount(number: float, unit: str) -> str:
    return f"{number:g} {unit.removesuffix('s') if abs(number) == 1 else unit}"


def above(least: float, reason: str, unit: str = "points") -> Criterion:
    """Asserts an effect above a number."""
    return Criterion(least, math.inf, unit, reason)


def below(most: float, reason: str, unit: str = "points") -> Criterion:
    """Asserts an effect below a number."""
    return Criterion(-math.inf, most, unit, reason)


BETTER = above(0.0, "better at all; the papers name no amount")
EQUAL = Criterion(-MARGIN, MARGIN, "points", "within 1 point, the pass rule of MV-T1 and MV-F5a")


@dataclass(frozen=True)
class Finding:
    """What a part's test found, in which cells, and the rulings it cannot carry (`barred`; `note` says why)."""

    estimate: Estimate
    cells: tuple[str, ...] = ()
    data: str = ""
    note: str = ""
    barred: tuple[Ruling, ...] = ()
    exact: bool = False
    """True: an interval of no width is one, because the quantity has no noise from seed to seed."""

    def bar(self, note: str, *rulings: Ruling) -> "Finding":
        """The same, unable to carry these rulings too."""
        said = "; ".join(part for part in (note, self.note) if part)
        return replace(self, note=said, barred=(*self.barred, *rulings))


Test = Callable[[pd.DataFrame, float], Finding]
"""All rows and a confidence → what was found. Raises `Missing`."""


@dataclass(frozen=True)
class Part:
    """What is measured, what of it the claim asserts, and whether the verdict rests on it."""

    what: str
    criterion: Criterion
    test: Test
    decides: bool = True


@dataclass(frozen=True)
class Claim:
    """A claim in our words, what the papers made it of, and its parts."""

    claim: str
    statement: str
    about: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Reading:
    """One part, judged."""

    what: str
    verdict: Ruling
    decides: bool
    criterion: str
    reason: str
    effect: float | None
    low: float | None
    high: float | None
    unit: str
    confidence: float
    seeds: int
    data: str
    note: str
    barred: bool
    """True: the interval would rule, and may not."""
    cells: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Verdict:
    """A claim, judged at a scale; `turned` is the place of the reading that the verdict turned on."""

    claim: str
    statement: str
    about: str
    verdict: Ruling
    scale: str
    turned: int
    readings: tuple[Reading, ...]

    @property
    def shown(self) -> Reading:
        """The reading that the verdict turned on: the first deciding one of its ruling, measured where there is one."""
        return self.readings[self.turned]


def verdict(claim: Claim, frame: pd.DataFrame, scale: str) -> Verdict:
    """The verdict on one claim from `results.frame`'s rows."""
    deciding = sum(part.decides for part in claim.parts)
    found = tuple(_reading(part, frame, 1 - ERROR / (deciding if part.decides else 1)) for part in claim.parts)
    ruling = _together([reading.verdict for reading in found if reading.decides])
    turned = [place for place, reading in enumerate(found) if reading.decides and reading.verdict == ruling]
    measured = [place for place in turned if found[place].effect is not None]
    return Verdict(claim.claim, claim.statement, claim.about, ruling, scale, (measured or turned)[0], found)


def _together(rulings: Sequence[Ruling]) -> Ruling:
    if NOT_SUPPORTED in rulings:
        return NOT_SUPPORTED
    return SUPPORTED if all(ruling == SUPPORTED for ruling in rulings) else INCONCLUSIVE


def _reading(part: Part, frame: pd.DataFrame, confidence: float) -> Reading:
    try:
        found = part.test(frame, confidence)
    except Missing as missing:
        found = Finding(Estimate(math.nan, math.nan, math.nan, 0), note=str(missing))
    ruling, note, barred = _ruled(part.criterion, found)
    effect, low, high = map(_number, found.estimate[:3])
    return Reading(
        what=part.what,
        verdict=ruling,
        decides=part.decides,
        criterion=str(part.criterion),
        reason=part.criterion.reason,
        effect=effect,
        low=low,
        high=high,
        unit=part.criterion.unit,
        confidence=round(confidence, 4),
        seeds=found.estimate.seeds,
        data=found.data,
        note=note,
        barred=barred,
        cells=found.cells,
    )


def _ruled(criterion: Criterion, found: Finding) -> tuple[Ruling, str, bool]:
    """The ruling that a finding carries, its note, and whether it was barred from another."""
    effect, low, high, _ = found.estimate
    if not math.isnan(effect) and not found.exact and (math.isnan(low) or math.isclose(low, high, abs_tol=1e-12)):
        # two seeds of a small test split may agree to the last image by chance
        note = "; ".join(text for text in (found.note, "the runs agree exactly: no interval") if text)
        return INCONCLUSIVE, note, False
    ruling = criterion.ruling(found.estimate)
    barred = ruling in found.barred
    return (INCONCLUSIVE if barred else ruling), found.note, barred


def _number(value: float) -> float | None:
    """Six digits and nine decimals, so that a sum's last bits make no other file; nothing where it is not a number."""
    return float(f"{round(value, 9):.6g}") + 0.0 if math.isfinite(value) else None
