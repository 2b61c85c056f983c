import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from entia import config, plan
from entia.config import Problem

TEXT = (ROOT / "params.yaml").read_text()


def load(text: str, folder: Path) -> plan.Plan:
    path = folder / "params.yaml"
    path.write_text(text)
    return plan.load(path)


def at(scale: str) -> str:
    return re.sub(r"^scale: \w+", f"scale: {scale}", TEXT, flags=re.M)


def mistake(text: str, folder: Path) -> str:
    with pytest.raises(Problem) as found:
        load(text, folder)
    return str(found.value)


def replaced(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new, 1)


@pytest.mark.parametrize("scale", plan.SCALES)
def test_every_scale_of_params_yaml_loads(scale, tmp_path):
    found = load(at(scale), tmp_path)
    assert found.scale == scale
    assert all(found.rows[artefact] for artefact, report in found.reports.items() if report.experiments)


def test_paper_scale_asks_for_the_papers_number_of_runs(tmp_path):
    found = load(at("paper"), tmp_path)
    assert {artefact: len(found.rows[artefact]) for artefact in ("MV-T1", "MV-F2a", "MV-F3")} == {
        "MV-T1": 48,
        "MV-F2a": 84,
        "MV-F3": 120,
    }


def test_cells_that_tables_share_are_trained_once(tmp_path):
    found = load(at("paper"), tmp_path)
    # at width 4096 (Barlow Twins) and 8192 (VICReg) the papers' selected weight is the fixed one
    assert len(found.cells("MV-F2a")) == 84 - 3
    assert len(found.cells("MV-T1")) == 48 - 3
    shared = set(found.cells("MV-T1")) & set(found.cells("MV-F2a"))
    assert len(shared) == 4 * 2 * 3


def test_one_weight_changed_changes_the_cells_that_have_it_alone(tmp_path):
    before = load(TEXT, tmp_path)
    after = load(TEXT.replace("[0.0004, 0.002, 0.01, 0.05, 0.25]", "[0.0004, 0.002, 0.02, 0.05, 0.25]"), tmp_path)
    gone = set(before.pretrains) - set(after.pretrains)
    new = set(after.pretrains) - set(before.pretrains)
    assert gone and {before.pretrains[name].method.weight for name in gone} == {0.01}
    assert new and {after.pretrains[name].method.weight for name in new} == {0.02}


def test_another_data_set_is_one_field(tmp_path):
    found = load(replaced("subset: {dataset: mnist5k, limit: 5000}", "subset: {dataset: cifar10, limit: 5000}"), tmp_path)
    assert {stage.subset.dataset for stage in found.pretrains.values()} == {"cifar10"}
    assert {stage.augmentation.mean for stage in found.pretrains.values()} == {(125.307, 122.961, 113.8575)}


def test_a_recipe_carries_the_papers_quirks(tmp_path):
    cells = load(at("paper"), tmp_path).pretrains.values()
    twins = next(stage for stage in cells if isinstance(stage.method, config.BarlowTwins))
    assert (twins.method.form, twins.method.l2_normalise, twins.method.standardise) == ("as_run", True, "joint")
    assert not twins.encoder.stem_relu and not twins.drop_last and not twins.subset.balanced


MISTAKES = {
    "a number that is out of range": (
        ("projector.width: [16, 64, 256], method.weight: 0.0004", "projector.width: [16, 0, 256], method.weight: 0.0004"),
        "params.yaml: experiments.width_barlow_twins[0].projector.width[1]: 0 is not a positive whole number",
    ),
    "a number read as text": (
        ("method.weight: 0.0004", "method.weight: 4e-4"),
        "params.yaml: experiments.width_barlow_twins[0].method.weight: '4e-4' is not a number, zero or more "
        "(YAML reads it as text: write 0.0004)",
    ),
    "an unknown field": (
        ("{arm: fixed, projector.width:", "{arm: fixed, projector.wdith:"),
        "params.yaml: experiments.width_barlow_twins[0].projector.wdith: unknown; did you mean projector.width?",
    ),
    "an unknown key of the defaults": (
        ("  views: 2\n", "  veiws: 2\n"),
        "params.yaml: defaults.veiws: unknown; did you mean views?",
    ),
    "a wrong type": (
        ("  epochs: 100\n", "  epochs: many\n"),
        "params.yaml: defaults.epochs: 'many' is not a positive whole number",
    ),
    "an unknown scale": (
        ("scale: laptop ", "scale: phone "),
        "params.yaml: scale: 'phone' is not one of laptop, gpu_hour, paper",
    ),
    "an unknown method": (
        ("method: {name: barlow_twins, weight: 0.005}", "method: {name: barlow_triplets, weight: 0.005}"),
        "params.yaml: defaults.method.name: 'barlow_triplets' is not one of barlow_twins, vicreg, simclr, "
        "spectral_contrastive",
    ),
    "an unknown experiment": (
        ("experiments: [width_barlow_twins, width_vicreg]", "experiments: [width_barlow_twin, width_vicreg]"),
        "params.yaml: reports.MV-T1.experiments: width_barlow_twin: unknown; did you mean width_barlow_twins?",
    ),
    "an unknown data set": (
        ("subset: {dataset: mnist5k, limit: 5000}", "subset: {dataset: mnist, limit: 5000}"),
        "params.yaml: experiments.width_barlow_twins[0]: dataset: 'mnist' is not one of mnist5k, cifar10",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named_with_its_place_and_value(case, tmp_path):
    (old, new), message = MISTAKES[case]
    assert message in mistake(replaced(old, new), tmp_path)


def test_all_mistakes_are_named_at_once(tmp_path):
    text = replaced("  views: 2\n", "  views: 0\n").replace("  epochs: 100\n", "  epochs: -1\n", 1)
    assert mistake(text, tmp_path).splitlines() == [
        "params.yaml: defaults.views: 0 is not a positive whole number",
        "params.yaml: defaults.epochs: -1 is not a positive whole number",
    ]


def test_a_key_given_twice_is_refused(tmp_path):
    assert "'views' is given twice" in mistake(replaced("  views: 2\n", "  views: 2\n  views: 4\n"), tmp_path)


def test_broken_yaml_is_one_line_with_its_place(tmp_path):
    assert re.match(r"params.yaml, line \d+, column \d+: ", mistake(TEXT + "\n  - {", tmp_path))


def test_a_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(Problem, match="run in the folder that holds params.yaml"):
        plan.load(tmp_path / "params.yaml")


def test_an_experiment_is_the_product_of_its_lists_and_pairs_go_together(tmp_path):
    raw = yaml.safe_load(TEXT)
    raw["scales"]["laptop"]["experiments"] = {
        "one": {"views": [2, 4], "seed": [0, 1, 2], "paired": {"projector.width": [8, 16], "method.weight": [0.1, 0.2]}}
    }
    raw["reports"] = {"X": {"title": "x", "table": "width_table", "experiments": ["one"]}}
    found = load(yaml.safe_dump(raw), tmp_path)
    pairs = {(stage.projector.width, stage.method.weight) for stage in found.pretrains.values()}
    assert len(found.pretrains) == 12 and pairs == {(8, 0.1), (16, 0.2)}


def test_the_plan_needs_neither_torch_nor_numpy():
    code = "import sys; from entia import plan, provenance; assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
