import inspect
from typing import get_args

import pytest
from test_feasible import refusal, study

from entia import plan, results
from entia.planning import columns, drawings
from entia.reports import diet_figures, diet_tables, linear, tables, theory_figures, views, widths

MODULES = (tables, widths, views, theory_figures, diet_tables, diet_figures, linear)
BESIDE = {"rows", "known", "images", "resamplings", "pick"}
"""Arguments that are no option: what is drawn, what tests make small, and `pick`, which one of DIET's tables has alone."""


@pytest.mark.parametrize("kinds", [drawings.TABLES, drawings.FIGURES], ids=["tables", "figures"])
def test_the_names_that_params_yaml_may_give_are_those_of_kinds_and_of_the_functions_that_draw_them(kinds):
    assert get_args(drawings.TableName if kinds is drawings.TABLES else drawings.FigureName) == tuple(kinds)
    for name, kind in kinds.items():
        names = (name, name.removeprefix("diet_"))
        (function,) = {vars(module)[one] for module in MODULES for one in names if callable(vars(module).get(one))}
        assert {*inspect.signature(function).parameters} - BESIDE == {*kind.__struct_fields__} - BESIDE


def test_every_kind_is_asked_for_in_the_papers_study_or_in_an_example():
    paper, example = plan.load("params.yaml", "paper"), plan.load("examples/own-images-unlabelled/params.yaml")
    used = [{report.kind for report in study.reports.values()} for study in (paper, example)]
    assert used[0] | used[1] == {*drawings.KINDS} and used[1] == {"ranks", "convergence"}


WRONG = {
    "a table's name": ({"table": "acounting"}, "reports.R.table: 'acounting' is not one of width_table, "),
    "a figure's name": ({"table": None, "figure": "pie"}, "reports.R.figure: 'pie' is not one of width_curve, best_weight"),
    "an option's name": (
        {"options": {"nmed": "arm"}},
        "reports.R.options.nmed: unknown; did you mean named?",
    ),
    "an option of a table without any": (
        {"table": "transfer", "options": {"x": 1}},
        "reports.R.options.x: unknown; known: (none)",
    ),
    "an option's choice": (
        {"table": None, "figure": "convergence", "options": {"show": "eror"}},
        "reports.R.options.show: 'eror' is not one of accuracy, error, loss, effective_rank, rankme, alpha; did you mean error?",
    ),
    "an option's kind": ({"options": {"named": 3}}, "reports.R.options.named: 3 is not str"),
    "a column that no run has": ({"options": {"named": "armm"}}, "reports.R: accounting: options.named: 'armm' is not a column"),
    "arms that it does not know": ({"table": "width_table"}, "reports.R: width_table: runs are of arm ''"),
    "a baseline that was not run": (
        {"table": "differences", "options": {"baseline": "pairs"}},
        "reports.R: differences: options.baseline: no run has arm 'pairs'; there are ''",
    ),
    "nothing beside the baseline": ({"table": "differences"}, "differences: every run has arm ''"),
    "two baselines": (
        {"table": "differences", "options": {"along": "views", "baseline": 2}},
        "the baseline 2.0 has two runs of one seed that differ in no column of the table, but in optimizer.lr",
    ),
    "no transfer": ({"table": "transfer"}, "transfer: no run is read out on another data set; set embed.on"),
    "runs that a table cannot tell apart": (
        {"table": "diet_accuracy"},
        "diet_accuracy: two runs of one seed differ in no column of the table, but in augmentation.jitter",
    ),
    "a column to pick by": ({"table": "diet_accuracy", "options": {"pick": "smoothing"}}, "did you mean method.smoothing?"),
    "no sweep": ({"table": None, "figure": "spectra"}, "spectra: needs an experiment whose name begins with weight_sweep"),
    "no DIET": ({"table": None, "figure": "diet_loss"}, "diet_loss: runs are of 'barlow_twins'; it draws diet alone"),
    "runs for a theory": ({"table": None, "figure": "graph_spectrum"}, "graph_spectrum is drawn from theory alone"),
    "no runs": ({"experiments": []}, "reports.R: experiments: none given, and accounting draws runs"),
    "no baseline": ({"table": "time_to_target", "experiments": ["two"]}, "time_to_target: no baseline of 2 views"),
    "half a target": ({"table": "time_to_target", "options": {"target": 0.8}}, "target and target_on go together"),
    "more views alone": ({"table": None, "figure": "pareto", "experiments": ["two"]}, "pareto: runs have 4 views"),
    "no weight": ({"table": "held_out", "experiments": ["three"]}, "held_out: runs of 'simclr' have no orthogonality weight"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), WRONG.values(), ids=WRONG)
def test_a_report_that_could_not_be_drawn_is_refused_at_planning(change, expected, tmp_path, monkeypatch):
    import test_feasible
    import yaml

    def with_others(block, report=None):
        raw = yaml.safe_load(study(block, report))
        raw["scales"]["laptop"]["experiments"] |= {"two": {"views": 4}, "three": {"method": {"name": "simclr"}}}
        raw["reports"]["R"] = {name: value for name, value in raw["reports"]["R"].items() if value is not None}
        return yaml.safe_dump(raw)

    monkeypatch.setattr(test_feasible, "study", with_others)
    block = [
        {"views": [2, 4], "optimizer.lr": [0.001, 0.002] if expected.startswith("the baseline") else 0.001},
        {"views": 2, "augmentation.jitter": [0.1, 0.2]} if "jitter" in expected else {"views": 2, "seed": 1},
    ]
    assert expected in refusal(tmp_path, block, change)


def test_a_config_and_a_row_of_results_have_the_same_columns():
    found = plan.load("params.yaml", "paper")
    for name, readout in list(found.readouts.items())[::40]:
        row, asked = results.columns(readout), columns.Asked("", "", name, readout)
        assert asked.get("level") == row["level"]
        same = (*columns.ARM, "embed.on.dataset", "batch", "optimizer.lr", "rate", "probe.name", "encoder.name", "seed")
        assert {column: asked.get(column) for column in same} == {column: row[column] for column in same}
        assert asked.get("weight") is None or asked.get("weight") == row["weight"]
