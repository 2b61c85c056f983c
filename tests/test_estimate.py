"""Estimates: exact on what was measured, in proportion elsewhere, never silently another machine's."""

import re
import time

import msgspec
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from test_config import cell, trained
from test_workflow import make_study, run

from entia import config, fields, methods, plan, sizes
from entia.artefacts import store
from entia.forecast import calibrate, cluster, estimate, overview
from entia.forecast.estimate import Calibration, Estimate, Known
from entia.planning import baselines
from entia.system import machines

START = {"subset": 1.0, "pretrain": 4.0, "embed": 4.0, "readout": 1.0, "report": 2.0, "job": 0.25}


@pytest.fixture(scope="module")
def laptop() -> plan.Plan:
    return plan.load(ROOT / "params.yaml", "laptop")


def paper() -> plan.Plan:
    """The papers' grid, without the runs on folders of images that are not here, and so of no known size."""
    whole = plan.load(ROOT / "params.yaml", "paper")
    return whole.without([of for of in whole.subsets.values() if sizes.counted(of).train is None])


def measured(found: plan.Plan, count: int | None = None) -> Calibration:
    """A calibration in which the n-th cell takes n + 1 seconds."""
    cells = calibrate.unlike(found)[:count]
    return Calibration(
        machine="Abacus, no GPU", host="Abacus", gpus=0, places=2, torch="2.11", start=START,
        known=tuple(Known(cell=of, seconds=n + 1.0, peak_mib=100.0 * (n + 1)) for n, of in enumerate(cells)),
    )  # fmt: skip


def of(calibration: Calibration) -> Estimate:
    return Estimate(calibration.known, calibration.start)


def test_a_measured_cell_takes_what_was_measured(laptop):
    calibration = measured(laptop)
    for known in calibration.known:
        assert of(calibration).training(known.cell) == pytest.approx(known.seconds)
        assert of(calibration).seconds(known.cell) == pytest.approx(4 + known.seconds)
        assert of(calibration).like(known.cell).peak_mib == known.peak_mib


def test_a_calibration_measures_every_encoder_and_all_cells_that_differ_in_speed(laptop):
    known = {estimate.traits(of) for of in calibrate.unlike(laptop)}
    assert known == {estimate.traits(of) for of in trained(laptop)} and len(known) < len(trained(laptop))
    first = [estimate.traits(of)[0] for of in calibrate.unlike(laptop)]
    encoders = {of.encoder for of in trained(laptop)}
    assert set(first[: len(encoders)]) == encoders


def test_an_untrained_cell_takes_one_pass_of_its_images(laptop):
    calibration = measured(laptop, count=1)
    (one,) = calibration.known
    for untrained in filter(baselines.is_one, laptop.pretrains.values()):
        images, side = machines.sizes(untrained.subset)
        once = images * machines.network(untrained.encoder, untrained.augmentation.size or side)
        assert of(calibration).training(untrained) == pytest.approx(once / estimate.work(one.cell) * one.seconds)


@given(st.integers(2, 9), st.integers(1, 9), st.sampled_from([0.25, 0.5, 1.0]))
def test_what_was_not_measured_is_scaled_by_multiply_adds(views, epochs, fraction):
    one = cell(views=2, epochs=1)
    more = cell(views=views, epochs=epochs, subset=replace(one.subset, fraction=fraction))
    ratio = views / 2 * epochs * fraction / one.subset.fraction
    assert Estimate([Known(cell=one, seconds=3.0, peak_mib=1.0)]).training(more) == pytest.approx(3 * ratio)


def test_a_head_with_a_row_an_image_counts():
    diet = cell(method=methods.Diet(), subset=config.Subset(dataset="mnist5k"))
    numbers = machines.sizes(diet.subset)[0] * diet.projector.width
    more = estimate.work(diet) - estimate.work(replace(diet, method=methods.SimCLR()))
    seen = machines.sizes(diet.subset)[0] * diet.epochs * diet.views
    assert more == pytest.approx(3 * seen * numbers / 1e9)


def test_a_cell_is_scaled_from_the_one_most_like_it():
    """The encoder before the precision before the method before the work."""
    one = cell(views=2)
    other = replace(one, encoder=config.Encoder(name="narrow_resnet", width=16))
    ordered = [
        replace(one, seed=9, method=methods.BarlowTwins(weight=0.3)),
        replace(one, views=3),
        replace(one, method=methods.VICReg()),
        replace(one, precision="bfloat16"),
        other,
    ]
    for n in range(len(ordered)):
        known = [Known(cell=of, seconds=1.0, peak_mib=0.0) for of in reversed(ordered[n:])]
        assert Estimate(known).like(one).cell == ordered[n]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 100), min_size=1, max_size=6), st.integers(1, 3))
def test_a_study_takes_at_least_its_longest_cell_and_its_share_of_all(epochs, places):
    cells = [cell(seed=seed, epochs=count) for seed, count in enumerate(epochs)]
    an_epoch = Estimate([Known(cell=cell(epochs=1), seconds=1.0, peak_mib=0.0)])
    assert estimate.whole(cells, an_epoch, places) == pytest.approx(max(sum(epochs) / places, max(epochs)))


def test_a_readout_takes_longer_where_its_probe_is_trained(laptop):
    found = {**laptop.readouts, **paper().readouts}.values()
    each = {readout: Estimate([], START).seconds(readout) for readout in found}
    assert {seconds for readout, seconds in each.items() if not machines.is_trained(readout)} == {1.0}
    assert min(seconds for readout, seconds in each.items() if machines.is_trained(readout)) > 1


# --- logs -----------------------------------------------------------------------------------------------------------


def log(folder, of: config.Pretrain, **fields) -> None:
    row = {"epoch": 1, "loss": 1.0, "seconds": 30.0, "warmup_seconds": 5.0, "peak_mib": 7, "machine": "Abacus"}
    store.log_path(folder, of).parent.mkdir(exist_ok=True)
    store.write_log(store.log_path(folder, of), [row | fields, row | {"epoch": 2} | fields])


def test_runs_that_ended_on_the_calibrated_machine_count_before_its_calibration(tmp_path, laptop):
    calibration = msgspec.structs.replace(measured(laptop), machine="Abacus")
    first, second, third, *_ = trained(laptop)
    log(tmp_path, first)
    log(tmp_path, second, machine="Pascaline")
    log(tmp_path, third, diverged="epoch 2")
    assert [known.cell for known in estimate.finished(laptop.pretrains.values(), tmp_path, "Abacus")] == [first]
    found = overview.of_machine(calibration, laptop, tmp_path)
    assert found.training(first) == pytest.approx(70) and found.like(first).peak_mib == 7
    text = overview.reports(laptop, tmp_path, calibration, "")
    assert f"from 1 cells trained on this machine and a few steps of {len(calibration.known)}" in text


# --- a cluster ------------------------------------------------------------------------------------------------------


def test_a_profile_is_read_with_its_limits(monkeypatch):
    monkeypatch.chdir(ROOT)
    slurm = cluster.read("slurm")
    assert slurm.jobs == 100 and slurm.max_minutes == 1440
    assert cluster.read("workflow/profiles/slurm") == slurm
    assert (cluster.read("default").gpus or 0) >= 1
    with pytest.raises(fields.Problem, match="nowhere: no profile of that name .*; known: default, .*slurm"):
        cluster.read("nowhere")


def test_jobs_are_cut_by_the_limit(laptop):
    known = of(measured(laptop))
    left = [stage for step in ("subset", "pretrain", "embed", "readout") for stage in laptop.of(step).values()]
    lines = {line.rule: line for line in cluster.lines(laptop, left, cluster.Profile("tried", 10, None, 0.1), known)}
    cells = list(laptop.pretrains.values())
    assert lines["pretrain"].jobs == sum(-(-known.seconds(cell) // 6) for cell in cells) > len(cells)
    assert lines["pretrain"].hours == pytest.approx(sum(map(known.seconds, cells)) / 3600)
    assert lines["drawing"].left == len(laptop.reports) + 2
    assert lines["all"].jobs == sum(line.jobs for rule, line in lines.items() if rule != "all")
    assert lines["readout"].hours == lines["subset"].hours == 0


def test_the_papers_grid_is_planned_for_a_cluster(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    found = paper()
    for calibration in (None, measured(found)):
        text = overview.on_cluster(found, tmp_path, cluster.read("slurm"), 8, calibration)
        assert re.search(rf"^pretrain +{len(found.pretrains):,} +{len(found.pretrains):,} ", text, flags=re.M)
        assert "on 8 GPUs (--gpus)" in text
        assert ("rests on multiply-adds" in text) == (calibration is None)
    text = overview.on_cluster(found, tmp_path, cluster.Profile("own"), None, None)
    assert "until all is done: give --gpus N" in text


# --- as a user runs it ----------------------------------------------------------------------------------------------


def test_another_machines_calibration_is_used_only_when_asked_for(tmp_path, laptop):
    file = tmp_path / "calibration.json"
    assert overview.calibration(file, None) == (None, overview.HOW)
    file.write_bytes(msgspec.json.encode(measured(laptop)))
    found, about = overview.calibration(file, None)
    assert found is None and "of another machine (Abacus, no GPU)" in about
    found, about = overview.calibration(file, file)
    assert found is not None and about.startswith("times on Abacus, no GPU")
    file.write_text("{}")
    with pytest.raises(fields.Problem, match="not a calibration of this version"):
        overview.calibration(file, file)


def test_a_calibration_that_cannot_be_read_is_not_called_another_versions(tmp_path):
    with pytest.raises(fields.Problem, match=r"cannot be read now \(Is a directory\); move the folder"):
        overview.calibration(tmp_path, tmp_path)
    with pytest.raises(fields.Problem, match="missing; `entia calibrate` measures this machine"):
        overview.calibration(tmp_path, tmp_path / "none.json")


@pytest.mark.workflow
def test_a_calibration_by_the_real_command_foretells_a_training_within_a_factor(tmp_path):
    folder = make_study(tmp_path)
    assert "no times: `entia calibrate`" in run(folder, "entia", "plan").stdout
    # more than enough: no cell takes more than 20 of its small steps, so that it ends as soon as all are known
    assert "images a second; " in run(folder, "entia", "calibrate", "--seconds", "120", "--at-once", "1").stderr
    found = estimate.load(folder / "data/calibration.json")
    study = plan.load(folder / "params.yaml")
    assert overview.is_here(found) and found.start["job"] < found.start["pretrain"]
    assert {estimate.traits(known.cell) for known in found.known} == {estimate.traits(of) for of in trained(study)}
    assert "the whole study:" in run(folder, "entia", "plan").stdout
    name, one = next(iter(study.pretrains.items()))
    run(folder, "entia", "subset", next(iter(study.subsets)))
    run(folder, "entia", "pretrain", name)
    assert "from 1 cells trained on this machine" in run(folder, "entia", "plan").stdout
    took = estimate.logged(one, store.read_log(store.log_path(folder / "data", one))).seconds
    # of some tenths of a second, on a machine that does something else as well
    assert 1 / 8 < of(found).training(one) / took < 8


def test_a_calibration_tells_its_progress_and_begins_no_cell_after_its_time(laptop, capsys):
    cells = calibrate.unlike(laptop)
    _, found = calibrate._measure(cells, time.time() - 1, True)
    assert [known.cell for known in found] == cells[:1]
    rate, left = re.fullmatch(
        rf"cell 1 of {len(cells)}: ([\d,]+) images a second; (\d+) s left\n", capsys.readouterr().err
    ).groups()
    assert int(rate.replace(",", "")) > 0 and left == "0"
    calibrate._measure(cells[:1], time.time() - 1, False)
    assert capsys.readouterr().err == ""


def test_a_calibration_of_no_cell_is_not_said_to_give_times(tmp_path, laptop):
    file = tmp_path / "calibration.json"
    file.write_bytes(msgspec.json.encode(measured(laptop, count=0)))
    found, about = overview.calibration(file, file)
    assert found is None and about.startswith(f"no times: {file} measured no cell's speed")


@pytest.mark.parametrize("change", [{"start": {"subset": 1.0}}, {"places": 0}])
def test_a_calibration_that_lacks_what_plan_needs_is_refused_with_the_remedy(change, tmp_path, laptop):
    body = msgspec.to_builtins(measured(laptop, count=1)) | change
    (tmp_path / "calibration.json").write_bytes(msgspec.json.encode(body))
    with pytest.raises(fields.Problem, match="not a calibration of this version .*`entia calibrate` makes it anew"):
        estimate.load(tmp_path / "calibration.json")


def test_a_calibration_that_tried_no_cell_still_plans(tmp_path, laptop):
    text = overview.reports(laptop, tmp_path, measured(laptop, count=0), "")
    assert "a few steps of 0" in text
