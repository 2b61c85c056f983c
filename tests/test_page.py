import io

import pandas as pd
import pytest
from conftest import ROOT
from test_tables import run

from entia import plan
from entia.artefacts import redrawing
from entia.claims import report
from entia.fields import Problem
from entia.plan import Report
from entia.reports import draw, page, plots, tables, views

TABLE = "**Title**\n\n| what | times as fast |\n| --- | --- |\n| a <b> | 3 |\n"


@pytest.fixture(scope="module")
def found() -> plan.Plan:
    return plan.load(ROOT / "params.yaml")


def drawn(found: plan.Plan) -> tuple[dict[str, str], dict[str, str]]:
    """Every table's Markdown and every figure's note."""
    asked = found.reports.items()
    return {a: TABLE for a, report in asked if report.table}, {a: "" for a, report in asked if report.figure}


def test_the_page_shows_what_benchmarks_found_and_nothing_of_them_where_none_has_run(found):
    with_speed = page.html(found, *drawn(found), TABLE, TABLE, "../benchmarks")
    without = page.html(found, *drawn(found), TABLE)
    assert 'src="../benchmarks/ratios.png"' in with_speed and 'href="../benchmarks/ratios.csv"' in with_speed
    assert with_speed.count("<table>") == without.count("<table>") + 1
    assert "ratios" not in without and "<b>" not in with_speed


def test_what_was_not_drawn_is_named_with_its_log_and_costs_nothing_else(found):
    texts, notes = drawn(found)
    table, figure = next(iter(texts)), next(iter(notes))
    whole = page.html(found, texts, notes, TABLE)
    del texts[table], notes[figure]
    text = page.html(found, texts, notes, "")
    assert "Not drawn" not in whole and text.count("Not drawn") == 3
    for log in (f"logs/table/{table}.log", f"logs/figure/{figure}.log", "logs/claims.log"):
        assert log in text
    assert f"tables/{table}.csv" not in text and f"figures/{figure}.png" not in text
    assert text.count("<h2") == whole.count("<h2")


def test_independent_evidence_stands_beside_the_drawing_that_it_bears_on_and_is_never_called_the_papers(found):
    text = page.html(found, *drawn(found), TABLE)
    sections = {part.split('"', 1)[0]: part for part in text.split('<h2 id="')[1:]}
    rows = pd.read_csv(report.INDEPENDENT, dtype=str, keep_default_na=False)
    assert rows[["quantity", "value", "source"]].ne("").all(axis=None)
    known = rows[rows["artefact"].isin(found.reports)].groupby("artefact")["value"].apply(list).to_dict()
    assert {name for name, part in sections.items() if "Independent evidence" in part} == set(known)
    for name, values in known.items():
        listed = sections[name].split("Independent evidence, not the papers")[1]
        assert all(f": {value}" in listed for value in values) and "the papers report" not in listed


ACCOUNTING = Report(title="A & B", table="accounting", experiments=("x",))
PARETO = Report(title="A & B", figure="pareto", experiments=("x",))
DIVERGED, NONE = "all 3 cells diverged: see <logs> & more", "none of its experiments has a cell at this scale"


@pytest.mark.parametrize(("rows", "why"), [(run([40, 60]), DIVERGED), (pd.DataFrame(), NONE)], ids=["rows", "no rows"])
def test_a_problem_in_drawing_is_drawn_in_all_formats_and_stands_on_the_page(rows, why, monkeypatch, tmp_path, found):
    def refuse(*_, **__):
        raise Problem(DIVERGED.replace(": ", ":\n"))

    monkeypatch.setattr(tables, "accounting", refuse)
    monkeypatch.setattr(views, "pareto", refuse)
    texts = draw.table(ACCOUNTING, rows, "laptop", "MV-A2")
    assert texts.keys() == {"csv", "md", "tex"} and all("cannot be drawn" in text for text in texts.values())
    assert why in texts["md"] and pd.read_csv(io.StringIO(texts["csv"]))["cannot be drawn"][0] == why
    figure = draw.figure(PARETO, rows, "laptop")
    for ending in redrawing.ENDINGS["figure"]:
        plots.save(figure, tmp_path / f"a.{ending}", ending)
    note = page.said((tmp_path / "a.svg").read_text())
    assert note == f"cannot be drawn: {why}"
    texts_of, notes = drawn(found)
    shown = page.html(found, {**texts_of, "MV-T1": texts["md"]}, {**notes, "MV-F2a": note}, TABLE)
    assert shown.count(page.escape(why)) == 2 and "Not drawn" not in shown


def test_a_mistake_of_ours_is_no_problem_and_is_raised(monkeypatch):
    def broken(*_, **__):
        raise KeyError("minutes")

    monkeypatch.setattr(tables, "accounting", broken)
    monkeypatch.setattr(views, "pareto", broken)
    with pytest.raises(KeyError):
        draw.table(ACCOUNTING, run(40), "laptop", "MV-A2")
    with pytest.raises(KeyError):
        draw.figure(PARETO, run(40), "laptop")


def test_what_a_scale_leaves_out_is_listed_once():
    found = plan.load(ROOT / "params.yaml", "laptop")
    text = page.html(found, *drawn(found), TABLE)
    assert found.absent
    assert all(text.count(f"<li>{artefact}. ") == 1 for artefact in found.absent)
    assert not any(f'id="{artefact}"' in text for artefact in found.absent)
