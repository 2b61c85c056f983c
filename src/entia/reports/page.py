"""index.html: all tables and figures on one page, with nothing fetched from elsewhere."""

import re
from collections.abc import Mapping
from html import escape, unescape

from entia.plan import Plan, Report

STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .7rem;border-bottom:1px solid #ddd;text-align:left}
img{max-width:100%}h2{margin-top:3rem}.note{color:#666;font-size:.85rem}"""


def html(
    plan: Plan,
    tables: Mapping[str, str],
    figures: Mapping[str, str],
    claims: str,
    speed: str = "",
    benchmarks: str = "",
    note: str = "",
) -> str:
    """The page: a line for each claim's verdict, then every table and figure in the order of params.yaml, then speed.

    The claims' parts are left to their file. Tables come from their Markdown, figures by their files' names, each with
    what is to be said beside it. What is in neither, and claims that are empty, were not drawn: the page says so and
    names the log. `speed` is the benchmarks' table, empty where none has run, and `benchmarks` the way from the page to
    their folder. `note` says where the cells were made, if not here.
    """
    parts = [_drawn(a, report, tables.get(a), figures.get(a)) for a, report in plan.reports.items()]
    if plan.absent:
        parts.append(_left_out(plan))
    if speed:
        parts.append(_speed(speed, benchmarks))
    title = f"entia: {plan.scale} scale"
    summary = claims.split("\n## ", 1)[0]
    whence = f"<p>{escape(note)}</p>\n" if note else ""
    judged = _table("claims", summary, "claims.md claims.json") if claims else _undrawn("claims", "Claims", "claims")
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n<style>{STYLE}</style>\n'
        f"<h1>{title}</h1>\n{whence}{judged}{''.join(parts)}</html>\n"
    )


def _drawn(report_id: str, report: Report, table: str | None, note: str | None) -> str:
    if table is not None:
        return _table(report_id, table, f"tables/{report_id}.csv tables/{report_id}.tex")
    if note is not None:
        return _figure(report_id, report.title, note)
    return _undrawn(report_id, report.title, f"{'table' if report.table else 'figure'}/{report_id}")


def _left_out(plan: Plan) -> str:
    listed = "".join(f"<li>{report_id}. {escape(title)}</li>" for report_id, title in plan.absent.items())
    return (
        f'<h2 id="left-out">Not at {plan.scale} scale</h2>\n<p class="note">It has not the data, networks or runs that '
        f"these are about; `scale: paper` in params.yaml has.</p>\n<ul>{listed}</ul>\n"
    )


def _undrawn(report_id: str, title: str, log: str) -> str:
    return (
        f'<h2 id="{report_id}">{report_id}. {escape(title)}</h2>\n'
        f'<p class="note">Not drawn: the last run failed here (logs/{log}.log says why) or in a cell of this.</p>\n'
    )


def said(svg: str) -> str:
    """What a figure's SVG says is to be said beside it; most say nothing."""
    found = re.search(r"<dc:description>(.*?)</dc:description>", svg, flags=re.S)
    return " ".join(unescape(found[1]).split()) if found else ""


def _figure(report_id: str, title: str, note: str) -> str:
    text = escape(title)
    said = f"{escape(note)}<br>" if note else ""
    return (
        f'<h2 id="{report_id}">{report_id}. {text}</h2>\n<img src="figures/{report_id}.png" alt="{text}">\n'
        f'<p class="note">{said}<a href="figures/{report_id}.pdf">pdf</a> '
        f'<a href="figures/{report_id}.svg">svg</a></p>\n'
    )


def _speed(markdown: str, folder: str) -> str:
    image = f'<img src="{folder}/ratios.png" alt="Times as fast as peers, with the targets">\n'
    return _table("speed", markdown, f"{folder}/ratios.csv {folder}/ratios.svg") + image


def _table(report_id: str, markdown: str, files: str) -> str:
    title, *lines = [line for line in markdown.splitlines() if line]
    cells = [[escape(cell.strip()) for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("|")]
    notes = [escape(line) for line in lines if not line.startswith("|")]
    head, _, *body = cells
    rows = "".join(_row(row, "td") for row in body)
    links = " ".join(f'<a href="{file}">{file.rsplit(".", 1)[1]}</a>' for file in files.split())
    return (
        f'<h2 id="{report_id}">{escape(title.strip("*"))}</h2>\n<table>\n{_row(head, "th")}{rows}</table>\n'
        f'<p class="note">{"<br>".join(notes)} {links}</p>\n'
    )


def _row(cells: list[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>\n"
