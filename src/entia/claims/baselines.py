"""What a representation must beat before it is held against another: the untrained encoder and the raw pixels."""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false

from collections.abc import Iterator, Sequence

import pandas as pd

from entia import results
from entia.claims.intervals import Missing
from entia.claims.judging import ERROR, NOT_SUPPORTED, SUPPORTED, Finding
from entia.claims.pooling import Sample, contrast
from entia.claims.study import POINTS, Study, sample

CLEAR = 4.0
"""Points by which an arm's mean must clear the raw pixels: these have no seeds, so that a test would have no pairs."""
NONE = "no baseline was run: nothing says whether these encoders are better than their input"


def barred(study: Study, found: Finding, used: Sequence[pd.DataFrame]) -> Finding:
    """The finding; without a ruling where an arm is not above the untrained encoder or does not clear the raw pixels.

    Above the untrained one: at one-sided 5 %, paired by seed, the same network of the same seed, untouched.
    """
    below: list[str] = []
    known = False
    for each in map(results.last, used) if study.has_baselines else ():
        untrained, pixels = _beside(study.baseline("untrained"), each), _pixels(study, each)
        known |= len(untrained) > 0 or pixels is not None
        below += _below(study, each, untrained, pixels)
    if not known:
        return found.bar(NONE)
    if not below:
        return found
    note = f"no ruling on representations, since some are no better than their input: {'; '.join(dict.fromkeys(below))}"
    return found.bar(note, SUPPORTED, NOT_SUPPORTED)


def _below(study: Study, rows: pd.DataFrame, untrained: pd.DataFrame, pixels: float | None) -> Iterator[str]:
    mean = 100 * float(rows["accuracy"].mean())
    name = _name(rows)
    if pixels is not None and mean < pixels + CLEAR:
        yield f"{name} reads out {mean:.1f} %, raw pixels {pixels:.1f}"
    if len(untrained) and not _above(study, rows, untrained):
        yield f"{name} reads out {mean:.1f} %, untrained {100 * float(untrained['accuracy'].mean()):.1f}"


def _above(study: Study, rows: pd.DataFrame, untrained: pd.DataFrame) -> bool:
    """Whether an arm is above the untrained encoder. One without two seeds beside it is not shown to be."""
    trained = sample(rows, POINTS)
    rows = untrained.drop_duplicates("seed")
    points = dict(zip(rows["seed"], POINTS.factor * rows["accuracy"].astype(float), strict=True))
    place = trained.place[0], "untrained"
    beside = Sample(points, dict.fromkeys(points, "untrained"), place)
    try:
        return contrast([[(1.0, trained), (-1.0, beside)]], study.pool(POINTS)).low(ERROR) > 0
    except Missing:
        return False


def _pixels(study: Study, rows: pd.DataFrame) -> float | None:
    """Accuracy (%) of the raw pixels at the size that is best on held-out images."""
    found = _beside(study.baseline("raw pixels"), rows, encoder=False)
    if found.empty:
        return None
    return 100 * float(found.loc[found[results.chosen_on(found)].idxmax(), "accuracy"])


def _beside(found: pd.DataFrame, rows: pd.DataFrame, encoder: bool = True) -> pd.DataFrame:
    """Baseline rows of the arm's data set, and of its encoder."""
    fits = pd.Series(True, index=found.index)
    for column in ("subset.dataset", *(("encoder.name", "encoder.width") if encoder else ())):
        if column in found and column in rows:
            fits &= found[column].isna() | (found[column] == rows[column].iloc[0])
    return found[fits]


def _name(rows: pd.DataFrame) -> str:
    row = rows.iloc[0]
    said = {
        "views": "{} views",
        "projector.width": "width {}",
        "subset.fraction": "{:.0%} of images",
        "weight": "weight {:g}",
    }
    parts = [text.format(row[column]) for column, text in said.items() if column in rows and pd.notna(row[column])]
    return ", ".join([str(row["method.name"]), *parts])
