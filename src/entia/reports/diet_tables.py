"""The DIET papers' tables: accuracy of the last and of the best epoch, and what it took.

Accuracy is a probe's on the frozen encoder's embeddings; `online` is the linear probe trained along with the encoder
(DIET spec §3.1). The last epoch's and the best epoch's stand in columns of their own: the papers' scripts tabulate the
best, which is chosen on the test split and so is flattered.

Papers: 2302.10260, 2406.10743, OpenReview GFNTbsVFlP.
"""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false, reportUnknownLambdaType=false

import pandas as pd

from entia import results
from entia.planning.columns import AXES
from entia.reports import accuracies, reported

TRIED = "settings tried"
READ_AS = {
    "last epoch %": "last epoch: a probe on the frozen encoder's embeddings of clean images",
    "best epoch on test %": "best epoch: the largest of the saved epochs', chosen on the test split, as the papers' "
    "scripts tabulate it",
    "online, last %": "online: the probe trained along",
    TRIED: f"{TRIED}: how many learning rates and weights (or values of the column that says `best on`) a method's "
    "setting was chosen from on held-out images, by a seed that is not judged; 1: not tuned",
}
"""What a table's columns of accuracy and of tuning are."""


def read_as(table: pd.DataFrame) -> list[str]:
    """What is to be said of the columns that a table has."""
    return [said for name, said in READ_AS.items() if name in table]


def accuracy(rows: pd.DataFrame, known: pd.DataFrame, pick: str = "") -> pd.DataFrame:
    """Accuracy by all that tells runs apart: last epoch and best epoch, offline and online, means over seeds, per cent.

    `pick`: a column of which each row shows the best value alone; the heading says on what it was chosen. `reported` is
    the papers' own and `literature` another source's, where one is known for the row's data, method and encoder.
    """
    return _tabled(accuracies.ends(rows), known, pick, {})


def cost(rows: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """`accuracy`, and what it took: minutes of training, seconds an epoch, peak memory, rank of the embeddings.

    Memory is a GPU allocator's peak, or a CPU process's, libraries and all.
    """
    found = accuracies.ends(results.timed(rows)[0])
    found = found.assign(seconds=60 * found["minutes"] / found["epochs"])
    spent = {
        "minutes": ("minutes", "mean"),
        "seconds an epoch": ("seconds", "mean"),
        "peak MiB": ("peak_mib", "max"),
        "RankMe": ("rankme", "mean"),
    }
    return _tabled(found, known, "", {name: how for name, how in spent.items() if how[0] in found})


def _tabled(found: pd.DataFrame, known: pd.DataFrame, pick: str, more: dict[str, tuple[str, str]]) -> pd.DataFrame:
    by = [name for name in _axes(found) if name != pick]
    headings = AXES | {name: accuracies.NAMES[name] for name in accuracies.BASELINES}
    if pick:
        on = "the validation split" if results.chosen_on(found) == "validation" else "the TEST split"
        headings |= {pick: f"{AXES[pick]} (best on {on})"}
        found, by = picked(found, by, pick), [*by, pick]
    if found.duplicated([*by, "seed"]).any():
        raise ValueError(f"runs of one seed differ in no column of the table: {', '.join(by)}; add what they differ in")
    groups = results.counted(found).groupby(by, as_index=False, dropna=False)
    table = groups.agg(
        **{
            "last epoch %": ("accuracy", "mean"),
            "sd": ("accuracy", "std"),
            "best epoch on test %": ("best", "mean"),
            "sd of best": ("best", "std"),
            "online, last %": ("online", "mean"),
            "online, best on test %": ("online_best", "mean"),
            "n": ("ended", "nunique"),
            "diverged": ("diverged", "sum"),
            **({TRIED: ("tried", "max")} if "tried" in found else {}),
            **{name: (name, "mean") for name in accuracies.BASELINES if name in found},
            **more,
        }
    )
    shares = [
        "last epoch %",
        "sd",
        "best epoch on test %",
        "sd of best",
        "online, last %",
        "online, best on test %",
        *(name for name in accuracies.BASELINES if name in found),
    ]
    table[shares] = (100 * table[shares]).round(2)
    said = [_said(known, found, row) for row in table.to_dict("records")]
    table = accuracies.without_none(table).rename(columns=headings)
    return reported.beside(table, {name: [one[name] for one in said] for name in ("reported %", "literature %")})


def _said(known: pd.DataFrame, found: pd.DataFrame, row: dict[str, object]) -> dict[str, str]:
    """The values known for a table's row, by heading."""
    data = row.get("subset.dataset", found["subset.dataset"].iloc[0])
    of = known[
        (known["dataset"] == results.plain(data))
        & (known["method"] == row["method.name"])
        & (known["arm"] == row["encoder.name"])
    ]
    literature = of["quantity"].str.startswith("literature")
    parts = {"reported %": of[~literature], "literature %": of[literature]}
    return {
        name: f"{part.iloc[0]['value']} ({part.iloc[0]['source']})" if len(part) else reported.UNKNOWN
        for name, part in parts.items()
    }


def _axes(rows: pd.DataFrame) -> list[str]:
    """The columns of `AXES` that tell rows of one method apart, and the method and encoder always."""
    present = [name for name in AXES if name in rows]
    within = rows.groupby("method.name")[present].nunique(dropna=False).max()
    return [name for name in present if name in ("encoder.name", "method.name") or within[name] > 1]


def picked(found: pd.DataFrame, by: list[str], column: str) -> pd.DataFrame:
    """Of each group, the runs at the value of `column` that `results.best_weights` chooses; those without one stay.

    What they were picked from is what was tried.
    """
    chosen = found[found[column].notna()]
    chosen = chosen.assign(weight=chosen[column], tried=chosen.groupby(by, dropna=False)[column].transform("nunique"))
    kept = results.best_weights(chosen, by) if len(chosen) else chosen
    return pd.concat([kept, found[found[column].isna()]])
