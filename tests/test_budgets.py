"""A table of methods says how many settings each was tuned over, and counts them in the plan."""

import pandas as pd
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from test_baselines import CELL, read
from test_tables import drawn

from entia import naming, plan
from entia.config import Optimizer, Pretrain, Subset
from entia.methods import BarlowTwins
from entia.planning import budgets
from entia.reports import diet_tables, draw

HELD = replace(CELL, subset=Subset(dataset="mnist5k", validation=0.1), method=BarlowTwins(weight=0.1))
SETTINGS = st.sets(st.tuples(st.sampled_from([0.1, 0.2, 0.4]), st.sampled_from([0.001, 0.01])), min_size=1)


def cell(setting: tuple[float, float], seed: int, of: Pretrain = HELD) -> Pretrain:
    return replace(of, method=BarlowTwins(weight=setting[0]), optimizer=Optimizer(lr=setting[1]), seed=seed)


def counted(shown: dict[str, list[Pretrain]], beside: list[Pretrain]) -> set[int]:
    """The budgets of all that the experiment `judged` shows."""
    stages = {name: {naming.name(read(one)): read(one) for one in cells} for name, cells in shown.items()}
    rows = [(name, each) for name, part in stages.items() for each in part]
    planned = {naming.name(read(one)): read(one) for one in beside}
    found = budgets.tried(rows, planned | {name: stage for part in stages.values() for name, stage in part.items()})
    return {count for (name, _), count in found.items() if name == "judged"}


@settings(deadline=None, max_examples=40)
@given(SETTINGS, st.booleans(), st.booleans())
def test_the_budget_is_what_a_seed_that_is_not_judged_tried(tried, within, held):
    start = HELD if held else replace(HELD, subset=Subset(dataset="mnist5k", validation=0.0))
    judged = [cell(min(tried), seed, start) for seed in (0, 1)]
    tuning = [cell(one, 7, start) for one in tried]
    beside = [] if within else tuning
    # in an experiment of its own or in the judged one, where one setting alone tells a tuning seed from no other
    shown = {"judged": judged + (tuning if within and len(tried) > 1 else [])}
    assert counted(shown, beside) >= {len(tried) if held else 1}


@pytest.mark.parametrize(
    "other",
    [{"epochs": 9}, {"batch": 64}, {"views": 2}, {"subset": Subset(dataset="mnist5k", validation=0.1, fraction=0.5)}],
)
def test_settings_tried_in_runs_of_another_kind_are_none_of_its_budget(other):
    tuning = [replace(cell((weight, 0.001), 7), **other) for weight in (0.1, 0.2, 0.4)]
    assert counted({"judged": [cell((0.1, 0.001), seed) for seed in (0, 1)]}, tuning) == {1}


def test_judged_seeds_that_run_other_rates_elsewhere_tune_nothing():
    more = [cell((0.1, rate), 0) for rate in (0.001, 0.01, 0.1)]
    assert counted({"judged": [cell((0.1, 0.001), seed) for seed in (0, 1)]}, more) == {1}


def by_method(scale: str, artefact: str) -> pd.DataFrame:
    found = plan.load(ROOT / "params.yaml", scale)
    rows = drawn(found, artefact)
    return diet_tables.cost(rows[rows["experiment"] != "baselines"], pd.DataFrame(columns=KNOWN)).set_index("method")


KNOWN = ["dataset", "method", "arm", "quantity", "value", "source"]


def rates() -> dict[str, set[float]]:
    """The learning rates that seed 7 of `scale: photos` runs, by method."""
    found = plan.load(ROOT / "params.yaml", "photos")
    each: dict[str, set[float]] = {}
    for row in found.experiments["diet_rates"]:
        tried = found.readouts[row.readout].embed.pretrain
        each.setdefault(str(tried.method.__struct_config__.tag), set()).add(tried.optimizer.lr)
    return each


def test_the_table_of_every_method_says_what_params_yaml_tried_for_each():
    table = by_method("photos", "DIET-S4")[diet_tables.TRIED]
    assert table.to_dict() == {name: len(rates().get(name, {0})) for name in table.index} and max(table) > 1
    assert set(by_method("laptop", "DIET-S4")[diet_tables.TRIED]) == {1}


def test_a_table_of_the_best_says_of_how_many_it_is_and_what_that_means():
    found = plan.load(ROOT / "params.yaml", "photos")
    text = draw.table(found.reports["DIET-X1"], drawn(found, "DIET-X1"), "photos", "DIET-X1")["md"]
    head, _, *lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    at, methods = head.index(diet_tables.TRIED), head.index("method")
    assert {line[methods]: int(line[at]) for line in lines} == {name: len(tried) for name, tried in rates().items()}
    assert "1: not tuned" in text
