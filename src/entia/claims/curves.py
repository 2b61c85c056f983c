"""Arms held against each other along training: who leads at every saved epoch, and who is sooner at an accuracy."""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeArguments=false

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from entia import results
from entia.claims.arms import Where, arm, held, in_common, named, of
from entia.claims.intervals import Mean, Missing, exponential
from entia.claims.judging import NOT_SUPPORTED, SUPPORTED, Finding, Ruling, Test
from entia.claims.pooling import NO_POOL, Sample, contrast
from entia.claims.study import Measure, Study, sample


def ahead(experiment: str, leader: Where, follower: Where, until: float) -> Test:
    """The test of an arm's lead (points) at each saved epoch up to a share of training, with that epoch's own noise."""

    def test(study: Study) -> Finding:
        rows = of(study, experiment)
        arms = [arm(rows, leader), arm(rows, follower)]
        in_common(arms)
        found = {f"epoch {epoch}": _lead(study, arms, epoch) for epoch in _epochs(arms, until)}
        return held(study, named(found), arms, [f"{len(found)} saved epochs"])

    return test


def _lead(study: Study, arms: Sequence[pd.DataFrame], epoch: int) -> Mean:
    at = Measure("accuracy", 100.0, epoch)
    leader, follower = (sample(each, at) for each in arms)
    return contrast([[(1.0, leader), (-1.0, follower)]], study.pool(at))


def _epochs(arms: Sequence[pd.DataFrame], until: float) -> list[int]:
    """Epochs that every run saved, up to a share of the shorter training."""
    end = until * min(int(each["epochs"].min()) for each in arms)
    runs = [set(run["epoch"]) for each in arms for _, run in each.groupby("seed")]
    found = sorted(epoch for epoch in set[int].intersection(*runs) if epoch <= end)
    if len(found) < 2:
        raise Missing("fewer than 2 saved epochs to compare the curves at: set embed.epochs: all and checkpoint_every")
    return found


# --- times to an accuracy -----------------------------------------------------------------------------------------


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


NOWHERE = "", ""


def ratio(groups: Sequence[Sequence[tuple[float, pd.DataFrame, Times]]]) -> Mean:
    """Ratio of geometric means, exp Σ a mean log time, by Student's t on logs, for which nothing is pooled."""
    terms = [
        [(a, Sample(dict(found.log.items()), _cells(rows), NOWHERE)) for a, rows, found in group] for group in groups
    ]
    return contrast(terms, NO_POOL).told(exponential, math.log)


def _cells(rows: pd.DataFrame) -> dict[int, str]:
    return dict(zip(rows["seed"], rows["cell"], strict=True))


def bounded(found: Finding, over: Sequence[Times], under: Sequence[Times]) -> Finding:
    """A ratio of times that must lie above a criterion, unable to carry what a bound cannot.

    From above it supports nothing, from below it refutes nothing. Accuracies before the first saved
    epoch and after the last were not measured.
    """
    early = sum(each.early for each in over), sum(each.early for each in under)
    never = sum(each.never for each in over), sum(each.never for each in under)
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
