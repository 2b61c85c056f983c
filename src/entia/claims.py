"""The verdict on each of the papers' claims, and the report of them: for people (Markdown) and for machines (JSON)."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from entia import claims_diet, claims_multi_view
from entia.judging import RULINGS, Reading, Verdict, verdict

CLAIMS = (*claims_multi_view.CLAIMS, *claims_diet.CLAIMS)
"""In the papers' order."""

HOW = (
    "How a verdict comes about. Every criterion and every confidence stands in the code, with its reason, the same at "
    "every scale and for any data. A claim has one part or several; each asserts that an effect lies in a "
    "range. Supported: the effect's whole interval (in brackets) lies inside, for every part. Not supported: a part's "
    "whole interval lies outside. Inconclusive: anything else, and at a small scale often the right answer. Intervals "
    "are Student's t over seeds, paired where arms share them, two-sided, at 95 % over all deciding parts of a claim "
    "together (Bonferroni). Claims are not corrected for each other: of {claims} judged at 5 %, about one wrong ruling "
    "is to be expected at most. Weights are chosen on held-out images; where there were none, the part says so."
)


def reads(experiment: str) -> bool:
    """Whether any claim reads an experiment: those of `claims_multi_view.READ`, and every one of DIET's."""
    return experiment in claims_multi_view.READ or experiment.startswith("diet")


def judge(frame: pd.DataFrame, scale: str) -> tuple[Verdict, ...]:
    """Every claim's verdict from `results.frame`'s rows (all experiments' together), in the papers' order."""
    return tuple(verdict(claim, frame, scale) for claim in CLAIMS)


def render(verdicts: Sequence[Verdict], scale: str, lost: str = "") -> dict[str, str]:
    """`md`, a line for each claim and then each claim's parts, and `json`, the same with the cells used.

    `lost`: a note on the runs that diverged, which no claim was judged on.
    """
    content = {"scale": scale, "claims": [_record(found) for found in verdicts]} | ({"note": lost} if lost else {})
    made = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return {"md": _report(verdicts, scale, lost), "json": made + "\n"}


def _record(found: Verdict) -> dict[str, Any]:
    """A verdict with, at its top, the effect, interval and criterion that it turned on, and all cells."""
    shown = asdict(found.shown)
    top = {name: shown[name] for name in ("criterion", "effect", "low", "high", "unit", "confidence", "seeds", "data")}
    cells = sorted({cell for reading in found.readings for cell in reading.cells})
    return asdict(found) | top | {"turned": found.shown.what, "cells": cells}


# --- for people ---------------------------------------------------------------------------------------------------


def _report(verdicts: Sequence[Verdict], scale: str, lost: str) -> str:
    judged = [found.verdict for found in verdicts]
    counts = ", ".join(f"{judged.count(ruling)} {ruling}" for ruling in RULINGS)
    head = ("verdict", "claim", "what was found", "what is asserted", "judged at")
    table = "\n".join(_line(row) for row in (head, ("---",) * len(head), *map(_row, verdicts)))
    title = f"**What the papers claim, judged at {scale} scale: {counts}**"
    note = [f"{lost[0].upper()}{lost[1:]}."] if lost else []
    return "\n\n".join([title, HOW.format(claims=len(verdicts)), *note, table, *map(_section, verdicts)]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _row(found: Verdict) -> tuple[str, ...]:
    shown = found.shown
    where = f"{found.scale} scale: {shown.data + _seeds(shown) if shown.data else shown.note}"
    where += "; cannot rule, for what its note below says" if shown.barred else ""
    statement = f"{found.claim}. {found.statement}"
    return (found.verdict, statement, f"{shown.what}: {_effect(shown)}", shown.criterion, where)


def _section(found: Verdict) -> str:
    parts = "\n".join(f"{place}. {_part(reading)}" for place, reading in enumerate(found.readings, 1))
    return f"## {found.claim}: {found.verdict}\n\n{found.statement}. Claimed of: {found.about}.\n\n{parts}"


def _part(reading: Reading) -> str:
    """What is asserted and why, then what was found, then on what."""
    asserted = f"{reading.what}. Asserted: {reading.criterion} ({reading.reason})."
    at = f" at {100 * reading.confidence:.4g} %" if reading.effect is not None else ""
    ruled = reading.verdict if reading.decides else f"{reading.verdict}, which decides nothing"
    cells = f"; {len(reading.cells)} cells, named in claims.json" if reading.cells else ""
    on = f" Judged on {reading.data}{_seeds(reading)}{cells}." if reading.data else ""
    note = f" Note: {reading.note}.".replace("-0.", "−0.") if reading.note else ""
    return f"{asserted} Found: {_effect(reading)}{at}: **{ruled}**.{on}{note}"


def _seeds(reading: Reading) -> str:
    return f", n = {reading.seeds}" if reading.seeds else ""


def _effect(reading: Reading) -> str:
    if reading.effect is None:
        return "not measured"
    effect = f"{_amount(reading.effect)} {reading.unit}".strip()
    if reading.low is None or reading.high is None:
        return f"{effect} [no interval]"
    return f"{effect} [{_amount(reading.low)}, {_amount(reading.high)}]"


def _amount(value: float) -> str:
    """Three digits, thousands written out."""
    return (f"{value:,.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:.3g}").replace("-", "−")
