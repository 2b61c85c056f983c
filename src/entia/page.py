"""index.html: all tables and figures on one page, with nothing fetched from elsewhere."""

from html import escape

from entia.plan import Plan

STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .7rem;border-bottom:1px solid #ddd;text-align:left}
img{max-width:100%}h2{margin-top:3rem}.note{color:#666;font-size:.85rem}"""


def html(plan: Plan, tables: dict[str, str], claims: str, speed: str = "", benchmarks: str = "", note: str = "") -> str:
    """The page: a line for each claim's verdict, then every artefact in the order of params.yaml, then speed.

    The claims' parts are left to their file. Tables come from their Markdown, figures by their files' names. `speed` is
    the benchmarks' table, empty where none has run, and `benchmarks` the way from the page to their folder. `note` says
    where the cells were made, if not here.
    """
    parts = [
        _table(a, tables[a], f"tables/{a}.csv tables/{a}.tex") if a in tables else _figure(a, report.title)
        for a, report in plan.reports.items()
    ]
    if speed:
        parts.append(_speed(speed, benchmarks))
    title = f"entia: {plan.scale} scale"
    summary = claims.split("\n## ", 1)[0]
    whence = f"<p>{escape(note)}</p>\n" if note else ""
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n<style>{STYLE}</style>\n'
        f"<h1>{title}</h1>\n{whence}{_table('claims', summary, 'claims.md claims.json')}{''.join(parts)}</html>\n"
    )


def _figure(artefact: str, title: str) -> str:
    text = escape(title)
    return (
        f'<h2 id="{artefact}">{artefact}. {text}</h2>\n<img src="figures/{artefact}.png" alt="{text}">\n'
        f'<p class="note"><a href="figures/{artefact}.pdf">pdf</a> <a href="figures/{artefact}.svg">svg</a></p>\n'
    )


def _speed(markdown: str, folder: str) -> str:
    image = f'<img src="{folder}/ratios.png" alt="Times as fast as peers, with the targets">\n'
    return _table("speed", markdown, f"{folder}/ratios.csv {folder}/ratios.svg") + image


def _table(artefact: str, markdown: str, files: str) -> str:
    title, *lines = [line for line in markdown.splitlines() if line]
    cells = [[escape(cell.strip()) for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("|")]
    notes = [escape(line) for line in lines if not line.startswith("|")]
    head, _, *body = cells
    rows = "".join(_row(row, "td") for row in body)
    links = " ".join(f'<a href="{file}">{file.rsplit(".", 1)[1]}</a>' for file in files.split())
    return (
        f'<h2 id="{artefact}">{escape(title.strip("*"))}</h2>\n<table>\n{_row(head, "th")}{rows}</table>\n'
        f'<p class="note">{"<br>".join(notes)} {links}</p>\n'
    )


def _row(cells: list[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>\n"
