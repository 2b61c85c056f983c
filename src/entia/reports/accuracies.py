"""Accuracies of runs: of one run's last and best epoch, and of groups of runs."""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false, reportUnknownLambdaType=false

import math

import pandas as pd

from entia import results

NAMES = {
    "method.name": "method",
    "subset.dataset": "data",
    "embed.on.dataset": "read out on",
    "projector.width": "width",
    "subset.fraction": "% of images",
    "pixels": "raw pixels %",
    "untrained": "untrained %",
    "chance": "chance %",
}
BASELINES = ("pixels", "untrained", "chance")
"""What an accuracy has to be better than, where a row has them."""


def by_group(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Mean and standard deviation of test accuracy over seeds, their number, and baselines, in per cent, by groups.

    A run that diverged counts in the column `diverged`, which is there where one did, and nowhere else.
    """
    groups = results.counted(rows).groupby(by, as_index=False, sort=False, dropna=False)
    beside = {name: (name, "mean") for name in BASELINES if name in rows}
    table = groups.agg(
        mean=("accuracy", "mean"),
        sd=("accuracy", "std"),
        n=("ended", "nunique"),
        diverged=("diverged", "sum"),
        **beside,
    )
    for column in ("mean", "sd", *beside):
        table[column] = (100 * table[column]).round(2)
    return without_none(table.rename(columns={"mean": "accuracy %", **NAMES}))


def without_none(table: pd.DataFrame) -> pd.DataFrame:
    """The table without its count of diverged runs where there is none."""
    return table if table["diverged"].any() else table.drop(columns="diverged")


def ends(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a readout: its last epoch's, with `best`, `online` and `online_best` beside `accuracy`.

    `best` is the largest accuracy on the test split over the saved epochs, not a number where one epoch was saved;
    `online` the online probe's at the last epoch and `online_best` its largest, over all epochs where the log's
    running best (`probe_best`) is given, else over the saved ones. No value stands in for a missing one.
    """
    rows = results.unique(rows)
    for column in {"probe_accuracy", "accuracy"} - set(rows):
        rows[column] = math.nan
    groups = rows.groupby("readout")
    saved = groups["epoch"].transform("nunique")
    rows = rows.assign(
        best=groups["accuracy"].transform("max").where(saved > 1),
        online=rows["probe_accuracy"],
        online_best=groups["probe_best" if "probe_best" in rows else "probe_accuracy"].transform("max"),
    )
    return results.last(rows)
