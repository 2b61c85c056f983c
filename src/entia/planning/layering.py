"""Layers of settings → cells: which layers a cell has, in which order, and what an experiment's block stands for.

A layer is a mapping of mappings. In a file any field may also be written by its dotted path; `tree` and `axes` bring
both to one form before anything looks at a field, so that how a field is written cannot matter.
"""

import functools
import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import msgspec

from entia import catalogue, fields
from entia.config import Embed, Pretrain, Readout, is_files
from entia.fields import Config
from entia.planning import mistakes
from entia.planning.columns import leaves
from entia.probes import Probe

MOST = 20_000
"""Cells of one block: more take minutes to lay out, and are mostly a slip."""
APART = ("like", "arm", "recipe", "paired")
"""What a block says besides fields."""
Tree = dict[str, Any]


class EmbedOptions(Config, frozen=True):
    """What params.yaml says of embeddings; the encoder and the images follow from the cell."""

    views: fields.Count = 1
    epochs: Literal["last", "all"] = "last"
    dtype: Literal["float16", "float32"] = "float32"
    std: tuple[fields.Positive, ...] | None = None
    on: str | None = None
    """Another data set to embed and read out (transfer); None: the cell's own."""


class Cell(Pretrain, frozen=True, kw_only=True):
    """What params.yaml says of one cell: its pretraining, and how it is embedded and read out."""

    embed: EmbedOptions
    probe: Probe


class Mistake(Exception):
    """A mistake in a layer's or block's shape, with its place."""


class Leaf(NamedTuple):
    """A value that a block gives a field, and where."""

    value: Any
    place: str


Choice = dict[str, Leaf]
"""Values by the fields' dotted paths."""
Axis = list[Choice]


@dataclass(frozen=True)
class Layers:
    """All layers below an experiment's block, each a tree."""

    defaults: Tree
    scale: Tree
    datasets: Mapping[str, Tree]
    recipes: Mapping[str, Mapping[str, Tree]]


# --- one form for all ways of writing ----------------------------------------------------------------------------


def tree(part: Mapping[str, Any], place: str) -> Tree:
    """A layer with every dotted path opened into mappings. Raises `Mistake` where a field is given twice."""
    found: Tree = {}
    for path, value in part.items():
        inner = tree(value, f"{place}.{path}") if isinstance(value, dict) else value
        for name in reversed(path.split(".")):
            inner = {name: inner}
        found = _joined(found, inner, place)
    return found


def _joined(one: Tree, other: Tree, place: str) -> Tree:
    joined = dict(one)
    for name, value in other.items():
        below = joined.get(name)
        if isinstance(below, dict) and isinstance(value, dict):
            joined[name] = _joined(below, value, f"{place}.{name}")
        elif name in joined:
            raise Mistake(f"{place}.{name}: is given twice, by its dotted path and inside a mapping; give it once")
        else:
            joined[name] = value
    return joined


def axes(block: Mapping[str, Any], place: str) -> tuple[list[Axis], list[Axis]]:
    """The axis of `paired`, if there is one, and a block's own, fields by their dotted paths.

    Raises `Mistake` where they make no sense.
    """
    own = {path: value for path, value in block.items() if path not in APART}
    paired = block.get("paired", {})
    if not isinstance(paired, dict):
        raise Mistake(f"{place}.paired: {mistakes.shown(paired)} is not a mapping of fields to lists that go together")
    together, apart = _paired(paired, f"{place}.paired"), _axes(own, "", place)
    for path in _twice([*together, *apart]) or _inside(sorted(given([*together, *apart]))):
        raise Mistake(f"{place}.{path}: is given twice; give it once")
    return together, apart


def given(found: list[Axis]) -> set[str]:
    """The fields that axes give."""
    return {path for axis in found for choice in axis for path in choice}


def product(found: list[Axis], place: str) -> Iterator[Choice]:
    """Every combination of one choice from each axis."""
    count = math.prod(map(len, found))
    if count > MOST:
        raise Mistake(f"{place}: stands for {count:,} cells, more than {MOST:,}; shorten its lists")
    for chosen in itertools.product(*found):
        yield {path: leaf for choice in chosen for path, leaf in choice.items()}


def _twice(found: list[Axis]) -> list[str]:
    """Fields that several axes give."""
    each = [given([axis]) for axis in found]
    return sorted(path for path in given(found) if sum(path in paths for paths in each) > 1)


def _inside(paths: list[str]) -> list[str]:
    """Paths that lie inside another one, which is given whole (null, or what is no mapping)."""
    return [path for path in paths if any(path.startswith(f"{other}.") for other in paths)]


def _axes(part: Mapping[str, Any], before: str, place: str) -> list[Axis]:
    found: list[Axis] = []
    for name, value in part.items():
        path, where = f"{before}{name}", f"{place}.{name}"
        if _opens(path, value):
            found += _axes(value, f"{path}.", where)
            continue
        members = _members(path, value, where)
        found.append([choice for member, at in members for choice in _choices(path, member, at)])
    return found


def _members(path: str, value: Any, place: str) -> list[tuple[Any, str]]:
    """An axis's values with their places: a list's members, or the one value (where a field holds lists, a list)."""
    if not isinstance(value, list):
        return [(value, place)]
    if any(map(mistakes.holds_many, kinds(path))) and not any(isinstance(member, list) for member in value):
        return [(value, place)]
    if not value:
        raise Mistake(f"{place}: an empty list stands for no cell; give a value, or leave the field out")
    return [(member, f"{place}[{i}]" if len(value) > 1 else place) for i, member in enumerate(value)]


def _choices(path: str, value: Any, place: str) -> Iterator[Choice]:
    if not _opens(path, value):
        yield {path: Leaf(value, place)}
        return
    inner = _axes(value, f"{path}.", place)
    for again in _twice(inner):
        raise Mistake(f"{place}.{again.removeprefix(f'{path}.')}: is given twice; give it once")
    yield from product(inner, place)


def _opens(path: str, value: Any) -> bool:
    """Whether a value is a mapping of further fields; a mapping where none are is a value like others, and wrong."""
    return isinstance(value, dict) and any(map(mistakes.structs, kinds(path)))


def _paired(paired: Mapping[str, Any], place: str) -> list[Axis]:
    """The one axis of lists that go together; none where there are no lists."""
    columns = list(_columns(paired, "", place))
    if len({len(column) for column in columns}) > 1:
        raise Mistake(f"{place}: its lists differ in length")
    if columns and not columns[0]:
        raise Mistake(f"{place}: empty lists stand for no cell; give values, or leave it out")
    return [[choice for row in zip(*columns, strict=True) for choice in product(list(row), place)]] if columns else []


def _columns(paired: Mapping[str, Any], before: str, place: str) -> Iterator[list[Axis]]:
    for name, value in paired.items():
        path, where = f"{before}{name}", f"{place}.{name}"
        if isinstance(value, dict):
            yield from _columns(value, f"{path}.", where)
        elif isinstance(value, list):
            yield [list(_choices(path, member, f"{where}[{i}]")) for i, member in enumerate(value)]
        else:
            raise Mistake(f"{where}: {mistakes.shown(value)} is not a list, whose values go with the other lists'")


# --- which fields there are --------------------------------------------------------------------------------------


def wrong(found: list[Axis]) -> Iterator[str]:
    """Mistakes in the values of a block, each at the place that gives the value."""
    leaves = dict.fromkeys((path, leaf.place) for axis in found for choice in axis for path, leaf in choice.items())
    values = {leaf.place: leaf.value for axis in found for choice in axis for leaf in choice.values()}
    named = _named(found)
    for path, where in leaves:
        yield from _wrong(path, values[where], where, named)


def _wrong(path: str, value: Any, where: str, named: Mapping[str, set[str]]) -> Iterator[str]:
    field, _, last = path.rpartition(".")
    held = {name: struct for kind in kinds(field) for name, struct in mistakes.structs(kind).items()} if field else {}
    if last == "name" and len(held) > 1:
        yield from filter(None, [mistakes.tag(held, value, where)])
    elif path in APART:
        yield f"{where}: cannot go together with others; write it in the block itself"
    elif path not in paths():
        of_all = re.sub(r"\[\d+\]$", "", where)  # the field is unknown, whichever value of its list it has
        yield f"{of_all}: unknown; {mistakes.hint(path, paths())}"
    else:
        chosen = named.get(field, set()) & set(held)
        of = [mistakes.fields(held[name])[last] for name in sorted(chosen) if last in mistakes.fields(held[name])]
        if chosen and not of:
            known = (name for one in sorted(chosen) for name in mistakes.fields(held[one]))
            yield from mistakes.unknown([last], known, where.removesuffix(last))
        yield from mistakes.any_of(of or kinds(path), value, where, True)


def _named(found: list[Axis]) -> dict[str, set[str]]:
    """The names that a block gives, by the field whose struct they choose."""
    named: dict[str, set[str]] = {}
    for path, leaf in ((path, leaf) for axis in found for choice in axis for path, leaf in choice.items()):
        field, _, last = path.rpartition(".")
        if last == "name" and isinstance(leaf.value, str):
            named.setdefault(field, set()).add(leaf.value)
    return named


@functools.cache
def kinds(path: str) -> tuple[Any, ...]:
    """The types of the fields that a dotted path may name: several where the structs of a union share it."""
    found: tuple[Any, ...] = (Cell,)
    for part in path.split("."):
        inner = (struct for kind in found for struct in mistakes.structs(kind).values())
        found = tuple(mistakes.fields(struct)[part] for struct in inner if part in mistakes.fields(struct))
    return found


@functools.cache
def paths() -> tuple[str, ...]:
    """All that a block may say."""
    parts = {name: mistakes.structs(kind) for name, kind in mistakes.fields(Cell).items()}
    inner = (
        f"{name}.{part}" for name, of in parts.items() for struct in of.values() for part in mistakes.fields(struct)
    )
    return (*APART, *parts, *dict.fromkeys(inner))


# --- layers upon each other --------------------------------------------------------------------------------------


def cell(layers: Layers, chosen: Choice, recipe: str | None) -> Cell:
    """The cell of one choice of a block. Raises ValueError (msgspec's too) where its fields do not go together."""
    block = tree({path: leaf.value for path, leaf in chosen.items()}, "")
    base = merged(layers.defaults, layers.scale)
    dataset = merged(base, block).get("subset", {}).get("dataset")
    base = merged(base, layers.datasets.get(dataset, {}))
    if recipe is not None:
        base = merged(base, _names(block))  # so that the recipe lies on the kinds that the block names, not below them
        for part in ("any", base.get("method", {}).get("name")):
            base = merged(base, layers.recipes[recipe].get(part, {}))
    return msgspec.convert(merged(base, block), Cell)


def merged(under: Tree, over: Tree) -> Tree:
    """`over` laid upon `under`, mapping by mapping; a mapping of another `name` replaces the one below it."""
    return _upon(under, over, lambda below, value: value.get("name", same := below.get("name")) == same)


def liked(under: Tree, over: Tree) -> Tree:
    """`over` laid upon what it is like, mapping by mapping; a mapping that gives its `name` is given whole."""
    return _upon(under, over, lambda _, value: "name" not in value)


def _upon(under: Tree, over: Tree, joins: Callable[[Tree, Tree], bool]) -> Tree:
    found = dict(under)
    for name, value in over.items():
        below = found.get(name)
        if isinstance(below, dict) and isinstance(value, dict) and joins(below, value):
            found[name] = _upon(below, value, joins)
        else:
            found[name] = value
    return found


def _names(block: Tree) -> Tree:
    return {field: {"name": part["name"]} for field, part in block.items() if isinstance(part, dict) and "name" in part}


def readout(cell: Cell) -> Readout:
    """The readout of a cell: its last stage, which holds the others."""
    pretrain = Pretrain(**{name: getattr(cell, name) for name in Pretrain.__struct_fields__})
    dataset = cell.embed.on or cell.subset.dataset
    # a folder that is pretrained on without classes has no others, unlike a published set
    bare = dataset == cell.subset.dataset and dataset not in catalogue.UNLABELLED
    images = cell.subset.images if bare else "labelled"
    fit = cell.subset.fit if is_files(dataset) else "crop"
    on = msgspec.structs.replace(cell.subset, dataset=dataset, fraction=1.0, balanced=True, images=images, fit=fit)
    options = cell.embed
    embed = Embed(
        pretrain=pretrain, on=on, views=options.views, epochs=options.epochs, dtype=options.dtype, std=options.std
    )
    return Readout(embed=embed, probe=cell.probe)


def overridden(layers: Layers, scale: str, datasets: Iterable[str]) -> Iterator[str]:
    """What the two layers of defaults say and no cell has, since a later layer always says otherwise.

    `datasets`: those that the cells are trained on.
    """
    parts = {f"datasets.{name}": layers.datasets.get(name, {}) for name in sorted(datasets)}
    own = {f"scales.{scale}.defaults": layers.scale}
    for place, layer, later in (("defaults", layers.defaults, [own, parts]), (next(iter(own)), layers.scale, [parts])):
        for path, value in leaves(layer):
            for winners in later:
                others = {name: dict(leaves(part)).get(path, value) for name, part in winners.items()}
                if others and all(other != value for other in others.values()):
                    shown = ", ".join(f"{other} of {name}" for name, other in others.items())
                    yield f"{place}.{path}: {value} has no effect here; {shown} lies over it: change it there"
                    break
