"""Estimates: exact on what was measured, in proportion elsewhere, never silently another machine's."""

import itertools
import re
from pathlib import Path

import msgspec
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from test_config import trained
from test_workflow import make_study, run

from entia import config, nets, plan, sizes
from entia.forecast import calibrate, cluster, estimate, overview
from entia.forecast.estimate import Calibration, Embedded, Estimate, Read, Trained
from entia.system import machines

START = {"subset": 1.0, "pretrain": 4.0, "embed": 4.0, "readout": 1.0, "report": 2.0, "job": 0.25}


@pytest.fixture(scope="module")
def laptop() -> plan.Plan:
    return plan.load(ROOT / "params.yaml", "laptop")


def measured(found: plan.Plan, count: int | None = None) -> Calibration:
    """A calibration in which the n-th shape takes n + 1 seconds a step."""
    wanted = calibrate.study(found)
    trained = [
        Trained(shape=of, seconds=n + 1.0, images=of.batch, peak_mib=100.0 * (n + 1))
        for n, of in enumerate(wanted.shapes[:count])
    ]
    embedded = {estimate.encoding(of): of for of in wanted.embeds}
    return Calibration(
        machine="Abacus, no GPU",
        host="Abacus",
        gpus=0,
        places=2,
        memory="computed",
        torch="2.11",
        code=calibrate.code(),
        start=START,
        written=0.0,
        read=0.0,
        trained=tuple(trained),
        embedded=tuple(
            Embedded(encoder=encoder, side=side, channels=channels, threads=threads, seconds=0.001)
            for encoder, side, channels, threads in embedded
        ),
        readings=tuple(Read(probe=p, features=f, rows=n, seconds=0.5) for p, f, n, _ in wanted.probes),
    )


def test_a_measured_cell_takes_its_steps(laptop):
    of = Estimate(measured(laptop))
    for cell in trained(laptop):
        (found,) = [part for part in of.calibration.trained if part.shape == estimate.shape(cell)]
        assert of.is_measured(cell) and of.peak_mib(cell) == found.peak_mib
        assert of.training(cell) == pytest.approx(estimate.steps(cell) * found.seconds)
        assert of.seconds(cell) == pytest.approx(4 + of.training(cell))
        assert Estimate(of.calibration, copied=True).seconds(cell) == pytest.approx(0.25 + of.training(cell))


def test_an_untrained_cell_takes_one_pass_of_its_images(laptop):
    of = Estimate(measured(laptop))
    cells = [cell for cell in laptop.pretrains.values() if isinstance(cell.method, config.Untrained)]
    assert {cell.encoder.name for cell in cells} == {"strided_resnet", "pixels"}
    for cell in cells:
        assert of.is_measured(cell)
        assert of.training(cell) == pytest.approx(0.001 * estimate.counts(cell.subset)[0])


def test_what_was_not_measured_is_scaled_by_multiply_adds(laptop):
    of = Estimate(measured(laptop, count=1))
    (one,) = of.calibration.trained
    wide = msgspec.structs.replace(one.shape, views=2 * one.shape.views, epochs=3)
    assert not of.is_measured(wide)
    an_image = one.seconds / one.images
    ratio = machines.work(wide) / machines.work(one.shape) / 3
    assert ratio == pytest.approx(2)
    assert of.training(wide) == pytest.approx(estimate.steps(wide) * wide.batch * an_image * ratio)
    assert of.peak_mib(wide) == pytest.approx(2 * one.peak_mib)


def test_seeds_and_weights_share_a_shape_and_what_costs_time_has_its_own(laptop):
    cell = next(c for c in laptop.pretrains.values() if isinstance(c.method, config.BarlowTwins))
    change = msgspec.structs.replace
    same = [
        change(cell, seed=7),
        change(cell, epochs=99),
        change(cell, method=change(cell.method, weight=0.3)),
        change(cell, subset=change(cell.subset, fraction=0.5)),
    ]
    other = [
        change(cell, views=cell.views + 1),
        change(cell, batch=cell.batch + 1),
        change(cell, projector=change(cell.projector, width=cell.projector.width + 1)),
        change(cell, method=change(cell.method, form="view_mean")),
        change(cell, precision="bfloat16"),
    ]
    assert {config.key(estimate.shape(of)) for of in same} == {config.key(estimate.shape(cell))}
    assert len({config.key(estimate.shape(of)) for of in (cell, *other)}) == 1 + len(other)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=6), st.integers(1, 3))
def test_a_makespan_is_within_its_bounds(seconds, places):
    """Graham 1969: the longest first ends within 4/3 − 1/(3 places) of the best, which these lists let us try out."""
    found = estimate.makespan(seconds, places)
    least = max(sum(seconds) / places, max(seconds))
    assert least - 1e-9 <= found <= sum(seconds) + 1e-9
    tried = (
        max(sum(s for s, at in zip(seconds, where, strict=True) if at == place) for place in range(places))
        for where in itertools.product(range(places), repeat=len(seconds))
    )
    assert found <= (4 / 3 - 1 / (3 * places)) * min(tried) + 1e-9


def test_image_counts_are_those_of_the_packed_digits():
    from entia import datasets

    for dataset, limit in (("mnist5k", 900), ("optdigits", None)):
        subset = config.Subset(dataset=dataset, limit=limit, fraction=0.5)
        parts = datasets.pack(subset, datasets.read(dataset, Path("/nowhere")))
        assert estimate.counts(subset) == (len(parts.train), len(parts.validation), len(parts.test))
        assert parts.train.pixels.shape[1] == estimate.channels(subset)


def test_computed_memory_is_the_stated_sum():
    """Without a projector, of an encoder whose kept tensors can be counted by hand from PyTorch's own graph."""
    of = config.Pretrain(
        subset=config.Subset(dataset="mnist5k"),
        augmentation=config.Augmentation(size=16),
        encoder=config.Encoder(name="narrow_resnet", width=8),
        projector=config.Projector(width=32),
        method=config.VICReg(),
        optimizer=config.Optimizer(),
        views=2,
        epochs=1,
        batch=8,
    )

    def mib(**changed) -> float:
        return calibrate.computed_mib(msgspec.structs.replace(of, **changed)) * 2**20

    weights = nets.parameters_count(nets.build(of.encoder, of.projector, 1, 16, 0)) * 4
    slots = mib() - mib(optimizer=config.Optimizer(name="sgd"))
    assert slots == pytest.approx(weights)  # adam's second moment
    images = machines.sizes(of.subset)[0] * 28**2
    kept = mib() - 4 * weights - images
    assert kept > 2 * 8 * 8 * 16**2 * 4  # at least the first feature maps of all views
    doubled = mib(batch=16) - 4 * weights - images
    assert doubled == pytest.approx(2 * kept)
    assert mib(precision="bfloat16") - 4 * weights - images == pytest.approx(kept / 2)


# --- a cluster ------------------------------------------------------------------------------------------------------


def test_a_profile_is_read_with_its_groups_and_limits(monkeypatch):
    monkeypatch.chdir(ROOT)
    slurm = cluster.read("slurm")
    assert slurm.jobs == 100 and slurm.max_minutes == 1440 and slurm.together == {"readouts": 20}
    assert slurm.groups["figure"] == slurm.groups["index"] == "drawings"
    assert cluster.read("workflow/profiles/slurm") == slurm
    assert (cluster.read("default").gpus or 0) >= 1
    with pytest.raises(config.Problem, match="nowhere: no profile of that name .*; known: default, .*slurm"):
        cluster.read("nowhere")


def test_jobs_are_cut_by_the_limit_and_gathered_by_groups(laptop):
    profile = cluster.Profile(
        "tried", jobs=10, max_minutes=1.0, groups={"readout": "r", "table": "d", "figure": "d", "claims": "d", "index": "d"},
        together={"r": 20},
    )  # fmt: skip
    of = Estimate(measured(laptop))
    left = [stage for step in ("subset", "pretrain", "embed", "readout") for stage in laptop.of(step).values()]
    lines = {line.rule: line for line in cluster.lines(laptop, left, profile, of)}
    cells = list(laptop.pretrains.values())
    assert lines["pretrain"].submissions == sum(-(-of.seconds(cell) // 60) for cell in cells)
    assert lines["pretrain"].hours == pytest.approx(sum(map(of.seconds, cells)) / 3600)
    assert lines["readout"].submissions == -(-len(laptop.readouts) // 20)
    assert [lines[rule].submissions for rule in ("table", "figure", "claims", "index")] == [1, 0, 0, 0]
    one, many = (cluster.hours(left, gpus, of) for gpus in (1, 10**6))
    trained = [stage for stage in left if isinstance(stage, config.Pretrain | config.Embed)]
    assert one == pytest.approx(sum(map(of.seconds, trained)) / 3600)
    assert many == pytest.approx(max(estimate.chains(trained, of)) / 3600)


def test_the_papers_grid_is_planned_for_a_cluster(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    found = plan.load("params.yaml", "paper")
    found = found.without([subset for subset in found.subsets.values() if sizes.expected(subset).train is None])
    assert found.pretrains and not any(of.subset.dataset.startswith("image_folder") for of in found.pretrains.values())
    for calibration in (None, measured(found)):
        text = overview.on_cluster(found, tmp_path, cluster.read("slurm"), 8, calibration)
        assert re.search(rf"^pretrain +{len(found.pretrains):,} +{len(found.pretrains):,} ", text, flags=re.M)
        assert "on 8 GPUs (--gpus)" in text
        assert ("rests on multiply-adds" in text) == (calibration is None)


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
    with pytest.raises(config.Problem, match="is no calibration of this version"):
        overview.calibration(file, file)


def test_a_calibration_that_cannot_be_read_is_not_called_another_versions(tmp_path):
    with pytest.raises(config.Problem, match=r"cannot be read now \(Is a directory\); move the folder"):
        overview.calibration(tmp_path, tmp_path)
    with pytest.raises(config.Problem, match="missing; `entia calibrate` measures this machine"):
        overview.calibration(tmp_path, tmp_path / "none.json")


@pytest.mark.workflow
def test_a_calibration_by_the_real_command_is_of_this_machine_and_of_every_shape(tmp_path):
    folder = make_study(tmp_path)
    assert "no times: `entia calibrate`" in run(folder, "entia", "plan").stdout
    run(folder, "entia", "calibrate", "--seconds", "30", "--at-once", "1")
    found = estimate.load(folder / "data/calibration.json")
    cells = plan.load(folder / "params.yaml").pretrains.values()
    assert overview.is_here(found) and all(Estimate(found).is_measured(cell) for cell in cells)
    for cell in cells:  # not even a slow machine is out by a thousand
        assert 1e-3 < Estimate(found).training(cell) < 1e3
    assert found.start["job"] < found.start["pretrain"]
    text = run(folder, "entia", "plan").stdout
    assert "the whole study:" in text and "off: measured" not in text
    name = next(iter(plan.load(folder / "params.yaml").pretrains))
    run(folder, "entia", "subset", next(iter(plan.load(folder / "params.yaml").subsets)))
    run(folder, "entia", "pretrain", name)
    text = run(folder, "entia", "plan").stdout
    assert "of the 1 cells trained on this machine" in text
