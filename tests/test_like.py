"""`like: NAME`: what is written once and meant in several places is as if written out in each."""

import copy
import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from test_config import trained
from test_layering import RAW, blocks, planned, written

from entia import plan
from entia.fields import Problem
from entia.planning import reading


def of(experiments: object, folder: Path, named: object = None, **changed: object) -> plan.Plan:
    """The plan of some experiments and named blocks, on the tests' own layers; every experiment is drawn."""
    raw = copy.deepcopy(RAW) | changed
    raw["scales"]["laptop"] |= {"experiments": experiments} | ({} if named is None else {"blocks": named})
    raw["reports"] = {"X": {"title": "x", "table": "accounting", "experiments": [*experiments]}}
    return planned(raw, folder)


def runs(found: plan.Plan, experiment: str) -> list[tuple[str, str]]:
    return [(row.arm, row.readout) for row in found.experiments[experiment]]


def outcome(block: object, folder: Path, named: object = None) -> object:
    """What one block stands for, or None where it is refused."""
    try:
        return set(of({"one": block}, folder, named).readouts)
    except Problem:
        return None


def refused(experiments: object, folder: Path, named: object = None, **changed: object) -> list[str]:
    with pytest.raises(Problem) as found:
        of(experiments, folder, named, **changed)
    return str(found.value).splitlines()


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("like", ["gone", ["twins", "gone"]])
def test_a_block_that_is_like_one_that_is_left_out_is_refused(like, named, tmp_path):
    twins, gone = RAW["scales"]["laptop"]["experiments"]["twins"], {"gone": []}
    experiments = {"twins": twins, "again": [{"like": like}]} | ({} if named else gone)
    (line,) = refused(experiments, tmp_path, gone if named else None)
    assert re.search(
        r"line \d+: experiments.again\[0\].like: gone: is \[\], .*so nothing would be run; give gone", line
    )
    assert of({"twins": twins, **gone}, tmp_path).experiments["gone"] == ()


# --- blocks --------------------------------------------------------------------------------------------------------


def written_out(under: dict[str, object], over: dict[str, object]) -> dict[str, object]:
    """What a block by dotted paths means that is like another. ValueError where it parts a pair."""
    fields = {*over, *over.get("paired", {})} - {"paired", "recipe"}
    parts = tuple(path.removesuffix("name") for path in fields if path.endswith(".name"))
    anew = {path for path in {*under, *under.get("paired", {})} if path in fields or path.startswith(parts)}
    pair = over.get("paired", {path: under["paired"][path] for path in under.get("paired", {}) if path not in anew})
    if "paired" not in over and pair and len(pair) < len(under["paired"]):
        raise ValueError
    kept = {path: value for path, value in under.items() if path not in anew and path != "paired"}
    return kept | over | {"paired": pair}


@settings(max_examples=60, deadline=None)
@given(under=blocks(), over=blocks())
def test_a_block_that_is_like_another_is_that_block_with_its_own_fields_written_over(under, over, tmp_path_factory):
    folder = tmp_path_factory.mktemp("like")
    over.pop("subset.side")  # so that not all is given anew
    try:
        expected = outcome(written_out(under, over), folder)
    except ValueError:
        expected = None
    assert outcome(over | {"like": "other"}, folder, {"other": under}) == expected


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_what_is_like_another_means_the_same_dotted_or_nested(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    under, over = data.draw(blocks()), data.draw(blocks())
    nested = data.draw(written(under)), data.draw(written(over))
    assert outcome(over | {"like": "other"}, folder, {"other": under}) == outcome(
        nested[1] | {"like": "other"}, folder, {"other": nested[0]}
    )


@settings(max_examples=30, deadline=None)
@given(first=blocks(), second=blocks(), own=blocks())
def test_a_list_of_names_is_a_chain_of_them(first, second, own, tmp_path_factory):
    folder = tmp_path_factory.mktemp("chain")
    listed = outcome(own | {"like": ["first", "second"]}, folder, {"first": first, "second": second})
    chained = outcome(own | {"like": "second"}, folder, {"first": first, "second": second | {"like": "first"}})
    assert listed == chained or None in (listed, chained)  # a chain is refused where its middle alone is wrong


@pytest.mark.parametrize("like", ["twins", ["twins"]])
@pytest.mark.parametrize("listed", [False, True])
def test_an_experiment_that_is_like_another_alone_draws_the_same_rows(like, listed, tmp_path):
    twins = RAW["scales"]["laptop"]["experiments"]["twins"]
    again = {"like": like}
    found = of({"again": [again] if listed else again, "twins": twins}, tmp_path)
    assert runs(found, "again") == runs(found, "twins") != []


def test_a_block_that_is_like_a_list_stands_for_each_block_of_it(tmp_path):
    two = [{"arm": "a", "seed": [0, 1]}, {"arm": "b", "views": 4}]
    found = of({"one": {"like": "two", "epochs": 2}, "two": two}, tmp_path)
    out = of({"one": [block | {"epochs": 2} for block in two], "two": two}, tmp_path)
    assert runs(found, "one") == runs(out, "one") and len(runs(found, "one")) == 3


def test_rows_come_in_the_order_of_the_fields_below_then_of_the_blocks_own(tmp_path):
    under = {"seed": [0, 1], "projector.width": [8, 16], "method.weight": 0.1}
    found = of({"one": {"like": "under", "epochs": [2, 3], "projector.width": [4, 8]}}, tmp_path, {"under": under})
    out = of({"one": {"seed": [0, 1], "projector.width": [4, 8], "method.weight": 0.1, "epochs": [2, 3]}}, tmp_path)
    assert runs(found, "one") == runs(out, "one") and len(runs(found, "one")) == 8


def test_a_part_that_gives_its_name_is_given_whole(tmp_path):
    under = {"optimizer": {"name": "adamw", "lr": 0.1, "weight_decay": 0.5}, "method.weight": 0.1}
    own = {"like": "under", "optimizer.lr": 0.2}
    (cell,) = trained(of({"one": own}, tmp_path, {"under": under}))
    assert (cell.optimizer.name, cell.optimizer.lr, cell.optimizer.weight_decay) == ("adamw", 0.2, 0.5)
    own = {"like": "under", "optimizer": {"name": "adamw"}, "method": {"name": "vicreg"}}
    assert outcome(own, tmp_path, {"under": under}) == outcome(
        {"optimizer.name": "adamw", "method.name": "vicreg"}, tmp_path
    )


def test_an_arm_and_a_recipe_hold_until_given_anew(tmp_path):
    named = {"under": {"arm": "a", "recipe": "as_run"}, "over": {"like": "under", "arm": "b"}}
    found = of({"one": [{"like": "over"}, {"like": "over", "arm": "c", "recipe": "clean"}]}, tmp_path, named)
    shown = [(row.arm, found.readouts[row.readout].embed.pretrain.drop_last) for row in found.experiments["one"]]
    assert shown == [("b", False), ("c", True)]


def test_a_named_block_is_not_run_by_itself_and_its_mistakes_are_named_once_where_they_stand(tmp_path):
    named = {"under": {"seed": 5}}
    assert 5 not in {cell.seed for cell in trained(of({"one": {"seed": 1}}, tmp_path, named))}
    users = {name: [{"like": "under"}, {"like": "under", "views": 4}] for name in "ab"}
    assert refused(users, tmp_path, {"under": {"sede": [5, 6]}}) == [
        "params.yaml: blocks.under.sede: unknown; did you mean seed?"
    ]
    assert refused(users, tmp_path, {"under": {"views": 0}}) == [
        "params.yaml: blocks.under.views: 0 is not a positive whole number"
    ]


MISTAKES = {
    "a name that nothing has": ({"like": "othr"}, "line N: experiments.one.like: othr: unknown; did you mean other?"),
    "an experiment of another scale": (
        {"like": "sweep"}, "line N: experiments.one.like: sweep: unknown; known: pair, choice, many, other, one",
    ),
    "itself": ({"like": "one"}, "line N: experiments.one.like: one: is like itself (one → one); write out"),
    "one of two that give fields together": (
        {"like": "pair", "views": 2},
        "experiments.one: gives views, which blocks.pair.paired.views[0] gives together with method.weight; give all",
    ),
    "a part of a choice": (
        {"like": "choice", "method.invariance": 2},
        "experiments.one: gives method.invariance, which blocks.choice.method[0].name gives together with method.name;",
    ),
    "more blocks than anyone can mean": (
        [{"like": ["many", "many"]}], "experiments.one[0]: stands for more than 1,000 blocks; shorten what it is like",
    ),
    "a field of another kind": (
        {"like": "choice", "method": {"name": "simclr"}, "method.weight": 1},
        "experiments.one.method.weight: unknown; known: ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_what_cannot_be_like_another_is_one_line_with_its_place(case, tmp_path):
    block, message = MISTAKES[case]
    named = {
        "pair": {"paired": {"views": [2, 4], "method.weight": [0.1, 0.2]}},
        "choice": {"method": [{"name": "vicreg", "invariance": 1}, {"name": "simclr"}]},
        "many": [{"seed": seed} for seed in range(40)],
        "other": {},
    }
    (found,) = refused({"one": block}, tmp_path, named)
    assert re.sub(r"line \d+", "line N", found).startswith(f"params.yaml: {message}")
    if "like: " in found and found.startswith("params.yaml: line"):
        line = (tmp_path / "params.yaml").read_text().splitlines()[int(found.split()[2].rstrip(":")) - 1]
        assert "like: " in line


def test_a_circle_is_told_once_and_whole(tmp_path):
    named = {"a": {"like": "b"}, "b": {"like": "c"}, "c": {"like": "a"}}
    (found,) = refused({"one": {"like": "b"}}, tmp_path, named)
    assert "blocks.c.like: a: is like itself (a → b → c → a); write out the fields of one of them" in found


def test_a_chain_longer_than_anyone_can_follow_is_refused(tmp_path):
    named = {f"b{n}": {"like": f"b{n + 1}"} for n in range(2000)} | {"b2000": {}}
    assert "more than 50 names, each like the next" in refused({"one": {"like": "b0"}}, tmp_path, named)[0]


def test_blocks_that_double_with_each_name_are_refused_at_once(tmp_path):
    named = {f"b{n}": [{"like": f"b{n + 1}"}, {"like": f"b{n + 1}"}] for n in range(40)} | {"b40": {}}
    assert "stands for more than 1,000 blocks" in refused({"one": {"like": "b0"}}, tmp_path, named)[0]


def test_a_block_and_an_experiment_have_different_names(tmp_path):
    assert refused({"one": {}}, tmp_path, {"one": {}}) == [
        "params.yaml: blocks.one: an experiment has this name too; rename one"
    ]


@pytest.mark.parametrize("value", ["5", "{a: 1}", "[]", "[[a]]", "", "[a, 5]", "null"])
def test_like_takes_a_name_or_a_list_of_names_and_nothing_else(value, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(f"a: 1\nb:\n  like: {value}\n")
    with pytest.raises(Problem) as found:
        reading.read(path)
    assert str(found.value) == "params.yaml, line 3, column 3: like: takes a name, or a list of names"


# --- layers --------------------------------------------------------------------------------------------------------


def test_a_data_set_that_is_like_another_is_that_data_set_with_its_own_fields_written_over(tmp_path):
    part = RAW["datasets"]["mnist5k"]["augmentation"]
    block = {"one": {"subset.dataset": "optdigits"}}
    like = RAW["datasets"] | {"optdigits": {"like": "mnist5k", "augmentation.flip": 0.5, "augmentation": {"size": 8}}}
    out = RAW["datasets"] | {"optdigits": {"augmentation": part | {"flip": 0.5, "size": 8}}}
    assert of(block, tmp_path, datasets=like).readouts == of(block, tmp_path, datasets=out).readouts


def test_a_recipe_and_a_part_of_one_can_be_like_what_stands_beside_them(tmp_path):
    block = {"one": [{"recipe": "own", "method.name": name} for name in ("diet", "sdiet", "vicreg", "simclr")]}
    base = {"any": {"drop_last": False}, "diet": {"views": 1, "optimizer": {"name": "adamw", "schedule": "diet_i"}}}
    like = {
        "base": base | {"sdiet": {"like": "diet"}},
        "own": {
            "like": "base",
            "diet": {"optimizer.schedule": "step"},
            "sdiet": {"like": "diet"},
            "simclr": {"like": ["vicreg", "diet"], "views": 2},
            "vicreg": {"batch_norm": "per_view"},
        },
    }
    own = {"views": 1, "optimizer": {"name": "adamw", "schedule": "step"}}
    out = {
        "own": base
        | {
            "diet": own,
            "sdiet": own,
            "vicreg": {"batch_norm": "per_view"},
            "simclr": own | {"views": 2, "batch_norm": "per_view"},
        }
    }
    assert of(block, tmp_path, recipes=like).readouts == of(block, tmp_path, recipes=out).readouts


@pytest.mark.parametrize(
    ("section", "parts", "message"),
    [
        ("datasets", {"cifar100": {"like": "cifra10"}}, "datasets.cifar100.like: cifra10: unknown; did you mean cifar10?"),
        ("datasets", {"cifar100": {"like": "cifar100"}}, "datasets.cifar100.like: cifar100: is like itself"),
        ("recipes", {"own": {"like": "as_rnu"}}, "recipes.own.like: as_rnu: unknown; did you mean as_run?"),
        ("recipes", {"own": {"diet": {"like": "sdeit"}, "sdiet": {}}}, "recipes.own.diet.like: sdeit: unknown; did you mean sdiet?"),
    ],
)  # fmt: skip
def test_a_part_that_cannot_be_like_another_is_one_line_with_its_place(section, parts, message, tmp_path):
    (found,) = refused({"one": {}}, tmp_path, **{section: RAW[section] | parts})
    assert re.match(rf"params.yaml: line \d+: {re.escape(message)}", found)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"method": {"like": "x"}}, "experiments.one.method.like: "),
        ({"paired": {"like": "x", "seed": [1]}}, "experiments.one.paired.like[0]: cannot go together with others"),
    ],
)
def test_nothing_else_is_like_another(block, message, tmp_path):
    assert all(line.startswith(f"params.yaml: {message}") for line in refused({"one": block}, tmp_path))
    assert (
        "params.yaml: defaults.like: unknown"
        in refused({"one": {}}, tmp_path, defaults=RAW["defaults"] | {"like": "x"})[0]
    )


def test_params_yaml_needs_no_anchors():
    tokens = yaml.scan((ROOT / "params.yaml").read_text())
    assert not [token for token in tokens if isinstance(token, yaml.AnchorToken | yaml.AliasToken)]


@pytest.mark.parametrize("scale", plan.SCALES)
def test_every_named_block_of_params_yaml_is_used(scale):
    text = (ROOT / "params.yaml").read_text()
    named = reading.read(ROOT / "params.yaml")["scales"][scale].get("blocks", {})
    assert not [name for name in named if not re.search(rf"like: (\[.*)?\b{name}\b", text)]
