"""Which seeds chose a weight, and so may not be judged with it.

A tuning seed runs a cell at several weights and the judged seeds at the chosen one alone: a network's luck on held-out
and on test images goes together, so that a seed which chose its own weight would flatter it.
"""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeArguments=false

from collections.abc import Iterable

import pandas as pd

from entia import config
from entia.planning import baselines

WEIGHTS = ("weight", "method.weight", "method.invariance", "method.variance")
"""Columns that hold a weight."""
SETTINGS = (*WEIGHTS, "optimizer.lr")
"""What a method is tuned by."""


def seeds_that_chose(rows: pd.DataFrame) -> set[tuple[str, int]]:
    """(experiment, seed) whose cells chose a weight and are judged nowhere.

    Those are seeds that ran more weights of a cell than another seed did. Where every seed ran as many, none is: each
    seed's weight is then chosen by the others.
    """
    if "weight" not in rows:
        return set()
    ran = trained(rows)
    like = ran.assign(but=_but_weights(ran)).groupby(["experiment", "but", "seed"])["weight"].nunique()
    more = like > like.groupby(level=[0, 1]).transform("min")
    return {(experiment, seed) for experiment, _, seed in like[more & (like > 1)].index}


def seeds_not_judged(rows: pd.DataFrame) -> set[tuple[str, int]]:
    """(experiment, seed) of a whole study's rows that are judged nowhere.

    Those that chose, and a seed that ran several weights or rates of a cell with no other beside it, where other seeds
    were judged beside each other and it was not: a sweep that shows how a tuning seed chose.
    """
    chose, ran = seeds_that_chose(rows), trained(rows)
    seeds = {str(name): set(found) for name, found in ran.groupby("experiment")["seed"]}
    beside = {seed for name, found in seeds.items() for seed in found if len(found) > 1 and (name, seed) not in chose}
    swept = ran.assign(but=_but_weights(ran), tried=_settings(ran)).groupby(["experiment", "but"])["tried"].nunique()
    sweeps = set(swept[swept > 1].index.get_level_values(0)) if beside else set[str]()
    return chose | {
        (name, seed) for name, found in seeds.items() if len(found) == 1 and name in sweeps for seed in found - beside
    }


def judged(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without those of seeds that chose a weight."""
    if not (chose := seeds_that_chose(rows)):
        return rows  # of theory there are none at all
    return rows[[pair not in chose for pair in zip(rows["experiment"], rows["seed"], strict=True)]]


def trained(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without the baselines' own."""
    return rows[is_trained(rows)]


def is_trained(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Whether each row is no baseline's own."""
    if "experiment" not in rows:
        return pd.Series(True, index=rows.index)
    return rows["experiment"] != baselines.EXPERIMENT


def _but_weights(frame: pd.DataFrame) -> "pd.Series[str]":
    """A cell's config, its seed, its weight and its learning rate apart."""
    apart = ("seed", *SETTINGS)
    return as_text(frame, [name for name in map(str, frame) if is_config(name) and name not in apart])


def _settings(frame: pd.DataFrame) -> "pd.Series[str]":
    return as_text(frame, [name for name in map(str, frame) if name in SETTINGS])


def is_config(column: str) -> bool:
    """Whether a column is a field of a cell."""
    return "." in column or column in config.Pretrain.__struct_fields__


def as_text(frame: pd.DataFrame, columns: Iterable[str]) -> "pd.Series[str]":
    """Each row's values of these columns as one text, as far as they differ between rows."""
    varied = [name for name in columns if frame[name].map(str).nunique() > 1]
    if not varied:
        return pd.Series("", index=frame.index)
    return frame[varied[0]].map(str).str.cat([frame[name].map(str) for name in varied[1:]], sep="|")
