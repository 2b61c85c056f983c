"""Tables and figures as params.yaml asks for them: readouts in, texts or a figure out, each with its conditions."""

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from entia import results
from entia.claims import tuning
from entia.fields import Problem
from entia.planning.reports import Report
from entia.reports import captions, diet_tables, figures, plots, rendering, reported, tables


def table(report: Report, rows: pd.DataFrame, scale: str, report_id: str) -> dict[str, str]:
    """The table as csv (numbers as they are), md and tex (numbers as people read them), each with its conditions.

    Where a `Problem` keeps it from being drawn, a table that says so.
    """
    try:
        return _table(report, _judged(report, _trained(report, rows)), scale, report_id)
    except Problem as problem:
        why = pd.DataFrame({"cannot be drawn": [" ".join(str(problem).split())]})
        return rendering.rendered(why, report.title, f"{scale} scale", report_id)


def _table(report: Report, rows: pd.DataFrame, scale: str, report_id: str) -> dict[str, str]:
    drawing, known = report.drawing, reported.of(report_id)
    made, notes = tables.table(drawing, rows, known)
    made = rendering.filled(made)
    notes = [*notes, *diet_tables.read_as(made)]
    said = [captions.conditions(rows, scale, drawing.chooses), *notes, results.diverged(rows), reported.said(known)]
    title = captions.heading(report.title, rows, scale)
    return rendering.rendered(made, title, "; ".join(part for part in said if part), report_id)


def figure(report: Report, rows: pd.DataFrame, scale: str) -> Figure:
    """The figure that a report asks for, with its title and the conditions it was made under.

    Where a `Problem` keeps it from being drawn, a figure that says so. What the page must say beside it is its label.
    """
    try:
        return _figure(report, _trained(report, rows), scale)
    except Problem as problem:
        return _cannot(report.title, " ".join(str(problem).split()), scale)


def _trained(report: Report, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without the baselines' own."""
    rows = tuning.trained(rows)
    if rows.empty and report.experiments:
        raise Problem("none of its experiments has a cell at this scale")
    return rows


def _judged(report: Report, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without those of seeds that chose a weight, but where a drawing shows all that was tried."""
    return rows if report.drawing.tries else tuning.judged(rows)


def _figure(report: Report, rows: pd.DataFrame, scale: str) -> Figure:
    drawing, lost, ended = report.drawing, results.diverged(rows), results.ended(rows)
    rows = _judged(report, ended)
    if lost and rows.empty:
        raise Problem(f"every run diverged: {lost}")
    with mpl.rc_context(plots.STYLE):
        drawn = figures.figure(drawing, rows)
        across = round(18 * drawn.get_figwidth())
        drawn.suptitle(plots.wrapped(captions.heading(report.title, rows, scale), round(0.7 * across)), fontsize=11)
        if drawing.timed and (several := results.several(rows)):
            drawn.set_label(f"{several}: minutes are of one of them alone, or left out")
        said = [drawn.get_supxlabel(), captions.conditions(rows, scale, drawing.chooses), lost]
        said += [str(drawn.get_label())]
        drawn.supxlabel("\n".join(plots.wrapped(part, across) for part in said if part), fontsize=7, color="0.35")
    return drawn


def _cannot(title: str, why: str, scale: str) -> Figure:
    drawn = Figure(figsize=(6.4, 2.4), layout="constrained", label=f"cannot be drawn: {why}")
    drawn.suptitle(plots.wrapped(title, 80), fontsize=11)
    drawn.text(0.5, 0.5, plots.wrapped(f"cannot be drawn: {why}", 90), ha="center", va="center", fontsize=9)
    drawn.supxlabel(f"{scale} scale", fontsize=7, color="0.35")
    return drawn
