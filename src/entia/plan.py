"""params.yaml → every stage's configs, and which report draws which readouts. Nothing else reads params.yaml.

A cell is laid out in this order, the later winning: `defaults`, the scale's `defaults`, `datasets.NAME` of its data
set, its recipe, then its experiment's block. A block is a mapping of fields, by dotted paths or nested; a list is an
axis, and the block stands for the product of its axes (`layering`), over what it is like (`like`, `blocks`).
"""

import functools
import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import msgspec

from entia import config, fields, methods, naming
from entia.config import Embed, Pretrain, Readout, Stage, Subset
from entia.fields import Config, Problem
from entia.planning import baselines, blocks, feasible, layering, mistakes, reading
from entia.planning.blocks import Block
from entia.planning.layering import Cell, Layers, Tree
from entia.planning.like import Beside
from entia.planning.reports import Report, wrong_options

SCALES = ("laptop", "photos", "gpu_minutes", "gpu_hour", "paper")


class Judging(Config, frozen=True):
    """When the claims are judged, planned before the first run: at one number of seeds, or at two, the second doubled.

    Empty: once, at all seeds.
    """

    looks: tuple[fields.Count, ...] = ()

    def __post_init__(self) -> None:
        if len(self.looks) > 2 or (len(self.looks) == 2 and self.looks[1] != 2 * self.looks[0]):
            shown = mistakes.shown(list(self.looks))
            raise ValueError(f"looks: {shown}: give one number of seeds, or two, the second twice the first")


@dataclass(frozen=True)
class Row:
    """One readout that a report draws, and the place in params.yaml that asks for it."""

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
    baselines: dict[str, tuple[Row, ...]]
    """Those of each report's rows."""
    subsets: dict[str, Subset] = field(default_factory=dict[str, Subset])
    pretrains: dict[str, Pretrain] = field(default_factory=dict[str, Pretrain])
    embeds: dict[str, Embed] = field(default_factory=dict[str, Embed])
    readouts: dict[str, Readout] = field(default_factory=dict[str, Readout])
    judging: Judging = field(default_factory=Judging)
    devices: int = 1
    """Processes that train a cell, each on a GPU of its own. It decides no result but in last bits."""
    absent: dict[str, str] = field(default_factory=dict[str, str])
    """Titles of the reports that are no part of this scale: it lacks their experiments."""
    notices: tuple[str, ...] = ()
    """What is no mistake and yet worth saying before anything runs."""

    @property
    def folder(self) -> Path:
        """Where its tables and figures lie. Each scale has a folder of its own: none overwrites another's."""
        return Path("reports") if self.scale == SCALES[0] else Path("reports") / self.scale

    def of(self, stage: str) -> Mapping[str, Stage]:
        """The configs of one of `config.KINDS`, by name."""
        return getattr(self, f"{stage}s")

    def without(self, unknown: Collection[Subset]) -> "Plan":
        """The plan without the stages that read these images; its rows are as they are."""
        embeds = {name: of for name, of in self.embeds.items() if not {of.on, of.pretrain.subset} & {*unknown}}
        kept = {of.pretrain for of in embeds.values()}
        return replace(
            self,
            subsets={name: of for name, of in self.subsets.items() if of not in unknown},
            pretrains={name: of for name, of in self.pretrains.items() if of in kept},
            embeds=embeds,
            readouts={name: of for name, of in self.readouts.items() if naming.name(of.embed) in embeds},
        )

    def drawn(self, report_id: str) -> tuple[Row, ...]:
        """All that a report shows: its rows and their baselines."""
        return (*self.rows[report_id], *self.baselines[report_id])

    def cells(self, report_id: str) -> list[str]:
        """Names of the pretraining runs that a report needs, each once; its baselines are none."""
        names = (naming.name(self.readouts[row.readout].embed.pretrain) for row in self.rows[report_id])
        return list(dict.fromkeys(names))


def load(path: Path | str, scale: str | None = None) -> Plan:
    """The plan of a params.yaml, at its own scale or at another.

    Raises `Problem` with every mistake found: file, field path, value, remedy.
    """
    path = Path(path)
    raw = reading.read(path) | ({} if scale is None else {"scale": scale})
    study = _checked(raw, told := [])
    found = None if study is None or told else _plan(study, told)
    if found is None or told:
        raise Problem("\n".join(f"{path.name}: {mistake}" for mistake in dict.fromkeys(told)))
    return found


def scales(path: Path | str) -> list[str]:
    """The scales that a params.yaml has a section for. Raises `Problem` where it cannot be read."""
    held = reading.read(Path(path)).get("scales")
    return [scale for scale in SCALES if isinstance(held, dict) and scale in held]


# --- from the file's mapping to what is known to be right ------------------------------------------------------------

_SECTIONS = ("scale", "defaults", "datasets", "recipes", "scales", "reports")
JUDGING = "judging"
"""A section that may be left out: `judging: {SCALE: {looks: [3, 6]}}`."""
DEVICES = "devices"
"""Another: `devices: {SCALE: 4}`. It is no field of a cell: it renames nothing and has nothing trained again."""
_SAID = 20
"""Mistakes of one block's cells: what is wrong with 20 of them is wrong with the block."""
_OF_A_SCALE = ("defaults", "blocks", "experiments")
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_CHOOSING = {"datasets": ("subset.dataset",), "recipes": ("subset.dataset", "method.name")}
"""Fields that choose a layer or its part, and so cannot be set in it."""


@dataclass(frozen=True)
class _Study:
    """A params.yaml at one scale."""

    scale: str
    layers: Layers
    blocks: dict[str, list[Block]]
    """Of each experiment of this scale."""
    elsewhere: tuple[str, ...]
    """The experiments of any scale."""
    reports: dict[str, Report]
    judging: Judging
    devices: int


def _checked(raw: Mapping[str, Any], told: list[str]) -> _Study | None:
    """The study, and in `told` every mistake that can be seen in a value alone; None where there is no going on."""
    told += mistakes.unknown(raw, (*_SECTIONS, JUDGING, DEVICES), "")
    known = len(told)
    parts = {name: mistakes.mapping(raw[name], name, told) for name in _SECTIONS[1:] if name in raw}
    if missing := [name for name in _SECTIONS if name not in raw]:
        told.append(f"{', '.join(missing)}: missing")
    elif raw["scale"] not in SCALES:
        told.append(f"scale: {mistakes.shown(raw['scale'])} is not one of {', '.join(SCALES)}")
    elif raw["scale"] not in parts["scales"]:
        told.append(f"scale: {raw['scale']}: `scales:` has no such section, but {', '.join(parts['scales']) or 'none'}")
    if len(told) > known:
        return None
    scales = {name: _scale(part, name, told) for name, part in parts["scales"].items()}
    layers = {name: _tree(part["defaults"], f"scales.{name}.defaults", told) for name, part in scales.items()}
    told += mistakes.unknown(scales, SCALES, "scales.")
    here = scales[raw["scale"]]
    recipes = _recipes(parts["recipes"], told)
    return _Study(
        raw["scale"],
        Layers(
            _tree(parts["defaults"], "defaults", told),
            layers[raw["scale"]],
            _datasets(parts["datasets"], told),
            recipes,
        ),
        blocks.read(here["blocks"], here["experiments"], recipes, told),
        tuple(dict.fromkeys(name for part in scales.values() for name in part["experiments"])),
        dict(_reports(parts["reports"], told)),
        _judging(raw.get(JUDGING, {}), told).get(raw["scale"], Judging()),
        _devices(raw.get(DEVICES, {}), told).get(raw["scale"], 1),
    )


def _devices(part: Any, told: list[str]) -> dict[str, int]:
    given = mistakes.mapping(part, DEVICES, told)
    told += mistakes.unknown(given, SCALES, f"{DEVICES}.")
    for scale, count in given.items():
        if type(count) is not int or count < 1:
            told.append(f"{DEVICES}.{scale}: {mistakes.shown(count)} is not a positive whole number")
    return given


def _judging(part: Any, told: list[str]) -> dict[str, Judging]:
    found: dict[str, Judging] = {}
    given = mistakes.mapping(part, JUDGING, told)
    told += mistakes.unknown(given, SCALES, f"{JUDGING}.")
    for scale, looks in given.items():
        if wrong := list(mistakes.wrong(Judging, looks, f"{JUDGING}.{scale}", partial=False)):
            told += wrong
            continue
        try:
            found[scale] = msgspec.convert(looks, Judging)
        except msgspec.ValidationError as error:
            told.append(f"{JUDGING}.{scale}.{error}")
    return found


def _tree(part: Any, place: str, told: list[str], apart: Iterable[str] = ()) -> Tree:
    """A layer in one form; `apart`: fields that it must not set."""
    try:
        found = layering.tree(mistakes.mapping(part, place, told), place)
    except layering.Mistake as mistake:
        told.append(str(mistake))
        return {}
    told += mistakes.wrong(Cell, found, place, partial=True)
    for path in apart:
        outer, _, last = path.partition(".")
        if isinstance(inner := found.get(outer), dict) and last in inner:
            told.append(f"{place}.{path}: cannot be set here, since it chooses this part; set it in the experiment")
    return found


def _scale(part: Any, name: str, told: list[str]) -> dict[str, dict[str, Any]]:
    place = f"scales.{name}"
    found = mistakes.mapping(part, place, told)
    told += mistakes.unknown(found, _OF_A_SCALE, f"{place}.")
    if isinstance(part, dict) and "experiments" not in found:
        told.append(f"{place}.experiments: missing")
    return {inner: mistakes.mapping(found.get(inner, {}), f"{place}.{inner}", told) for inner in _OF_A_SCALE}


def _datasets(parts: Mapping[str, Any], told: list[str]) -> dict[str, Tree]:
    told += mistakes.unknown(
        (name for name in parts if not name.startswith(config.FOLDER)), config.DATASETS, "datasets."
    )

    def make(name: str, beside: Beside[Tree]) -> Tree:
        return _layer(parts[name], f"datasets.{name}", _CHOOSING["datasets"], beside, told)

    return Beside(parts, make, told).all()


def _recipes(parts: Mapping[str, Any], told: list[str]) -> dict[str, dict[str, Tree]]:
    def make(name: str, beside: Beside[dict[str, Tree]]) -> dict[str, Tree]:
        place = f"recipes.{name}"
        own = mistakes.mapping(parts[name], place, told)
        return _recipe(own, functools.reduce(layering.liked, beside.under(own, place), {}), place, told)

    return Beside(parts, make, told).all()


def _recipe(own: Mapping[str, Any], under: Mapping[str, Tree], place: str, told: list[str]) -> dict[str, Tree]:
    """A recipe's part of each method, over that of what the recipe is like, and then of what the part is like."""
    own = {method: part for method, part in own.items() if method != reading.LIKE}
    told += mistakes.unknown(own, ("any", *mistakes.structs(methods.Method)), f"{place}.")

    def make(method: str, beside: Beside[Tree]) -> Tree:
        part = _layer(own.get(method, {}), f"{place}.{method}", _CHOOSING["recipes"], beside, told)
        return layering.liked(under.get(method, {}), part)

    return Beside(dict.fromkeys([*under, *own]), make, told).all()


def _layer(part: Any, place: str, apart: Iterable[str], beside: Beside[Tree], told: list[str]) -> Tree:
    """A part over what it is like."""
    given = mistakes.mapping(part, place, told)
    own = _tree({name: value for name, value in given.items() if name != reading.LIKE}, place, told, apart)
    return functools.reduce(layering.liked, [*beside.under(given, place), own])


def _reports(parts: Mapping[str, Any], told: list[str]) -> Iterator[tuple[str, Report]]:
    taken = {"claims": "the claims' own files"}
    for name, report in parts.items():
        if (other := taken.setdefault(name.lower(), f"reports.{name}")) != f"reports.{name}":
            told.append(
                f"reports.{name}: this name is taken, by {other} (files' names may not tell A from a); take another"
            )
        place = f"reports.{name}"
        if not _NAME.fullmatch(name):
            told.append(
                f"{place}: its files are named after it, so its name is at most 100 letters, digits, - and _ "
                "(a to z), beginning with a letter or digit"
            )
        found = list(mistakes.wrong(Report, report, place, partial=False))
        if isinstance(report, dict):
            found += wrong_options(name, cast("dict[str, Any]", report))
        if found:
            told += found
            continue
        try:
            yield name, msgspec.convert(report, Report)
        except msgspec.ValidationError as error:
            told.append(f"{place}: {error}")


# --- from there to cells ------------------------------------------------------------------------------------------


def _plan(study: _Study, told: list[str]) -> Plan:
    readouts: dict[str, Readout] = {}
    experiments = {
        name: tuple(dict.fromkeys(row for block in found for row in _rows(study.layers, name, block, readouts, told)))
        for name, found in study.blocks.items()
    }
    for report_id, report in study.reports.items():
        told += mistakes.unknown(
            dict.fromkeys(report.experiments), study.elsewhere, f"reports.{report_id}.experiments: "
        )
    reports = {name: report for name, report in study.reports.items() if _is_here(report, experiments)}
    absent = {name: report.title for name, report in study.reports.items() if name not in reports}
    rows_of = {
        name: tuple(row for experiment in report.experiments for row in experiments[experiment])
        for name, report in reports.items()
    }
    beside = {name: _baselines(rows, readouts) for name, rows in rows_of.items()}
    drawn = {experiment for report in reports.values() for experiment in report.experiments}
    notices = tuple(_notices(study, drawn, readouts))
    found = Plan(
        study.scale,
        reports,
        rows_of,
        experiments,
        beside,
        judging=study.judging,
        devices=study.devices,
        absent=absent,
        notices=notices,
    )
    found = _fill(found, readouts)
    told += _too_many_devices(found)
    if not told:  # what a plan needs can be said of a whole plan alone
        told += feasible.mistakes(found.readouts, found.reports, found.rows)
    return found


def _too_many_devices(plan: Plan) -> Iterator[str]:
    """A batch of fewer images than devices, the smallest; a last one is seen to once the images are counted."""
    smallest = min((cell.batch for cell in plan.pretrains.values()), default=plan.devices)
    if smallest < plan.devices:
        yield f"{DEVICES}.{plan.scale}: {plan.devices}, and a cell's batch is {smallest}; take fewer, or a larger batch"


def _is_here(report: Report, experiments: Mapping[str, tuple[Row, ...]]) -> bool:
    """Whether a scale has each experiment of a report, and runs of at least one (`[]` is an experiment left out)."""
    there = [experiments.get(name) for name in report.experiments]
    return not there or (None not in there and any(there))


def _rows(layers: Layers, experiment: str, block: Block, readouts: dict[str, Readout], told: list[str]) -> list[Row]:
    rows: list[Row] = []
    wrong: dict[str, None] = {}
    try:
        for chosen in layering.product(block.axes, block.place):
            try:
                readout = layering.readout(layering.cell(layers, chosen, block.recipe))
            except (msgspec.ValidationError, ValueError) as error:
                wrong[f"{block.place}: {str(error).replace(' - at `$', ' (at `').replace('`.', '`')}"] = None
                if len(wrong) == _SAID:
                    break
                continue
            name = naming.name(readout)
            readouts[name] = readout
            rows.append(Row(experiment, block.arm, name))
    except layering.Mistake as mistake:
        told.append(str(mistake))
    told += wrong
    return rows


def _notices(study: _Study, drawn: set[str], readouts: Mapping[str, Readout]) -> Iterator[str]:
    datasets = {readout.embed.pretrain.subset.dataset for readout in readouts.values()}
    yield from layering.overridden(study.layers, study.scale, datasets)
    for experiment, found in study.blocks.items():
        if found and experiment not in drawn:
            yield f"experiments.{experiment}: no report of this scale names it, so nothing of it is run"


def _baselines(rows: tuple[Row, ...], readouts: dict[str, Readout]) -> tuple[Row, ...]:
    found: dict[Row, None] = {}
    for row in rows:
        for arm, readout in baselines.of(readouts[row.readout]):
            name = naming.name(readout)
            readouts[name] = readout
            found[Row(baselines.EXPERIMENT, arm, name)] = None
    return tuple(found)


def _fill(plan: Plan, readouts: dict[str, Readout]) -> Plan:
    for row in dict.fromkeys(itertools.chain.from_iterable(map(plan.drawn, plan.rows))):
        readout = readouts[row.readout]
        plan.readouts[row.readout] = readout
        plan.embeds[naming.name(readout.embed)] = readout.embed
        plan.pretrains[naming.name(readout.embed.pretrain)] = readout.embed.pretrain
        for subset in (readout.embed.pretrain.subset, readout.embed.on):
            plan.subsets[naming.name(subset)] = subset
    return plan
