"""A seed that chose a weight is judged nowhere: which seeds those are, and what is left."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from test_baselines import CELL

from entia import naming, plan, results
from entia.claims import tuning
from entia.claims.pooling import NO_POOL
from entia.claims.study import POINTS, Study
from entia.config import Embed, Readout, Subset
from entia.methods import SimCLR
from entia.planning import baselines
from entia.probes import Ridge


def ran(weights: dict[int, set[float]], experiment: str = "e", **columns: object) -> list[dict[str, object]]:
    """Rows of one cell, by seed at these weights."""
    fixed = {"experiment": experiment, "arm": "tuned", "projector.width": 64, "views": 2, **columns}
    return [
        {**fixed, "seed": seed, "weight": weight, "method.weight": weight}
        for seed, tried in weights.items()
        for weight in sorted(tried)
    ]


WEIGHTS = st.sets(st.sampled_from([0.001, 0.01, 0.1, 1.0]), min_size=1)
SEEDS = st.dictionaries(st.integers(0, 9), WEIGHTS, min_size=1, max_size=4)


@settings(deadline=None)
@given(SEEDS)
def test_a_seed_chose_if_it_ran_more_weights_of_a_cell_than_another(weights):
    least = min(map(len, weights.values()))
    chose = {("e", seed) for seed, tried in weights.items() if len(tried) > least}
    rows = pd.DataFrame(ran(weights))
    assert tuning.seeds_that_chose(rows) == chose
    left = tuning.judged(rows)
    assert set(left["seed"]) == {seed for seed in weights if ("e", seed) not in chose}
    assert len(left) == sum(len(weights[seed]) for seed in set(left["seed"]))  # no more than those seeds is gone


@settings(deadline=None)
@given(SEEDS, st.floats(0.002, 0.9))
def test_where_every_seed_ran_as_many_weights_all_are_judged(weights, other):
    rows = pd.DataFrame(ran({seed: {0.001, other} for seed in weights}))
    assert tuning.seeds_that_chose(rows) == set() and tuning.judged(rows).equals(rows)


def test_cells_of_another_width_or_experiment_are_weighed_apart():
    apart = ran({0: {0.1, 1.0}}) + ran({1: {0.1}}, **{"projector.width": 8}) + ran({2: {0.1}}, experiment="other")
    assert tuning.seeds_that_chose(pd.DataFrame(apart)) == set()
    both = apart + ran({9: {0.1}})
    assert tuning.seeds_that_chose(pd.DataFrame(both)) == {("e", 0)}
    # who chose at one width is judged at none: the widths are held against each other
    wider = pd.DataFrame(both + ran({0: {0.1}}, **{"projector.width": 8}))
    assert 0 not in set(tuning.judged(wider)["seed"])


def test_an_experiment_keeps_the_seed_that_chose_in_another():
    rows = pd.DataFrame(ran({0: {0.1}, 9: {0.1, 1.0}}) + ran({0: {0.1}, 9: {0.1}}, experiment="other"))
    left = tuning.judged(rows)
    assert set(zip(left["experiment"], left["seed"], strict=True)) == {("e", 0), ("other", 0), ("other", 9)}


def test_a_tuning_seeds_sweep_shown_alone_is_judged_nowhere_and_a_judged_seeds_own_is():
    both = ran({0: {0.1}, 1: {0.1}, 9: {0.1, 1.0}})
    sweep = both + ran({9: {0.1, 1.0}}, experiment="sweep")
    assert tuning.seeds_not_judged(pd.DataFrame(sweep)) == {("e", 9), ("sweep", 9)}
    assert len(tuning.judged(pd.DataFrame(sweep[-2:]))) == 2  # a figure of that sweep keeps it
    judged_sweeps = both + ran({0: {0.1, 1.0}}, experiment="sweep")
    assert tuning.seeds_not_judged(pd.DataFrame(judged_sweeps)) == {("e", 9)}
    one_setting = both + ran({9: {0.1}}, experiment="sweep")
    assert tuning.seeds_not_judged(pd.DataFrame(one_setting)) == {("e", 9)}
    of_one_seed = ran({0: {0.1, 1.0}}) + ran({0: {0.1, 1.0}}, experiment="sweep")
    assert tuning.seeds_not_judged(pd.DataFrame(of_one_seed)) == set()
    rates = ran({0: {0.1}, 1: {0.1}}, **{"optimizer.lr": 0.1})
    for rate in (0.1, 1.0):
        rates += ran({9: {0.1}}, experiment="rates", **{"optimizer.lr": rate})
    assert tuning.seeds_not_judged(pd.DataFrame(rates)) == {("rates", 9)}


def test_baselines_choose_nothing_and_stay():
    rows = ran({0: {0.1}, 9: {0.1, 1.0}}) + ran({0: {0.1}, 9: {0.1, 1.0}}, experiment=baselines.EXPERIMENT)
    left = tuning.judged(pd.DataFrame(rows))
    assert len(left[left["experiment"] == baselines.EXPERIMENT]) == 3
    assert set(tuning.trained(left)["seed"]) == {0}


def test_rows_without_a_weight_have_nothing_to_choose():
    assert tuning.seeds_that_chose(pd.DataFrame({"experiment": ["e"], "seed": [0]})) == set()


# --- what noise is pooled over, on a frame as `results.frame` makes it ---------------------------------------------


def framed(on: str) -> pd.DataFrame:
    """Four arms of two seeds with every column that `results.frame` gives; `on`: what they are read out on."""
    stages = [
        Readout(
            embed=Embed(pretrain=replace(CELL, method=SimCLR(temperature=heat), seed=seed), on=Subset(dataset=on)),
            probe=Ridge(),
        )
        for heat in (0.1, 0.2, 0.3, 0.4)
        for seed in (0, 1)
    ]
    names = {naming.name(stage): stage for stage in stages}
    rows = tuple(plan.Row("e", "", name) for name in names)
    draws = iter(np.random.default_rng(0).normal(0.7, 0.01, 1000))
    log = {
        "epoch": "3",
        "seconds": "1",
        "view_images": "9",
        "peak_mib": "0",
        "machine": "m",
        "images": "9",
        "loss": "1",
    }
    return results.frame(
        plan.Plan("laptop", {}, {}, {}, {}, readouts=names),
        rows,
        lambda stage: {"chance": 0.1, "metrics": {"3": {"accuracy": next(draws), "validation": 0.5}}},
        lambda stage: [log],
    )


def test_noise_is_pooled_over_cells_read_out_on_their_own_data_and_those_alone():
    rows = framed("mnist5k")
    assert (rows["embed.on.dataset"] == rows["subset.dataset"]).all()  # none is missing
    pooled = Study.of(rows).pool(POINTS)
    (found,) = pooled.rest.values()
    assert found.freedom == pytest.approx(3) and found.variance > 0  # (4 arms − 1) · (2 seeds − 1)
    assert Study.of(framed("optdigits")).pool(POINTS) == NO_POOL


def test_a_tuning_seed_adds_no_noise_where_it_is_shown_alone():
    rows = framed("mnist5k").assign(weight=0.1)
    luckier = rows[rows["seed"] == 0].assign(seed=7, accuracy=0.9, cell=lambda found: "of 7: " + found["cell"])
    sweep = pd.concat([luckier, luckier.assign(weight=1.0, cell=lambda found: "other " + found["cell"])])
    whole = pd.concat([rows, sweep.assign(experiment="sweep")], ignore_index=True)
    alone, beside = Study.of(rows).pool(POINTS), Study.of(whole).pool(POINTS)
    assert [found.variance for found in beside.rest.values()] == [found.variance for found in alone.rest.values()]
