"""Tables: readouts in, a data frame out, and its csv, Markdown and LaTeX text."""

from pathlib import Path

import pandas as pd

from entia import results
from entia.plan import Report

REPORTED = Path("data/reported/multi_view.csv")
UNKNOWN = "not known"


def draw(report: Report, rows: pd.DataFrame, scale: str, artefact: str) -> dict[str, str]:
    """The table as csv (numbers as they are), md and tex (numbers as people read them), each with its conditions."""
    match report.table:
        case "width_table":
            table = width_table(rows, reported(artefact))
        case other:
            raise ValueError(f"reports.{artefact}.table: {other!r} is no table")
    return rendered(table, report.title, results.conditions(rows, scale), artefact)


def reported(artefact: str) -> pd.DataFrame:
    """The papers' own figures for an artefact, each with its source; empty where none is known."""
    found = pd.read_csv(REPORTED, dtype=str, keep_default_na=False)
    return found[found["artefact"] == artefact]


def width_table(rows: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Accuracy by method, projector width and arm: mean and standard deviation (n − 1) over seeds, in per cent.

    In the arm `tuned`, each width's weight is the one with the best mean validation accuracy.
    """
    final = results.last(rows)
    by = ["method.name", "projector.width"]
    parts = [final[final["arm"] == "fixed"], results.best_weights(final[final["arm"] == "tuned"], by)]
    groups = pd.concat(parts).groupby([*by, "arm", "weight"], as_index=False)
    table = groups.agg(mean=("accuracy", "mean"), sd=("accuracy", "std"), n=("accuracy", "size"), chance=("chance", "first"))
    for column in ("mean", "sd", "chance"):
        table[column] = (100 * table[column]).round(2)
    names = {"method.name": "method", "projector.width": "width", "mean": "accuracy %", "chance": "chance %"}
    table = table.rename(columns=names)
    table["reported %"] = [_known(known, row) for _, row in table.iterrows()]
    return table.sort_values(["method", "width", "arm"]).reset_index(drop=True)


def _known(known: pd.DataFrame, row: "pd.Series[float]") -> str:
    match = known[
        (known["method"] == row["method"]) & (known["width"] == str(row["width"])) & (known["arm"] == row["arm"])
    ]
    return f"{match.iloc[0]['value']} ({match.iloc[0]['source']})" if len(match) else UNKNOWN


def rendered(table: pd.DataFrame, title: str, conditions: str, artefact: str) -> dict[str, str]:
    """A table's csv, Markdown and LaTeX text; the latter two with mean and spread in one cell."""
    shown = readable(table)
    markdown = "\n".join([_line(shown.columns), _line(["---"] * len(shown.columns)), *(_line(row) for row in shown.to_numpy())])
    caption = f"{artefact}. {title}. {conditions}."
    return {
        "csv": table.assign(conditions=conditions).to_csv(index=False, lineterminator="\n"),
        "md": f"**{artefact}. {title}**\n\n{markdown}\n\n{conditions}.\n",
        "tex": _latex(shown, caption, artefact),
    }


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `84.1 ± 0.6` in place of a mean and its `sd`, and numbers without needless digits."""
    shown = table.astype(object).copy()
    if "sd" in shown:
        column = shown.columns[shown.columns.get_loc("sd") - 1]
        shown[column] = [f"{m:.1f} ± {s:.1f}" if pd.notna(s) else f"{m:.1f}" for m, s in zip(table[column], table["sd"], strict=True)]
        shown = shown.drop(columns="sd")
    return shown.map(lambda value: f"{value:.4g}" if isinstance(value, float) else str(value))


def _line(cells: object) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"  # pyright: ignore


def _latex(shown: pd.DataFrame, caption: str, artefact: str) -> str:
    escaped = shown.map(_escape).rename(columns=_escape)
    body = "\n".join(" & ".join(row) + r" \\" for row in escaped.to_numpy())
    head = " & ".join(escaped.columns) + r" \\"
    return (
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{_escape(caption)}}}\n\\label{{tab:{artefact}}}\n"
        f"\\begin{{tabular}}{{{'l' * len(shown.columns)}}}\n\\hline\n{head}\n\\hline\n{body}\n\\hline\n\\end{{tabular}}\n\\end{{table}}\n"
    )


def _escape(text: str) -> str:
    for plain, escaped in (("\\", r"\textbackslash{}"), ("%", r"\%"), ("_", r"\_"), ("&", r"\&"), ("#", r"\#"), ("±", r"$\pm$"), ("λ", r"$\lambda$"), ("μ", r"$\mu$"), ("×", r"$\times$"), ("≥", r"$\ge$"), ("β", r"$\beta$"), ("α", r"$\alpha$")):
        text = text.replace(plain, escaped)
    return text
