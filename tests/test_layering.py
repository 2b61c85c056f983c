"""Layers upon each other: the ways of writing a field, what chooses a layer, and what is said of a default without effect."""

import copy
import itertools
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from test_config import trained

from entia import plan
from entia.fields import Problem

RAW = yaml.safe_load((ROOT / "tests/params.yaml").read_text())


def planned(raw: object, folder: Path) -> plan.Plan:
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return plan.load(path)


def of_block(block: object, folder: Path, **changed: object) -> plan.Plan:
    """The plan of one experiment of one block, on the tests' own layers."""
    raw = copy.deepcopy(RAW) | changed
    raw["scales"]["laptop"]["experiments"] = {"one": block}
    raw["reports"] = {"X": {"title": "x", "table": "accounting", "experiments": ["one"]}}
    return planned(raw, folder)


def mistakes(block: object, folder: Path) -> list[str]:
    with pytest.raises(Problem) as found:
        of_block(block, folder)
    return str(found.value).splitlines()


# --- dotted or nested --------------------------------------------------------------------------------------------

METHODS = [
    {"method.name": "barlow_twins", "method.weight": 0.1, "method.form": "view_mean"},
    {"method.name": "vicreg", "method.invariance": 750.0},
    {"method.name": "simclr"},
    {"method.weight": 0.2},
]
FIELDS = {
    "subset.dataset": ["mnist5k", "cifar10", "optdigits", "image_folder/mine"],
    "subset.fraction": [0.25, 0.5, 1.0],
    "subset.seed": [0, 1],
    "augmentation.flip": [0.0, 0.5],
    "augmentation.std": [[33.4], [78.7], None],
    "encoder.name": ["resnet18", "narrow_resnet"],
    "encoder.stem_padding": [1, 2],
    "projector.width": [8, 16],
    "optimizer.name": ["adam", "sgd"],
    "optimizer.lr": [0.1, 0.01],
    "views": [2, 4],
    "crops.views": [2, 4],
    "embed.on": ["optdigits", "cifar10", None],
    "probe.name": ["logistic", "adam"],
    "seed": [0, 1, 2],
}


@st.composite
def blocks(draw) -> dict[str, object]:
    """A block by dotted paths: single values, axes, and lists that go together."""
    one = {"subset.side": 16, **draw(st.sampled_from(METHODS))}
    chosen = draw(st.lists(st.sampled_from([*FIELDS]), unique=True, max_size=6))
    paired: dict[str, object] = {}
    for path in chosen:
        how = draw(st.sampled_from(["value", "axis", "paired"]))
        values = st.sampled_from(FIELDS[path])
        if how == "value":
            one[path] = draw(values)
        elif how == "axis":
            one[path] = draw(st.lists(values.filter(lambda value: value is not None), min_size=1, max_size=2))
        else:
            paired[path] = draw(st.lists(values, min_size=2, max_size=2))
    if "crops.views" in {*one, *paired}:
        one["crops.size"] = 8
    recipe = draw(st.sampled_from([None, "clean", "as_run"]))
    return one | ({"paired": paired} if paired else {}) | ({"recipe": recipe} if recipe else {})


@st.composite
def written(draw, block: dict[str, object]) -> dict[str, object]:
    """The same block, each of its fields by its dotted path or inside a mapping, in any order."""
    found: dict[str, object] = {}
    for path in draw(st.permutations([*block])):
        outer, _, last = path.partition(".")
        if path == "paired":
            found[path] = draw(written(block[path]))
        elif last and draw(st.booleans()):
            found.setdefault(outer, {})[last] = block[path]
        else:
            found[path] = block[path]
    return found


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_block_means_the_same_dotted_or_nested(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("block")
    block = data.draw(blocks())
    other = data.draw(written(block))
    assert outcome(block, folder) == outcome(other, folder)


def outcome(block: object, folder: Path) -> object:
    """The readouts of a block, or how many mistakes are in it."""
    try:
        return set(of_block(block, folder).readouts.values())
    except Problem as problem:
        return len(str(problem).splitlines())


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_layer_means_the_same_dotted_or_nested(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("layer")
    block = {path: value for path, value in data.draw(blocks()).items() if path not in ("recipe", "paired")}
    layer = {path: value for path, value in block.items() if not isinstance(value, list)}
    assert of_layer(layer, folder) == of_layer(data.draw(written(layer)), folder)


def of_layer(layer: dict[str, object], folder: Path) -> object:
    """The readouts with a layer as the scale's defaults, or how many mistakes are in it."""
    raw = copy.deepcopy(RAW)
    raw["defaults"] |= {"encoder": {"name": "resnet18"}, "epochs": 3, "batch": 64}
    raw["defaults"]["subset"]["dataset"] = "mnist5k"
    raw["scales"]["laptop"] = {"defaults": layer, "experiments": {"one": {"subset.limit": [100, 200]}}}
    raw["reports"] = {"X": {"title": "x", "table": "accounting", "experiments": ["one"]}}
    try:
        return set(planned(raw, folder).readouts.values())
    except Problem as problem:
        return len(str(problem).splitlines())


@pytest.mark.parametrize(
    "block",
    [
        {"subset": {"dataset": "cifar10"}},
        {"subset.dataset": "cifar10"},
        {"subset": [{"dataset": "cifar10"}]},
        {"paired": {"subset": {"dataset": ["cifar10"]}}},
        {"paired": {"subset": [{"dataset": "cifar10"}]}},
    ],
)
def test_a_data_set_brings_its_own_statistics_however_it_is_named(block, tmp_path):
    (cell,) = trained(of_block(block, tmp_path))
    assert (cell.subset.dataset, cell.augmentation.mean) == ("cifar10", (125.307, 122.961, 113.8575))
    assert cell.augmentation.flip == 0.5 and cell.subset.limit == 300


def test_a_data_set_without_an_entry_has_its_statistics_measured(tmp_path):
    (cell,) = trained(of_block({"subset": {"dataset": "image_folder/mine", "side": 16}}, tmp_path))
    assert cell.augmentation.mean is None and cell.augmentation.std is None


def test_lists_inside_mappings_are_axes_and_mappings_in_a_list_are_choices(tmp_path):
    found = of_block(
        {"method": [{"name": "vicreg", "invariance": [1, 2]}, {"name": "simclr"}], "seed": [0, 1]}, tmp_path
    )
    cells = {(cell.method.__class__.__name__, cell.seed) for cell in trained(found)}
    assert len(trained(found)) == 6 and cells == {*itertools.product(("VICReg", "SimCLR"), (0, 1))}


MISTAKES = [
    ({"subset.fraction": 0.5, "subset": {"fraction": 0.25}}, "one.subset.fraction: is given twice"),
    ({"method": [{"name": "vicreg"}], "method.name": "simclr"}, "one.method.name: is given twice"),
    ({"crops": None, "crops.views": 2}, "one.crops.views: is given twice"),
    ({"seed": 1, "paired": {"seed": [1, 2]}}, "one.seed: is given twice"),
    ({"seed": []}, "one.seed: an empty list stands for no cell"),
    ({"paired": {"seed": [], "views": []}}, "one.paired: empty lists stand for no cell"),
    ({"paired": {"seed": [1, 2], "views": [2]}}, "one.paired: its lists differ in length"),
    ({"paired": {"seed": 1}}, "one.paired.seed: 1 is not a list"),
    ({"paired": ["seed"]}, "one.paired: ['seed'] is not a mapping of fields to lists"),
    ({"paired": "seed"}, "one.paired: 'seed' is not a mapping of fields to lists"),
    ({"recipe": ["clean", "as_run"]}, "one.recipe: ['clean', 'as_run'] is not one of clean, as_run"),
    ({"recipe": {"clean": 1}}, "one.recipe: {'clean': 1} is not one of clean, as_run"),
    ({"arm": ["a", "b"]}, "one.arm: ['a', 'b'] is not a label of one line; write a block for each arm"),
    ({"method": "vicreg"}, "one.method: 'vicreg' is not a mapping, such as {name: barlow_twins}"),
    ({"method": None}, "one.method: null is not a mapping"),
    ({"method": {"name": {"a": 1}}}, "one.method.name: {'a': 1} is not one of barlow_twins"),
    ({"method": {"name": "vicreg"}, "method.weight": 1}, "one.method.weight: unknown; known: invariance"),
    ({"seed": {"from": 0}}, "one.seed: {'from': 0} is not a whole number"),
    ({"foo": {}}, "one.foo: unknown"),
    ({"subset": {"dataset": {}}}, "one.subset.dataset: {} is not"),
    ({"augmentation.std": []}, "one.augmentation.std: an empty list"),
    ({"subset.balanced": "yes"}, "one.subset.balanced: 'yes' is not bool: write true, without quotes"),
    ({"seed": list(range(1000)), "subset.seed": list(range(1000))}, "one: stands for 1,000,000 cells"),
    ({"seed": list(range(300)), "subset.seed": list(range(299))}, "one: stands for 89,700 cells, more than 20,000;"),
    ({"probe": {"name": "knn"}}, "one.probe.name: 'knn' is not one of ridge"),
    ("views", "one: 'views' is not a mapping of fields"),
]


@pytest.mark.parametrize(("block", "message"), MISTAKES)
def test_what_a_block_cannot_mean_is_refused_with_its_place(block, message, tmp_path):
    (found,) = mistakes(block, tmp_path)
    assert found.startswith(f"params.yaml: experiments.{message}")


@pytest.mark.parametrize(("name", "meant"), [("knn", "neighbours"), ("KNN", "neighbours"), ("logistics", "logistic")])
def test_a_probe_by_a_name_near_ours_or_used_elsewhere_is_refused_with_ours(name, meant, tmp_path):
    assert mistakes({"probe": {"name": name}}, tmp_path)[0].endswith(f"; did you mean {meant}?")


def test_what_is_wrong_with_every_cell_of_a_large_block_is_told_of_some(tmp_path):
    found = mistakes({"subset.dataset": [f"nothing{n}" for n in range(400)]}, tmp_path)
    assert len(found) == 20


@pytest.mark.parametrize(
    ("names", "taken"), [(["claims"], "claims"), (["Claims"], "Claims"), (["MV-T1", "mv-t1"], "mv-t1")]
)
def test_reports_whose_files_would_have_one_name_are_refused(names, taken, tmp_path):
    report = {"title": "x", "figure": "width_curve", "experiments": ["twins"]}
    with pytest.raises(Problem, match=f"reports.{taken}: this name is taken"):
        planned(copy.deepcopy(RAW) | {"reports": dict.fromkeys(names, report)}, tmp_path)


@pytest.mark.parametrize(
    ("section", "part", "message"),
    [
        ("datasets", {"cifar10": {"subset": {"dataset": "mnist5k"}}}, "datasets.cifar10.subset.dataset: cannot be set"),
        ("datasets", {"cifra10": {}}, "datasets.cifra10: unknown; did you mean cifar10?"),
        ("datasets", {"cifar10": None}, "datasets.cifar10: null is not a mapping ({} is one without entries)"),
        ("datasets", [1], "datasets: [1] is not a mapping"),
        ("recipes", {"own": {"any": {"method.name": "vicreg"}}}, "recipes.own.any.method.name: cannot be set here"),
        ("recipes", {"own": {"vicrge": {}}}, "recipes.own.vicrge: unknown; did you mean vicreg?"),
        ("recipes", {"own": [1]}, "recipes.own: [1] is not a mapping"),
        ("scales", {"laptop": None}, "scales.laptop: null is not a mapping"),
        ("scales", {"laptop": {"defaults": {}}}, "scales.laptop.experiments: missing"),
        ("scales", {"paper": {"experiments": {}}}, "scale: laptop: `scales:` has no such section, but paper"),
        ("scale", "gpu_hour", "scale: gpu_hour: `scales:` has no such section, but laptop, paper"),
        ("scales", {}, "scale: laptop: `scales:` has no such section, but none"),
        ("scale", None, "scale: null is not one of laptop"),
        ("defaults", "none", "defaults: 'none' is not a mapping"),
        ("reports", {"a b": {"title": "x", "figure": "width_curve"}}, "reports.a b: its files are named after it"),
        ("reports", {"X": {"title": "x"}}, "reports.X: give either `table:` or `figure:`"),
        ("reports", {"X": None}, "reports.X: null is not a mapping"),
    ],
)
def test_what_a_section_cannot_hold_is_refused_with_its_place(section, part, message, tmp_path):
    with pytest.raises(Problem) as found:
        planned(copy.deepcopy(RAW) | {section: part}, tmp_path)
    assert f"params.yaml: {message}" in str(found.value)


# --- what is said though it is no mistake ------------------------------------------------------------------------


def test_a_default_that_a_later_layer_overrides_in_every_cell_is_said(tmp_path):
    raw = copy.deepcopy(RAW)
    raw["defaults"] |= {"subset": {"dataset": "image_folder/mine", "side": 64}, "augmentation.flip": 0.2, "epochs": 3}
    raw["scales"]["laptop"]["defaults"]["augmentation"] = {"size": 32}
    assert planned(raw, tmp_path).notices == (
        "defaults.subset.dataset: image_folder/mine has no effect here; mnist5k of scales.laptop.defaults lies over it: "
        "change it there",
        "defaults.augmentation.flip: 0.2 has no effect here; 0 of datasets.mnist5k lies over it: change it there",
        "scales.laptop.defaults.augmentation.size: 32 has no effect here; 16 of datasets.mnist5k lies over it: "
        "change it there",
    )
    raw["scales"]["laptop"]["experiments"]["twins"].append({"arm": "fixed", "subset.dataset": "cifar10"})
    assert len(planned(raw, tmp_path).notices) == 1  # CIFAR-10's part says nothing of flips and sizes


def test_an_experiment_that_no_report_names_is_said(tmp_path):
    raw = copy.deepcopy(RAW)
    assert planned(raw, tmp_path).notices == ()
    raw["scales"]["laptop"]["experiments"]["mine"] = {"seed": 5}
    found = planned(raw, tmp_path)
    assert found.notices == ("experiments.mine: no report of this scale names it, so nothing of it is run",)
    assert 5 not in {cell.seed for cell in found.pretrains.values()}
    raw["scales"]["laptop"]["experiments"] |= {"mine": [], "as_run": []}
    assert planned(raw, tmp_path).notices == ()  # left out, whether a report names it or not


def test_a_scale_without_experiments_of_its_own_is_known_from_one_without_a_section(tmp_path):
    assert plan.scales(ROOT / "tests/params.yaml") == ["laptop", "paper"]
    assert not plan.load(ROOT / "tests/params.yaml", "paper").readouts


@pytest.mark.parametrize("name", ["my_table", "MV-T1", "9", "A" * 100])
def test_a_report_has_a_name_of_letters_digits_hyphens_and_underscores(name, tmp_path):
    raw = copy.deepcopy(RAW) | {"reports": {name: {"title": "x", "figure": "width_curve", "experiments": ["twins"]}}}
    assert [*planned(raw, tmp_path).reports] == [name]


@pytest.mark.parametrize(
    "name", ["../x", "a/../b", "a b ", "-x", ".x", "a{b}", "a'b", "a&b", "a\tb", "", "x" * 101, "a//b"]
)
def test_a_folder_of_images_is_below_data_raw_and_its_name_harmless(name, tmp_path):
    assert "rename the folder" in mistakes({"subset": {"dataset": f"image_folder/{name}", "side": 8}}, tmp_path)[0]
    assert "rename the folder" in mistakes({"embed.on": f"image_folder/{name}", "subset.side": 8}, tmp_path)[0]


@pytest.mark.parametrize("name", ["mine", "my photos", "Blätter_2024-05.v2", "a/b", "x" * 100, "写真" * 50])
def test_files_named_after_a_folder_are_safe_for_shells_and_file_systems(name, tmp_path):
    found = of_block(
        {"subset": {"dataset": "cifar10", "side": 8}, "embed.on": f"image_folder/{name}", "method.name": "spectral_contrastive",
         "method.weight": 1, "seed": 2**32 - 1, "subset.fraction": 0.123456789, "batch": 32}, tmp_path,
    )  # fmt: skip
    for stage in ("subset", "pretrain", "embed", "readout"):
        for one in found.of(stage):
            assert one.isascii() and not set(one) - set(SAFE) and len(f".{one}.safetensors.4194304.tmp") < 255


SAFE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
