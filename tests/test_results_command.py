"""`entia results`: one table as it was drawn, whatever became of the others."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from entia import cli

Results = Callable[..., str]


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Results:
    """Calls the command on reports of this kind (`table: KIND` or `figure: KIND`, by name); what it prints, or why not."""
    raw = yaml.safe_load((ROOT / "tests/params.yaml").read_text())
    monkeypatch.chdir(tmp_path)

    def call(reports: dict[str, str], *arguments: str) -> str:
        experiments = next(report["experiments"] for report in raw["reports"].values() if report.get("table"))
        given = {
            name: {"title": name, kind: "accounting" if kind == "table" else "views_curve", "experiments": experiments}
            for name, kind in reports.items()
        }
        Path("params.yaml").write_text(yaml.safe_dump({**raw, "reports": given}))
        monkeypatch.setattr(sys, "argv", ["entia", "results", *arguments])
        try:
            cli.main()
        except SystemExit as ended:
            return str(ended.code)
        return capsys.readouterr().out

    return call


def test_a_table_is_printed_where_another_was_not_drawn(results):
    Path("reports/tables").mkdir(parents=True)
    Path("reports/tables/B.md").write_text("# b\n")
    assert results({"A": "table", "B": "table"}, "B").startswith("# b\n")
    assert (
        results({"A": "table", "B": "table"}) == "entia: reports/tables/A.md: missing; `snakemake --cores all` makes it"
    )


@pytest.mark.parametrize("reports", [{}, {"A": "figure"}])
def test_a_study_without_tables_says_so(results, reports):
    assert results(reports) == "entia: params.yaml: reports: no table is drawn at laptop scale; `--scale` names another"
