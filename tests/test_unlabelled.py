"""Images of one's own without labels: what is refused before anything runs, and what such a study ends with."""

import sys
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from test_config import cell
from test_splits import put
from test_tables import run, runs

from entia import cli, config, naming, plan, results, stages
from entia.artefacts import archive, store
from entia.config import Embed, Encoder, Projector, Readout, Subset
from entia.fields import Problem
from entia.methods import Diet
from entia.plan import Report
from entia.planning import baselines
from entia.probes import Ridge, Spectrum
from entia.reports import draw, files, tables

EXAMPLE = ROOT / "examples/own-images-unlabelled"
TOY = Subset(dataset="image_folder/toy", images="unlabelled", side=8, validation=0.0)


def small(**fields: object) -> config.Pretrain:
    fields = {"encoder": Encoder(name="narrow_resnet", width=2), "projector": Projector(width=8), "batch": 8} | fields
    return cell(**{"subset": TOY, "views": 2, "epochs": 2, "checkpoint_every": 1} | fields)


# --- planning -------------------------------------------------------------------------------------------------------


def planned(tmp_path: Path, defaults: dict, report: dict | None = None, **experiment: object) -> plan.Plan:
    """The example, with something changed."""
    raw = yaml.safe_load((EXAMPLE / "params.yaml").read_text())
    raw["scales"]["laptop"]["defaults"] |= defaults
    if experiment:
        raw["scales"]["laptop"]["experiments"]["mine"] = [experiment]
    if report:
        raw["reports"] = {"R": {"title": "R", "experiments": ["mine"], **report}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    return plan.load(tmp_path / "params.yaml")


BARLOW = {"method": {"name": "barlow_twins", "weight": 0.1}, "projector": {"width": 64}}
WRONG = {
    "a probe": ({"probe": {"name": "ridge"}}, None, {}, "mine[0]: probe.name: ridge reads labels, and image_folder/mine is read without them (subset.images: unlabelled); take probe: {name: spectrum}"),
    "supervised": ({}, None, {**BARLOW, "method": {"name": "supervised"}}, "supervised needs each image's class; take images: labelled"),
    "an online probe": ({"online_probe": True}, None, {}, "online_probe needs each image's class"),
    "a table of accuracy": ({}, {"table": "diet_accuracy"}, {}, "reports.R: diet_accuracy draws accuracy, and runs of mine read no label (probe: {name: spectrum}); take table: ranks"),
    "a figure of accuracy": ({}, {"figure": "convergence"}, {}, "reports.R: convergence draws accuracy, and runs of mine read no label"),
    "a probe beside none": ({}, {"table": "accounting"}, {**BARLOW, "probe": [{"name": "spectrum"}, {"name": "ridge"}], "subset.images": "labelled"}, "accounting draws accuracy"),
}  # fmt: skip


@pytest.mark.parametrize(("defaults", "report", "experiment", "said"), WRONG.values(), ids=WRONG)
def test_what_needs_labels_is_refused_of_images_without_any_before_anything_runs(
    defaults, report, experiment, said, tmp_path
):
    with pytest.raises(Problem) as caught:
        planned(tmp_path, defaults, report, **experiment)
    assert said in str(caught.value)


def test_the_example_is_a_study_of_two_methods_whose_every_stage_reads_images_without_a_class():
    found = plan.load(EXAMPLE / "params.yaml")
    trained = {of for of in found.pretrains.values() if not baselines.is_one(of)}
    assert {(type(of.method).__name__, of.seed) for of in trained} == {
        (m, s) for m in ("BarlowTwins", "Diet") for s in (0, 1)
    }
    assert {of.images for of in found.subsets.values()} == {"unlabelled"} and not found.notices
    assert {row.arm for row in found.drawn("ranks")} == {"barlow_twins", "diet", baselines.UNTRAINED}


@pytest.mark.parametrize(
    ("on", "images"), [(None, "unlabelled"), ("image_folder/mine", "unlabelled"), ("cifar10", "labelled")]
)
def test_an_encoder_of_images_without_labels_may_be_read_out_on_another_data_set(on, images, tmp_path):
    probe = {"name": "spectrum" if images == "unlabelled" else "ridge"}
    found = planned(
        tmp_path,
        {
            "embed": {"on": on},
            "probe": probe,
            "subset": {"dataset": "image_folder/mine", "images": "unlabelled", "side": 32, "validation": 0.1},
        },
        {"figure": "convergence", "options": {"show": "alpha"}},
    )
    assert {of.on.images for of in found.embeds.values()} == {images}


# --- what is made ---------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """40 images in data/raw of the working folder."""
    put(tmp_path / "data/raw", {f"{i % 3}/{i}.png": i for i in range(40)})
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("method", ["barlow", "diet"])
def test_images_without_labels_end_in_an_encoder_and_its_spectrum(folder, method, capfd):
    of = small() if method == "barlow" else small(method=Diet(), projector=Projector(depth=0), views=1)
    embed = Embed(pretrain=of, on=TOY, epochs="all")
    readout = Readout(embed=embed, probe=Spectrum())
    for stage, what in ((stages.subset, TOY), (stages.pretrain, of), (stages.embed, embed), (stages.readout, readout)):
        stage(what)
    assert "images, of 40 images without a class; no splits there: " in capfd.readouterr().err
    arrays, head = store.read_hdf5(store.path(Path("data"), embed))
    assert head["classes"] == [] and {*arrays["00002/test/label"]} == {-1}
    made = store.read_json(store.path(Path("data"), readout))
    assert {"rankme", "effective_rank"} <= made["metrics"]["2"].keys() and "accuracy" not in made["metrics"]["2"]
    assert made["classes"] == 0 and "chance" not in made
    archive._check_readout(readout, Path("data"), {})


def test_the_documents_way_to_an_encoder_gives_the_pipelines_own_embeddings(folder):
    of = small()
    embed = Embed(pretrain=of, on=TOY)
    stages.subset(TOY)
    stages.pretrain(of)
    stages.embed(embed)
    text = (ROOT / "docs/data.md").read_text("utf-8").split("```python\n")[1].split("```")[0]
    found: dict = {}
    exec(text.replace("NAME", naming.name(of)).replace("raw/mine", "raw/toy"), found)
    arrays, _ = store.read_hdf5(store.path(Path("data"), embed))
    own = {features.tobytes() for name, part in arrays.items() if name.endswith("features") for features in part}
    assert len(own) == 40 and np.allclose(
        sorted(map(sum, found["features"].tolist())),
        sorted(sum(np.frombuffer(each, np.float32).astype(float)) for each in own),
        atol=1e-4,
    )
    assert len(found["network"].state_dict()) == len(found["weights"])


def test_a_study_of_images_without_labels_is_begun_by_one_command(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["entia", "study", str(tmp_path / "new"), "--unlabelled"])
    cli.main()
    assert (tmp_path / "new/params.yaml").read_bytes() == (EXAMPLE / "params.yaml").read_bytes()
    assert (tmp_path / "new/.gitignore").exists()


def test_a_run_of_images_without_labels_that_diverges_is_recorded_as_that(folder, monkeypatch):
    of = small(optimizer=config.Optimizer(name="sgd", lr=1e30))
    embed = Embed(pretrain=of, on=TOY)
    stages.subset(TOY)
    stages.pretrain(of)
    stages.embed(embed)
    stages.readout(readout := Readout(embed=embed, probe=Spectrum()))
    made = store.read_json(store.path(Path("data"), readout))
    assert made["diverged"] and made["metrics"] == {} and "chance" not in made


def test_classes_without_splits_are_packed_trained_on_and_read_out(folder, capfd):
    of = msgspec.structs.replace(TOY, images="labelled")
    trained = small(subset=of)
    stages.subset(of)
    stages.pretrain(trained)
    stages.embed(embed := Embed(pretrain=trained, on=of))
    stages.readout(readout := Readout(embed=embed, probe=Ridge(penalties=(0.1,))))
    assert "images, of 40 images in 3 classes; no splits there: " in capfd.readouterr().err
    made = store.read_json(store.path(Path("data"), readout))
    assert made["classes"] == 3 and 0 <= made["metrics"]["2"]["accuracy"] <= 1 and made["chance"]


# --- what is drawn --------------------------------------------------------------------------------------------------


def bare(rank: list[float], **fields: object) -> pd.DataFrame:
    """A run's readouts without a label: no accuracy, no chance."""
    part = run(
        [0] * len(rank), **{"probe.name": "spectrum", "projector.depth": 2, "embed.on.dataset": "cifar10"} | fields
    )
    spread = {
        "effective_rank": rank,
        "rankme": rank,
        "alpha": 1.0,
        "loss": np.arange(len(rank), 0, -1.0),
        "untrained_rank": 3.0,
    }
    return part.drop(columns=["accuracy", "chance"]).assign(**spread)


def test_ranks_are_means_over_seeds_of_the_last_epochs():
    rows = runs(
        bare([2, 4]),
        bare([2, 6], seed=1),
        bare([9, 9], **{"method.name": "diet", "projector.depth": 0, "weight": np.nan}),
    )
    table = tables.ranks(rows).set_index("method")
    assert table.loc["barlow_twins", ["effective rank", "untrained", "loss", "n", "width"]].tolist() == [5, 3, 1, 2, 64]
    assert table.loc["barlow_twins", "sd"] == pytest.approx(2**0.5) and table.loc["diet", "n"] == 1
    assert np.isnan(table.loc["diet", "width"])  # it has no projector


def test_ranks_of_runs_that_all_diverged_say_so():
    lost = bare([1]).drop(columns=["effective_rank", "rankme", "alpha"]).assign(diverged_at="epoch 1, step 3 of 4")
    assert tables.ranks(lost)["diverged"].tolist() == [1]


@pytest.mark.parametrize("show", ["loss", "effective_rank", "rankme", "alpha"])
def test_what_needs_no_label_is_drawn_along_training_and_a_loss_by_method(show):
    rows = runs(bare([2, 4]), bare([2, 6], seed=1), bare([9, 9], **{"method.name": "diet"}))
    figure = draw.figure(Report(title="t", figure="convergence", options={"show": show}), rows, "laptop")
    drawn = [axes for axes in figure.axes if axes.lines]
    assert len(drawn) == (4 if show == "loss" else 2) and not str(figure.get_label()).startswith("cannot")
    by_method = {axes.get_ylabel() for axes in drawn}
    assert len(by_method) == 1 and "accuracy" not in by_method.pop()
    last = drawn[0].lines[0].get_ydata()[-1]
    assert last == {"loss": 1.0, "alpha": 1.0}.get(show, 5.0)


def test_rows_of_readouts_without_labels_have_the_untrained_encoders_rank_beside_theirs():
    found = plan.load(EXAMPLE / "params.yaml")
    log = [
        {
            "epoch": str(e),
            "seconds": "1",
            "view_images": "2",
            "images": "2",
            "peak_mib": "3",
            "loss": "1",
            "machine": "m",
        }
        for e in range(1, 21)
    ]

    def readout(stage: Readout) -> dict:
        rank = 3.0 if baselines.is_one(stage.embed.pretrain) else 7.0
        return {
            "metrics": {str(e): {"effective_rank": rank} for e in ([1] if rank == 3 else range(2, 21, 2))},
            "classes": 0,
        }

    rows = results.frame(found, found.drawn("ranks"), readout, lambda _: log)
    own = rows[rows["experiment"] == "mine"]
    assert (
        {*own["untrained_rank"]} == {3.0} and {*own["effective_rank"]} == {7.0} and "accuracy" not in own.dropna(axis=1)
    )


def test_no_claim_and_no_metric_reads_rows_without_an_accuracy():
    found = plan.load(EXAMPLE / "params.yaml")
    assert files._labelled(found, found.drawn("ranks")) == ()
    assert files.metrics(found) == '{\n "laptop": {}\n}\n'
