import ast
from typing import get_args

import msgspec
import pytest
from test_config import cell

from entia import provenance
from entia.config import Method, Optimizer


def plain(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            node.body = [part for part in node.body if not provenance._is_text(part)]
    return repr(provenance._plain(tree))


def test_comments_docstrings_and_formatting_do_not_count():
    assert plain('"""One."""\ndef f(x):\n    """Two."""\n    return x + 1  # three\n') == plain(
        "def f(x):\n  return (x+1)"
    )


@pytest.mark.parametrize("other", ["def f(x): return x + 2", "def f(y): return y + 1", "def f(x=0): return x + 1"])
def test_code_does_count(other):
    assert plain("def f(x): return x + 1") != plain(other)


def test_a_stage_is_fixed_by_what_it_imports_and_by_its_own_loss_alone():
    twins = provenance._closure(("pretrain", "losses.redundancy"))
    assert {"pretrain", "views", "nets", "losses", "losses.redundancy"} <= twins
    assert not {"losses.contrastive", "readout", "tables", "figures", "embed", "config", "cli"} & twins


def test_an_edit_of_a_module_changes_the_stages_that_use_it_alone(monkeypatch):
    stages = {"pretrain": ("pretrain", "losses.redundancy"), "readout": ("readout",), "figures": ("figures",)}
    before = {stage: provenance.fingerprint(*modules) for stage, modules in stages.items()}
    tree = provenance._tree

    def edited(module):
        found = tree(module)
        return ("edited", found[1]) if module == "losses.redundancy" else found

    monkeypatch.setattr(provenance, "_tree", edited)
    after = {stage: provenance.fingerprint(*modules) for stage, modules in stages.items()}
    assert {stage for stage in stages if before[stage] != after[stage]} == {"pretrain"}


@pytest.mark.parametrize("tag", [struct.__struct_config__.tag for struct in get_args(Method)])
def test_a_method_is_fixed_by_its_own_family(tag):
    weight = {"weight": 1.0} if tag in ("barlow_twins", "spectral_contrastive") else {}
    method, optimizer = msgspec.convert({"name": tag, **weight}, Method), Optimizer(name="adamw")
    found = provenance.stage_modules("pretrain", cell(method=method, optimizer=optimizer))
    families = {module for module in provenance._closure(found) if module.startswith("losses.")}
    expected = {
        "barlow_twins": {"redundancy"}, "vicreg": {"redundancy"}, "simclr": {"contrastive", "redundancy"},
        "spectral_contrastive": {"contrastive", "redundancy"}, "diet": {"instance"}, "sdiet": {"instance"},
        "supervised": {"instance"}, "byol": {"momentum"}, "moco": {"momentum"},
    }  # fmt: skip
    assert families == {f"losses.{name}" for name in expected[tag]}


def test_every_module_belongs_to_a_stage_or_is_named_beside_them():
    stages = (
        "datasets",
        "pretrain",
        "embed",
        "readout",
        "tables",
        "figures",
        "claims",
        "page",
        "losses.redundancy",
        "losses.contrastive",
        "losses.instance",
        "losses.momentum",
    )
    folder = provenance.HERE
    modules = {".".join(path.relative_to(folder).with_suffix("").parts) for path in folder.rglob("*.py")}
    modules = {module.removesuffix(".__init__") for module in modules} - {"__init__"}
    used = provenance._closure(stages)
    assert modules - used - set(provenance.BESIDE) == set()
