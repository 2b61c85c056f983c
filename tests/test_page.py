from pathlib import Path

from entia import page, plan

ROOT = Path(__file__).parent.parent
TABLE = "**Title**\n\n| what | times as fast |\n| --- | --- |\n| a <b> | 3 |\n"


def test_the_page_shows_what_benchmarks_found_and_nothing_of_them_where_none_has_run():
    found = plan.load(ROOT / "params.yaml")
    tables = {artefact: TABLE for artefact, report in found.reports.items() if report.table}
    with_speed = page.html(found, tables, TABLE, TABLE, "../benchmarks")
    without = page.html(found, tables, TABLE)
    assert 'src="../benchmarks/ratios.png"' in with_speed and 'href="../benchmarks/ratios.csv"' in with_speed
    assert with_speed.count("<table>") == without.count("<table>") + 1
    assert "ratios" not in without and "<b>" not in with_speed
