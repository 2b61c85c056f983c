"""A run that diverges is a result: recorded whole, drawn as what it is, and in nobody's way."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from test_config import cell
from test_tables import KNOWN, run, runs

from entia import plan, results, stages
from entia.artefacts import check, store
from entia.config import Embed, Encoder, Optimizer, Projector, Readout, Subset
from entia.forecast import overview
from entia.methods import BarlowTwins, Diet
from entia.planning import baselines, reports
from entia.probes import Ridge
from entia.reports import draw, rendering, tables

SUBSET = Subset(dataset="mnist5k", limit=100, validation=0.2)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes a run of the given optimiser with all its stages, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def make(embedded: str = "all", **fields) -> Readout:
        fields = {"method": BarlowTwins(weight=0.01), "epochs": 3, "views": 2} | fields
        net, projector = Encoder(name="narrow_resnet", width=1), Projector(width=4, depth=fields["views"])
        stage = cell(subset=SUBSET, encoder=net, projector=projector, batch=20, checkpoint_every=1, **fields)
        readout = Readout(embed=Embed(pretrain=stage, on=SUBSET, epochs=embedded), probe=Ridge())
        stages.subset(SUBSET)
        stages.pretrain(stage)
        stages.embed(readout.embed)
        stages.readout(readout)
        return readout

    return make


def frame(readout: Readout) -> pd.DataFrame:
    for _, one in baselines.of(readout):
        stages.pretrain(one.embed.pretrain)
        stages.embed(one.embed)
        stages.readout(one)
    found = plan.Plan("laptop", {}, {}, {}, {}, readouts={"r": readout})
    log = store.read_log(store.log_path(stages.DATA, readout.embed.pretrain))
    rows = (plan.Row("one", "tuned", "r"),)
    return results.frame(found, rows, lambda stage: check.open_head(stages.DATA, stage), lambda stage: log)


def test_a_diverged_run_leaves_whole_artefacts_that_say_where(made):
    readout = made(optimizer=Optimizer(name="sgd", lr=1e30, momentum=0.0))
    where = "epoch 1, step 2 of 4: the loss is not finite"
    cell = readout.embed.pretrain
    weights, head = check.open_whole(stages.DATA, cell)
    assert weights == {} and head["diverged"] == where
    content = check.open_head(stages.DATA, readout)
    assert content["diverged"] == where and content["metrics"] == {} and 0.1 <= content["chance"] < 0.2
    found = plan.Plan("laptop", {}, {}, {}, {}, {"s": SUBSET}, {"c": cell}, {"e": readout.embed}, {"r": readout})
    assert {finding.state for finding in check.check(found, stages.DATA)} == {"current"}
    (line,) = overview.troubled(found, stages.DATA)
    assert line.startswith("diverged: barlow_twins") and where in line and line.endswith(".csv")
    assert not list(stages.DATA.rglob("*.part"))


@pytest.mark.parametrize("embedded", ["all", "last"])
def test_epochs_before_it_diverged_are_kept_and_read_out_but_none_stands_for_its_last(embedded, made):
    # the head's lr × decay is 500: it grows 500-fold a step, and overflows after a few epochs
    growing = {"method": Diet(decay_factor=1e6), "optimizer": Optimizer(name="adamw", lr=0.001, weight_decay=0.5)}
    readout = made(embedded, views=1, epochs=12, **growing)
    content = check.open_head(stages.DATA, readout)
    assert content["diverged"].startswith("epoch 4, step ")
    assert set(content["metrics"]) == ({"1", "2", "3"} if embedded == "all" else set())
    log = store.read_log(store.log_path(stages.DATA, readout.embed.pretrain))
    assert [row["diverged"] for row in log] == ["", "", "", content["diverged"]]
    rows = frame(readout)
    assert rows["accuracy"].isna().all() and rows["epoch"].tolist() == [12]
    assert results.ended(rows).empty and results.diverged(rows).startswith("1 run diverged and counts as missing")


def test_embeddings_that_are_not_finite_are_a_divergence_too(made):
    readout = made(optimizer=Optimizer(name="sgd", lr=0.001))
    arrays, head = check.open_whole(stages.DATA, readout.embed)
    arrays["00002/test/features"][3, 0] = np.inf
    store.write_hdf5(store.path(stages.DATA, readout.embed), arrays, head)
    stages.readout(readout)
    content = check.open_head(stages.DATA, readout)
    assert content["diverged"] == "epoch 2: embeddings are not finite" and set(content["metrics"]) == {"1"}


def test_chance_is_the_share_of_the_commonest_class_of_the_test_images():
    assert stages._chance(np.array([0] * 5 + [1] * 3)) == {"chance": 5 / 8}  # as of 390 pneumonias among 624
    assert stages._chance(np.array([-1] * 4)) == {}  # they have no class


def lost(**fields) -> pd.DataFrame:
    """A run without a result."""
    rows = run([50], epochs=2, **fields)
    return rows.assign(epoch=2, accuracy=np.nan, minutes=np.nan, view_images=np.nan, diverged_at="epoch 1, step 3 of 4")


def ending(accuracy, **fields) -> pd.DataFrame:
    return run([accuracy / 2, accuracy], **fields)


def test_a_table_says_diverged_where_no_run_ended_and_counts_where_some_did():
    rows = runs(
        ending(60, arm="tuned"),
        lost(arm="tuned", seed=1),
        lost(arm="fixed", weight=9.0),
        lost(arm="fixed", weight=9.0, seed=1),
    )
    table = tables.width_table(rows, KNOWN).set_index("arm")
    assert table.loc["tuned", ["accuracy %", "n", "diverged"]].tolist() == [60, 1, 1]
    assert table.loc["fixed", ["n", "diverged"]].tolist() == [0, 2]
    shown = rendering.readable(table).loc["fixed", "accuracy %"]
    assert shown == "diverged"
    text = draw.table(reports.Report(title="t", table="width_table"), rows, "laptop", "MV-T1")["md"]
    assert "3 runs diverged and count as missing: " in text and "(epoch 1, step 3 of 4)" in text


def test_without_a_diverged_run_tables_are_as_they_were():
    assert "diverged" not in tables.width_table(runs(ending(60, arm="tuned")), KNOWN)


def test_held_out_images_still_choose_where_a_run_diverged():
    rows = runs(ending(60), lost(seed=1)).assign(validation=lambda rows: rows["accuracy"])
    assert results.chosen_on(rows) == "validation"


@pytest.mark.parametrize("kind", ["convergence", "sample_efficiency", "views_curve", "heat_map", "width_curve"])
@pytest.mark.parametrize("some", [True, False])
def test_a_figure_names_the_runs_that_it_lacks(kind, some):
    rows = runs(*([ending(60, arm="tuned")] if some else []), lost(arm="tuned", seed=1), lost(arm="tuned", seed=2))
    figure = draw.figure(reports.Report(title="t", figure=kind), rows, "laptop")
    written = " ".join(" ".join(text.get_text() for text in figure.findobj(Text)).split())
    assert "2 runs diverged and count as missing" in written
    assert ("every run diverged" in written) != some


def test_claims_say_which_runs_they_were_not_judged_on():
    from entia import claims

    rows = runs(ending(60), lost(seed=1))
    made = claims.render(claims.judge(results.ended(rows), "laptop"), "laptop", results.diverged(rows))
    assert "\n\n1 run diverged and counts as missing: " in made["md"]
    assert json.loads(made["json"])["note"].startswith("1 run diverged")


def test_what_failed_last_time_is_listed_with_its_log(tmp_path):
    found = plan.load("params.yaml")
    first, second, third = list(found.pretrains)[:3]
    logs = tmp_path / "logs/pretrain"
    logs.mkdir(parents=True)
    (logs / f"{first}.log").write_text("starting\nentia: data/raw: the disk is full\n")
    (logs / f"{second}.log").write_text("epoch 1 of 5, loss 2\n")  # running
    (logs / f"{third}.log").write_text("Traceback (most recent call last):\n  x\nMemoryError\n")
    lines = overview.troubled(found, tmp_path, tmp_path / "logs")
    assert [line.split(": ")[-1] for line in lines] == [
        f"the disk is full  {logs / first}.log",
        f"MemoryError  {logs / third}.log",
    ]


def test_steps_count_the_last_smaller_batch_of_each_epoch():
    # 50,000 images in batches of 128, 100 epochs: 391 steps each
    rows = run([1.0] * 100, batch=128).assign(view_images=lambda rows: rows["epoch"] * 50_000 * 2)
    assert tables.accounting(rows)["steps"].tolist() == [39_100]
    assert tables.accounting(rows.assign(view_images=rows["epoch"] * 390 * 128 * 2))["steps"].tolist() == [39_000]
