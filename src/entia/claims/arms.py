"""Arms of an experiment out of the frame of readouts, and what holding them against each other finds.

Weights are chosen on held-out images, never on the judged seed's own: by a tuning seed that ran the whole grid, or,
where the judged seeds ran it, each seed's by the mean of the others. A seed's own choice would carry that network's
luck, 0.6 to 0.85 points. Where no images were held out, a finding says so.
"""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeArguments=false

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from entia import results
from entia.claims import baselines
from entia.claims.intervals import Estimate, Missing, NotRun
from entia.claims.judging import Comparison, Finding, Test, one
from entia.claims.pooling import Terms, contrast
from entia.claims.study import POINTS, Measure, Study, sample

Where = Mapping[str, object]
"""Column → the value that a row must have, or a function from the column to a mask (`least`, `most`)."""


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


def of(study: Study, experiment: str) -> pd.DataFrame:
    """Rows of an experiment; of every one that begins so where the name ends in `*`. `Missing` where there are none."""
    if not study.frame.empty:
        names = study.frame["experiment"].astype(str)
        rows = study.frame[names.str.startswith(experiment[:-1]) if experiment.endswith("*") else names == experiment]
        if len(rows):
            return rows
    raise NotRun(f"{experiment}: not run at this scale")


def arm(rows: pd.DataFrame, where: Where) -> pd.DataFrame:
    """Rows of judged seeds that fit `where`, all epochs, at the chosen weight: one cell a seed, or `Missing`.

    Column `choice` says how the weight was chosen, where there was a choice.
    """
    found = _that_fit(rows, where).drop_duplicates(["cell", "epoch", "accuracy"])  # a cell that two arms share
    if found.empty:
        raise NotRun(f"no cell with {_named(where)}")
    found = _at_chosen_weight(found)
    if found.empty:
        raise Missing(f"no judged seed with {_named(where)}")
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


# --- choosing a weight --------------------------------------------------------------------------------------------


def _at_chosen_weight(rows: pd.DataFrame) -> pd.DataFrame:
    """The judged seeds' rows at the weights chosen for them."""
    judged, tuning = rows[~rows["tuning"]], rows[rows["tuning"]]
    if rows["weight"].nunique() < 2 or judged.empty:
        return judged.assign(choice="weights as params.yaml gives them") if rows["weight"].notna().any() else judged
    if judged["weight"].nunique() == 1:
        return _by_tuning_seed(judged, tuning)
    final = results.last(judged)
    on = results.chosen_on(final)
    if final["seed"].nunique() < 2:
        raise Missing("1 seed: a weight is chosen by the others' held-out images")
    kept = [_by_others(judged, final, on, seed) for seed in sorted(final["seed"].unique())]
    return pd.concat(kept).assign(choice=_choice("each seed's by the others'", on))


def _by_others(judged: pd.DataFrame, final: pd.DataFrame, on: str, seed: int) -> pd.DataFrame:
    best = _best(final[final["seed"] != seed], on)
    return judged[(judged["seed"] == seed) & (judged["weight"] == best)]


def _by_tuning_seed(judged: pd.DataFrame, tuning: pd.DataFrame) -> pd.DataFrame:
    final = results.last(tuning)
    on = results.chosen_on(final)
    best, run = _best(final, on), judged["weight"].iloc[0]
    said = _choice("a tuning seed's", on)
    return judged.assign(choice=said if best == run else f"{said}, which prefers {best:g} to the {run:g} that was run")


def _best(final: pd.DataFrame, on: str) -> float:
    """The weight with the best mean over seeds; a tie goes to the smaller."""
    return float(final.groupby("weight")[on].mean().idxmax())


def _choice(whose: str, on: str) -> str:
    images = "held-out images" if on == "validation" else "TEST split (no images were held out)"
    return f"weights chosen on {whose} {images}"


def _named(where: Where) -> str:
    def text(value: object) -> str:
        return str(getattr(value, "__name__", "some") if callable(value) else value)

    return ", ".join(f"{column} {text(value)}" for column, value in where.items())


def _differing(rows: pd.DataFrame) -> str:
    """Columns of the config that differ, method and seed apart."""
    config = [column for column in map(str, rows) if "." in column or column in ("arm", "views", "epochs", "batch")]
    return ", ".join(column for column in config if rows[column].map(str).nunique() > 1) or "no column of a config"


# --- comparing ----------------------------------------------------------------------------------------------------


def compared(study: Study, rows: pd.DataFrame, terms: Sequence[Term], measure: Measure = POINTS) -> Finding:
    """Σ a_i measure(arm_i), averaged over the (data set, encoder) pairs that have every arm with two seeds or more."""
    used, left = groups(rows, terms)
    estimate = contrast(samples(used, terms, measure), study.pool(measure))
    return held(study, one(estimate), [each for group in used for each in group], left)


def samples(used: Sequence[Sequence[pd.DataFrame]], terms: Sequence[Term], measure: Measure) -> list[Terms]:
    """Each group's arms as a contrast's terms, so that the groups' mean is their sum."""
    share = 1 / len(used)
    return [
        [(share * term.coefficient, sample(each, measure)) for term, each in zip(terms, group, strict=True)]
        for group in used
    ]


def groups(rows: pd.DataFrame, terms: Sequence[Term]) -> tuple[list[list[pd.DataFrame]], list[str]]:
    """The arms of each (data set, encoder) pair that has them all, and why pairs were left out."""
    used: list[list[pd.DataFrame]] = []
    left: dict[str, list[str]] = {}
    why: type[Missing] = NotRun  # of every pair, or else some arm was run and is not whole
    for (dataset, encoder), part in rows.groupby(["subset.dataset", "encoder.name"]):
        try:
            arms = [arm(part, term.where) for term in terms]
            _both_ends(part, terms)
            in_common(arms)
        except Missing as missing:
            left.setdefault(str(missing), []).append(f"{dataset} with {encoder}")
            why = why if isinstance(missing, NotRun) else Missing
            continue
        used.append(arms)
    if not used:
        raise why("; ".join(left))
    return used, [f"{', '.join(names)} left out ({reason})" for reason, names in left.items()]


def in_common(arms: Sequence[pd.DataFrame]) -> None:
    """`Missing` where arms have fewer than two seeds in common."""
    seeds = set[int].intersection(*(set(each["seed"]) for each in arms))
    if len(seeds) < 2:
        raise Missing(f"{len(seeds)} seed{'s' * (len(seeds) != 1)} in common: an interval over seeds needs 2 or more")


def _both_ends(rows: pd.DataFrame, terms: Sequence[Term]) -> None:
    """`Missing` where the least and the most of a column would be one value."""
    for column in {column for term in terms for column in term.where}:
        ends = {id(term.where.get(column)) for term in terms}
        if {id(least), id(most)} <= ends and rows[column].nunique() < 2:
            raise Missing(f"one {column} was run, {rows[column].iloc[0]}: nothing to compare it with")


def difference(experiment: str, plus: Where, minus: Where, measure: Measure = POINTS) -> Test:
    """The test of one arm's measure minus another's."""
    terms = (Term(1.0, plus), Term(-1.0, minus))
    return lambda study: compared(study, of(study, experiment), terms, measure)


def held(
    study: Study, comparisons: Sequence[Comparison], used: Sequence[pd.DataFrame], notes: Iterable[str] = ()
) -> Finding:
    """A finding of arms held against each other: barred where one is no better than what needs no training."""
    return baselines.barred(study, finding(comparisons, used, notes), used)


def finding(comparisons: Sequence[Comparison], used: Sequence[pd.DataFrame], notes: Iterable[str] = ()) -> Finding:
    """Comparisons with the cells that they rest on, the data, how weights were chosen, and what a seed of it takes."""
    rows = pd.concat(used)
    said = list(dict.fromkeys(notes))
    if "choice" in rows:
        said += [str(text) for text in rows["choice"].dropna().unique()]
    ends = results.last(rows).drop_duplicates("cell")
    minutes = float(ends[results.clock(ends)].sum()) / max(ends["seed"].nunique(), 1) if len(ends) else 0.0
    cells = tuple(sorted(set(rows["cell"].astype(str))))
    return Finding(tuple(comparisons), cells, data(rows), "; ".join(said), minutes=minutes)


def named(comparisons: Mapping[str, Estimate]) -> tuple[Comparison, ...]:
    """Comparisons by name."""
    return tuple(Comparison(name, estimate) for name, estimate in comparisons.items())


def data(rows: pd.DataFrame) -> str:
    """The data sets, encoders and numbers of epochs of some rows, in words."""

    def every(column: str, many: str) -> str:
        names = [str(value) for value in sorted(rows[column].unique())]
        return " and ".join(names) if len(names) < 4 else f"{len(names)} {many}"

    parts = every("subset.dataset", "data sets"), every("encoder.name", "encoders"), every("epochs", "numbers of")
    return f"{', '.join(parts)} epochs"
