"""params.yaml → every stage's configs, and which artefact draws which readouts. Nothing else reads params.yaml.

A cell is laid out in this order, the later winning: `defaults`, the scale's `defaults`, `datasets.NAME` of its data
set, its recipe, then its experiment's block. A block is a mapping of fields, by dotted paths or nested; a list is an
axis, and the block stands for the product of its axes (`layering`).
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec

from entia import config
from entia.config import Config, Embed, Pretrain, Problem, Readout, Stage, Subset
from entia.planning import baselines, feasible, layering, mistakes, reading
from entia.planning.layering import Cell, Layers
from entia.planning.reports import Report, wrong_options

SCALES = ("laptop", "photos", "gpu_minutes", "gpu_hour", "paper")


class Judging(Config, frozen=True):
    """When the claims are judged, planned before the first run: at one number of seeds, or at two, the second doubled.

    Empty: once, at all seeds.
    """

    looks: tuple[config.Count, ...] = ()

    def __post_init__(self) -> None:
        if len(self.looks) > 2 or (len(self.looks) == 2 and self.looks[1] != 2 * self.looks[0]):
            shown = mistakes.shown(list(self.looks))
            raise ValueError(f"looks: {shown}: give one number of seeds, or two, the second twice the first")


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
    baselines: dict[str, tuple[Row, ...]]
    """Those of each report's rows."""
    subsets: dict[str, Subset] = field(default_factory=dict[str, Subset])
    pretrains: dict[str, Pretrain] = field(default_factory=dict[str, Pretrain])
    embeds: dict[str, Embed] = field(default_factory=dict[str, Embed])
    readouts: dict[str, Readout] = field(default_factory=dict[str, Readout])
    judging: Judging = field(default_factory=Judging)
    absent: dict[str, str] = field(default_factory=dict[str, str])
    """Titles of the reports that are no part of this scale: it lacks their experiments."""
    notices: tuple[str, ...] = ()
    """What is no mistake and yet worth saying before anything runs."""

    @property
    def folder(self) -> Path:
        """Where its tables and figures lie. Each scale has a folder of its own: none overwrites another's."""
        return Path("reports") if self.scale == SCALES[0] else Path("reports") / self.scale

    def of(self, stage: str) -> Mapping[str, Stage]:
        """The configs of `subset`, `pretrain`, `embed` or `readout`, by name."""
        return {"subset": self.subsets, "pretrain": self.pretrains, "embed": self.embeds, "readout": self.readouts}[
            stage
        ]

    def drawn(self, artefact: str) -> tuple[Row, ...]:
        """All that an artefact shows: its rows and their baselines."""
        return (*self.rows[artefact], *self.baselines[artefact])

    def cells(self, artefact: str) -> list[str]:
        """Names of the pretraining runs that an artefact needs, each once; its baselines are none."""
        names = (config.name(self.readouts[row.readout].embed.pretrain) for row in self.rows[artefact])
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
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_CHOOSING = {"datasets": ("subset.dataset",), "recipes": ("subset.dataset", "method.name")}
"""Fields that choose a layer or its part, and so cannot be set in it."""


@dataclass(frozen=True)
class _Block:
    """A block whose values are right, each for itself."""

    experiment: str
    place: str
    arm: str
    recipe: str | None
    axes: list[layering.Axis]


@dataclass(frozen=True)
class _Study:
    """A params.yaml at one scale."""

    scale: str
    layers: Layers
    experiments: tuple[str, ...]
    """Of this scale."""
    elsewhere: tuple[str, ...]
    """Of any."""
    blocks: list[_Block]
    reports: dict[str, Report]
    judging: Judging


def _checked(raw: Mapping[str, Any], told: list[str]) -> _Study | None:
    """The study, and in `told` every mistake that can be seen in a value alone; None where there is no going on."""
    told += mistakes.unknown(raw, (*_SECTIONS, JUDGING), "")
    known = len(told)
    parts = {name: _mapping(raw[name], name, told) for name in _SECTIONS[1:] if name in raw}
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
    here = scales[raw["scale"]]["experiments"]
    recipes = dict(_recipes(parts["recipes"], told))
    return _Study(
        raw["scale"],
        Layers(
            _tree(parts["defaults"], "defaults", told),
            layers[raw["scale"]],
            dict(_datasets(parts["datasets"], told)),
            recipes,
        ),
        tuple(here),
        tuple(dict.fromkeys(name for part in scales.values() for name in part["experiments"])),
        [found for name, block in here.items() for found in _blocks(name, block, recipes, told)],
        dict(_reports(parts["reports"], told)),
        _judging(raw.get(JUDGING, {}), told).get(raw["scale"], Judging()),
    )


def _judging(part: Any, told: list[str]) -> dict[str, Judging]:
    found: dict[str, Judging] = {}
    given = _mapping(part, JUDGING, told)
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


def _mapping(part: Any, place: str, told: list[str]) -> dict[str, Any]:
    if isinstance(part, dict):
        return cast("dict[str, Any]", part)
    told.append(f"{place}: {mistakes.shown(part)} is not a mapping" + " ({} is one without entries)" * (part is None))
    return {}


def _tree(part: Any, place: str, told: list[str], apart: Iterable[str] = ()) -> layering.Tree:
    """A layer in one form; `apart`: fields that it must not set."""
    try:
        found = layering.tree(_mapping(part, place, told), place)
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
    found = _mapping(part, place, told)
    told += mistakes.unknown(found, ("defaults", "experiments"), f"{place}.")
    if isinstance(part, dict) and "experiments" not in found:
        told.append(f"{place}.experiments: missing")
    return {inner: _mapping(found.get(inner, {}), f"{place}.{inner}", told) for inner in ("defaults", "experiments")}


def _datasets(parts: Mapping[str, Any], told: list[str]) -> Iterator[tuple[str, layering.Tree]]:
    for name, part in parts.items():
        if not name.startswith(config.FOLDER):
            told += mistakes.unknown([name], config.DATASETS, "datasets.")
        yield name, _tree(part, f"datasets.{name}", told, _CHOOSING["datasets"])


def _recipes(parts: Mapping[str, Any], told: list[str]) -> Iterator[tuple[str, dict[str, layering.Tree]]]:
    methods = ("any", *mistakes.structs(config.Method))
    for name, recipe in parts.items():
        place = f"recipes.{name}"
        found = _mapping(recipe, place, told)
        told += mistakes.unknown(found, methods, f"{place}.")
        yield (
            name,
            {method: _tree(part, f"{place}.{method}", told, _CHOOSING["recipes"]) for method, part in found.items()},
        )


def _reports(parts: Mapping[str, Any], told: list[str]) -> Iterator[tuple[str, Report]]:
    for name, report in parts.items():
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


def _blocks(experiment: str, block: Any, recipes: Mapping[str, Any], told: list[str]) -> Iterator[_Block]:
    for place, part in _places(f"experiments.{experiment}", block):
        if not isinstance(part, dict):
            told.append(f"{place}: {mistakes.shown(part)} is not a mapping of fields to values or lists of values")
            continue
        given = cast("dict[str, Any]", part)
        arm, recipe = given.get("arm", ""), given.get("recipe")
        wrong: list[str] = []
        if isinstance(arm, bool) or not isinstance(arm, str | int | float) or "\n" in str(arm):
            wrong.append(f"{place}.arm: {mistakes.shown(arm)} is not a label of one line; write a block for each arm")
        if recipe is not None and not (isinstance(recipe, str) and recipe in recipes):
            known = ", ".join(recipes) or "(none defined)"
            wrong.append(f"{place}.recipe: {mistakes.shown(recipe)} is not one of {known}")
        try:
            axes = layering.axes(given, place)
            wrong += layering.wrong(axes, place)
        except layering.Mistake as mistake:
            wrong.append(str(mistake))
        else:
            if not wrong:
                yield _Block(experiment, place, str(arm), recipe, axes)
        told += wrong


def _places(place: str, block: Any) -> list[tuple[str, Any]]:
    if isinstance(block, list):
        return [(f"{place}[{position}]", part) for position, part in enumerate(cast("list[Any]", block))]
    return [(place, block)]


# --- from there to cells ------------------------------------------------------------------------------------------


def _plan(study: _Study, told: list[str]) -> Plan:
    readouts: dict[str, Readout] = {}
    rows: dict[str, list[Row]] = {experiment: [] for experiment in study.experiments}
    for block in study.blocks:
        rows[block.experiment] += _rows(study.layers, block, readouts, told)
    experiments = {experiment: tuple(dict.fromkeys(found)) for experiment, found in rows.items()}
    for artefact, report in study.reports.items():
        told += mistakes.unknown(
            dict.fromkeys(report.experiments), study.elsewhere, f"reports.{artefact}.experiments: "
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
        study.scale, reports, rows_of, experiments, beside, absent=absent, judging=study.judging, notices=notices
    )
    found = _fill(found, readouts)
    if not told:  # what a plan needs can be said of a whole plan alone
        told += feasible.mistakes(found.readouts, found.reports, found.rows)
    return found


def _is_here(report: Report, experiments: Mapping[str, tuple[Row, ...]]) -> bool:
    """Whether a scale has each experiment of a report, and runs of at least one (`[]` is an experiment left out)."""
    there = [experiments.get(name) for name in report.experiments]
    return not there or (None not in there and any(there))


def _rows(layers: Layers, block: _Block, readouts: dict[str, Readout], told: list[str]) -> list[Row]:
    rows: list[Row] = []
    try:
        for chosen in layering.product(block.axes, block.place):
            try:
                readout = layering.readout(layering.cell(layers, chosen, block.recipe))
            except (msgspec.ValidationError, ValueError) as error:
                message = f"{block.place}: {str(error).replace(' - at `$', ' (at `').replace('`.', '`')}"
                if message not in told:
                    told.append(message)
                continue
            name = config.name(readout)
            readouts[name] = readout
            rows.append(Row(block.experiment, block.arm, name))
    except layering.Mistake as mistake:
        told.append(str(mistake))
    return rows


def _notices(study: _Study, drawn: set[str], readouts: Mapping[str, Readout]) -> Iterator[str]:
    datasets = {readout.embed.pretrain.subset.dataset for readout in readouts.values()}
    yield from layering.overridden(study.layers, study.scale, datasets)
    for experiment in study.experiments:
        if experiment not in drawn:
            yield f"experiments.{experiment}: no report of this scale names it, so nothing of it is run"


def _baselines(rows: tuple[Row, ...], readouts: dict[str, Readout]) -> tuple[Row, ...]:
    found: dict[Row, None] = {}
    for row in rows:
        for arm, readout in baselines.of(readouts[row.readout]):
            name = config.name(readout)
            readouts[name] = readout
            found[Row(baselines.EXPERIMENT, arm, name)] = None
    return tuple(found)


def _fill(plan: Plan, readouts: dict[str, Readout]) -> Plan:
    for row in dict.fromkeys(itertools.chain.from_iterable(map(plan.drawn, plan.rows))):
        readout = readouts[row.readout]
        plan.readouts[row.readout] = readout
        plan.embeds[config.name(readout.embed)] = readout.embed
        plan.pretrains[config.name(readout.embed.pretrain)] = readout.embed.pretrain
        for subset in (readout.embed.pretrain.subset, readout.embed.on):
            plan.subsets[config.name(subset)] = subset
    return plan
