"""The report of the verdicts: for people (Markdown) and for machines (JSON)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from entia import results
from entia.claims.checks import Check, checks
from entia.claims.judging import NOT_HERE, RULINGS, UNDECIDED, Reading, Verdict
from entia.claims.pooling import Noise
from entia.claims.power import MOST, Need
from entia.system import home

INDEPENDENT = home.REPORTED / "independent.csv"
"""What others than the papers' authors published on the same questions, a row a number, each with its source."""

JUDGES_ALL = "paper"
"""The scale that has what every claim speaks of."""

NAMES = """
MV stands for the two papers on many views and small projectors, DIET for the two on DIET and the one on s-DIET; H and a
number for a hypothesis of theirs. A view is a random crop and recolouring of an image; the orthogonality weight is how
strongly a loss keeps the features apart (Barlow Twins' λ; VICReg's λ = μ, which does so the more the smaller it is).
"""
HOW = """
How a verdict comes about. Every criterion stands in the code, with its reason; below paper scale `equal` is two
points in place of the papers' one, which would take 14 to 40 seeds. An effect is computed once a seed, over the
seeds that all its arms have. Its variance over seeds is shrunk to that of all arms of the same method, data set,
encoder and number of epochs, with a fixed weight of four degrees of freedom at most; an arm's accuracy alone, and a
ratio of times, borrow nothing. Supported: every comparison of every deciding part lies inside its criterion at one-
sided {level:.3g} %, so that the {confidence:.4g} % interval (in brackets) does. Not supported: some comparison lies
outside at {level:.3g} % divided over parts, comparisons and ends. Undecided: neither. Not judged here: this scale
has not the data, the architecture or the length that the claim speaks of; what is like it is shown. Claims are not
corrected for each other: of {claims} at 5 % one wrong ruling is to be expected at most, but they share seeds, so
that wrong ones come together. Intervals are over seeds, for these test images. Arms that are not above the
untrained encoder, or do not clear the raw pixels by 4 points, carry no ruling.
"""


def independent(column: str) -> dict[str, list[str]]:
    """Independent evidence in words, by what it bears on: `claims`, or the `artefact` of a report's id."""
    found: dict[str, list[str]] = {}
    for row in pd.read_csv(INDEPENDENT, dtype=str, keep_default_na=False).to_dict("records"):
        for name in str(row[column]).split():
            found.setdefault(name, []).append(_said(row))
    return found


def render(verdicts: Sequence[Verdict], scale: str, lost: str = "", noise: Sequence[Noise] = ()) -> dict[str, str]:
    """`md`, a line for each claim and then each claim's parts, and `json`, the same with the cells used.

    `lost`: a note on the runs that diverged, which no claim was judged on. `noise`: from seed to seed.
    """
    known, theory = independent("claims"), checks()
    content = {
        "scale": scale,
        "claims": [_record(found, known) for found in verdicts],
        "checks": [asdict(check) for check in theory],
        "noise": [each._asdict() for each in noise],
    } | ({"note": lost} if lost else {})
    made = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return {"md": _report(verdicts, scale, known, theory, lost, noise), "json": made + "\n"}


Known = Mapping[str, list[str]]
"""What is known from others, in words, by claim."""


def _said(row: Mapping[Any, Any]) -> str:
    arm = ", ".join(str(row[name]) for name in ("method", "dataset", "encoder", "arm") if row[name])
    value = f"{row['value']} {row['unit']}".strip()
    note = f"; {row['note']}" if row["note"] else ""
    return f"{row['quantity']}: {value} ({arm}{note}; {row['source']})".replace("(; ", "(")


def _record(found: Verdict, known: Known) -> dict[str, Any]:
    """A verdict with, at its top, the effect, interval and criterion that it turned on, and all cells."""
    shown = asdict(found.shown)
    names = ("criterion", "effect", "low", "high", "unit", "confidence", "seeds", "data")
    cells = sorted({cell for reading in found.readings for cell in reading.cells})
    more = {"turned": found.shown.what, "cells": cells, "independent": known.get(found.claim, [])}
    more |= {"judged_at": JUDGES_ALL}
    return asdict(found) | {name: shown[name] for name in names} | more


# --- for people ---------------------------------------------------------------------------------------------------


def _report(
    verdicts: Sequence[Verdict], scale: str, known: Known, theory: Sequence[Check], lost: str, noise: Sequence[Noise]
) -> str:
    judged = [found.verdict for found in verdicts]
    counts = ", ".join(f"{judged.count(ruling)} {ruling}" for ruling in RULINGS)
    confidence = verdicts[0].shown.confidence
    interval = f"effect, with its {100 * confidence:.3g} % interval"
    head = ("claim", "verdict", interval, "asserted", "seeds", "data", "independent evidence")
    table = "\n".join(_line(row) for row in (head, ("---",) * len(head), *(_row(found, known) for found in verdicts)))
    title = f"**What the papers claim, judged at {scale} scale: {counts}**"
    how = _line_of(HOW).format(level=50 * (1 - confidence), confidence=100 * confidence, claims=len(verdicts))
    sections = (_section(found, known.get(found.claim, [])) for found in verdicts)
    note = [f"{lost[0].upper()}{lost[1:]}."] if lost else []
    return "\n\n".join([title, _line_of(NAMES), how, *note, table, *sections, *_noise(noise), _checks(theory)]) + "\n"


def _line_of(text: str) -> str:
    return " ".join(text.split())


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _row(found: Verdict, known: Known) -> tuple[str, ...]:
    shown = found.shown
    statement = f"{found.statement} ({found.claim})"
    effect = f"{shown.what}{_on(shown)}: {_effect(shown)}" + "; ruled on nothing, see below" * shown.barred
    seeds = f"{shown.seeds} {shown.counted}" if shown.seeds and shown.counted != "seeds" else str(shown.seeds or "none")
    others = f"{len(known[found.claim])}, see below" if found.claim in known else "none known"
    data = (shown.data or shown.note) + f"; to be judged at `scale: {JUDGES_ALL}`" * (found.verdict == NOT_HERE)
    return (statement, found.verdict, effect, shown.criterion, seeds, data, others)


def _section(found: Verdict, known: Sequence[str]) -> str:
    parts = "\n".join(f"{place}. {_part(reading)}" for place, reading in enumerate(found.readings, 1))
    said = [f"{found.statement}. Claimed of: {found.about}.{_tested(found)}", parts]
    if found.verdict == UNDECIDED:
        said.append(_needed(found))
    if found.verdict == NOT_HERE:
        said.append(_elsewhere(found))
    if known:
        said.append("Independent evidence, not the papers' own:\n" + "\n".join(f"- {text}" for text in known))
    return f"## {found.claim}: {found.verdict}\n\n" + "\n\n".join(said)


def _elsewhere(found: Verdict) -> str:
    """Why a claim is not judged at this scale, which one would judge it, and on what."""
    why = dict.fromkeys(each.why_not_here for each in found.readings if each.decides and each.why_not_here)
    return (
        f"Not judged at {found.scale} scale: {'; '.join(why)}. `scale: {JUDGES_ALL}` has what it takes: {found.needs}."
    )


def _tested(found: Verdict) -> str:
    """Which of the data sets that a claim names were tested."""
    if not found.named:
        return ""
    data = {name for reading in found.readings for name in reading.data.split(", ")[0].split(" and ") if name}
    plain = {results.plain(name) for name in data}
    there = [name for name in found.named if name in plain]
    others = sorted(plain - set(found.named))
    said = f"tested on {' and '.join(there)}" if there else "none of them was tested"
    said += (
        f", not on {' and '.join(n for n in found.named if n not in there)}"
        if 0 < len(there) < len(found.named)
        else ""
    )
    stand = f"; {' and '.join(others)} stood in" if others and not there else ""
    return f" Of {' and '.join(found.named)}: {said}{stand}."


def _needed(found: Verdict) -> str:
    """What it takes to decide an undecided claim: the seeds that its undecided parts need."""
    readings = [reading for reading in found.readings if reading.decides and reading.verdict == UNDECIDED]
    if any(reading.barred for reading in readings):
        return "What it takes: more seeds would not lift what bars the ruling, said in the note above."
    needs = [reading.need for reading in readings if reading.need]
    against = [need for need in needs if need.toward == "not supported"]
    if len(needs) < len(readings) and not against:
        return "What it takes: not known, for a part was not measured; its note says why."
    chosen = min(against, key=_count) if against else max(needs, key=_count)
    return (
        f"What it takes to say {chosen.toward}, with 80 % power at the effect and the spread seen, which are uncertain "
        f"themselves: {_amount_of(chosen)}."
    )


def _count(need: Need) -> float:
    return need.seeds or float("inf")


def _amount_of(need: Need) -> str:
    if need.seeds is None:
        return f"more than {MOST} {need.counted}"
    if need.minutes is None:
        return f"{need.seeds} {need.counted}"
    hours = f"{need.minutes / 60:.1f} hours" if need.minutes >= 90 else f"{max(need.minutes, 0.0):.0f} minutes"
    return f"{need.seeds} {need.counted} in all, {hours} more of training on the machine that these runs had"


def _part(reading: Reading) -> str:
    """What is asserted and why, then what was found, then on what."""
    asserted = f"{reading.what}. Asserted: {reading.criterion} ({reading.reason})."
    ruled = reading.verdict if reading.decides else f"{reading.verdict}, which decides nothing"
    cells = f"; {len(reading.cells)} cells, named in claims.json" if reading.cells else ""
    on = f" Judged on {reading.data}, n = {reading.seeds} {reading.counted}{cells}." if reading.data else ""
    note = f" Note: {reading.note}.".replace("-0.", "−0.") if reading.note else ""
    return f"{asserted} Found{_on(reading)}: {_effect(reading)}: **{ruled}**.{on}{note}"


def _on(reading: Reading) -> str:
    """Which of several comparisons a part turned on."""
    return f" {reading.turned_on} (of {len(reading.comparisons)})" if reading.turned_on else ""


def _effect(reading: Reading) -> str:
    if reading.effect is None:
        return "not measured"
    told = _amount(reading.effect)
    effect = f"{told} {reading.unit.removesuffix('s') if told in ('1', '−1') else reading.unit}".strip()
    if reading.low is None and reading.high is None:
        return f"{effect} [no interval]"
    return f"{effect} [{_end(reading.low, '−∞')}, {_end(reading.high, '∞')}]"


def _end(value: float | None, infinite: str) -> str:
    return infinite if value is None else _amount(value)


def _amount(value: float) -> str:
    """Three digits, thousands written out."""
    return (f"{value:,.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:.3g}").replace("-", "−")


def _noise(noise: Sequence[Noise]) -> list[str]:
    """What verdicts borrow from: how far seeds lie apart, by protocol and method."""
    if not noise:
        return []
    text = """## Noise from seed to seed

The standard deviation of last-epoch accuracy over seeds, after each seed's common effect is taken out, in points. A
protocol is what its runs have in common. The noisiest method of each is held against the others by an F test, its p
corrected for having been picked; it decides nothing, since methods are kept apart whatever it says."""
    head = ("protocol", "method", "deviation", "degrees of freedom", "p")
    rows = [
        (
            ", ".join(part for part in each.protocol.split("|") if part),
            each.method,
            _amount(each.deviation),
            _amount(each.freedom),
            "" if each.unlike is None else _amount(each.unlike),
        )
        for each in noise
    ]
    return [text, "\n".join(_line(row) for row in (head, ("---",) * len(head), *rows))]


def _checks(theory: Sequence[Check]) -> str:
    """The numerical checks, apart from the claims."""
    head = """## Checks of theory, which are no verdicts

A toy against our own algebra, at three random starts: the multi-view papers' Theorem 3.2 (not read) says that weak and
strong weights learn by different dynamics. The claim itself (MV-H13) is of trained networks and is not judged."""
    lines = [
        f"- {check.what}: {', '.join(map(_amount, check.values))}; must be {check.criterion}: "
        f"**{'holds' if check.holds else 'DOES NOT HOLD'}**"
        for check in theory
    ]
    return f"{head}\n\n" + "\n".join(lines)
