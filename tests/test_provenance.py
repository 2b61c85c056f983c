import ast

import pytest
from test_config import cell

from entia import provenance
from entia.config import (
    BYOL,
    BarlowTwins,
    Diet,
    MoCo,
    SDiet,
    SimCLR,
    SpectralContrastive,
    Supervised,
    VICReg,
)


def plain(text: str, *chosen: str) -> str:
    return provenance._read(ast.parse(text), frozenset(chosen))[0]


def test_comments_docstrings_and_formatting_do_not_count():
    assert plain('"""One."""\ndef f(x):\n    """Two."""\n    return x + 1  # three\n') == plain(
        "def f(x):\n  return (x+1)"
    )


@pytest.mark.parametrize("other", ["def f(x): return x + 2", "def f(y): return y + 1", "def f(x=0): return x + 1"])
def test_code_does_count(other):
    assert plain("def f(x): return x + 1") != plain(other)


CHOICE = """
def build(method):
    match method:
        case One():
            from entia.losses.one import loss
            return loss
        case Two():
            from entia.losses.two import loss
            return loss(2)
        case _:
            return other(method)
"""


def test_of_a_choice_by_class_the_chosen_case_counts_alone():
    assert plain(CHOICE, "One") == plain(CHOICE.replace("loss(2)", "loss(3)"), "One")
    assert plain(CHOICE, "One") == plain(
        CHOICE.replace("case Two()", "case New():\n            new()\n        case Two()"), "One"
    )
    assert plain(CHOICE, "Two") != plain(CHOICE.replace("loss(2)", "loss(3)"), "Two")
    assert plain(CHOICE, "One") != plain(CHOICE.replace("other(", "another("), "One")
    assert provenance._read(ast.parse(CHOICE), frozenset({"One"}))[1] == ("losses.one",)


METHODS = {
    "redundancy": (BarlowTwins(weight=0.1), VICReg()),
    "contrastive": (SimCLR(), SpectralContrastive(weight=0.1)),
    "instance": (Diet(), SDiet(), Supervised()),
    "momentum": (BYOL(), MoCo()),
}


def closure(method) -> set[str]:
    return provenance._closure(("pretrain",), frozenset({type(method).__name__}))


@pytest.mark.parametrize("family", METHODS)
def test_a_cell_is_fixed_by_what_it_imports_and_by_its_own_loss_alone(family):
    for method in METHODS[family]:
        used = closure(method)
        assert {"pretrain", "views", "nets", "optim", "losses", f"losses.{family}"} <= used
        others = {f"losses.{other}" for other in METHODS} - {f"losses.{family}"}
        assert not used & {*others, "readout", "tables", "figures", "embed", "config", "cli"}


def test_an_edit_of_a_module_changes_the_stages_that_use_it_alone(monkeypatch):
    stages = {
        "twins": (cell(),),
        "diet": (cell(method=Diet()),),
        "readout": ("readout",),
        "figures": ("figures",),
    }

    def codes():
        return {
            name: provenance.stage_code("pretrain", of) if not isinstance(of, str) else provenance.fingerprint(of)
            for name, (of,) in stages.items()
        }

    before, tree = codes(), provenance._tree

    def edited(module, chosen):
        found = tree(module, chosen)
        return ("edited", found[1]) if module == "losses.redundancy" else found

    monkeypatch.setattr(provenance, "_tree", edited)
    after = codes()
    assert {name for name in stages if before[name] != after[name]} == {"twins"}


def test_every_module_belongs_to_a_stage_or_is_named_beside_them():
    stages = ("datasets", "pretrain", "embed", "readout", "tables", "figures", "diet", "claims", "page", "results")
    folder = provenance.HERE
    modules = {".".join(path.relative_to(folder).with_suffix("").parts) for path in folder.rglob("*.py")}
    modules = {module.removesuffix(".__init__") for module in modules} - {"__init__"}
    used = provenance._closure(stages, frozenset())
    assert modules - used - set(provenance.BESIDE) == set()
