"""What the papers and others report, beside what was found here."""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false, reportUnknownLambdaType=false

from collections.abc import Mapping, Sequence

import pandas as pd

from entia.system import home

REPORTED = (home.REPORTED / "multi_view.csv", home.REPORTED / "diet.csv")
UNKNOWN = "not known"


def of(report_id: str) -> pd.DataFrame:
    """The papers' own figures for a report, each with its source; empty where none is known."""
    found = pd.concat([pd.read_csv(file, dtype=str, keep_default_na=False) for file in REPORTED])
    return found[found["artefact"] == report_id]


def said(known: pd.DataFrame) -> str:
    """What the papers say of a report as a whole, beside its rows; empty where they speak of rows alone."""
    whole = known[known["arm"] == ""]
    if whole.empty and len(known):
        return ""
    texts = [f"{row['quantity']}: {row['value']} {row['unit']} ({row['source']})" for _, row in whole.iterrows()]
    return f"the papers report {', '.join(texts)}" if texts else f"the papers' values are {UNKNOWN}"


def beside(table: pd.DataFrame, columns: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The table with these columns of reported values, but for those of which none is known."""
    return table.assign(**{name: said for name, said in columns.items() if set(said) - {UNKNOWN}})


def value(known: pd.DataFrame, method: str, width: object, arm: str) -> str:
    """What the papers report for a method, width and arm, with its source."""
    match = known[(known["method"] == method) & (known["width"] == str(width)) & (known["arm"] == arm)]
    return f"{match.iloc[0]['value']} ({match.iloc[0]['source']})" if len(match) else UNKNOWN
