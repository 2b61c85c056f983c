"""Each report from files to files, as `stages` has it of stages: readouts and logs in, drawings, verdicts and page out.

Heavy libraries are imported where they are needed: a command that draws nothing starts without them.
"""

import json
import os
from collections.abc import Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entia import plan
from entia.artefacts import adopted, check, redrawing, store
from entia.fields import Problem
from entia.reports import page, record
from entia.stages import DATA
from entia.system import faults

if TYPE_CHECKING:
    import pandas as pd


def _frame(found: plan.Plan, rows: tuple[plan.Row, ...]) -> "pd.DataFrame":
    """The readouts and logs of these rows."""
    from entia import results

    return results.frame(
        found,
        rows,
        lambda stage: check.open_head(DATA, stage),
        lambda stage: store.read_log(store.log_path(DATA, stage.embed.pretrain)),
    )


def write(found: plan.Plan, report_id: str) -> None:
    """Draws one table or figure into its files."""
    asked = asked_for(found, report_id)
    rows = _frame(found, found.drawn(report_id))
    from entia.reports import draw, plots

    files = {file.suffix.removeprefix("."): file for file in redrawing.files(found, report_id)}
    if asked.table:
        for ending, text in draw.table(asked, rows, found.scale, report_id).items():
            store.write_text(files[ending], text)
    else:
        figure = draw.figure(asked, rows, found.scale)
        for ending, file in files.items():
            with store.whole(file) as temporary:
                plots.save(figure, temporary, ending)


def judge(found: plan.Plan) -> None:
    """Writes claims.md and claims.json."""
    from entia import claims, results

    shown = (row for report_id in found.rows for row in _labelled(found, found.drawn(report_id)))
    rows = tuple(dict.fromkeys(row for row in shown if claims.reads(row.experiment)))
    frame = _frame(found, rows)
    ended = results.ended(frame)
    verdicts, noise = claims.judge(ended, found.scale, found.judging.looks), claims.noise(ended, found.scale)
    for ending, text in claims.render(verdicts, found.scale, results.diverged(frame), noise).items():
        store.write_text(found.folder / f"claims.{ending}", text)


def _labelled(found: plan.Plan, rows: tuple[plan.Row, ...]) -> tuple[plan.Row, ...]:
    """The rows that have an accuracy."""
    return tuple(row for row in rows if found.readouts[row.readout].is_labelled)


def assemble(found: plan.Plan, without: Set[str] = frozenset()) -> None:
    """Writes index.html, `without` the reports that could not be drawn."""
    store.write_text(found.folder / "index.html", html(found, found.folder, adopted.note(found, DATA), without))


def html(found: plan.Plan, folder: Path, note: str, without: Set[str] = frozenset()) -> str:
    """The page as it stands in a folder; speed as measured here, else as recorded."""
    measured = [folder / "ratios.md" for folder in (record.SPEED, record.FOLDER / record.SPEED.name)]
    speed = next(filter(Path.exists, measured), measured[0])
    return page.html(
        found,
        _tables(found, without),
        _figures(found, without),
        "" if "claims" in without else text_of(found.folder / "claims.md"),
        speed.read_text(encoding="utf-8") if speed.exists() else "",
        os.path.relpath(speed.parent, folder),
        note,
    )


def _tables(found: plan.Plan, without: Set[str]) -> dict[str, str]:
    """Each table's Markdown."""
    asked = (a for a, report in found.reports.items() if report.table and a not in without)
    return {report_id: text_of(found.folder / f"tables/{report_id}.md") for report_id in asked}


def _figures(found: plan.Plan, without: Set[str]) -> dict[str, str]:
    """What each figure's file says is to be said beside it."""
    asked = (a for a, report in found.reports.items() if report.figure and a not in without)
    return {report_id: page.said(text_of(found.folder / f"figures/{report_id}.svg")) for report_id in asked}


def text_of(file: Path) -> str:
    """The text of what was drawn. Raises `Problem` if it cannot be read."""
    with faults.reading(file):
        return file.read_text(encoding="utf-8")
    raise AssertionError


def asked_for(found: plan.Plan, report_id: str) -> plan.Report:
    """The report of an id. Raises `Problem` where params.yaml has none."""
    if report_id not in found.reports:
        raise Problem(f"{report_id}: `reports:` in params.yaml has no such id; known: {', '.join(found.reports)}")
    return found.reports[report_id]


def metrics(found: plan.Plan) -> str:
    """By scale and report, the mean accuracy of each arm's last epochs, as JSON."""
    from entia import results

    content: dict[str, dict[str, float]] = {}
    for report_id, rows in found.rows.items():
        if rows := _labelled(found, rows):
            last: Any = results.ended(results.last(_frame(found, rows)))  # pandas' stubs do not follow a groupby
            arms = (
                last.assign(of=last["experiment"] + " " + last["arm"]).groupby("of", as_index=False)["accuracy"].mean()
            )
            content[report_id] = dict(zip(arms["of"], arms["accuracy"], strict=True))
    return json.dumps({found.scale: content}, sort_keys=True, indent=1) + "\n"
