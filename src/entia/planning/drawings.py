"""What params.yaml can ask to be drawn: the options of each table and figure, and what each needs of its rows.

A kind's name is its function's in `tables`, `figures` or `diet`. What a function could not draw, or would draw empty,
its `needs` refuses at planning, before anything is trained.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from msgspec import Struct

from entia import config
from entia.config import BarlowTwins, Config, Readout, SpectralContrastive, VICReg

ARM = ("method.name", "subset.dataset", "epochs", "projector.width", "views", "subset.fraction")
"""What tells the arms of a study of views apart, in the order in which they are drawn."""
AXES = {
    "subset.dataset": "data",
    "embed.on.dataset": "read out on",
    "encoder.name": "encoder",
    "method.name": "method",
    "images": "images",
    "level": "augmentation level",
    "epochs": "epochs",
    "batch": "batch",
    "method.smoothing": "smoothing",
    "rate": "lr",
    "optimizer.weight_decay": "weight decay",
    "method.lr_factor": "lr of head ×",
    "method.decay_factor": "decay of head ×",
    "projector.depth": "projector layers",
    "method.catch_up": "missed steps applied",
    "method.normalise": "unit features",
    "method.temperature": "temperature",
    "method.offload": "head on host",
    "probe.name": "readout",
}
"""What tells one row of DIET's tables from another, and its heading."""
NUMBERS = tuple(
    name
    for name in AXES
    if not name.endswith(("dataset", "name")) and name not in ("method.catch_up", "method.offload")
)
SWEEP = "weight_sweep"
"""How the names of experiments begin that `spectra` draws against weight."""


@dataclass(frozen=True)
class Asked:
    """A row that a report draws."""

    experiment: str
    arm: str
    name: str
    readout: Readout

    def get(self, column: str) -> Any:
        """A column of `results.frame` as far as it follows from the config; None where the row has none."""
        cell = self.readout.embed.pretrain
        match column:
            case "arm" | "experiment":
                return getattr(self, column)
            case "weight":
                return weight(cell)
            case "level":
                return augmentation_level(cell.augmentation)
            case "rate":
                return config.rate(cell.optimizer, cell.batch)
            case "images":  # that the log will tell: the same of the same subset
                return cell.subset.fraction, cell.subset.limit, cell.subset.validation, cell.subset.dataset
            case _:
                pass
        top, _, rest = column.partition(".")
        start = {"embed": self.readout.embed, "probe": self.readout.probe}.get(top)
        return _field(start, rest) if start is not None else _field(cell, column)


def _field(value: Any, path: str) -> Any:
    for part in path.split("."):
        if part == "name" and isinstance(value, Struct) and value.__struct_config__.tag:
            value = value.__struct_config__.tag
        else:
            value = getattr(value, part, None)
    return value


def weight(cell: config.Pretrain) -> float | None:
    """The method's orthogonality weight as the papers sweep it; None where a method has none."""
    match cell.method:
        case BarlowTwins(weight=found) | SpectralContrastive(weight=found):
            return found
        case VICReg(invariance=found):
            return found
        case _:
            return None


def augmentation_level(policy: config.Augmentation) -> int:
    """DIET's augmentation strength by what the pipeline holds (DIET spec §2.2).

    0: nothing; 1: crops or flips; 2: colour as well; 3: blur or erasing as well.
    """
    if policy.erase or policy.blur:
        return 3
    if policy.jitter or policy.greyscale:
        return 2
    return int(policy.flip > 0 or policy.crop_scale[0] < 1)


# --- the kinds ----------------------------------------------------------------------------------------------------

Rows = Sequence[Asked]


class Drawing(Config, frozen=True, tag_field="name", tag=lambda name: re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()):
    """A table or figure with its options."""

    def needs(self, rows: Rows) -> Iterator[str]:
        """What it lacks in these rows, of which there is one at least: a field, a value, a remedy."""
        yield from ()


class WidthTable(Drawing, frozen=True):
    """Accuracy by projector width, of the arms `fixed` and `tuned`."""

    def needs(self, rows: Rows) -> Iterator[str]:
        """That all rows are of these arms, and that what is tuned is a weight."""
        yield from _arms(rows)
        yield from _weights([row for row in rows if row.arm == "tuned"])


class TimeToTarget(Drawing, frozen=True):
    """Minutes to an accuracy, against the baseline's."""

    target: config.Share | None = None
    """Accuracy to reach on `target_on`; elsewhere the baseline's at its end."""
    target_on: str | None = None

    def needs(self, rows: Rows) -> Iterator[str]:
        """That each method, data set and number of epochs has the baseline arm."""
        if (self.target is None) != (self.target_on is None):
            yield "options: target and target_on go together; give both or neither"
        groups = _groups(rows, ("method.name", "subset.dataset", "epochs"))
        for (method, data, epochs), part in groups.items():
            if not any(row.get("views") == 2 and row.get("subset.fraction") == 1 for row in part):
                yield f"no baseline of 2 views and all images for {method} on {data}, {epochs} epochs; add such a run"


class Accounting(Drawing, frozen=True):
    """What each arm spent."""

    named: str = ""
    """A column that tells apart what `ARM` does not."""

    def needs(self, rows: Rows) -> Iterator[str]:
        """That there is such a column."""
        if self.named and any(row.get(self.named) is None for row in rows):
            yield f"options.named: {self.named!r} is no column of every run; try arm"


class Differences(Drawing, frozen=True):
    """Accuracy of each variant against the baseline variant."""

    along: str = "arm"
    baseline: float | str = ""

    def needs(self, rows: Rows) -> Iterator[str]:
        """That the baseline is among the variants, has others beside it, and is one run a seed for each of them."""
        values = dict.fromkeys(row.get(self.along) for row in rows)
        if None in values:
            yield f"options.along: {self.along!r} is no column of every run; try arm"
        elif self.baseline not in values:
            known = ", ".join(repr(value) for value in values)
            yield f"options.baseline: no run has {self.along} {self.baseline!r}; there are {known}"
        elif len(values) == 1:
            yield f"every run has {self.along} {self.baseline!r}: there is nothing to hold against it; add a variant"
        else:
            final = rows if self.along == "arm" else _unique(rows)
            same = [name for name in (*ARM, "embed.on.dataset") if name != self.along and _varies(final, name)]
            base = [row for row in final if row.get(self.along) == self.baseline]
            if twice := _alike(base, [*same, "seed"]):
                yield (
                    f"the baseline {self.baseline!r} has two runs of one seed that differ in no column of the table, "
                    f"but in {_differing(*twice)}; give them reports of their own"
                )


class Transfer(Drawing, frozen=True):
    """Accuracy on another data set than the encoder's own."""

    def needs(self, rows: Rows) -> Iterator[str]:
        """That a run is read out on another data set."""
        if all(row.get("embed.on.dataset") == row.get("subset.dataset") for row in rows):
            yield "no run is read out on another data set; set embed.on in its experiments"


class HeldOut(Drawing, frozen=True):
    """Accuracy with the weight chosen on held-out images, and on the test split."""

    def needs(self, rows: Rows) -> Iterator[str]:
        """That there are weights, and images held out to choose them on."""
        yield from _weights(rows)
        if any(row.get("embed.on.validation") == 0 for row in rows):
            yield "runs with subset.validation: 0 have no held-out images to choose a weight on; hold out a share"


class DietAccuracy(Drawing, frozen=True):
    """DIET's table of accuracy."""

    pick: str = ""
    """A column of which each row shows the best value alone."""

    def needs(self, rows: Rows) -> Iterator[str]:
        """That what tells runs of one seed apart is a column of the table."""
        if self.pick and self.pick not in AXES:
            yield f"options.pick: {self.pick!r} is no column of the table{_close(self.pick, AXES)}"
        elif twice := _alike(_unique(rows), [*_axes(rows), *([self.pick] if self.pick else []), "seed"]):
            yield (
                "two runs of one seed differ in no column of the table, "
                f"but in {_differing(*twice)}; give them reports of their own"
            )


class DietCost(DietAccuracy, frozen=True):
    """DIET's table of accuracy and what it took."""

    pick: Literal[""] = ""


class WidthCurve(WidthTable, frozen=True):
    """Accuracy against projector width, of the arms `fixed` and `tuned`."""


class _Weighted(Drawing, frozen=True):
    def needs(self, rows: Rows) -> Iterator[str]:
        """That every run has an orthogonality weight."""
        yield from _weights(rows)


class BestWeight(_Weighted, frozen=True):
    """The best weight against projector width."""


class HeatMap(_Weighted, frozen=True):
    """Accuracy by projector width and weight."""


class ViewsCurve(_Weighted, frozen=True):
    """Accuracy against the number of views."""


class Dynamics(_Weighted, frozen=True):
    """Learning at low and high weight, in theory and in trained networks."""


class Convergence(Drawing, frozen=True):
    """Accuracy of each arm against epochs, and beside it against what was spent."""

    show: Literal["accuracy", "error"] = "accuracy"
    beside: Literal["minutes", "view_images"] = "minutes"


class SampleEfficiency(Drawing, frozen=True):
    """Accuracy of arms with more views of fewer images."""


class Pareto(Drawing, frozen=True):
    """Error against minutes, with the frontiers of two views and of more."""

    def needs(self, rows: Rows) -> Iterator[str]:
        """That there are weights, runs of two views and runs of more."""
        yield from _weights(rows)
        views = {row.get("views") for row in rows}
        if 2 not in views or max(views) < 3:
            yield f"runs have {_listed(views)} views; it holds 2 views against more: add the other kind"


class Spectra(Drawing, frozen=True):
    """Spectra of embeddings: the study of views along training, the weight sweep after it."""

    def needs(self, rows: Rows) -> Iterator[str]:
        """That both studies are there."""
        sweep = [row for row in rows if row.experiment.startswith(SWEEP)]
        yield from _weights(sweep)
        if not sweep or len(sweep) == len(rows):
            yield f"needs an experiment whose name begins with {SWEEP} and another one; add the one that is missing"


class _Theory(Drawing, frozen=True):
    """Drawn from theory alone."""


class GraphSpectrum(_Theory, frozen=True):
    """Spectrum of an augmentation graph."""


class DietLinearOptimum(_Theory, frozen=True):
    """DIET's linear model."""


class DietInteractions(_Theory, frozen=True):
    """Interactions that DIET's linear model predicts."""


class DietLoss(Drawing, frozen=True):
    """DIET's training loss against accuracy."""

    def needs(self, rows: Rows) -> Iterator[str]:
        """That DIET was run."""
        yield from _diet(rows)


class DietSizes(Drawing, frozen=True):
    """Accuracy against the number of images."""


class DietBatch(Drawing, frozen=True):
    """Accuracy against batch size."""


class DietRank(Drawing, frozen=True):
    """Rank of the embeddings by method."""


class DietCurves(Drawing, frozen=True):
    """DIET along training."""

    along: str = "method.smoothing"
    """A colour for each of its values."""
    panel: str = "encoder.name"
    """A panel for each of its values."""

    def needs(self, rows: Rows) -> Iterator[str]:
        """That DIET was run, and that its runs have both columns."""
        yield from _diet(rows)
        own = [row for row in rows if row.get("method.name") == "diet"]
        if self.along not in NUMBERS:
            yield f"options.along: {self.along!r} is no number that runs differ in{_close(self.along, NUMBERS)}"
        if any(row.get(self.panel) is None for row in own):
            yield f"options.panel: {self.panel!r} is no column of every run{_close(self.panel, AXES)}"


def _kinds(of: Iterable[type[Drawing]]) -> dict[str, type[Drawing]]:
    return {str(kind.__struct_config__.tag): kind for kind in of}


TABLES = _kinds([WidthTable, TimeToTarget, Accounting, Differences, Transfer, HeldOut, DietAccuracy, DietCost])
FIGURES = _kinds(
    [
        *(WidthCurve, BestWeight, Convergence, SampleEfficiency, Pareto, ViewsCurve, HeatMap, Spectra, Dynamics),
        *(GraphSpectrum, DietLoss, DietSizes, DietCurves, DietBatch, DietRank, DietLinearOptimum, DietInteractions),
    ]
)


# --- a report -----------------------------------------------------------------------------------------------------


class Report(Config, frozen=True):
    """One table or figure: which function draws it, from the readouts of which experiments."""

    title: str
    table: str | None = None
    """One of `TABLES`."""
    figure: str | None = None
    """One of `FIGURES`."""
    experiments: tuple[str, ...] = ()
    options: dict[str, Any] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.table is None) == (self.figure is None):
            raise ValueError("give either `table:` or `figure:`")

    @property
    def drawing(self) -> Drawing:
        """Its kind and options."""
        kind = TABLES[self.table] if self.table is not None else FIGURES[str(self.figure)]
        return msgspec.convert(self.options | {"name": kind.__struct_config__.tag}, kind)


def mistakes(name: str, report: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a report's kind and options, as params.yaml gives them."""
    for field, kinds in (("table", TABLES), ("figure", FIGURES)):
        given, options = report.get(field), report.get("options", {})
        if not isinstance(given, str) or not isinstance(options, dict):
            continue
        if given not in kinds:
            yield f"reports.{name}.{field}: {given!r} is unknown{_close(given, kinds)}"
            continue
        known = kinds[given].__struct_fields__
        strange = [option for option in options if option not in known]
        for option in strange:
            yield f"reports.{name}.options.{option}: unknown to {given}{_close(str(option), known)}"
        for option in known:
            if option in options:
                yield from _option(kinds[given], given, name, option, options[option])


def _option(kind: type[Drawing], given: str, name: str, option: str, value: object) -> Iterator[str]:
    try:
        msgspec.convert({"name": given, option: value}, kind)
    except msgspec.ValidationError as error:
        found = next(field for field in msgspec.structs.fields(kind) if field.name == option)
        choices = getattr(found.type, "__args__", ())
        if choices and all(isinstance(choice, str) for choice in choices):
            yield f"reports.{name}.options.{option}: {value!r} is unknown{_close(str(value), choices)}"
        else:
            yield f"reports.{name}.options.{option}: {value!r} does not fit ({str(error).split(' - at')[0]})"


def lacking(report: Report, rows: Rows) -> Iterator[str]:
    """What a report lacks in the rows that it draws."""
    drawing, kind = report.drawing, report.table or report.figure
    if isinstance(drawing, _Theory):
        if report.experiments:
            yield f"experiments: {kind} is drawn from theory alone and reads none; leave them out"
    elif not rows:
        what = f"{', '.join(report.experiments)} hold no run" if report.experiments else "none given"
        yield f"experiments: {what}, and {kind} draws runs; name experiments that hold some"
    else:
        yield from (f"{kind}: {lack}" for lack in drawing.needs(rows))


# --- parts --------------------------------------------------------------------------------------------------------


def _arms(rows: Rows) -> Iterator[str]:
    if other := {row.arm for row in rows} - {"fixed", "tuned"}:
        yield f"runs are of arm {_listed(other)}, and it knows two: give their blocks `arm: fixed` or `arm: tuned`"


def _weights(rows: Rows) -> Iterator[str]:
    if without := {row.get("method.name") for row in rows if row.get("weight") is None}:
        yield f"runs of {_listed(without)} have no orthogonality weight, which it draws; leave them out"


def _diet(rows: Rows) -> Iterator[str]:
    methods = {row.get("method.name") for row in rows}
    if "diet" not in methods:
        yield f"runs are of {_listed(methods)}; it draws diet alone: add a run of it"


def _groups(rows: Rows, by: Sequence[str]) -> dict[tuple[Any, ...], list[Asked]]:
    found: dict[tuple[Any, ...], list[Asked]] = {}
    for row in rows:
        found.setdefault(tuple(row.get(name) for name in by), []).append(row)
    return found


def _unique(rows: Rows) -> list[Asked]:
    """Each readout once."""
    return list({row.name: row for row in reversed(rows)}.values())


def _varies(rows: Rows, column: str) -> bool:
    return len({row.get(column) for row in rows}) > 1


def _axes(rows: Rows) -> list[str]:
    """The columns of `AXES` that tell rows of one method apart, and the method and encoder always."""
    methods = _groups(rows, ("method.name",)).values()
    told = [name for name in AXES if any(_varies(part, name) for part in methods)]
    return list(dict.fromkeys((*told, "encoder.name", "method.name")))


def _alike(rows: Rows, by: Sequence[str]) -> tuple[Asked, Asked] | None:
    """The first two rows that are equal in all of these columns."""
    pair = next((part for part in _groups(rows, by).values() if len(part) > 1), None)
    return (pair[0], pair[1]) if pair else None


def _differing(one: Asked, other: Asked) -> str:
    """The fields that two rows differ in."""
    if one.name == other.name:
        return "no field: two experiments ask for one run"
    left, right = (_flat(msgspec.to_builtins(row.readout)) for row in (one, other))
    return ", ".join(name for name in left | right if left.get(name) != right.get(name))


def _flat(content: object, before: str = "") -> dict[str, Any]:
    if not isinstance(content, dict):
        return {before.removeprefix("embed.pretrain."): content}
    found: dict[str, Any] = {}
    for name, part in content.items():
        found |= _flat(part, f"{before}.{name}" if before else str(name))
    return found


def _listed(values: Iterable[object]) -> str:
    return ", ".join(sorted({repr(value) if isinstance(value, str) else str(value) for value in values}))


def _close(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known := list(known), n=1)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}" if known else "; it has no options"
