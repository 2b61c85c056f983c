"""What params.yaml can ask to be drawn: the options of each table and figure, and what each needs of its rows.

A kind's name is that of the function in `reports` that draws it. What a function could not draw, or would draw empty,
its `needs` refuses at planning, before anything is trained.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal

import msgspec

from entia import fields
from entia.fields import Config
from entia.planning.columns import ARM, AXES, NUMBERS, SWEEP, Asked, leaves

# --- the kinds ----------------------------------------------------------------------------------------------------

Rows = Sequence[Asked]


class Drawing(Config, frozen=True, tag_field="name", tag=lambda name: re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()):
    """A table or figure with its options."""

    chooses: ClassVar[bool] = False
    """Whether it shows a chosen weight."""
    tries: ClassVar[bool] = False
    """Whether it shows all that was tried, by seeds that chose a weight too."""
    timed: ClassVar[bool] = False
    """Whether it shows minutes."""

    @property
    def is_labelled(self) -> bool:
        """Whether it shows an accuracy, and so runs whose labels are read out."""
        return True

    def needs(self, rows: Rows) -> Iterator[str]:
        """What it lacks in these rows, of which there is one at least: a field, a value, a remedy."""
        yield from ()


class WidthTable(Drawing, frozen=True):
    """Accuracy by projector width, of the arms `fixed` and `tuned`."""

    chooses = True

    def needs(self, rows: Rows) -> Iterator[str]:
        """That all rows are of these arms, and that what is tuned is a weight."""
        yield from _arms(rows)
        yield from _weights([row for row in rows if row.arm == "tuned"])


class TimeToTarget(Drawing, frozen=True):
    """Minutes to an accuracy, against the baseline's."""

    target: fields.Share | None = None
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
            yield f"options.named: {self.named!r} is not a column that every run has; try arm"


class Differences(Drawing, frozen=True):
    """Accuracy of each variant against the baseline variant."""

    along: str = "arm"
    baseline: float | str = ""

    def needs(self, rows: Rows) -> Iterator[str]:
        """That the baseline is among the variants, has others beside it, and is one run a seed for each of them."""
        values = dict.fromkeys(row.get(self.along) for row in rows)
        if None in values:
            yield f"options.along: {self.along!r} is not a column that every run has; try arm"
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

    chooses = True
    tries = True

    def needs(self, rows: Rows) -> Iterator[str]:
        """That there are weights, and images held out to choose them on."""
        yield from _weights(rows)
        if any(row.get("embed.on.validation") == 0 for row in rows):
            yield "runs with subset.validation: 0 have no held-out images to choose a weight on; hold out a share"


class Ranks(Drawing, frozen=True):
    """What needs no label: each arm's training loss, and the ranks and exponent of its embeddings."""

    @property
    def is_labelled(self) -> bool:
        """False."""
        return False


class DietAccuracy(Drawing, frozen=True):
    """DIET's table of accuracy."""

    pick: str = ""
    """A column of which each row shows the best value alone."""

    def needs(self, rows: Rows) -> Iterator[str]:
        """That what tells runs of one seed apart is a column of the table."""
        if self.pick and self.pick not in AXES:
            yield f"options.pick: {self.pick!r} is not a column of the table{_close(self.pick, AXES)}"
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

    chooses = True
    tries = True


class HeatMap(_Weighted, frozen=True):
    """Accuracy by projector width and weight."""

    chooses = True
    tries = True


class ViewsCurve(_Weighted, frozen=True):
    """Accuracy against the number of views."""

    chooses = True


class Dynamics(_Weighted, frozen=True):
    """Learning at low and high weight, in theory and in trained networks."""


class Convergence(Drawing, frozen=True):
    """Accuracy of each arm, or what needs no label, against epochs, and beside it against what was spent."""

    timed = True

    show: Literal["accuracy", "error", "loss", "effective_rank", "rankme", "alpha"] = "accuracy"
    beside: Literal["minutes", "view_images"] = "minutes"

    @property
    def is_labelled(self) -> bool:
        """That of what it shows."""
        return self.show in ("accuracy", "error")


class SampleEfficiency(Drawing, frozen=True):
    """Accuracy of arms with more views of fewer images."""

    timed = True


class Pareto(Drawing, frozen=True):
    """Error against minutes, with the frontiers of two views and of more."""

    timed = True

    def needs(self, rows: Rows) -> Iterator[str]:
        """That there are weights, runs of two views and runs of more."""
        yield from _weights(rows)
        views = {row.get("views") for row in rows}
        if 2 not in views or max(views) < 3:
            yield f"runs have {_listed(views)} views; it holds 2 views against more: add the other kind"


class Spectra(Drawing, frozen=True):
    """Spectra of embeddings: the study of views along training, the weight sweep after it."""

    tries = True
    timed = True

    @property
    def is_labelled(self) -> bool:
        """False."""
        return False

    def needs(self, rows: Rows) -> Iterator[str]:
        """That both studies are there."""
        sweep = [row for row in rows if row.experiment.startswith(SWEEP)]
        yield from _weights(sweep)
        if not sweep or len(sweep) == len(rows):
            yield f"needs an experiment whose name begins with {SWEEP} and another one; add the one that is missing"


class Theory(Drawing, frozen=True):
    """Drawn from theory alone."""


class GraphSpectrum(Theory, frozen=True):
    """Spectrum of an augmentation graph."""


class DietLinearOptimum(Theory, frozen=True):
    """DIET's linear model."""


class DietInteractions(Theory, frozen=True):
    """Interactions that DIET's linear model predicts."""


class DietLoss(Drawing, frozen=True):
    """DIET's training loss against accuracy."""

    tries = True

    def needs(self, rows: Rows) -> Iterator[str]:
        """That DIET was run."""
        yield from _diet(rows)


class DietSizes(Drawing, frozen=True):
    """Accuracy against the number of images."""


class DietBatch(Drawing, frozen=True):
    """Accuracy against batch size."""

    timed = True


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
            yield f"options.along: {self.along!r} is not a number that runs differ in{_close(self.along, NUMBERS)}"
        if any(row.get(self.panel) is None for row in own):
            yield f"options.panel: {self.panel!r} is not a column that every run has{_close(self.panel, AXES)}"


TableName = Literal[
    "width_table", "time_to_target", "accounting", "differences", "transfer", "held_out", "ranks", "diet_accuracy",
    "diet_cost",
]  # fmt: skip
FigureName = Literal[
    "width_curve", "best_weight", "convergence", "sample_efficiency", "pareto", "views_curve", "heat_map", "spectra",
    "dynamics", "graph_spectrum", "diet_loss", "diet_sizes", "diet_curves", "diet_batch", "diet_rank",
    "diet_linear_optimum", "diet_interactions",
]  # fmt: skip


def _kinds(*of: type[Drawing]) -> dict[str, type[Drawing]]:
    return {str(kind.__struct_config__.tag): kind for kind in of}


TABLES = _kinds(WidthTable, TimeToTarget, Accounting, Differences, Transfer, HeldOut, Ranks, DietAccuracy, DietCost)
FIGURES = _kinds(
    *(WidthCurve, BestWeight, Convergence, SampleEfficiency, Pareto, ViewsCurve, HeatMap, Spectra, Dynamics),
    *(GraphSpectrum, DietLoss, DietSizes, DietCurves, DietBatch, DietRank, DietLinearOptimum, DietInteractions),
)
KINDS = TABLES | FIGURES


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
    left, right = (dict(leaves(msgspec.to_builtins(row.readout))) for row in (one, other))
    names = (name for name in left | right if left.get(name) != right.get(name))
    return ", ".join(name.removeprefix("embed.pretrain.") for name in names)


def _listed(values: Iterable[object]) -> str:
    return ", ".join(sorted({repr(value) if isinstance(value, str) else str(value) for value in values}))


def _close(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known := list(known), n=1)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}" if known else "; it has no options"
