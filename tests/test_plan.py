import functools
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import yaml
from conftest import ROOT
from test_config import trained

from entia import config, methods, naming, plan
from entia.fields import Problem
from entia.methods import Untrained
from entia.planning import feasible, layering, reading

TEXT = (ROOT / "tests/params.yaml").read_text()
"""For how params.yaml is read; the shipped one is read where its own study is what is tested."""


def at(scale: str) -> str:
    """The tests' study at a scale of its own, whose section is the laptop's."""
    raw = yaml.safe_load(TEXT)
    return yaml.safe_dump(raw | {"scale": scale, "scales": raw["scales"] | {scale: raw["scales"]["laptop"]}})


def load(text: str, folder: Path) -> plan.Plan:
    path = folder / "params.yaml"
    path.write_text(text)
    return plan.load(path)


def mistake(text: str, folder: Path) -> str:
    with pytest.raises(Problem) as found:
        load(text, folder)
    return str(found.value)


def replaced(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new, 1)


@pytest.mark.parametrize("scale", plan.SCALES)
def test_every_scale_of_params_yaml_loads_and_leaves_nothing_to_be_said(scale):
    found = plan.load(ROOT / "params.yaml", scale)
    assert found.scale == scale
    assert not [notice for notice in found.notices if notice.startswith(("defaults", "scales"))]
    assert all(found.rows[artefact] for artefact, report in found.reports.items() if report.experiments)


# Rows of each artefact at paper scale: the run counts of spec §8, with what the spec leaves open written out.
RUNS = {
    "MV-T1": 48,
    "MV-T2": 18 + 9 + 18 + 9,  # reuses MV-F4a, F4b, F5a, F5b
    "MV-T3": 15 + 12,  # 15 reused, 12 controls (the spec: 0 to 12 extra)
    "MV-F2a": 84,
    "MV-F2b": 48 + 48,  # 50 and 100 epochs
    "MV-F2c": 48,
    "MV-F2d": 42,  # of which 39 cells: at width 8192 the selected weight is the fixed one (the spec: 39 to 42)
    "MV-F3": 120 + 80 + 60,  # Barlow Twins on CIFAR-10, on STL-10 (one of its two lengths), VICReg's six widths × 10
    "MV-F4a": 18,
    "MV-F4b": 9,
    "MV-F4c": 9 + 9,  # 50 and 100 epochs
    "MV-F4d": 12,
    "MV-F5a": 18,
    "MV-F5b": 9,
    "MV-F5c": 9 + 9,
    "MV-F5d": 12,
    "MV-F6": 18 + 18 + 27,  # reuses MV-F4a, F5a, T3
    "MV-F7": 6,
    "MV-F8": 0,
    "MV-A1": 9,
    "MV-A2": 9,
    "MV-A3": 9,
    "MV-A4": 30 + 15 + 30,  # reuses F4a ∪ F5a (18 + 18 less 6 of both), F4b ∪ F5b (less 3), F4c ∪ F5c (less 6)
    "MV-A5": 18 + 120,  # reuses MV-F4a, F3
    "MV-A6": 20 + 18 + 27,  # 20 of 16 views; reuses MV-F4a, T3
    "MV-A7": 18,
    "MV-A8": 260,
    "MV-A9": 6,
    "MV-A10": 54,
    # ours, so that no count is the papers': three seeds of each variant
    "MV-X1": 3 * 2 * 3,
    "MV-X2": 3 * 2 * 3,
    "MV-X3": 2 * 2 * 3,
    "MV-X4": 2 * 2 * 3,
    "MV-X5": 4 * 2 * 3,
    "MV-X6": 2 * 2 * 3,
    "MV-X7": 18,
    "MV-X8": 20,
}
REUSES = {
    "MV-T2": ("MV-F4a", "MV-F4b", "MV-F5a", "MV-F5b"),
    "MV-F6": ("MV-F4a", "MV-F5a", "MV-T3"),
    "MV-A4": ("MV-F4a", "MV-F4b", "MV-F4c", "MV-F5a", "MV-F5b", "MV-F5c"),
    "MV-A5": ("MV-F4a", "MV-F3"),
    "MV-A7": ("MV-F4a",),
    "MV-A8": ("MV-F3",),
    "MV-A10": ("MV-T2",),
    "MV-X2": ("MV-F4a",),
    "MV-X7": ("MV-F4a",),
}
NEW = {"MV-T3": (("MV-F4a", "MV-F5a"), 12), "MV-A6": (("MV-F4a", "MV-T3"), 20), "MV-X1": (("MV-F4a",), 9)}


@pytest.fixture(scope="module")
def paper() -> plan.Plan:
    return plan.load(ROOT / "params.yaml", "paper")


def test_paper_scale_asks_for_the_papers_number_of_runs(paper):
    found = {artefact: len(rows) for artefact, rows in paper.rows.items() if artefact.startswith("MV-")}
    assert found == RUNS


@pytest.mark.parametrize("artefact", REUSES)
def test_what_the_spec_says_is_reused_needs_no_cell_of_its_own(artefact, paper):
    there = {cell for other in REUSES[artefact] for cell in paper.cells(other)}
    assert set(paper.cells(artefact)) <= there


@pytest.mark.parametrize("artefact", NEW)
def test_what_is_added_to_reused_cells_is_as_many_as_the_spec_says(artefact, paper):
    others, count = NEW[artefact]
    assert len(set(paper.cells(artefact)) - {cell for other in others for cell in paper.cells(other)}) == count


def test_cells_that_tables_share_are_trained_once(paper):
    # at width 4096 (Barlow Twins) and 8192 (VICReg, ImageNet-100) the papers' selected weight is the fixed one
    assert len(paper.cells("MV-F2a")) == 84 - 3
    assert len(paper.cells("MV-T1")) == 48 - 3
    assert len(paper.cells("MV-F2d")) == 39
    shared = set(paper.cells("MV-T1")) & set(paper.cells("MV-F2a"))
    assert len(shared) == 4 * 2 * 3


def cells_of(found: plan.Plan, artefact: str) -> list[config.Pretrain]:
    return [found.pretrains[cell] for cell in found.cells(artefact)]


def test_the_study_of_views_is_the_papers(paper):
    found = {
        (cell.views, cell.projector.width): (cell.method.weight, cell.batch, cell.checkpoint_every, cell.epochs)
        for cell in cells_of(paper, "MV-F4a")
    }
    weights = {(2, 256): 0.02, (4, 256): 0.01, (8, 256): 0.01, (2, 8192): 0.0008, (4, 8192): 0.0004, (8, 8192): 0.0004}
    assert found == {arm: (weight, 128, 5, 100) for arm, weight in weights.items()}
    readouts = [paper.readouts[row.readout] for row in paper.rows["MV-F4a"]]
    assert {(one.embed.views, one.embed.epochs, one.probe.epochs) for one in readouts} == {(16, "all", 200)}


def test_equal_view_images_is_what_the_study_of_data_compares(paper):
    for artefact in ("MV-F5a", "MV-F5b", "MV-F5c", "MV-F5d"):
        assert {cell.views * cell.subset.fraction for cell in cells_of(paper, artefact)} == {2.0}


def test_pretraining_on_stl10_and_imagenet100_divides_by_the_mean_and_the_readout_does_not(paper):
    for artefact in ("MV-F2b", "MV-F2d", "MV-F4c", "MV-F4d", "MV-F5c", "MV-F5d"):
        for row in paper.rows[artefact]:
            embed = paper.readouts[row.readout].embed
            policy = embed.pretrain.augmentation
            assert policy.std == policy.mean and embed.std not in (None, policy.std)


HEADLINES = {"MV-T1", "MV-T2", "MV-F2a", "MV-F3", "MV-F4a", "MV-F5a", "MV-F6"}
HEADLINES |= {"DIET-TA", "DIET-F1", "DIET-F2", "DIET-S1", "DIET-S2", "DIET-S4"}


def test_the_laptops_study_is_small_enough_and_names_what_it_leaves_out(paper):
    found = plan.load(ROOT / "params.yaml", "laptop")
    assert {*found.reports, *found.absent} == {
        *paper.reports,
        *paper.absent,
    } and not found.absent.keys() & found.reports.keys()
    assert HEADLINES <= found.reports.keys()
    cells = [found.pretrains[name] for artefact in found.reports for name in found.cells(artefact)]
    seen = {naming.name(cell): 3600 * cell.subset.fraction * cell.epochs * config.all_views(cell) for cell in cells}
    assert sum(seen.values()) < 4_200_000  # view-images: some ten minutes of two cores


BARLOW = ["width_barlow_twins", "views_barlow_twins", "data_barlow_twins"]


@pytest.mark.parametrize(
    ("scale", "experiment"),
    [
        *(("laptop", name) for name in (*BARLOW, "width_vicreg")),
        *(("photos", name) for name in (*BARLOW, "grid_barlow_twins")),
    ],
)
def test_an_arms_weight_is_run_by_judged_seeds_alone_or_tried_by_the_tuning_seed_alone(scale, experiment):
    found = plan.load(ROOT / "params.yaml", scale)
    tried, judged = {}, {}
    for row in found.experiments[experiment]:
        cell = found.readouts[row.readout].embed.pretrain
        arm = (row.arm, cell.views, cell.projector.width, cell.subset.fraction)
        weight = getattr(cell.method, "weight", None) or cell.method.invariance
        (tried if cell.seed == 7 else judged).setdefault(arm, set()).add(weight)
    assert tried and all(len(weights) > 1 for weights in tried.values())
    assert all(len(weights) == 1 for weights in judged.values())
    assert all(judged[arm] <= weights for arm, weights in tried.items())


def test_photos_judges_three_seeds_then_six_on_all_test_images_and_tunes_every_method_alike():
    found = plan.load(ROOT / "params.yaml", "photos")
    assert found.judging.looks == (3, 6)
    sets = {cell.subset for cell in found.pretrains.values() if cell.subset.dataset == "cifar10"}
    assert {feasible.expected(subset).test for subset in sets} == {10_000}
    assert {cell.optimizer.schedule for cell in found.pretrains.values() if cell.method != Untrained()} == {"cosine"}
    tried: dict[str, set[float]] = {}
    for row in found.experiments["diet_rates"]:
        cell = found.readouts[row.readout].embed.pretrain
        assert cell.seed == 7 and cell.optimizer.lr_per == cell.batch
        tried.setdefault(type(cell.method).__name__, set()).add(cell.optimizer.lr)
    assert {"Diet", "SDiet", "SimCLR", "VICReg", "BarlowTwins"} <= tried.keys()
    assert len({frozenset(rates) for rates in tried.values()}) == 1
    budget = [found.readouts[row.readout].embed.pretrain for row in found.experiments["diet_budget"]]
    assert len({(cell.views * cell.epochs, cell.subset) for cell in budget}) == 1  # as many view-images each
    assert all(cell.seed != 7 and cell.optimizer.lr in tried["Diet"] for cell in budget)


def test_an_experiment_given_as_an_empty_list_is_left_out_of_what_draws_others_too(tmp_path):
    raw = yaml.safe_load(TEXT)
    block = {"arm": "fixed", "method.weight": 0.1}
    raw["scales"]["laptop"]["experiments"] = {"one": block, "none": []}
    table = {"title": "x", "table": "width_table"}
    raw["reports"] = {
        "both": {**table, "experiments": ["one", "none"]},
        "neither": {**table, "experiments": ["none"]},
    }
    found = load(yaml.safe_dump(raw), tmp_path)
    assert list(found.reports) == ["both"] and found.absent == {"neither": "x"}
    assert len(found.rows["both"]) == 1


def test_one_weight_changed_changes_the_cells_that_have_it_alone(tmp_path):
    before = load(TEXT, tmp_path)
    after = load(replaced("method.weight: [0.0004, 0.01, 0.1]", "method.weight: [0.0004, 0.02, 0.1]"), tmp_path)
    gone = set(before.pretrains) - set(after.pretrains)
    new = set(after.pretrains) - set(before.pretrains)
    assert gone and {before.pretrains[name].method.weight for name in gone} == {0.01}
    assert new and {after.pretrains[name].method.weight for name in new} == {0.02}


def test_another_data_set_is_one_field(tmp_path):
    found = load(replaced("subset: {dataset: mnist5k, limit: 300}", "subset: {dataset: cifar10, limit: 300}"), tmp_path)
    cells = found.pretrains.values()  # baselines too
    assert {stage.subset.dataset for stage in cells} == {"cifar10"}
    assert {stage.augmentation.mean for stage in cells} == {(125.307, 122.961, 113.8575)}


def test_a_recipe_carries_the_papers_quirks(tmp_path):
    found = load(TEXT, tmp_path)
    twins = next(
        found.pretrains[name]
        for name in found.cells("MV-X1")
        if isinstance(found.pretrains[name].method, methods.BarlowTwins)
    )
    assert (twins.method.form, twins.method.l2_normalise, twins.method.standardise) == ("as_run", True, "joint")
    assert not twins.encoder.stem_relu and not twins.drop_last and not twins.subset.balanced


def leaves(part, before=""):
    """The fields of nested mappings by dotted path."""
    found = {}
    for name, value in part.items():
        found |= leaves(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return found


@functools.cache
def study(scale: str) -> plan._Study:
    found = plan._checked(reading.read(ROOT / "params.yaml") | {"scale": scale}, told := [])
    assert found is not None and not told
    return found


BLOCKS = {
    f"{scale}: {block.place}": (scale, block)
    for scale in plan.SCALES
    for found in study(scale).blocks.values()
    for block in found
    if block.recipe
}


@pytest.mark.parametrize("name", BLOCKS)
def test_every_cell_of_a_recipe_has_its_fields_unless_the_block_says_otherwise(name):
    scale, block = BLOCKS[name]
    layers = study(scale).layers
    for chosen in layering.product(block.axes, block.place):
        cell = leaves(json.loads(msgspec.json.encode(layering.cell(layers, chosen, block.recipe))))
        parts = [layers.recipes[block.recipe].get(part) for part in ("any", cell["method.name"])]
        recipe = {path: value for part in parts for path, value in leaves(part or {}).items()}
        expected = recipe | {path: leaf.value for path, leaf in chosen.items()}
        assert {path: cell[path] for path in recipe} == {path: expected[path] for path in recipe}


def test_a_recipe_lies_on_what_the_block_names_in_whatever_order_it_says_so(tmp_path):
    found = load(TEXT, tmp_path)
    (cell,) = (
        found.pretrains[name]
        for name in found.cells("MV-X1")
        if isinstance(found.pretrains[name].method, methods.VICReg)
    )
    assert (cell.encoder.name, cell.encoder.stem_padding, cell.encoder.stem_relu) == ("resnet18", 2, False)
    assert (cell.method.form, cell.method.epsilon) == ("leave_one_out", 0)


MISTAKES = {
    "a number that is out of range": (
        ("projector.width: [16, 64, 256], method.weight: 0.0004", "projector.width: [16, 0, 256], method.weight: 0.0004"),
        "params.yaml: experiments.twins[0].projector.width[1]: 0 is not a positive whole number",
    ),
    "a number read as text": (
        ("method.weight: 0.0004", "method.weight: 4e-4"),
        "params.yaml: experiments.twins[0].method.weight: '4e-4' is not a number, zero or more "
        "(YAML reads it as text: write 0.0004)",
    ),
    "an unknown field": (
        ("{arm: fixed, projector.width:", "{arm: fixed, projector.wdith:"),
        "params.yaml: experiments.twins[0].projector.wdith: unknown; did you mean projector.width?",
    ),
    "an unknown key of the defaults": (
        ("  views: 2\n", "  veiws: 2\n"),
        "params.yaml: defaults.veiws: unknown; did you mean views?",
    ),
    "a wrong type": (
        ("  seed: 0\n", "  seed: 0\n  epochs: many\n"),
        "params.yaml: defaults.epochs: 'many' is not a positive whole number",
    ),
    "an unknown scale": (
        ("scale: laptop", "scale: phone"),
        "params.yaml: scale: 'phone' is not one of laptop, photos, gpu_minutes, gpu_hour, paper",
    ),
    "an unknown method": (
        ("method: {name: barlow_twins, weight: 0.005}", "method: {name: barlow_triplets, weight: 0.005}"),
        "params.yaml: defaults.method.name: 'barlow_triplets' is not one of barlow_twins, vicreg, simclr, "
        "spectral_contrastive",
    ),
    "an unknown experiment": (
        ("experiments: [twins, vicreg]", "experiments: [twin, vicreg]"),
        "params.yaml: reports.MV-T1.experiments: twin: unknown; did you mean twins?",
    ),
    "an unknown data set": (
        ("subset: {dataset: mnist5k, limit: 300}", "subset: {dataset: mnist, limit: 300}"),
        "params.yaml: experiments.twins[0]: dataset: 'mnist' is not one of mnist5k, optdigits, cifar10",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named_with_its_place_and_value(case, tmp_path):
    (old, new), message = MISTAKES[case]
    assert message in mistake(replaced(old, new), tmp_path)


def test_all_mistakes_are_named_at_once(tmp_path):
    text = replaced("  views: 2\n", "  views: 0\n  epochs: -1\n")
    assert mistake(text, tmp_path).splitlines() == [
        "params.yaml: defaults.views: 0 is not a positive whole number",
        "params.yaml: defaults.epochs: -1 is not a positive whole number",
    ]


def test_a_number_as_python_and_dvc_write_it_is_that_number(tmp_path):
    found = load(replaced("weight_decay: 0.000001", f"weight_decay: {0.000002!r}"), tmp_path)
    assert repr(0.000002) == "2e-06"
    assert {stage.optimizer.weight_decay for stage in trained(found)} == {0.000002}


@pytest.mark.parametrize("typed", ["1e-3", "1e3", "2e-6", "1E-03", "12e-06"])
def test_a_number_without_a_point_as_people_type_it_is_refused_with_the_remedy(typed, tmp_path):
    text = replaced("weight_decay: 0.000001", f"weight_decay: {typed}")
    assert f"'{typed}' is not a number, zero or more (YAML reads it as text: write " in mistake(text, tmp_path)


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
    raw["reports"] = {"X": {"title": "x", "table": "accounting", "experiments": ["one"]}}
    found = load(yaml.safe_dump(raw), tmp_path)
    pairs = {(stage.projector.width, stage.method.weight) for stage in trained(found)}
    assert len(trained(found)) == 12 and pairs == {(8, 0.1), (16, 0.2)}


def test_the_plan_needs_neither_torch_nor_numpy():
    code = "import sys; from entia import plan; from entia.artefacts import provenance; assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("scale", ["laptop", "photos"])
def test_looks_are_planned_for_each_scale_and_there_are_none_where_nothing_is_said(scale, tmp_path):
    text = re.sub(r"^judging:.*\n(?: .*\n)*", "", at(scale), flags=re.M)
    assert load(text, tmp_path).judging.looks == ()
    assert load(text + "\njudging: {photos: {looks: [3, 6]}}\n", tmp_path).judging.looks == (
        (3, 6) if scale == "photos" else ()
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{photo: {looks: [3]}}", "judging.photo: unknown; did you mean photos?"),
        ("{photos: {look: [3]}}", "judging.photos.look: unknown; did you mean looks?"),
        ("{photos: {looks: [3, 5]}}", "judging.photos.looks: [3, 5]: give one number of seeds, or two"),
        ("{photos: {looks: [0]}}", "judging.photos.looks"),
        ("[3, 6]", "judging: [3, 6] is not a mapping"),
    ],
)
def test_a_mistaken_look_is_named(given, said, tmp_path):
    text = re.sub(r"^judging:.*\n(?: .*\n)*", "", TEXT, flags=re.M)
    assert said in mistake(f"{text}\njudging: {given}\n", tmp_path)


@pytest.mark.parametrize("scale", ["laptop", "photos"])
def test_devices_are_a_scales_own_and_rename_nothing(scale, tmp_path):
    one, several = load(at(scale), tmp_path), load(at(scale) + "\ndevices: {photos: 4}\n", tmp_path)
    assert (one.devices, several.devices) == (1, 4 if scale == "photos" else 1)
    assert one == replace(several, devices=1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{laptops: 2}", "devices.laptops: unknown; did you mean laptop?"),
        ("{laptop: 0}", "devices.laptop: 0 is not a positive whole number"),
        ("{laptop: true}", "devices.laptop: true is not a positive whole number"),
        ("{photos: two}", "devices.photos: 'two' is not a positive whole number"),
        ("4", "devices: 4 is not a mapping"),
        ("{laptop: 100000}", "devices.laptop: 100000, and a cell's batch is "),
    ],
)
def test_a_mistaken_number_of_devices_is_named(given, said, tmp_path):
    assert said in mistake(f"{at('laptop')}\ndevices: {given}\n", tmp_path)
