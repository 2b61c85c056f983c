import ast
import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from test_config import cell

from entia import config, datasets, embed, feeding, plan, pretrain, readout, spectrum, stages
from entia.artefacts import provenance, store
from entia.config import Embed, Encoder, Optimizer, Pretrain, Projector, Readout, Stage, Subset
from entia.methods import BYOL, BarlowTwins, Diet, MoCo, SDiet, SimCLR, SpectralContrastive, Supervised, VICReg
from entia.planning import drawings
from entia.planning.reports import Report
from entia.probes import AdamProbe, Logistic, Neighbours, Ridge, Spectrum

METHODS = {
    "barlow_twins": BarlowTwins(weight=0.1),
    "vicreg": VICReg(),
    "simclr": SimCLR(),
    "spectral_contrastive": SpectralContrastive(weight=0.1),
    "diet": Diet(),
    "sdiet": SDiet(),
    "supervised": Supervised(),
    "byol": BYOL(),
    "moco": MoCo(queue=64),
}
PROBES = {"ridge": Ridge(), "logistic": Logistic(), "adam": AdamProbe(epochs=2), "neighbours": Neighbours(k=3)}
PROBES |= {"spectrum": Spectrum()}
MNIST = Subset(dataset="mnist5k", limit=100)


FILES = (
    "food101",
    "aircraft",
    "dtd",
    "pets",
    "flowers102",
    "tinyimagenet",
    "cub200",
    "imagenet1k",
    "imagenet100",
    "inaturalist",
    "cars",
)
"""Data sets of image files, which are decoded as a folder's are."""


def small(**fields) -> Pretrain:
    """A cell that trains in an instant."""
    given = {"subset": MNIST, "projector": Projector(width=8), "batch": 16, "views": 2, "epochs": 1}
    if isinstance(fields.get("method"), SDiet):
        given["optimizer"] = Optimizer(name="adamw")
    return cell(**{**given, "encoder": Encoder(name="narrow_resnet", width=2), **fields})


def forget() -> None:
    for name in ("_fingerprint", "_digests", "_read", "_aliases", "_top", "_is_module"):
        getattr(provenance, name).cache_clear()


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A copy of our code, which may be edited; fingerprints are those of the copy."""
    folder = tmp_path / "entia"
    shutil.copytree(provenance.HERE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "HERE", folder)
    forget()
    yield folder
    forget()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, old
    path.write_text(text.replace(old, new, 1))
    forget()


STAGES: dict[str, Stage] = {
    **{f"pretrain {name}": cell(method=method) for name, method in METHODS.items() if name not in ("sdiet", "moco")},
    "pretrain sdiet": cell(method=SDiet(), optimizer=Optimizer(name="adamw")),
    "pretrain moco": cell(method=MoCo()),
    **{f"subset {name}": Subset(dataset=name) for name in config.DATASETS},
    "subset folder": Subset(dataset="image_folder/mine", side=64),
    **{
        f"embed {encoder}": Embed(pretrain=cell(encoder=Encoder(name=encoder)), on=Subset(dataset="cifar10"))
        for encoder in ("narrow_resnet", "resnet18", "swin_t")
    },
    **{
        f"readout {name}": Readout(embed=Embed(pretrain=cell(), on=Subset(dataset="cifar10")), probe=probe)
        for name, probe in PROBES.items()
    },
}


@pytest.fixture(scope="module")
def before() -> dict[str, str]:
    """The fingerprints of our code as it is."""
    forget()
    return codes()


def codes() -> dict[str, str]:
    found = {name: provenance.stage_code(name.split()[0], stage) for name, stage in STAGES.items()}
    return found | {name: provenance.fingerprint(name) for name in ("reports.draw", "claims", "reports.page")}


def changed(before: dict[str, str], *edits: tuple[Path, str, str]) -> set[str]:
    for each in edits:
        edit(*each)
    after = codes()
    return {name for name in before if before[name] != after[name]}


def starting(*words: str) -> set[str]:
    return {name for name in STAGES if name.startswith(words)}


# --- edits --------------------------------------------------------------------------------------------------------


def test_comments_docstrings_and_formatting_do_not_count(before, source):
    for path in source.rglob("*.py"):
        tree = ast.parse(path.read_text())  # unparsed, it has neither comments nor our line breaks
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(node):
                node.body[0] = ast.Expr(ast.Constant("Other words."))
        path.write_text(f"# a comment\n{ast.unparse(tree)}\n")
    forget()
    assert codes() == before


@pytest.mark.parametrize(
    ("module", "old", "new", "those"),
    [
        (
            "losses/redundancy",
            '"variance": of.variance * hinge',
            '"variance": 2 * of.variance * hinge',
            ("pretrain vicreg",),
        ),
        ("losses/redundancy", '"redundancy": of.weight * off', '"redundancy": off', ("pretrain barlow_twins",)),
        ("losses/contrastive", "_nt_xent(x, of.temperature)", "_nt_xent(x, 1.0)", ("pretrain simclr",)),
        ("losses/instance", "EPSILON: Final = 1e-8", "EPSILON: Final = 1e-7", ("pretrain sdiet",)),
        ("optim", "TRUST = 1e-3", "TRUST = 1e-2", ("pretrain", "readout adam")),
        ("embed", "CHUNK = 500", "CHUNK = 400", ("embed",)),
        ("config", '"diet_i": (10.0', '"diet_i": (11.0', ("pretrain",)),
        ("nets", "outputs, 3, stride, 1, bias=False", "outputs, 3, stride, 1", ("pretrain", "embed narrow_resnet")),
        ("nets", "net = get_model(encoder.name, weights=None)", "net = None", ("embed resnet18",)),
        ("catalogue", "train=8_010", "train=8_011", ("subset dermamnist",)),
        ("catalogue", '"1edea4bd', '"0edea4bd', ("subset mnist5k",)),
        ("catalogue", "Network(512, 1.814, ", "Network(512, 1.815, ", ()),
        ("config", "every = cell.checkpoint_every or cell.epochs", "every = cell.epochs", ("pretrain",)),
        ("readout", "warm_start=True", "warm_start=False", ("readout logistic",)),
        ("datasets/__init__", "reader = datasets.CIFAR10 if", "reader = None if", ("subset cifar",)),
        ("datasets/__init__", "def _generator(seed: int", "def _generator(seed: float", ("subset",)),
        ("datasets/walking", "SYSTEM = frozenset(", "SYSTEM = frozenset() or frozenset(", ("subset folder",)),
        (
            "datasets/pictures",
            "def decode(content: bytes, side",
            "def decode(content: bytes, size",
            ("subset folder", *(f"subset {name}" for name in FILES)),
        ),
    ],
)
def test_an_edit_changes_what_uses_it_and_nothing_else(before, module, old, new, those, source):
    assert changed(before, (source / f"{module}.py", old, new)) & set(STAGES) == starting(*those)


def test_an_edit_of_what_losses_share_changes_those_that_share_it(before, source):
    edit_of_gram = source / "losses/gram.py", "return x @ x.mT", "return x @ x.mT + 0"
    both = starting("pretrain barlow", "pretrain vicreg", "pretrain spectral")
    found = changed(before, edit_of_gram)
    assert both <= found <= starting("pretrain")
    for name, method in METHODS.items():
        uses = ("losses.gram", "gram") in provenance.definitions(
            "pretrain", chosen=frozenset({type(method).__name__, "narrow_resnet"})
        )
        assert uses == (f"pretrain {name}" in found)


def test_a_new_reader_packs_no_other_data_set_again(before, source):
    path = source / "datasets/__init__.py"
    edits = (
        (path, '        case "cifar10"', '        case "svhn":\n            return _svhn(raw)\n        case "cifar10"'),
        (path, "def _digest(", "def _svhn(raw: Path) -> Raw:\n    return Raw()\n\n\ndef _digest("),
        (source / "catalogue.py", "STL10 = ", "SVHN = CIFAR10._replace(train=73_257, test=26_032)\nSTL10 = "),
        (source / "catalogue.py", '    "stl10": STL10,', '    "stl10": STL10,\n    "svhn": SVHN,'),
    )
    assert "svhn" not in provenance.CHOICES
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "CHOICES", provenance.CHOICES | {"svhn"})
        assert changed(before, *edits) == set()


def test_an_edit_of_a_reader_packs_its_own_data_set_alone(before, source):
    found = changed(before, (source / "datasets/__init__.py", 'or "labelled", raw, side)', 'or "all", raw, side)'))
    assert found & set(STAGES) == {"subset stl10"}


def test_a_new_encoder_retrains_nothing(before, source):
    path = source / "nets.py"
    edits = (
        (path, '        case "densenet121":\n', '        case "vgg11":\n            return vgg()\n        case "densenet121":\n'),
        (path, 'case "swin_t" |', 'case "vgg13" | "swin_t" |'),
        (path, "def _without(", "def vgg() -> nn.Module:\n    return nn.Identity()\n\n\ndef _without("),
        (source / "catalogue.py", '    "alexnet": ', '    "vgg11": Network(512, 7.6, 128.8),\n    "vgg13": Network(512, 11.3, 129.0),\n    "alexnet": '),
        (source / "config.py", '"vit_b_16", "alexnet",', '"vit_b_16", "alexnet", "vgg11", "vgg13",'),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "CHOICES", provenance.CHOICES | {"vgg11", "vgg13"})
        assert changed(before, *edits) == set()


def test_a_new_loss_retrains_nothing(before, source):
    path = source / "losses/__init__.py"
    case = "        case Mine():\n            from entia.losses.mine import mine\n\n            loss = partial(mine)\n"
    edits = (
        (path, "    match config:\n", f"    match config:\n{case}"),
        (path, "    MultiView,\n", "    Mine,\n    MultiView,\n"),
        (source / "methods.py", "MultiView = BarlowTwins |", "MultiView = BarlowTwins | Mine |"),
    )
    (source / "losses/mine.py").write_text("def mine(z):\n    return {}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "CHOICES", provenance.CHOICES | {"Mine"})
        assert changed(before, *edits) == set()


# --- nothing that runs is missed ----------------------------------------------------------------------------------


def executed(run) -> set[provenance.Place]:
    """The definitions of ours whose code runs in `run`, backward passes included; the module's own top is none."""
    seen, before = set(), sys.gettrace()

    def note(frame, event, _):
        if event == "call" and frame.f_code.co_flags & inspect.CO_OPTIMIZED:  # else the body of a module or class
            seen.add((frame.f_code.co_filename, frame.f_code.co_qualname.split(".")[0]))

    sys.settrace(note)
    try:
        run()
    finally:
        sys.settrace(before)
    ours = {(Path(file), name) for file, name in seen if Path(file).is_relative_to(provenance.HERE) and name[0] != "<"}
    found = set()
    for path, name in ours:
        module = ".".join(path.relative_to(provenance.HERE).with_suffix("").parts).removesuffix(".__init__")
        if not provenance.is_beside(module, name):
            found.add((module, name))
    return found


def covered(stage: str, of: Stage) -> set[provenance.Place]:
    return provenance.definitions(*provenance.ENTRIES[stage], chosen=provenance._held(of))


def images(count: int = 32, side: int = 8, channels: int = 3) -> feeding.Data:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, channels, side, side), generator=generator, dtype=torch.uint8)
    return feeding.Data(pixels, torch.arange(count), torch.arange(count) % 4)


def trained(of: Pretrain) -> dict[str, torch.Tensor]:
    *_, last = pretrain.pretrain(of, images(), None, 0, images())
    assert config.kept(of) == [1]
    assert last.state() and last.size
    return last.weights()


ALL_VIEWS = config.Augmentation(blur=0.5, solarise=0.5, erase=0.5, size=8, mean=(127.5,), std=(127.5,))
CELLS = {
    **{f"{name}": small(method=method, augmentation=ALL_VIEWS) for name, method in METHODS.items()},
    "as run": small(method=BarlowTwins(weight=0.1, form="as_run", l2_normalise=True, standardise="joint"), views=4),
    "wide": small(method=BarlowTwins(weight=0.1), projector=Projector(width=256), online_probe=True),
    "wide vicreg": small(method=VICReg(form="leave_one_out"), projector=Projector(width=64), views=3),
    "simclr left out": small(method=SimCLR(form="leave_one_out"), views=3),
    "lars": small(method=SimCLR(), optimizer=Optimizer(name="lars", lr=0.01, schedule="cosine")),
    "diet's course": small(method=Diet(bias=True), optimizer=Optimizer(name="sgd"), projector=Projector(depth=0)),
    "offloaded": small(method=SDiet(offload=True, normalise=True)),
    "resnet18": small(method=SimCLR(), encoder=Encoder(name="resnet18"), batch_norm="per_view", batch=32),
}


@pytest.mark.parametrize("of", CELLS)
def test_all_that_pretraining_runs_is_fingerprinted(of):
    found = executed(lambda: trained(CELLS[of]))
    assert {("pretrain", "_Run"), ("views", "augment"), ("nets", "build"), ("losses", "objective")} <= found
    assert found - covered("pretrain", CELLS[of]) == set()


@pytest.mark.parametrize("views", [1, 3])
def test_all_that_an_embedding_runs_is_fingerprinted(views):
    of = Embed(pretrain=small(method=SimCLR()), on=MNIST, views=views)
    weights, data = trained(of.pretrain), images()
    found = executed(lambda: embed.embed(of, weights, data.pixels, data.index))
    assert {("embed", "embed"), ("nets", "build"), ("views", "clean")} <= found
    assert found - covered("embed", of) == set()


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("width", [3, 60])
def test_all_that_a_readout_runs_is_fingerprinted(probe, width):
    of = Readout(embed=Embed(pretrain=small(), on=MNIST), probe=PROBES[probe])
    generator = torch.Generator().manual_seed(0)
    parts = [
        readout.Features(torch.randn(40, width, generator=generator).numpy(), torch.arange(40).numpy() % 7)
        for _ in range(3)
    ]

    def run() -> None:
        readout.read_many(of.probe, [tuple(parts)], 7)
        spectrum.summary(parts[2].features)

    found = executed(run)
    assert {("readout", "read_many"), ("spectrum", "summary")} <= found
    assert found - covered("readout", of) == set()


@pytest.mark.parametrize("dataset", ["mnist5k", "optdigits"])
def test_all_that_packing_runs_is_fingerprinted(dataset):
    of = Subset(dataset=dataset, limit=100, fraction=0.5, side=7)
    found = executed(lambda: datasets.pack(of, datasets.read(dataset, Path("nowhere"), of.side)))
    assert {("datasets", "read"), ("datasets", "pack"), ("datasets", "order")} <= found
    assert found - covered("subset", of) == set()


def test_the_entries_of_a_stage_are_what_the_command_uses():
    modules = {entry.split(".")[0] for entries in provenance.ENTRIES.values() for entry in entries}
    stages = {
        "subset": ("_pack",),
        "pretrain": ("_train", "_images", "_measured"),
        "embed": ("embed", "_measured"),
        "readout": ("readout", "_features"),
    }
    for stage, functions in stages.items():
        nodes = [node for name in functions for part in provenance._top("stages")[name] for node in ast.walk(part)]
        used = {(module, name) for module, name in provenance._named("stages", nodes) if module in modules and name}
        found = {f"{module}.{name}" for module, name in used if not provenance.is_beside(module, name)}
        assert found == {*provenance.ENTRIES[stage]}


def test_no_module_looks_names_up_by_text_or_imports_relatively():
    for path in provenance.HERE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not isinstance(node, ast.Name) or node.id not in ("globals", "eval", "exec", "__import__"), path
            assert not isinstance(node, ast.ImportFrom) or node.level == 0, path


def test_every_module_belongs_to_a_stage_or_is_named_beside_them():
    reports = ("reports.draw", "reports.page", "claims", "results")
    entries = (*reports, *(entry for entries in provenance.ENTRIES.values() for entry in entries))
    modules = {
        ".".join(path.relative_to(provenance.HERE).with_suffix("").parts) for path in provenance.HERE.rglob("*.py")
    }
    modules = {module.removesuffix(".__init__") for module in modules} - {"__init__"}
    left = modules - {module for module, _ in provenance.definitions(*entries)}
    assert [module for module in left if not provenance.is_beside(module, "")] == []


DRAWERS = {
    ("width_table",): ("tables", 'final[final["arm"] == "fixed"]', "final"),
    ("pareto",): ("views", "s=14 + 40", "s=15 + 40"),
    ("convergence", "sample_efficiency", "spectra"): ("views", 'sd=("y", "std")', 'sd=("y", "var")'),
    ("diet_rank",): ("diet_figures", "alpha=0.35", "alpha=0.4"),
    ("diet_accuracy", "diet_cost"): ("diet_tables", '("best", "std")', '("best", "var")'),
    tuple(drawings.TABLES): ("rendering", "abs(value) >= 1000", "abs(value) >= 100"),
    tuple(drawings.FIGURES): ("plots", "dpi=150", "dpi=100"),
}


@pytest.mark.parametrize(("kinds", "edited"), DRAWERS.items(), ids=[" ".join(kinds[:3]) for kinds in DRAWERS])
def test_an_edit_of_one_drawing_draws_again_what_it_draws_and_nothing_else(kinds, edited, source):
    reports = [Report(title="t", table=name) for name in drawings.TABLES]
    reports += [Report(title="t", figure=name) for name in drawings.FIGURES]
    before = {report.kind: provenance.drawing_code(report) for report in reports}
    module, *change = edited
    edit(source / f"reports/{module}.py", *change)
    assert {report.kind for report in reports if before[report.kind] != provenance.drawing_code(report)} == {*kinds}


@pytest.mark.parametrize(
    "names",
    [
        (
            "Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz",
            "Intel(R) Xeon(R) Gold 6248  @ 2.50GHz, 2 cores",
            "Intel Xeon Gold 6248 @ 2.50GHz",
        ),
        ("AMD EPYC, 64 cores, no GPU", "AMD EPYC, 2 cores, no GPU", "AMD EPYC, no GPU"),
        ("NVIDIA A100-SXM4-80GB", "A100-SXM4-80GB"),
    ],
)
def test_names_of_one_model_are_one_machine(names):
    assert {provenance.model(name) for name in names} == {names[-1]}


def test_a_machine_is_named_without_its_cores_and_a_host_with_those_it_may_use(monkeypatch):
    monkeypatch.setattr(provenance.os, "sched_getaffinity", lambda _: {3})
    few, one = provenance.host(), provenance.machine()
    monkeypatch.setattr(provenance.os, "sched_getaffinity", lambda _: set(range(64)))
    assert few == f"{one}, 1 cores" and provenance.host() == f"{one}, 64 cores" and provenance.machine() == one


# --- what artefacts record ------------------------------------------------------------------------------------------


def test_a_record_names_the_definitions_that_an_edit_changes_adds_and_removes(source):
    of = STAGES["pretrain barlow_twins"]
    before = provenance.stage_definitions("pretrain", of)
    edit(source / "losses/redundancy.py", "    x = _standardise(", "    x = _scaled(")
    edit(source / "losses/redundancy.py", "def _standardise(", "def _scaled(")
    changed, new, gone = provenance.changes(before, provenance.stage_definitions("pretrain", of))
    assert "losses.redundancy.barlow_twins" in changed
    assert (new, gone) == (["losses.redundancy._scaled"], ["losses.redundancy._standardise"])


@pytest.mark.parametrize("name", STAGES)
def test_a_record_covers_what_the_fingerprint_covers_and_is_small(name):
    stage, of = name.split()[0], STAGES[name]
    record = provenance.stage_definitions(stage, of)
    named = {tuple(place.rsplit(".", 1)) for place in provenance.changes({}, record)[1]}
    assert {(module, "" if part == "import" else part) for module, part in named} == covered(stage, of)
    assert len(str(record)) < 8000


# --- a new field ----------------------------------------------------------------------------------------------------

ASKED = """
import json, sys
from pathlib import Path
from entia import plan
from entia.artefacts import current, provenance

planned = plan.load(sys.argv[1], "laptop")
codes = {
    name: provenance.stage_code(stage, of)
    for stage in ("subset", "pretrain", "embed", "readout")
    for name, of in planned.of(stage).items()
}
readout = next(iter(planned.readouts.values()))
chain = (readout.embed.pretrain.subset, readout.embed.pretrain, readout.embed, readout)
print(json.dumps([codes, [current.is_current(Path(sys.argv[2]), of) for of in chain]]))
"""


def add_a_field(path: Path) -> int:
    """Gives every struct of a module one field more, at a default; says how many."""
    lines = path.read_text().splitlines()
    structs = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
    for struct in reversed(structs):
        if any(isinstance(base, ast.Name) and base.id == "Config" for base in struct.bases):
            after = max(getattr(node, "end_lineno", 0) for node in struct.body if not isinstance(node, ast.FunctionDef))
            lines.insert(after, "    added_later: float = 0.5")
    path.write_text("\n".join(lines) + "\n")
    return lines.count("    added_later: float = 0.5")


def test_a_field_added_with_its_default_renames_nothing_and_retrains_nothing(tmp_path):
    planned = plan.load(ROOT / "params.yaml", "laptop")
    made(tmp_path / "data", next(iter(planned.readouts.values())))
    shutil.copytree(provenance.HERE, tmp_path / "src/entia", ignore=shutil.ignore_patterns("__pycache__"))

    def asked(source: Path) -> list:
        command = [sys.executable, "-P", "-c", ASKED, str(ROOT / "params.yaml"), str(tmp_path / "data")]
        return json.loads(subprocess.check_output(command, env={**os.environ, "PYTHONPATH": str(source)}))

    codes, current = asked(ROOT / "src")
    assert len(codes) > 100 and current == [True] * 4
    assert sum(add_a_field(tmp_path / f"src/entia/{module}.py") for module in provenance.KEYED) > 20
    assert asked(tmp_path / "src") == [codes, current]


def made(data: Path, readout: Readout) -> None:
    """A readout and all that it was made from, as by today's code, with nothing in them."""
    run = readout.embed.pretrain
    for of in dict.fromkeys((run.subset, readout.embed.on)):
        store.write_hdf5(store.path(data, of), {}, stages.header("subset", of, raw_sha256="0", content="a"))
    head = stages.header("pretrain", run, raw_sha256="0", content="b", parents="a")
    store.write_tensors(store.path(data, run), {}, head)
    store.write_log(store.log_path(data, run), [{"epoch": 1}])
    head = stages.header("embed", readout.embed, raw_sha256="0", content="c", parents="b a")
    store.write_hdf5(store.path(data, readout.embed), {}, head)
    store.write_json(store.path(data, readout), {}, stages.header("readout", readout, raw_sha256="0", parents="c"))
