"""Arms of an experiment out of the frame of readouts, and what holding them against each other finds.

Weights are chosen on the validation split, by the mean over the same seeds (`results.best_weights`): intervals are
those of the chosen weight. Where no images were held out, a finding says that the choice was made on the test split.
"""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeArguments=false

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from entia import results
from entia.intervals import Estimate, Missing, contrast, enough, smallest
from entia.judging import NOT_SUPPORTED, SUPPORTED, Finding, Ruling, Test

Where = Mapping[str, object]
"""Column → the value that a row must have, or a function from the column to a mask (`least`, `most`)."""
Measure = Callable[[pd.DataFrame], "pd.Series[float]"]
"""An arm's rows → one number a seed."""


class Term(NamedTuple):
    """An arm in a contrast, and what its measure is multiplied by."""

    coefficient: float
    where: Where


def least(values: "pd.Series[Any]") -> "pd.Series[bool]":
    """Rows with the smallest value of a column."""
    return values == values.min()


def most(values: "pd.Series[Any]") -> "pd.Series[bool]":
    """Rows with the largest value of a column."""
    return values == values.max()


# --- picking ------------------------------------------------------------------------------------------------------


def of(frame: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """Rows of an experiment; of every one that begins so where the name ends in `*`. `Missing` where there are none."""
    if not frame.empty:
        names = frame["experiment"].astype(str)
        rows = frame[names.str.startswith(experiment[:-1]) if experiment.endswith("*") else names == experiment]
        if len(rows):
            return rows
    raise Missing(f"{experiment}: not run at this scale")


def arm(rows: pd.DataFrame, where: Where, tuned: Sequence[str] = ("weight",)) -> pd.DataFrame:
    """Rows that fit `where`, all epochs, at the best value of each column in `tuned`: one cell a seed, or `Missing`.

    Column `chosen_on` says what a value was chosen on (`results.chosen_on`), where there was a choice.
    """
    found = _that_fit(rows, where).drop_duplicates(["cell", "epoch", "accuracy"])  # a cell that two arms share
    if found.empty:
        raise Missing(f"no cell with {_named(where)}")
    for column in tuned:
        found = _tuned(found, column)
    if found.duplicated(["seed", "epoch"]).any():
        raise Missing(f"several cells a seed with {_named(where)}: they differ in {_differing(found)}")
    return found


def _that_fit(rows: pd.DataFrame, where: Where) -> pd.DataFrame:
    mask = pd.Series(True, index=rows.index)
    for column, wanted in where.items():
        if column not in rows:
            raise Missing(f"no column {column}")
        mask &= wanted(rows[column]) if callable(wanted) else rows[column] == wanted
    return rows[mask]


def _tuned(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    if column not in rows or rows[column].nunique() < 2:
        return rows
    final = results.last(rows)
    best = results.best_weights(final.assign(weight=final[column], experiment=""), ["experiment"])
    kept = rows[rows[column] == best["weight"].iloc[0]]
    return kept.assign(chosen_on=results.chosen_on(final))


def _named(where: Where) -> str:
    def text(value: object) -> str:
        return str(getattr(value, "__name__", "some") if callable(value) else value)

    return ", ".join(f"{column} {text(value)}" for column, value in where.items())


def _differing(rows: pd.DataFrame) -> str:
    """Columns of the config that differ, method and seed apart."""
    config = [column for column in map(str, rows) if "." in column or column in ("arm", "views", "epochs", "batch")]
    return ", ".join(column for column in config if rows[column].map(str).nunique() > 1) or "no column of a config"


# --- measuring ----------------------------------------------------------------------------------------------------


def final(column: str, factor: float = 1.0) -> Measure:
    """The last epoch's value of a column, times a factor."""

    def measure(rows: pd.DataFrame) -> "pd.Series[float]":
        if column not in rows:
            raise Missing(f"no column {column}")
        return factor * results.last(rows).set_index("seed")[column].astype(float)

    return measure


POINTS = final("accuracy", 100.0)
"""Last-epoch accuracy on the test split, in percentage points. The best epoch is never looked for on the test split."""


def compared(rows: pd.DataFrame, terms: Sequence[Term], confidence: float, measure: Measure = POINTS) -> Finding:
    """Σ a_i measure(arm_i), averaged over the (data set, encoder) pairs that have every arm with two seeds or more."""
    samples: list[pd.Series[float]] = []
    used: list[pd.DataFrame] = []
    left: dict[str, list[str]] = {}
    for (dataset, encoder), part in rows.groupby(["subset.dataset", "encoder.name"]):
        try:
            arms = [arm(part, term.where) for term in terms]
            _both_ends(part, terms)
            measured = [measure(one) for one in arms]
            _ = enough(measured)
        except Missing as missing:
            left.setdefault(str(missing), []).append(f"{dataset} with {encoder}")
            continue
        samples += measured
        used += arms
    if not used:
        raise Missing("; ".join(left))
    notes = [f"{', '.join(names)} left out ({why})" for why, names in left.items()]
    groups = len(used) // len(terms)
    estimate = contrast(samples, [term.coefficient / groups for term in terms] * groups, confidence)
    return finding(estimate, used, notes)


def _both_ends(rows: pd.DataFrame, terms: Sequence[Term]) -> None:
    """`Missing` where the least and the most of a column would be one value."""
    for column in {column for term in terms for column in term.where}:
        ends = {id(term.where.get(column)) for term in terms}
        if {id(least), id(most)} <= ends and rows[column].nunique() < 2:
            raise Missing(f"one {column} was run, {rows[column].iloc[0]}: nothing to compare it with")


def difference(experiment: str, plus: Where, minus: Where, measure: Measure = POINTS) -> Test:
    """The test of one arm's measure minus another's."""
    terms = (Term(1.0, plus), Term(-1.0, minus))
    return lambda frame, confidence: compared(of(frame, experiment), terms, confidence, measure)


def finding(estimate: Estimate, used: Sequence[pd.DataFrame], notes: Iterable[str] = ()) -> Finding:
    """An estimate with the cells that it rests on, the data, and where choices were made on the test split."""
    rows = pd.concat(used)
    said = list(dict.fromkeys(notes))
    if "chosen_on" in rows and (rows["chosen_on"] == "accuracy").any():
        said.append("chosen on the TEST split: no images were held out")
    return Finding(estimate, tuple(sorted(set(rows["cell"].astype(str)))), _data(rows), "; ".join(said))


def _data(rows: pd.DataFrame) -> str:
    def every(column: str, many: str) -> str:
        names = [str(value) for value in sorted(rows[column].unique())]
        return " and ".join(names) if len(names) < 4 else f"{len(names)} {many}"

    parts = every("subset.dataset", "data sets"), every("encoder.name", "encoders"), every("epochs", "numbers of")
    return f"{', '.join(parts)} epochs"


# --- along training -----------------------------------------------------------------------------------------------


def ahead(experiment: str, leader: Where, follower: Where, until: float) -> Test:
    """The test of an arm's smallest lead (points) over the saved epochs up to a share of training.

    Above zero: it leads at every one of them. Its interval allows for the number of epochs (`intervals.smallest`).
    """

    def test(frame: pd.DataFrame, confidence: float) -> Finding:
        rows = of(frame, experiment)
        arms = [arm(rows, leader), arm(rows, follower)]
        leads = _leads(arms[0], arms[1], until)
        estimate = smallest(leads.to_numpy(dtype=float), confidence)
        return finding(estimate, arms, [f"the smallest of {leads.shape[1]} saved epochs"])

    return test


def _leads(leader: pd.DataFrame, follower: pd.DataFrame, until: float) -> pd.DataFrame:
    """Lead in accuracy (points) by seed and saved epoch."""
    joined = leader.merge(follower, on=["seed", "epoch"], suffixes=("", " behind"))
    joined = joined[joined["epoch"] <= until * joined[["epochs", "epochs behind"]].min(axis=1)]
    lead = 100 * (joined["accuracy"] - joined["accuracy behind"])
    table = joined.assign(lead=lead).pivot_table(index="seed", columns="epoch", values="lead").dropna(axis=1)
    if table.shape[1] < 2:
        raise Missing("fewer than 2 saved epochs to compare the curves at: set embed.epochs: all and checkpoint_every")
    return table


class Times(NamedTuple):
    """Logarithm of the time (or epochs) at which each seed's run reaches its target; and which way they may be wrong.

    `early` runs were there by the first saved epoch: theirs is a bound from above. `never`: runs that did not get
    there, with the time of their end, a bound from below.
    """

    log: "pd.Series[float]"
    early: int
    never: int


def times(rows: pd.DataFrame, targets: Mapping[Any, float], axis: str) -> Times:
    """When each seed's run reaches its target accuracy along `axis` (`results.time_to`)."""
    if rows.groupby("seed")["epoch"].nunique().min() < 2:
        raise Missing("one epoch was saved: a time to a target needs embed.epochs: all and checkpoint_every")
    runs = {seed: run.sort_values("epoch") for seed, run in rows.groupby("seed")}
    reached = {seed: results.time_to(run, targets[seed], axis) for seed, run in runs.items()}
    early = sum(bool(run["accuracy"].iloc[0] >= targets[seed]) for seed, run in runs.items())
    never = sum(map(math.isnan, reached.values()))
    ends = {seed: float(run[axis].iloc[-1]) for seed, run in runs.items()}
    log = {seed: math.log(ends[seed] if math.isnan(at) else at) for seed, at in reached.items()}
    return Times(pd.Series(log, dtype=float), early, never)


def bounded(found: Finding, over: Sequence[Times], under: Sequence[Times]) -> Finding:
    """A ratio of times that must lie above a criterion, unable to carry what a bound cannot.

    From above it supports nothing, from below it refutes nothing. Accuracies before the first saved
    epoch and after the last were not measured.
    """
    early = sum(one.early for one in over), sum(one.early for one in under)
    never = sum(one.never for one in over), sum(one.never for one in under)
    said: list[str] = []
    rulings: list[Ruling] = []
    if early[0] + never[1]:
        said.append(f"a bound from above, which supports nothing: {_bound(early[0], never[1])}")
        rulings.append(SUPPORTED)
    if early[1] + never[0]:
        said.append(f"a bound from below, which refutes nothing: {_bound(early[1], never[0])}")
        rulings.append(NOT_SUPPORTED)
    return found.bar("; ".join(said), *rulings) if said else found


def _bound(early: int, never: int) -> str:
    parts = [f"runs there by the first saved epoch: {early}"] * bool(early)
    return ", ".join(parts + [f"runs that never got there: {never}"] * bool(never))


def exponential(value: float) -> float:
    """eˣ; at two seeds an interval's end may lie beyond what a float holds."""
    return math.exp(min(value, 700.0))
