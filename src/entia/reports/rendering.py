"""A data frame's csv, Markdown and LaTeX text."""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false, reportUnknownLambdaType=false

import pandas as pd

ACCURACIES = ("accuracy %", "last epoch %")
"""Columns that every table of accuracies has; where no run of a row ended, they say `diverged`."""


def rendered(table: pd.DataFrame, title: str, conditions: str, report_id: str) -> dict[str, str]:
    """A table's csv, Markdown and LaTeX text; the latter two with mean and spread in one cell."""
    shown = readable(table)
    markdown = "\n".join(
        [_line(shown.columns), _line(["---"] * len(shown.columns)), *(_line(row) for row in shown.to_numpy())]
    )
    caption = f"{report_id}. {title}. {conditions}."
    return {
        "csv": table.assign(conditions=conditions).to_csv(index=False, lineterminator="\n"),
        "md": f"**{report_id}. {title}**\n\n{markdown}\n\n{conditions}.\n",
        "tex": _latex(shown, caption, report_id),
    }


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `84.1 ± 0.6` in place of a mean and its `sd`, and numbers without needless digits.

    A spread stands right of the mean it is of; what has no value (one seed's spread, a target not reached) is `–`.
    """
    shown = table.astype(object).copy()
    for spread in [name for name in table if str(name).startswith("sd")]:
        mean = table.columns[table.columns.get_loc(spread) - 1]
        digits = 2 if mean == "minutes" else 1
        shown[mean] = [_spread(m, s, digits) for m, s in zip(table[mean], table[spread], strict=True)]
        shown = shown.drop(columns=spread)
    for name in {*ACCURACIES} & {*shown} if "diverged" in table else ():
        shown[name] = shown[name].where(table[name].notna() | (table["diverged"] == 0), "diverged")
    return shown.map(_number)


def filled(table: pd.DataFrame) -> pd.DataFrame:
    """The table without the columns that have no value in any row, but for `ACCURACIES`."""
    return table[[name for name in table if name in ACCURACIES or table[name].notna().any()]]


def _number(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    if pd.isna(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _spread(mean: float, spread: float, digits: int) -> str:
    if pd.isna(mean):
        return "–"
    return f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if pd.notna(spread) else "")


def _line(cells: object) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"  # pyright: ignore


def _latex(shown: pd.DataFrame, caption: str, report_id: str) -> str:
    escaped = shown.map(_escape).rename(columns=_escape)
    body = "\n".join(" & ".join(row) + r" \\" for row in escaped.to_numpy())
    head = " & ".join(escaped.columns) + r" \\"
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escape(caption)}}}",
            rf"\label{{tab:{report_id}}}",
            rf"\begin{{tabular}}{{{'l' * len(shown.columns)}}}",
            r"\hline",
            head,
            r"\hline",
            body,
            r"\hline",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _escape(text: str) -> str:
    for plain, escaped in (
        ("\\", r"\textbackslash{}"),
        ("%", r"\%"),
        ("_", r"\_"),
        ("&", r"\&"),
        ("#", r"\#"),
        ("±", r"$\pm$"),
        ("λ", r"$\lambda$"),
        ("μ", r"$\mu$"),
        ("×", r"$\times$"),
        ("⁶", r"$^6$"),
        ("–", "--"),
        ("≥", r"$\ge$"),
        ("β", r"$\beta$"),
        ("α", r"$\alpha$"),
    ):
        text = text.replace(plain, escaped)
    return text
