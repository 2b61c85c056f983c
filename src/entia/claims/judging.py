"""A claim of a paper as a predicate: its parts, each with a criterion fixed before any data, and the ruling on it.

A part holds one comparison or several against a range of effects. Supported: every comparison of every deciding part
lies inside, each at one-sided 5 %, which needs no correction (intersection–union; two ends are two one-sided tests).
Not supported: some comparison lies outside at 5 % divided over parts, comparisons and ends. A claim is true or false,
so that only one of the two errors can occur, and each has the whole 5 %. Claims are not corrected for each other. What
is neither is undecided, and what this scale does not have is not judged here.

Source: Berger 1982, Berger & Hsu 1996; Schuirmann 1987; Pocock 1977 for two planned looks.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import pandas as pd

from entia.claims.intervals import Estimate, Missing, NotRun
from entia.claims.power import Need, seeds_needed
from entia.claims.study import Study
from entia.fields import Problem

Ruling = Literal["supported", "not supported", "undecided", "not judged here"]
RULINGS: tuple[Ruling, ...] = ("supported", "not supported", "undecided", "not judged here")
SUPPORTED, NOT_SUPPORTED, UNDECIDED, NOT_HERE = RULINGS
ERROR = 0.05
"""Chance of a wrong ruling on a claim."""
POCOCK = 0.0304
"""The level of each of two planned looks, the second at twice the seeds, that leaves 5 % in all."""


def level(looks: Sequence[int]) -> float:
    """The one-sided level of each look. Raises `Problem` for looks that no level is known for."""
    if len(looks) < 2:
        return ERROR
    if len(looks) == 2 and looks[1] == 2 * looks[0]:
        return POCOCK
    raise Problem(f"judging.looks: {list(looks)}: give one number of seeds, or two, the second twice the first")


# --- what is asserted ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Criterion:
    """The effects that a claim asserts: those between `low` and `high`, in `unit`, and why these.

    `coarse` is the criterion below the papers' scale, where another margin can be told from noise.
    """

    low: float
    high: float
    unit: str
    reason: str
    coarse: "Criterion | None" = None

    def __str__(self) -> str:
        if math.isinf(self.high):
            text = f"above {_amount(self.low, self.unit)}"
        elif math.isinf(self.low):
            text = f"below {_amount(self.high, self.unit)}"
        else:
            text = f"from {self.low:g} to {self.high:g} {self.unit}"
        return text.rstrip().replace("-", "−")

    def at(self, scale: str) -> "Criterion":
        """The criterion at a scale."""
        return self.coarse if self.coarse and scale != "paper" else self

    @property
    def ends(self) -> int:
        """How many of its ends are finite: at each of them a refutation may err."""
        return sum(map(math.isfinite, (self.low, self.high)))

    def holds(self, found: Estimate, at: float) -> bool:
        """Whether the effect lies inside, at a one-sided level for each end. Ends that are no number hold nothing."""
        return self._above(found, at) and self._below(found, at)

    def fails(self, found: Estimate, at: float) -> bool:
        """Whether the effect lies outside, at a one-sided level."""
        return found.high(at) < self.low or found.low(at) > self.high

    def room(self, found: Estimate, at: float) -> float:
        """How far inside the nearer end of the effect's interval lies; negative where it crosses."""
        return min(found.low(at) - self.low, self.high - found.high(at))

    def _above(self, found: Estimate, at: float) -> bool:
        return math.isinf(self.low) or self.low < found.low(at)

    def _below(self, found: Estimate, at: float) -> bool:
        return math.isinf(self.high) or found.high(at) < self.high


def _amount(number: float, unit: str) -> str:
    return f"{number:g} {unit.removesuffix('s') if abs(number) == 1 else unit}"


def above(least: float, reason: str, unit: str = "points") -> Criterion:
    """Asserts an effect above a number."""
    return Criterion(least, math.inf, unit, reason)


def below(most: float, reason: str, unit: str = "points") -> Criterion:
    """Asserts an effect below a number."""
    return Criterion(-math.inf, most, unit, reason)


MARGIN, COARSE = 1.0, 2.0
"""Points that count as equal: the papers' `within 1 point`, and below their scale two."""
_WIDER = "two points below paper scale, since one takes 14 to 40 seeds there"


def margin(low: float, high: float, reason: str) -> Criterion:
    """Asserts an effect between so many margins: of one point at the papers' scale, of two below it."""
    wider = Criterion(COARSE * low, COARSE * high, "points", f"{reason}; {_WIDER}")
    return Criterion(MARGIN * low, MARGIN * high, "points", reason, wider)


BETTER = above(0.0, "better at all; the papers name no amount")
EQUAL = margin(-1, 1, "the pass rule of MV-T1 and MV-F5a, `within 1 point`")


# --- what is found ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """One effect of a part, by name where a part has several."""

    name: str
    estimate: Estimate


@dataclass(frozen=True)
class Finding:
    """What a part's test found, in which cells, and the rulings it cannot carry (`barred`; `note` says why)."""

    comparisons: tuple[Comparison, ...]
    cells: tuple[str, ...] = ()
    data: str = ""
    note: str = ""
    barred: tuple[Ruling, ...] = ()
    elsewhere: str = ""
    """Why this scale has not what the claim speaks of; empty where it has."""
    absent: bool = False
    """Whether none of its runs is there at all."""
    minutes: float = math.nan
    """Minutes of training of all its arms, a seed."""

    def bar(self, note: str, *rulings: Ruling) -> "Finding":
        """The same, unable to carry these rulings too."""
        said = "; ".join(part for part in (note, self.note) if part)
        return replace(self, note=said, barred=(*self.barred, *rulings))

    def not_here(self, why: str) -> "Finding":
        """The same, of something like what the claim speaks of: shown, and never ruled on."""
        return replace(self, elsewhere=why)


def one(estimate: Estimate) -> tuple[Comparison, ...]:
    """A part's only comparison."""
    return (Comparison("", estimate),)


class Elsewhere(Exception):
    """Why nothing that a claim speaks of, nor anything like it, was run at this scale."""


Test = Callable[[Study], Finding]
"""A study → what was found. Raises `Missing` or `Elsewhere`."""


@dataclass(frozen=True)
class Part:
    """What is measured, what of it the claim asserts, and whether the verdict rests on it."""

    what: str
    criterion: Criterion
    test: Test
    decides: bool = True


@dataclass(frozen=True)
class Claim:
    """A claim in our words, what the papers made it of, the data sets that it names, and its parts."""

    claim: str
    statement: str
    about: str
    parts: tuple[Part, ...]
    named: tuple[str, ...] = ()
    needs: str = ""
    """What a scale must have to judge it, where that is not all that `about` says."""


@dataclass(frozen=True)
class Reading:
    """One part, judged; `effect` and its ends are those of the comparison that it turned on."""

    what: str
    verdict: Ruling
    decides: bool
    criterion: str
    reason: str
    turned_on: str
    effect: float | None
    low: float | None
    high: float | None
    unit: str
    confidence: float
    refuted_at: float
    seeds: int
    counted: str
    data: str
    note: str
    barred: bool
    """True: whatever the interval, or as it lies, it may not rule; the note says why."""
    need: Need | None
    comparisons: tuple[tuple[str, float | None, float | None, float | None], ...] = ()
    cells: tuple[str, ...] = field(default=(), repr=False)
    why_not_here: str = ""


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
    named: tuple[str, ...] = ()
    needs: str = ""

    @property
    def shown(self) -> Reading:
        """The reading that the verdict turned on: the first deciding one of its ruling, measured where there is one."""
        return self.readings[self.turned]

    @property
    def decided(self) -> bool:
        """Whether it was ruled on, either way."""
        return self.verdict in (SUPPORTED, NOT_SUPPORTED)


# --- ruling -------------------------------------------------------------------------------------------------------


def judge(claims: Iterable[Claim], frame: pd.DataFrame, scale: str, looks: Sequence[int] = ()) -> tuple[Verdict, ...]:
    """The verdict on each claim from `results.frame`'s rows.

    `looks` are the planned numbers of seeds. What the first look, of the first so many seeds, decides is decided; the
    second is of what it left undecided. Seeds that no look plans decide nothing. No looks: one, of all seeds.
    """
    at, stages = level(looks), [(Study.of(frame, scale, seeds), seeds) for seeds in looks or (None,)]
    return tuple(_first_decided(claim, stages, at) for claim in claims)


def _first_decided(claim: Claim, stages: Sequence[tuple[Study, int | None]], at: float) -> Verdict:
    found = verdict(claim, stages[0][0], at, stages[0][1])
    for study, seeds in stages[1:]:
        if found.decided:
            break
        later = verdict(claim, study, at, seeds)
        found = later if later.decided or _reached(later, seeds) else found
    return found


def _reached(found: Verdict, seeds: int | None) -> bool:
    return seeds is None or any(reading.seeds >= seeds for reading in found.readings if reading.counted == "seeds")


def verdict(claim: Claim, study: Study, at: float = ERROR, least: int | None = None) -> Verdict:
    """The verdict on one claim at a one-sided level; nothing is ruled on in fewer seeds than `least`."""
    deciding = sum(part.decides for part in claim.parts)
    found = tuple(_reading(part, study, at, deciding if part.decides else 1, least) for part in claim.parts)
    turned = [place for place, reading in enumerate(found) if reading.decides]
    if all(found[place].why_not_here for place in turned):  # then nothing is open here either
        ruling = NOT_HERE
    else:
        ruling = _together([found[place].verdict for place in turned])
        turned = [place for place in turned if found[place].verdict == ruling]
    measured = [place for place in turned if found[place].effect is not None]
    place = (measured or turned)[0]
    said = claim.claim, claim.statement, claim.about
    return Verdict(*said, ruling, study.scale, place, found, claim.named, claim.needs or claim.about)


def _together(rulings: Sequence[Ruling]) -> Ruling:
    for ruling in (NOT_HERE, NOT_SUPPORTED, UNDECIDED):
        if ruling in rulings:
            return ruling
    return SUPPORTED


def _reading(part: Part, study: Study, at: float, parts: int, least: int | None) -> Reading:
    criterion = part.criterion.at(study.scale)
    found = _found(part, study)
    refuted_at = at / (parts * max(len(found.comparisons), 1) * criterion.ends)
    ruling, note, barred = _ruled(criterion, found, at, refuted_at, least)
    turned = _turned(criterion, found, at, refuted_at)
    effect, low, high = _numbers(turned, at)
    return Reading(
        what=part.what,
        verdict=ruling,
        decides=part.decides,
        criterion=str(criterion),
        reason=criterion.reason,
        turned_on=turned.name if turned else "",
        effect=effect,
        low=low,
        high=high,
        unit=criterion.unit,
        confidence=round(1 - 2 * at, 4),
        refuted_at=round(refuted_at, 5),
        seeds=turned.estimate.seeds if turned else 0,
        counted=turned.estimate.counted if turned else "seeds",
        data=found.data,
        note=note,
        barred=barred,
        need=_need(criterion, found, at, refuted_at) if ruling == UNDECIDED and not barred else None,
        comparisons=tuple((each.name, *_numbers(each, at)) for each in found.comparisons),
        cells=found.cells,
        why_not_here=found.elsewhere or (found.note if found.absent else ""),
    )


def _found(part: Part, study: Study) -> Finding:
    try:
        return part.test(study)
    except NotRun as missing:
        return Finding((), note=str(missing), absent=True)
    except Missing as missing:
        return Finding((), note=str(missing))
    except Elsewhere as elsewhere:
        return Finding((), elsewhere=str(elsewhere))


def _ruled(
    criterion: Criterion, found: Finding, at: float, refuted_at: float, least: int | None
) -> tuple[Ruling, str, bool]:
    """The ruling that a finding carries, its note, and whether it was barred from another."""
    if found.elsewhere:
        return NOT_HERE, "; ".join(part for part in (found.elsewhere, found.note) if part), False
    estimates = [each.estimate for each in found.comparisons]
    if not estimates:
        return UNDECIDED, found.note, False
    if any(math.isnan(each.low(at)) for each in estimates):
        return UNDECIDED, _and(found.note, "the runs agree exactly: no interval"), False
    seeds = min((each.seeds for each in estimates if each.counted == "seeds"), default=None)
    if least is not None and seeds is not None and seeds < least:
        return UNDECIDED, _and(found.note, f"{seeds} of the {least} seeds that this look was planned with"), False
    ruling: Ruling = UNDECIDED
    if any(criterion.fails(each, refuted_at) for each in estimates):
        ruling = NOT_SUPPORTED
    elif all(criterion.holds(each, at) for each in estimates):
        ruling = SUPPORTED
    barred = ruling in found.barred or {SUPPORTED, NOT_SUPPORTED} <= set(found.barred)
    return (UNDECIDED if barred else ruling), found.note, barred


def _and(note: str, more: str) -> str:
    return f"{note}; {more}" if note else more


def _turned(criterion: Criterion, found: Finding, at: float, refuted_at: float) -> Comparison | None:
    """The comparison that is furthest out: one that refutes, or the one that support hangs on."""
    failed = [each for each in found.comparisons if criterion.fails(each.estimate, refuted_at)]
    among = failed or list(found.comparisons)
    rooms = [criterion.room(each.estimate, at) for each in among]
    if not among:
        return None
    return among[min(range(len(among)), key=lambda place: (not math.isnan(rooms[place]), rooms[place]))]


def _need(criterion: Criterion, found: Finding, at: float, refuted_at: float) -> Need | None:
    estimates = [each.estimate for each in found.comparisons]
    return seeds_needed(estimates, criterion.low, criterion.high, at, refuted_at, found.minutes) if estimates else None


def _numbers(found: Comparison | None, at: float) -> tuple[float | None, float | None, float | None]:
    if found is None:
        return None, None, None
    estimate = found.estimate
    return _number(estimate.effect), _number(estimate.low(at)), _number(estimate.high(at))


def _number(value: float) -> float | None:
    """Six digits and nine decimals, so that a sum's last bits make no other file; nothing where it is not a number."""
    return float(f"{round(value, 9):.6g}") + 0.0 if math.isfinite(value) else None
