"""params.yaml → every stage's configs, and which artefact draws which readouts. Nothing else reads params.yaml.

A cell is laid out in this order, the later winning: `defaults`, the scale's `defaults`, `datasets.NAME` of its data
set, its recipe, then its experiment's block. A block is a mapping of dotted field paths; a list is an axis, and the
block stands for the product of its axes.
"""

import difflib
import functools
import itertools
import math
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
import yaml
from msgspec import Struct

from entia import config
from entia.config import Config, Embed, Pretrain, Probe, Problem, Readout, Stage, Subset

SCALES = ("laptop", "photos", "gpu_hour", "paper")


class EmbedOptions(Config, frozen=True):
    """What params.yaml says of embeddings; the encoder and the images follow from the cell."""

    views: config.Count = 1
    epochs: Literal["last", "all"] = "last"
    dtype: Literal["float16", "float32"] = "float32"
    std: tuple[config.Positive, ...] | None = None
    on: str | None = None
    """Another data set to embed and read out (transfer); None: the cell's own."""


class Cell(Pretrain, frozen=True, kw_only=True):
    """What params.yaml says of one cell: its pretraining, and how it is embedded and read out."""

    embed: EmbedOptions
    probe: Probe


class Report(Config, frozen=True):
    """One table or figure: which function draws it, from the readouts of which experiments."""

    title: str
    table: str | None = None
    figure: str | None = None
    experiments: tuple[str, ...] = ()
    options: dict[str, float | str | tuple[float | str, ...]] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.table is None) == (self.figure is None):
            raise ValueError("give either `table:` or `figure:`")


class Judging(Config, frozen=True):
    """When the claims are judged, planned before the first run: at one number of seeds, or at two, the second doubled.

    Empty: once, at all seeds.
    """

    looks: tuple[config.Count, ...] = ()

    def __post_init__(self) -> None:
        if len(self.looks) > 2 or (len(self.looks) == 2 and self.looks[1] != 2 * self.looks[0]):
            raise ValueError("give one number of seeds, or two, the second twice the first")


@dataclass(frozen=True)
class Row:
    """One readout that an artefact draws, and the place in params.yaml that asks for it."""

    experiment: str
    arm: str
    readout: str


@dataclass(frozen=True)
class Plan:
    """Every config by its artefact's name, stage by stage, and every report's rows."""

    scale: str
    reports: dict[str, Report]
    rows: dict[str, tuple[Row, ...]]
    experiments: dict[str, tuple[Row, ...]]
    subsets: dict[str, Subset] = field(default_factory=dict[str, Subset])
    pretrains: dict[str, Pretrain] = field(default_factory=dict[str, Pretrain])
    embeds: dict[str, Embed] = field(default_factory=dict[str, Embed])
    readouts: dict[str, Readout] = field(default_factory=dict[str, Readout])
    judging: Judging = field(default_factory=Judging)

    @property
    def folder(self) -> Path:
        """Where its tables and figures lie. Each scale has a folder of its own: none overwrites another's."""
        return Path("reports") if self.scale == SCALES[0] else Path("reports") / self.scale

    def of(self, stage: str) -> Mapping[str, Stage]:
        """The configs of `subset`, `pretrain`, `embed` or `readout`, by name."""
        return {"subset": self.subsets, "pretrain": self.pretrains, "embed": self.embeds, "readout": self.readouts}[
            stage
        ]

    def cells(self, artefact: str) -> list[str]:
        """Names of the pretraining runs that an artefact needs, each once."""
        names = (config.name(self.readouts[row.readout].embed.pretrain) for row in self.rows[artefact])
        return list(dict.fromkeys(names))


def load(path: Path | str, scale: str | None = None) -> Plan:
    """The plan of a params.yaml, at its own scale or at another.

    Raises `Problem` with every mistake found: file, field path, value, remedy.
    """
    path = Path(path)
    raw = _read(path) | ({} if scale is None else {"scale": scale})
    mistakes = [f"{path.name}: {mistake}" for mistake in _mistakes(raw)]
    if not mistakes:
        try:
            return _plan(raw)
        except _Wrong as wrong:
            mistakes = [f"{path.name}: {mistake}" for mistake in wrong.mistakes]
    raise Problem("\n".join(mistakes))


# --- from text to a checked mapping ------------------------------------------------------------------------------


class _Wrong(Exception):
    def __init__(self, mistakes: list[str]) -> None:
        super().__init__(*mistakes)
        self.mistakes = mistakes


class _Loader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):  # type: ignore[misc]
    """YAML that refuses a key given twice: the second would silently win."""


def _mapping(loader: Any, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key: Any = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.MarkedYAMLError(problem=f"{key!r} is given twice", problem_mark=key_node.start_mark)
        seen.add(key)
    loader.flatten_mapping(node)
    return dict(loader.construct_pairs(node, deep=True))


# As Python and DVC write 0.000002. YAML 1.1 takes it for text; what people type as 1e-3 or 4e-4 still is refused.
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"-?[1-9]e[+-][0-9]{2,}$"), list("-123456789"))
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _read(path: Path) -> dict[str, Any]:
    try:
        raw: object = yaml.load(path.read_text(), _Loader)
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}; run in the folder that holds params.yaml") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise Problem(f"{path.name}{place}: {error.problem}") from error
    if not isinstance(raw, dict):
        raise Problem(f"{path.name}: is not a mapping of {', '.join(_SECTIONS)}")
    return typing.cast("dict[str, Any]", raw)


_SECTIONS = ("scale", "defaults", "datasets", "recipes", "scales", "reports")
JUDGING = "judging"
"""A section that may be left out: `judging: {SCALE: {looks: [3, 6]}}`."""


def _mistakes(raw: dict[str, Any]) -> Iterator[str]:
    yield from _unknown(raw, (*_SECTIONS, JUDGING), "")
    missing = [section for section in _SECTIONS if section not in raw]
    if missing:
        yield f"{', '.join(missing)}: missing"
        return
    if raw["scale"] not in SCALES:
        yield f"scale: {raw['scale']!r} is not one of {', '.join(SCALES)}"
        return
    yield from _wrong(Cell, raw["defaults"], "defaults", partial=True)
    for section in ("datasets", "recipes", "scales", "reports"):
        if not isinstance(raw[section], dict):
            yield f"{section}: {raw[section]!r} is not a mapping"
            return
    for name, part in raw["datasets"].items():
        yield from _wrong(Cell, part, f"datasets.{name}", partial=True)
    for name, recipe in raw["recipes"].items():
        for method, part in _items(recipe):
            yield from _wrong(Cell, part, f"recipes.{name}.{method}", partial=True)
    yield from _unknown(raw["scales"], SCALES, "scales.")
    for scale, part in raw["scales"].items():
        yield from _wrong(Cell, part.get("defaults", {}), f"scales.{scale}.defaults", partial=True)
        yield from _unknown(part, ("defaults", "experiments"), f"scales.{scale}.")
    for name, report in raw["reports"].items():
        yield from _wrong(Report, report, f"reports.{name}", partial=False)
    yield from _wrong_judging(raw.get(JUDGING, {}))


def _wrong_judging(given: Any) -> Iterator[str]:
    if not isinstance(given, dict):
        yield f"{JUDGING}: {given!r} is not a mapping of scales"
        return
    yield from _unknown(typing.cast("dict[str, Any]", given), SCALES, f"{JUDGING}.")
    for scale, part in _items(given):
        mistakes = list(_wrong(Judging, part, f"{JUDGING}.{scale}", partial=False))
        yield from mistakes
        if not mistakes:
            try:
                msgspec.convert(part, Judging)
            except msgspec.ValidationError as error:
                yield f"{JUDGING}.{scale}.looks: {part['looks']!r}: {error}"


def _items(value: object) -> list[tuple[str, Any]]:
    return list(typing.cast("dict[str, Any]", value).items()) if isinstance(value, dict) else []


def _unknown(given: Mapping[str, Any], known: Iterable[str], before: str) -> Iterator[str]:
    known = list(known)
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
            yield f"{before}{name}: unknown; {hint}"


def _structs(kind: Any) -> dict[str, type[Struct]]:
    """The structs that a field may hold, by their tag (a field that is one struct: by its class name)."""
    members = get_args(kind) if isinstance(kind, types.UnionType) or get_origin(kind) is typing.Union else (kind,)
    found = [member for member in members if isinstance(member, type) and issubclass(member, Struct)]
    return {str(member.__struct_config__.tag or member.__name__): member for member in found}


def _wrong(kind: Any, value: Any, path: str, partial: bool) -> Iterator[str]:
    """Mistakes in a value meant for a type. `partial`: a part of a struct, to be laid over others."""
    structs = _structs(kind)
    if not structs or (value is None and type(None) in get_args(kind)):
        yield from _wrong_leaf(kind, value, path)
        return
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is not a mapping"
        return
    given = typing.cast("dict[str, Any]", value)
    tagged = len(structs) > 1
    if tagged and not partial and "name" not in given:
        yield f"{path}.name: missing; one of {', '.join(structs)}"
        return
    if tagged and "name" in given and given["name"] not in structs:
        yield f"{path}.name: {given['name']!r} is not one of {', '.join(structs)}"
        return
    chosen = [structs[given["name"]]] if tagged and "name" in given else list(structs.values())
    known = dict.fromkeys(name for struct in chosen for name in _fields(struct))
    yield from _unknown(given, [*known, "name"] if tagged else known, f"{path}.")
    for name, part in given.items():
        kinds = [_fields(struct)[name] for struct in chosen if name in _fields(struct)]
        found = [list(_wrong(kind, part, f"{path}.{name}", partial)) for kind in kinds]
        yield from min(found, key=len, default=[])  # right if it suits one of the structs that may be meant
    if not partial:
        for info in msgspec.structs.fields(chosen[0]):
            if info.required and info.name not in given:
                yield f"{path}.{info.name}: missing"


@functools.cache
def _fields(struct: type[Struct]) -> dict[str, Any]:
    hints = typing.get_type_hints(struct, include_extras=True)
    return {name: hints[name] for name in struct.__struct_fields__}


def _wrong_leaf(kind: Any, value: Any, path: str) -> Iterator[str]:
    if isinstance(value, list) and get_origin(kind) is tuple and get_args(kind)[-1] is Ellipsis:
        for position, part in enumerate(typing.cast("list[Any]", value)):
            yield from _wrong_leaf(get_args(kind)[0], part, f"{path}[{position}]")
        return
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        yield f"{path}: {value!r} is not {_expected(kind, str(error))}{_remedy(value)}"
    else:
        if isinstance(value, float) and not math.isfinite(value):
            yield f"{path}: {value!r} is not a finite number"


def _expected(kind: Any, message: str) -> str:
    described = [meta.description for meta in get_args(kind)[1:] if isinstance(meta, msgspec.Meta) and meta.description]
    if described:
        return described[0]
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    return message.split(" - at")[0].replace("Expected ", "").replace("`", "").split(", got")[0]


def _remedy(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    return (
        f" (YAML reads it as text: write {number:.12f}".rstrip("0") + ")"
        if "e" in value.lower()
        else ": write it without quotes"
    )


# --- from the checked mapping to cells ----------------------------------------------------------------------------


def _plan(raw: dict[str, Any]) -> Plan:
    blocks: dict[str, Any] = raw["scales"].get(raw["scale"], {}).get("experiments") or {}
    mistakes: list[str] = []
    readouts: dict[str, Readout] = {}
    experiments: dict[str, tuple[Row, ...]] = {}
    for experiment, block in blocks.items():
        rows: list[Row] = []
        for place, part in _places(f"experiments.{experiment}", block):
            found = list(_wrong_block(raw, part, place))
            mistakes += found
            if not found:
                rows += _rows(raw, experiment, part, place, readouts, mistakes)
        experiments[experiment] = tuple(dict.fromkeys(rows))
    anywhere = [name for part in raw["scales"].values() for name in part.get("experiments") or ()]
    for artefact, report in raw["reports"].items():
        mistakes += _unknown(
            dict.fromkeys(report.get("experiments", ())), anywhere, f"reports.{artefact}.experiments: "
        )
    if mistakes:
        raise _Wrong(mistakes)
    # an artefact whose experiments another scale has and this one lacks is no part of this one
    reports = {
        name: msgspec.convert(report, Report)
        for name, report in raw["reports"].items()
        if all(experiment in blocks for experiment in report.get("experiments", ()))
    }
    rows_of = {
        name: tuple(row for experiment in report.experiments for row in experiments[experiment])
        for name, report in reports.items()
    }
    judging = msgspec.convert(raw.get(JUDGING, {}).get(raw["scale"], {}), Judging)
    return _fill(Plan(raw["scale"], reports, rows_of, experiments, judging=judging), readouts, rows_of)


def _fill(plan: Plan, readouts: dict[str, Readout], rows: dict[str, tuple[Row, ...]]) -> Plan:
    for row in dict.fromkeys(itertools.chain.from_iterable(rows.values())):
        readout = readouts[row.readout]
        plan.readouts[row.readout] = readout
        plan.embeds[config.name(readout.embed)] = readout.embed
        plan.pretrains[config.name(readout.embed.pretrain)] = readout.embed.pretrain
        for subset in (readout.embed.pretrain.subset, readout.embed.on):
            plan.subsets[config.name(subset)] = subset
    return plan


def _places(place: str, block: Any) -> list[tuple[str, Any]]:
    if isinstance(block, list):
        return [(f"{place}[{position}]", part) for position, part in enumerate(typing.cast("list[Any]", block))]
    return [(place, block)]


def _wrong_block(raw: dict[str, Any], block: Any, place: str) -> Iterator[str]:
    if not isinstance(block, dict):
        yield f"{place}: {block!r} is not a mapping of fields to values or lists of values"
        return
    given = typing.cast("dict[str, Any]", block)
    paired = given.get("paired", {})
    if len({len(part) if isinstance(part, list) else 0 for part in paired.values()}) > 1:
        yield f"{place}.paired: its lists differ in length"
    recipe = given.get("recipe")
    if recipe is not None and recipe not in raw["recipes"]:
        yield f"{place}.recipe: {recipe!r} is not one of {', '.join(raw['recipes']) or '(none defined)'}"
        return
    method = given.get("method")
    for path, value in [*given.items(), *((f"paired.{path}", value) for path, value in paired.items())]:
        if path in ("arm", "recipe", "paired"):
            continue
        kind = _kind(path.removeprefix("paired."), method)
        if kind is None:
            yield from _unknown({path: value}, _paths(), f"{place}.")
            continue
        axis = _axis(kind, value)
        for position, part in enumerate(axis):
            where = f"{place}.{path}[{position}]" if isinstance(value, list) and len(axis) > 1 else f"{place}.{path}"
            yield from _wrong(kind, part, where, partial=True)


def _paths() -> list[str]:
    parts = {name: _structs(kind) for name, kind in _fields(Cell).items()}
    inner = (
        f"{name}.{part}" for name, structs in parts.items() for struct in structs.values() for part in _fields(struct)
    )
    return ["arm", "recipe", "paired", *parts, *inner]


def _kind(path: str, method: Any) -> Any:
    """The type of the field that a dotted path names, or None."""
    kind: Any = Cell
    for part in path.split("."):
        structs = _structs(kind)
        named = (
            typing.cast("dict[str, Any]", method).get("name") if isinstance(method, dict) and len(structs) > 1 else None
        )
        chosen = [structs[named]] if named in structs else list(structs.values())
        kinds = [_fields(struct)[part] for struct in chosen if part in _fields(struct)]
        if not kinds:
            return None
        kind = kinds[0]
    return kind


def _axis(kind: Any, value: Any) -> list[Any]:
    """The values of an axis: a list's members, or the one value (a list is one value where the field is a tuple)."""
    if not isinstance(value, list):
        return [value]
    given = typing.cast("list[Any]", value)
    holds_many = any(get_origin(part) is tuple for part in (kind, *get_args(kind)))
    return [given] if holds_many and not any(isinstance(part, list) for part in given) else given


def _rows(
    raw: dict[str, Any],
    experiment: str,
    block: dict[str, Any],
    place: str,
    readouts: dict[str, Readout],
    mistakes: list[str],
) -> list[Row]:
    rows: list[Row] = []
    for chosen in _product(block):
        try:
            readout = _readout(_cell(raw, chosen, block.get("recipe")))
        except (msgspec.ValidationError, ValueError) as error:
            message = f"{place}: {str(error).replace(' - at `$', ' (at `').replace('`.', '`')}"
            if message not in mistakes:
                mistakes.append(message)
            continue
        name = config.name(readout)
        readouts[name] = readout
        rows.append(Row(experiment, str(block.get("arm", "")), name))
    return rows


def _product(block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    axes = [
        [(path, part) for part in _axis(_kind(path, block.get("method")), value)]
        for path, value in block.items()
        if path not in ("arm", "recipe", "paired")
    ]
    paired = block.get("paired", {})
    together = (
        [[(path, part[i]) for path, part in paired.items()] for i in range(len(next(iter(paired.values()))))]
        if paired
        else [[]]
    )
    for pairs in together:
        for chosen in itertools.product(*axes):
            yield dict([*chosen, *pairs])


def _cell(raw: dict[str, Any], chosen: dict[str, Any], recipe: str | None) -> Cell:
    base = _merge(raw["defaults"], raw["scales"][raw["scale"]].get("defaults", {}))
    dataset = chosen.get("subset.dataset") or base.get("subset", {}).get("dataset")
    base = _merge(base, raw["datasets"].get(dataset, {}))
    block = _block(chosen)
    if recipe is not None:
        base = _merge(base, _names(block))  # so that the recipe lies on the kinds that the block names, not below them
        for part in ("any", base.get("method", {}).get("name")):
            base = _merge(base, raw["recipes"][recipe].get(part) or {})
    return msgspec.convert(_merge(base, block), Cell)


def _block(chosen: dict[str, Any]) -> dict[str, Any]:
    """Dotted paths as one mapping of mappings. Whole mappings come before their parts, and names before other parts."""
    block: dict[str, Any] = {}
    for path, value in sorted(chosen.items(), key=lambda item: (item[0].count("."), not item[0].endswith(".name"))):
        for part in reversed(path.split(".")):
            value = {part: value}
        block = _merge(block, value)
    return block


def _names(block: dict[str, Any]) -> dict[str, Any]:
    return {field: {"name": part["name"]} for field, part in block.items() if isinstance(part, dict) and "name" in part}


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid upon `under`, mapping by mapping; a mapping of another `name` replaces the one below it."""
    merged = dict(under)
    for name, value in over.items():
        below = merged.get(name)
        both = isinstance(below, dict) and isinstance(value, dict)
        if both and value.get("name", below.get("name")) == below.get("name"):  # pyright: ignore[reportOptionalMemberAccess]
            merged[name] = _merge(typing.cast("dict[str, Any]", below), typing.cast("dict[str, Any]", value))
        else:
            merged[name] = value
    return merged


def _readout(cell: Cell) -> Readout:
    pretrain = Pretrain(**{name: getattr(cell, name) for name in Pretrain.__struct_fields__})
    on = msgspec.structs.replace(cell.subset, fraction=1.0, balanced=True, dataset=cell.embed.on or cell.subset.dataset)
    options = cell.embed
    embed = Embed(
        pretrain=pretrain, on=on, views=options.views, epochs=options.epochs, dtype=options.dtype, std=options.std
    )
    return Readout(embed=embed, probe=cell.probe)
