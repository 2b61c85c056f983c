"""The papers' claims as predicates over readouts: each one's criterion is fixed here, before any data, with its reason.

A claim is one part or several. A part measures an effect with a confidence interval over seeds and asserts that the
effect lies inside its criterion: supported where the whole interval does, not supported where the whole interval lies
outside, else inconclusive. A claim is supported where every deciding part is, and not supported where one is not.
Intervals are two-sided Student t over per-seed contrasts of arms that share their seeds, and Welch's where they do
not; with k deciding parts each interval's confidence is 1 − 0.05 / k, so that a wrong ruling on the claim stays at
5 % (Bonferroni). What is missing, or cannot be judged from what was run, is inconclusive and says why.

Weights are chosen on the validation split, by the mean over the same seeds (`results.best_weights`): intervals are
those of the chosen weight. Claims: spec §1 of the multi-view papers (2312.10725) and §10 of DIET's (2302.10260,
2406.10743), pass rules their §8; what stands in no paper says `ours`.
"""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false, reportUnknownLambdaType=false
# pyright: reportInvalidTypeArguments=false

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from entia import results, theory

Ruling = Literal["supported", "not supported", "inconclusive"]
SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE = "supported", "not supported", "inconclusive"
ERROR = 0.05
"""Chance of a wrong ruling on a claim, over all of its parts."""

SSL = ("simclr", "vicreg", "barlow_twins", "byol", "moco")
"""The baselines that DIET is held against."""

S_DIET = "sdiet"

READ = (
    *("width_barlow_twins", "width_vicreg", "weight_sweep_barlow_twins"),
    *("views_barlow_twins", "views_vicreg", "views_imagenet100"),
    *("data_barlow_twins", "data_vicreg", "data_stl10", "data_imagenet100", "grid_barlow_twins"),
)
"""Experiments that the multi-view claims read; DIET's read every experiment whose name starts with `diet`."""


class Estimate(NamedTuple):
    """An effect, the two ends of its interval, and the number of seeds (or runs) it rests on."""

    effect: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True)
class Criterion:
    """The effects that a claim asserts: those between `low` and `high`, in `unit`, and why these."""

    low: float
    high: float
    unit: str
    reason: str

    def __str__(self) -> str:
        unit = "" if self.unit == "" else f" {self.unit}"
        if math.isinf(self.high):
            return f"above {self.low:g}{unit}: {self.reason}"
        if math.isinf(self.low):
            return f"below {self.high:g}{unit}: {self.reason}"
        return f"from {self.low:g} to {self.high:g}{unit}: {self.reason}"

    def ruling(self, found: Estimate) -> Ruling:
        """Where the whole interval lies. An interval that is not a number lies nowhere."""
        if self.low < found.low and found.high < self.high:
            return SUPPORTED
        if found.high < self.low or found.low > self.high:
            return NOT_SUPPORTED
        return INCONCLUSIVE


@dataclass(frozen=True)
class Finding:
    """What a part's test found, in which cells, and the rulings it cannot carry (`barred`; `note` says why)."""

    estimate: Estimate
    cells: tuple[str, ...] = ()
    data: str = ""
    note: str = ""
    barred: tuple[Ruling, ...] = ()
    exact: bool = False
    """True: an interval of no width is one, because the quantity has no noise from seed to seed."""


Test = Callable[[pd.DataFrame, float], Finding]
Where = Mapping[str, object]
"""Column → the value that a row must have, or a function from the column to a mask (`least`, `most`)."""
Measure = Callable[[pd.DataFrame], "pd.Series[float]"]
"""An arm's rows → one number a seed."""


@dataclass(frozen=True)
class Part:
    """What is measured, what of it the claim asserts, and whether the verdict rests on it."""

    what: str
    criterion: Criterion
    test: Test
    decides: bool = True


@dataclass(frozen=True)
class Claim:
    """A claim in our words, what the papers made it of, and its parts."""

    claim: str
    statement: str
    about: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Reading:
    """One part, judged."""

    what: str
    verdict: Ruling
    decides: bool
    effect: float | None
    low: float | None
    high: float | None
    unit: str
    confidence: float
    criterion: str
    seeds: int
    note: str
    cells: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Verdict:
    """A claim, judged. Effect, interval and criterion are those of the part that the verdict turned on."""

    claim: str
    statement: str
    verdict: Ruling
    effect: float | None
    unit: str
    low: float | None
    high: float | None
    confidence: float
    criterion: str
    scale: str
    cells: tuple[str, ...]
    seeds: int
    note: str
    readings: tuple[Reading, ...]


class _Missing(Exception):
    """Why an effect cannot be measured from what was run."""


# --- intervals ----------------------------------------------------------------------------------------------------


def t_interval(values: Sequence[float] | np.ndarray, confidence: float) -> Estimate:
    """Mean of independent values and its Student t interval, n − 1 degrees of freedom. _Missing below two values."""
    return welch([np.asarray(values, dtype=np.float64)], [1.0], confidence)


def welch(samples: Sequence[np.ndarray], coefficients: Sequence[float], confidence: float) -> Estimate:
    """Σ a_i mean_i over independent samples and its t interval with Welch–Satterthwaite's degrees of freedom.

    df = (Σ v_i)² / Σ v_i² / (n_i − 1), v_i = a_i² s_i² / n_i; one sample has Student's n − 1.
    """
    seeds = min(len(sample) for sample in samples)
    if seeds < 2:
        raise _Missing(f"{seeds} seed{'s' * (seeds != 1)}: an interval over seeds needs 2 or more in every arm")
    effect = sum(a * float(sample.mean()) for a, sample in zip(coefficients, samples, strict=True))
    parts = [a * a * float(sample.var(ddof=1)) / len(sample) for a, sample in zip(coefficients, samples, strict=True)]
    total = sum(parts)
    if total == 0:
        return Estimate(effect, effect, effect, seeds)
    freedom = total**2 / sum(part**2 / (len(sample) - 1) for part, sample in zip(parts, samples, strict=True))
    return _about(effect, math.sqrt(total), freedom, confidence, seeds)


def _about(effect: float, error: float, freedom: float | int, confidence: float, seeds: int) -> Estimate:
    """The two-sided t interval around an effect with a standard error."""
    from scipy.special import stdtrit

    half = float(stdtrit(freedom, (1 + confidence) / 2)) * error
    return Estimate(effect, effect - half, effect + half, seeds)


def contrast(samples: Sequence["pd.Series[float]"], coefficients: Sequence[float], confidence: float) -> Estimate:
    """Σ a_i mean_i of samples indexed by seed: paired by seed where all arms have the same seeds, else Welch's."""
    first = samples[0].sort_index()
    if all(sample.sort_index().index.equals(first.index) for sample in samples):
        pairs = zip(coefficients, samples, strict=True)
        return t_interval(sum(a * sample.sort_index().to_numpy(dtype=np.float64) for a, sample in pairs), confidence)
    return welch([sample.to_numpy(dtype=np.float64) for sample in samples], coefficients, confidence)


def _through(back: Callable[[float], float], found: Estimate) -> Estimate:
    """An estimate made on another scale, on its own: `back` must rise."""
    return Estimate(back(found.effect), back(found.low), back(found.high), found.seeds)


# --- arms ---------------------------------------------------------------------------------------------------------


def least(values: "pd.Series[Any]") -> "pd.Series[bool]":
    """Rows with the smallest value of a column."""
    return values == values.min()


def most(values: "pd.Series[Any]") -> "pd.Series[bool]":
    """Rows with the largest value of a column."""
    return values == values.max()


def _of(frame: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """Rows of an experiment; of every one that begins so where the name ends in `*`."""
    if frame.empty:
        raise _Missing(f"{experiment}: not run at this scale")
    names = frame["experiment"].astype(str)
    rows = frame[names.str.startswith(experiment[:-1]) if experiment.endswith("*") else names == experiment]
    if rows.empty:
        raise _Missing(f"{experiment}: not run at this scale")
    return rows


def _arm(rows: pd.DataFrame, where: Where, tuned: Sequence[str] = ("weight",)) -> pd.DataFrame:
    """Rows that fit `where`, all epochs, at the best value of each column in `tuned`: one cell a seed, or _Missing."""
    mask = pd.Series(True, index=rows.index)
    for column, wanted in where.items():
        if column not in rows:
            raise _Missing(f"no column {column}")
        mask &= wanted(rows[column]) if callable(wanted) else rows[column] == wanted
    found = rows[mask].drop_duplicates(["cell", "epoch", "accuracy"])  # a cell that two arms of params.yaml share
    if found.empty:
        raise _Missing(f"no cell with {_named(where)}")
    for column in tuned:
        if column in found and found[column].nunique() > 1:
            final = results.last(found)
            best = results.best_weights(final.assign(weight=final[column], experiment=""), ["experiment"])
            found = found[found[column] == best["weight"].iloc[0]]
    if found.duplicated(["seed", "epoch"]).any():
        raise _Missing(f"several cells a seed with {_named(where)}: they differ in {_differing(found)}")
    return found


def _named(where: Where) -> str:
    values = {
        column: getattr(value, "__name__", "some") if callable(value) else value for column, value in where.items()
    }
    return ", ".join(f"{column} {value}" for column, value in values.items())


def _differing(rows: pd.DataFrame) -> str:
    """Columns of the config that differ, method and seed apart."""
    config = [column for column in map(str, rows) if "." in column or column in ("arm", "views", "epochs", "batch")]
    return ", ".join(column for column in config if rows[column].map(str).nunique() > 1) or "no column of a config"


def _final(column: str, factor: float = 1.0) -> Measure:
    """The last epoch's value of a column, times a factor."""

    def measure(rows: pd.DataFrame) -> "pd.Series[float]":
        if column not in rows:
            raise _Missing(f"no column {column}")
        return factor * results.last(rows).set_index("seed")[column].astype(float)

    return measure


POINTS = _final("accuracy", 100.0)
"""Last-epoch accuracy on the test split, in percentage points. The best epoch is never looked for on the test split."""


class _Term(NamedTuple):
    coefficient: float
    where: Where


def _contrast(rows: pd.DataFrame, terms: Sequence[_Term], confidence: float, measure: Measure = POINTS) -> Finding:
    """Σ a_i measure(arm_i), averaged over the (data set, encoder) pairs that have every arm."""
    samples: list[pd.Series[float]] = []
    used: list[pd.DataFrame] = []
    left_out: list[str] = []
    reason = _Missing("no rows")
    for (dataset, encoder), part in rows.groupby(["subset.dataset", "encoder.name"]):
        try:
            arms = [_arm(part, term.where) for term in terms]
            _both_ends(part, terms)
            samples += [measure(arm) for arm in arms]
        except _Missing as missing:
            left_out.append(f"{dataset} with {encoder} left out ({missing})")
            reason = missing
            continue
        used += arms
    if not used:
        raise reason
    groups = len(used) // len(terms)
    estimate = contrast(samples, [term.coefficient / groups for term in terms] * groups, confidence)
    return _finding(estimate, used, left_out)


def _both_ends(rows: pd.DataFrame, terms: Sequence[_Term]) -> None:
    """_Missing where the least and the most of a column would be one value."""
    for column in {column for term in terms for column in term.where}:
        ends = {id(term.where.get(column)) for term in terms}
        if {id(least), id(most)} <= ends and rows[column].nunique() < 2:
            raise _Missing(f"one {column} was run, {rows[column].iloc[0]}: nothing to compare it with")


def _finding(estimate: Estimate, used: Sequence[pd.DataFrame], notes: Iterable[str] = ()) -> Finding:
    rows = pd.concat(used)
    said = list(dict.fromkeys(notes))
    if rows["weight"].nunique() > 0 and "validation" not in {results.chosen_on(part) for part in used}:
        said.append("no images were held out: where a weight was chosen, it was on the TEST split")
    cells = tuple(sorted(set(rows["cell"].astype(str))))
    return Finding(estimate, cells, _data(rows), "; ".join(said))


def _data(rows: pd.DataFrame) -> str:
    def every(column: str) -> str:
        return " and ".join(str(value) for value in rows[column].unique())

    return f"{every('subset.dataset')}, {every('encoder.name')}, {every('epochs')} epochs"


def _difference(experiment: str, plus: Where, minus: Where, measure: Measure = POINTS) -> Test:
    """The test of one arm's measure minus another's."""
    return lambda frame, confidence: _contrast(
        _of(frame, experiment), (_Term(1.0, plus), _Term(-1.0, minus)), confidence, measure
    )


def _reread(test: Test, change: Callable[[Finding, pd.DataFrame], Finding]) -> Test:
    """The same test, its finding looked at once more."""
    return lambda frame, confidence: change(test(frame, confidence), frame)


# --- curves -------------------------------------------------------------------------------------------------------


def _lead(ahead: pd.DataFrame, behind: pd.DataFrame, until: float) -> "pd.Series[float]":
    """Each seed's smallest lead in accuracy (points) over the saved epochs up to a share of training."""
    joined = ahead.merge(behind, on=["seed", "epoch"], suffixes=("", " behind"))
    joined = joined[joined["epoch"] <= until * joined[["epochs", "epochs behind"]].min(axis=1)]
    if joined["epoch"].nunique() < 2:
        raise _Missing("fewer than 2 saved epochs to compare the curves at: set embed.epochs: all and checkpoint_every")
    return (100 * (joined["accuracy"] - joined["accuracy behind"])).groupby(joined["seed"]).min()


def _ahead(experiment: str, ahead: Where, behind: Where, until: float) -> Test:
    """The test of an arm's smallest lead over the saved epochs: positive where it leads at every one of them."""

    def test(frame: pd.DataFrame, confidence: float) -> Finding:
        rows = _of(frame, experiment)
        arms = [_arm(rows, ahead), _arm(rows, behind)]
        return _finding(t_interval(_lead(arms[0], arms[1], until).to_numpy(), confidence), arms)

    return test


def first_reached(x: np.ndarray, accuracy: np.ndarray, target: float, chance: float) -> float:
    """Where a curve first reaches the target, by lines between saved epochs and from chance at 0; infinite if never."""
    x, accuracy = np.r_[0.0, x], np.r_[chance, accuracy]
    above = np.flatnonzero(accuracy >= target)
    if not len(above):
        return math.inf
    if above[0] == 0:
        return 0.0
    after, before = above[0], above[0] - 1
    share = (target - accuracy[before]) / (accuracy[after] - accuracy[before])
    return float(x[before] + share * (x[after] - x[before]))


def _curves(rows: pd.DataFrame, x: str) -> dict[int, tuple[np.ndarray, np.ndarray, float]]:
    """Each seed's x, accuracy and chance, in order of epochs."""
    if rows.groupby("seed")["epoch"].nunique().min() < 2:
        raise _Missing("one epoch was saved: a time to a target needs embed.epochs: all and checkpoint_every")
    found: dict[int, tuple[np.ndarray, np.ndarray, float]] = {}
    for seed, part in rows.sort_values("epoch").groupby("seed"):
        curve = (part[x].to_numpy(float), part["accuracy"].to_numpy(float))
        found[int(seed)] = (*curve, float(part["chance"].iloc[0]))
    return found


def _recipe_and_baseline(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """4 views of half of the images with the narrowest projector; 2 views of all with the widest."""
    recipe = _arm(_of(frame, "data_barlow_twins"), {"views": 4, "subset.fraction": 0.5, "projector.width": least})
    baseline = _arm(_of(frame, "views_barlow_twins"), {"views": 2, "subset.fraction": 1.0, "projector.width": most})
    if recipe["projector.width"].iloc[0] >= baseline["projector.width"].iloc[0]:
        raise _Missing("views_barlow_twins has no projector wider than the recipe's")
    return recipe, baseline


def _ahead_of_baseline(frame: pd.DataFrame, confidence: float) -> Finding:
    """The combined recipe's last-epoch accuracy minus the baseline's."""
    arms = _recipe_and_baseline(frame)
    return _finding(contrast([POINTS(arm) for arm in arms], [1.0, -1.0], confidence), arms)


def _speed_up(frame: pd.DataFrame, confidence: float) -> Finding:
    """Minutes to the baseline's final accuracy: the baseline's over the recipe's, geometric mean over seeds."""
    fast, slow = _recipe_and_baseline(frame)
    machines = sorted({*slow["machines"], *fast["machines"]})
    if len(machines) > 1 or " + " in machines[0]:
        raise _Missing(f"minutes of different machines are not compared: {', '.join(machines)}")
    baseline, arm = _curves(slow, "minutes"), _curves(fast, "minutes")
    if set(baseline) != set(arm):
        raise _Missing(f"the arms' seeds differ: {sorted(baseline)} and {sorted(arm)}")
    logs: list[float] = []
    never = 0
    for seed, (minutes, accuracy, chance) in baseline.items():
        target = float(accuracy[-1])
        if target <= chance:
            raise _Missing(f"the baseline ended at chance (seed {seed}): there is no time to reach it")
        taken = first_reached(*arm[seed][:2], target, arm[seed][2])
        never += math.isinf(taken)
        logs.append(math.log(first_reached(minutes, accuracy, target, chance) / min(taken, float(arm[seed][0][-1]))))
    found = _finding(_through(_exp, t_interval(logs, confidence)), [slow, fast])
    if not never:
        return found
    note = f"{never} of {len(logs)} seeds never reached the baseline's accuracy: a bound from above supports nothing"
    return _barred(found, note, SUPPORTED)


def _exp(value: float) -> float:
    """Exponential; at two seeds an interval's end may lie beyond what a float holds."""
    return math.exp(min(value, 700.0))


def _barred(finding: Finding, note: str, *rulings: Ruling) -> Finding:
    return replace(finding, note="; ".join(part for part in (note, finding.note) if part), barred=rulings)


# --- multi-view ---------------------------------------------------------------------------------------------------

NARROW: Where = {"arm": "tuned", "projector.width": least}
WIDE: Where = {"arm": "tuned", "projector.width": most}
NARROW_FIXED: Where = {"arm": "fixed", "projector.width": least}
WIDE_FIXED: Where = {"arm": "fixed", "projector.width": most}


def _tuning_against_width(experiment: str) -> Test:
    """Points that tuning the weight gains at the narrowest projector, minus those that width gains once it is tuned."""
    terms = (_Term(2.0, NARROW), _Term(-1.0, NARROW_FIXED), _Term(-1.0, WIDE))
    return lambda frame, confidence: _contrast(_of(frame, experiment), terms, confidence)


def _stronger_and_narrow(experiment: str, stronger: Callable[[Any, Any], Any]) -> Test:
    """Narrowest projector at its best weight stronger than the fixed one, minus the widest at the fixed one."""

    def test(frame: pd.DataFrame, confidence: float) -> Finding:
        rows = _of(frame, experiment)
        fixed = _arm(rows, WIDE_FIXED)["weight"].iloc[0]

        def orthogonalised(weights: "pd.Series[float]") -> "pd.Series[bool]":
            return stronger(weights, fixed)

        terms = (_Term(1.0, {**NARROW, "weight": orthogonalised}), _Term(-1.0, WIDE_FIXED))
        return _contrast(rows, terms, confidence)

    return test


def _views(views: int, fraction: float = 1.0) -> Where:
    return {"views": views, "subset.fraction": fraction, "projector.width": least}


def _slope(frame: pd.DataFrame, confidence: float) -> Finding:
    """Slope of log best weight on log width: by seeds, or by the line's own standard error, whichever is wider."""
    rows = results.last(_of(frame, "weight_sweep_barlow_twins")).drop_duplicates(["cell", "accuracy"])
    if rows["projector.width"].nunique() < 3:
        raise _Missing("fewer than 3 widths: a slope has no error")
    best = results.best_weights(rows, ["projector.width"])
    found = [_line_fit(best.drop_duplicates("projector.width"), confidence)]
    if rows["seed"].nunique() > 1:
        each = results.best_weights(rows, ["projector.width", "seed"])
        slopes = [_line(part)[0] for _, part in each.groupby("seed") if part["projector.width"].nunique() > 1]
        found.append(t_interval(slopes, confidence))
    estimate = max(found, key=lambda one: one.high - one.low)._replace(seeds=int(rows["seed"].nunique()))
    widths = rows["projector.width"].nunique()
    ends = best.drop_duplicates("projector.width")["weight"].isin([rows["weight"].min(), rows["weight"].max()]).sum()
    note = f"{widths} widths; at {ends} of them the best weight is an end of the grid"
    return _finding(estimate, [rows], [note])


def _line(best: pd.DataFrame) -> tuple[float, np.ndarray, np.ndarray]:
    """Least squares of log weight on log width: the slope, the residuals and the centred log widths."""
    x, y = np.log(best["projector.width"].to_numpy(float)), np.log(best["weight"].to_numpy(float))
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    return slope, y - y.mean() - slope * x, x


def _line_fit(best: pd.DataFrame, confidence: float) -> Estimate:
    """The slope and its t interval with n − 2 degrees of freedom."""
    slope, residual, x = _line(best)
    freedom = len(x) - 2
    return _about(slope, math.sqrt(float(residual @ residual) / freedom / float(x @ x)), freedom, confidence, 1)


def _with_little_data(test: Test, most_data: float) -> Test:
    """Refuses where the smallest share of the data is not small."""

    def checked(frame: pd.DataFrame, confidence: float) -> Finding:
        smallest = float(_of(frame, "grid_barlow_twins")["subset.fraction"].min())
        if smallest > most_data:
            raise _Missing(f"the smallest share of the data run is {smallest:g}; very little is {most_data:g} or less")
        return test(frame, confidence)

    return checked


def plain(name: object) -> str:
    """A data set's or network's bare name: `image_folder/Tiny-ImageNet` is `tinyimagenet`."""
    return str(name).removeprefix("image_folder/").lower().replace("-", "").replace("_", "").rsplit("/", 1)[-1]


def _only_on(test: Test, dataset: str, analogue: Test | None = None) -> Test:
    """The test barred from any ruling on other data; where its experiment was not run, the analogous one stands in."""

    def checked(frame: pd.DataFrame, confidence: float) -> Finding:
        try:
            found = test(frame, confidence)
        except _Missing as missing:
            if analogue is None:
                raise
            reason = f"{missing}; the analogous effect is shown"
            return _barred(analogue(frame, confidence), reason, SUPPORTED, NOT_SUPPORTED)
        judged = {plain(name) for name in frame[frame["cell"].isin(found.cells)]["subset.dataset"]}
        if all(dataset in name for name in judged):
            return found
        note = f"the claim names {dataset}; on {', '.join(sorted(judged))} the analogous effect is shown"
        return _barred(found, note, SUPPORTED, NOT_SUPPORTED)

    return checked


SPECTRUM = np.exp(-np.arange(40) / 12)
"""Eigenvalues of the toy's augmentation operator (spec §2.3)."""
STARTS = 3
"""Random starts that the dynamics' intervals are over."""


def _dynamics(low: float, high: float, at: int, of: Callable[[theory.Trajectory], float]) -> Test:
    """A quantity after `at` updates at the higher β minus at the lower, width 10, over random starts."""

    def test(frame: pd.DataFrame, confidence: float) -> Finding:
        runs = ([_descent(beta, at, start) for beta in (low, high)] for start in range(STARTS))
        found = t_interval([of(after) - of(before) for before, after in runs], confidence)
        return Finding(found, data=f"toy of {len(SPECTRUM)} modes, width 10, β {low:g} and {high:g}", exact=True)

    return test


def _descent(beta: float, at: int, start: int) -> theory.Trajectory:
    return theory.gradient_descent(SPECTRUM, 10, beta, (at,), np.random.default_rng(start))


def _closed_form(frame: pd.DataFrame, confidence: float) -> Finding:
    """The largest distance of a trained amplitude from the closed form's, at β .05 and .5, over random starts."""
    gaps: list[float] = []
    for start in range(STARTS):
        runs = {beta: _descent(beta, 40_000, start).amplitude[-1] for beta in (0.05, 0.5)}
        distances = [np.abs(found - theory.amplitude(beta, SPECTRUM[:10])).max() for beta, found in runs.items()]
        gaps.append(float(max(distances)))
    data = f"toy of {len(SPECTRUM)} modes, width 10, β 0.05 and 0.5"
    return Finding(t_interval(gaps, confidence), data=data, exact=True)


# --- DIET ---------------------------------------------------------------------------------------------------------


def _not_shorter(test: Test, epochs: int) -> Test:
    """The test barred from any ruling on runs shorter than those that the claim can come from."""

    def checked(frame: pd.DataFrame, confidence: float) -> Finding:
        found = test(frame, confidence)
        fewest = int(frame[frame["cell"].isin(found.cells)]["epochs"].min())
        if fewest >= epochs:
            return found
        note = f"{fewest} epochs are not comparable with a number from {epochs} or more"
        return _barred(found, note, SUPPORTED, NOT_SUPPORTED)

    return checked


def _reported(dataset: str, encoder: str) -> Test:
    """DIET's accuracy on a data set and an encoder, in its longest runs on all the data; elsewhere barred."""

    def test(frame: pd.DataFrame, confidence: float) -> Finding:
        rows = _method(_of(frame, "diet*"), "diet")
        on, by = rows["subset.dataset"].map(plain) == dataset, rows["encoder.name"].map(plain).str.startswith(encoder)
        named = rows[on & by]
        chosen = named if len(named) else _method(_of(frame, "diet_budget"), "diet")
        arm = _arm(chosen, {"epochs": most, "subset.fraction": most}, ("method.smoothing", "optimizer.lr"))
        found = _finding(t_interval(POINTS(arm).to_numpy(), confidence), [arm])
        if len(named):
            return found
        note = f"{encoder} on {dataset} was not run: the accuracy shown is of other data or another encoder"
        return _barred(found, note, SUPPORTED, NOT_SUPPORTED)

    return test


def _method(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    found = rows[rows["method.name"] == name]
    if found.empty:
        raise _Missing(f"no cell of method {name}")
    return found


def is_medical(dataset: object) -> bool:
    """Whether a data set is one of MedMNIST's."""
    return plain(dataset).endswith("mnist")


def _against_baselines(
    experiment: str, method: str, keep: Callable[[object], bool] = lambda _: True, encoders: int = 1
) -> Test:
    """Accuracy (points) of a method minus the best SSL baseline's, both in one experiment: mean over (data, encoder).

    The baseline of each pair is the one with the best mean over seeds on the validation split.
    """

    def test(frame: pd.DataFrame, confidence: float) -> Finding:
        rows = _of(frame, experiment)
        rows = rows[rows["subset.dataset"].map(keep)]
        pairs: list[tuple[pd.DataFrame, pd.DataFrame]] = []
        notes: list[str] = []
        for (_, dataset, encoder), part in rows.groupby(["experiment", "subset.dataset", "encoder.name"]):
            if not (part["method.name"] == method).any() or not part["method.name"].isin(SSL).any():
                continue
            try:
                ours, (name, best) = _arm(part, {"method.name": method}), _best_baseline(part)
            except _Missing as missing:
                notes.append(f"{dataset} with {encoder} left out ({missing})")
                continue
            pairs.append((ours, best))
            lead = POINTS(ours).mean() - POINTS(best).mean()
            notes.append(f"{dataset} with {encoder}: against {name}, {lead:+.1f} points")
        if not pairs:
            said = "; ".join([f"no data set of this kind has both {method} and an SSL baseline", *notes])
            raise _Missing(f"{experiment}: {said}")
        used = [arm for pair in pairs for arm in pair]
        share = 1 / len(pairs)
        estimate = contrast([POINTS(arm) for arm in used], [share, -share] * len(pairs), confidence)
        found, count = _finding(estimate, used, notes), pd.concat(used)["encoder.name"].nunique()
        if count < encoders:
            return _barred(found, "one architecture; the claim is of many", SUPPORTED, NOT_SUPPORTED)
        return found

    return test


def _best_baseline(rows: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    arms = {name: _arm(rows, {"method.name": name}) for name in SSL if (rows["method.name"] == name).any()}
    if not arms:
        raise _Missing(f"no baseline among {', '.join(SSL)}")
    on = results.chosen_on(pd.concat(arms.values()))
    best = max(arms, key=lambda name: results.last(arms[name])[on].mean())
    return best, arms[best]


def _spread(rows: pd.DataFrame, method: str) -> tuple["pd.Series[float]", pd.DataFrame]:
    """Each seed's largest minus smallest accuracy (points) over batch sizes, and the rows; lr chosen at each batch."""
    part = _method(rows, method)
    per = part["optimizer.lr_per"].astype(float).fillna(part["batch"]) if "optimizer.lr_per" in part else part["batch"]
    part = part.assign(step=part["optimizer.lr"] * part["batch"] / per)
    arms = [_arm(part, {"batch": batch}, ("weight", "step")) for batch in sorted(part["batch"].unique())]
    table = pd.concat([POINTS(arm) for arm in arms], axis=1)
    if table.shape[1] < 2 or table.isna().any(axis=None):
        raise _Missing(f"{method}: needs 2 or more batch sizes, each with the same seeds")
    return table.max(axis=1) - table.min(axis=1), pd.concat(arms)


def _steadier(frame: pd.DataFrame, confidence: float) -> Finding:
    """Spread over batch sizes of the SSL baselines (their mean) minus DIET's."""
    rows = _of(frame, "diet_batch")
    present = [name for name in SSL if (rows["method.name"] == name).any()]
    if not present:
        raise _Missing("diet_batch has no SSL baseline")
    found = [_spread(rows, name) for name in ("diet", *present)]
    coefficients = [-1.0, *([1 / len(present)] * len(present))]
    estimate = contrast([spread for spread, _ in found], coefficients, confidence)
    return _finding(estimate, [part for _, part in found], [f"baselines: {', '.join(present)}"])


def _batch_spread(frame: pd.DataFrame, confidence: float) -> Finding:
    """Spread over batch sizes of s-DIET; where it was not run, DIET's, barred."""
    rows = _of(frame, "diet_batch")
    method, note = _s_diet(rows)
    spread, used = _spread(rows, method)
    found = _finding(t_interval(spread.to_numpy(), confidence), [used])
    return _barred(found, note, SUPPORTED, NOT_SUPPORTED) if note else found


def _s_diet(rows: pd.DataFrame) -> tuple[str, str]:
    if (rows["method.name"] == S_DIET).any():
        return S_DIET, ""
    return "diet", "s-DIET was not run; plain DIET's effect is shown"


def _with_s_diet(test: Callable[[str], Test]) -> Test:
    """A test of s-DIET in diet_budget; where it was not run, DIET's effect, barred."""

    def checked(frame: pd.DataFrame, confidence: float) -> Finding:
        method, note = _s_diet(_of(frame, "diet_budget"))
        found = test(method)(frame, confidence)
        return _barred(found, note, SUPPORTED, NOT_SUPPORTED) if note else found

    return checked


def _rank_against(baseline: str) -> Test:
    def rank(method: str) -> Test:
        return _difference("diet_budget", {"method.name": method}, {"method.name": baseline}, _final("rankme"))

    return _with_s_diet(rank)


def _of_supervised(finding: Finding, frame: pd.DataFrame) -> Finding:
    """Adds to the note how DIET compares with labels, at the least and the most images run."""
    said: list[str] = []
    for name, extreme in (("fewest", least), ("most", most)):
        methods = ("diet", "supervised")
        terms = [
            _Term(1.0 - 2 * place, {"method.name": method, "images": extreme}) for place, method in enumerate(methods)
        ]
        try:
            lead = _contrast(_sized(_of(frame, "diet_supervised")), terms, 1 - ERROR).estimate
        except _Missing as missing:
            said.append(f"beside, DIET minus supervised at the {name} images: {missing}")
            continue
        said.append(f"beside, DIET minus supervised at the {name} images: {_interval(*lead[:3], 'points')}")
    return replace(finding, note="; ".join(part for part in (finding.note, *said) if part))


def _sized(rows: pd.DataFrame) -> pd.DataFrame:
    """With the images of a subset, up to a factor that all of a data set's subsets share."""
    limit = rows["subset.limit"].astype(float).fillna(1.0) if "subset.limit" in rows else 1.0
    return rows.assign(images=limit * rows["subset.fraction"])


def spearman(x: "pd.Series[float]", y: "pd.Series[float]") -> float:
    """Spearman's rank correlation; ties share their mean rank."""
    return float(x.rank().corr(y.rank())) if min(x.nunique(), y.nunique()) > 1 else math.nan


def _tracks(frame: pd.DataFrame, confidence: float) -> Finding:
    """ρ of training loss and accuracy over all saved epochs of all runs at one smoothing level; mean over levels.

    The mean is that of Fisher's z = artanh ρ. Points of one run depend on each other, so the interval is over runs,
    which take the place of seeds: see `jackknife`.
    """
    rows = _method(_of(frame, "diet_loss"), "diet").drop_duplicates(["cell", "epoch", "accuracy"])
    by = [column for column in ("subset.dataset", "encoder.name", "method.smoothing") if column in rows]
    levels = {name: part for name, part in rows.groupby(by) if part["cell"].nunique() > 1}
    if not levels:
        raise _Missing("diet_loss: no smoothing level has 2 runs or more")
    found = jackknife([_runs(part) for part in levels.values()], _z, confidence)
    if not math.isfinite(found.high - found.low):
        raise _Missing("diet_loss: too few saved epochs at a smoothing level for a rank correlation")
    kept = pd.concat(levels.values())
    notes = [
        f"ρ at {_level_name(name)}: {spearman(part['loss'], part['accuracy']):.2f}" for name, part in levels.items()
    ]
    notes.append(f"ρ over all levels, floors not subtracted: {spearman(kept['loss'], kept['accuracy']):.2f}")
    return _finding(_through(math.tanh, found), [kept], [*notes, "the count is of runs"])


def jackknife(
    strata: Sequence[Sequence[pd.DataFrame]], of: Callable[[pd.DataFrame], float], confidence: float
) -> Estimate:
    """Mean over strata of a statistic of each stratum's runs, with the delete-one-run jackknife's t interval.

    Error² = Σ_h (n_h − 1)/n_h Σ_i (θ_hi − mean_i θ_hi)², θ_hi the statistic without run i of stratum h; degrees of
    freedom: runs minus strata.
    """
    effect, error = float(np.mean([of(pd.concat(runs)) for runs in strata])), 0.0
    for runs in strata:
        without = [of(pd.concat([*runs[:place], *runs[place + 1 :]])) / len(strata) for place in range(len(runs))]
        error += (len(runs) - 1) * float(np.var(without))
    count = sum(map(len, strata))
    return _about(effect, math.sqrt(error), count - len(strata), confidence, count)


def _runs(rows: pd.DataFrame) -> list[pd.DataFrame]:
    return [run for _, run in rows.groupby("cell")]


def _level_name(name: object) -> str:
    return f"smoothing {name[-1]}" if isinstance(name, tuple) else str(name)


def _z(rows: pd.DataFrame) -> float:
    """Fisher's artanh ρ; |ρ| is cut at 0.999, where artanh is still a moderate number."""
    return float(np.arctanh(np.clip(spearman(rows["loss"], rows["accuracy"]), -0.999, 0.999)))


def augmentation_level(row: Mapping[str, Any]) -> int:
    """DIET's strength by what the pipeline holds (spec §2.2).

    0: nothing; 1: crops or flips; 2: colour as well; 3: blur or erasing as well.
    """

    def given(name: str) -> bool:
        value = row.get(f"augmentation.{name}", 0.0)
        return bool(value > 0)  # a missing value is not

    if given("erase") or given("blur"):
        return 3
    if given("jitter") or given("greyscale"):
        return 2
    scale = row.get("augmentation.crop_scale")
    return int(given("flip") or (isinstance(scale, list | tuple) and scale[0] < 1))


def _levels(frame: pd.DataFrame, confidence: float) -> Finding:
    """Accuracy (points) at the strongest minus at the weakest augmentation level run."""
    rows = _method(_of(frame, "diet_levels"), "diet")
    rows = rows.assign(level=[augmentation_level(row) for row in rows.to_dict("records")])
    return _contrast(rows, (_Term(1.0, {"level": most}), _Term(-1.0, {"level": least})), confidence)


def _slower(frame: pd.DataFrame, confidence: float) -> Finding:
    """Epochs to nine tenths of the way from chance to a run's own final accuracy: DIET's over SSL's, geometric mean."""

    def log_epochs(rows: pd.DataFrame) -> "pd.Series[float]":
        found = {
            seed: math.log(max(first_reached(epoch, accuracy, chance + 0.9 * (accuracy[-1] - chance), chance), 1e-3))
            for seed, (epoch, accuracy, chance) in _curves(rows, "epoch").items()
        }
        return pd.Series(found, dtype=float)

    rows = _of(frame, "diet_budget")
    present = [name for name in SSL if (rows["method.name"] == name).any()]
    if not present:
        raise _Missing("diet_budget has no SSL baseline")
    terms = [
        _Term(1.0, {"method.name": "diet"}),
        *(_Term(-1 / len(present), {"method.name": name}) for name in present),
    ]
    found = _contrast(rows, terms, confidence, log_epochs)
    note = "; ".join(part for part in (f"baselines: {', '.join(present)}", found.note) if part)
    return replace(found, estimate=_through(_exp, found.estimate), note=note)


def _smoothing(frame: pd.DataFrame, confidence: float) -> Finding:
    """Accuracy (points) after equal epochs at smoothing 0.8 minus at the least smoothing run, which is 0.1 or below."""
    rows = _method(_of(frame, "diet_smoothing"), "diet")
    if "method.smoothing" not in rows or rows["method.smoothing"].min() > 0.1:
        raise _Missing("diet_smoothing has no level of 0.1 or below")
    rows = rows[rows["epochs"] == rows["epochs"].min()]
    return _contrast(
        rows, (_Term(1.0, {"method.smoothing": 0.8}), _Term(-1.0, {"method.smoothing": least})), confidence
    )


# --- the claims ---------------------------------------------------------------------------------------------------

MARGIN = 1.0
"""Points that count as equal: spec §8's `within 1 point` (MV-T1, MV-F5a)."""


def _above(points: float, reason: str, unit: str = "points") -> Criterion:
    return Criterion(points, math.inf, unit, reason)


EQUAL = Criterion(-MARGIN, MARGIN, "points", "within 1 point, the pass rule of MV-T1 and MV-F5a")
KEPT = _above(-MARGIN, "not lower by more than 1 point, the pass rule of MV-F5a; a gain is no loss")
BETTER = _above(0.0, "better at all; the papers name no amount")
COMPETITIVE = _above(-5.0, "competitive is less than equal: within 5 points, ours, for the papers give no number")
FASTER = _above(1.5, "MV-T2's `about 2`, read as what rounds to 2 or more", "×")

_four_half = _difference("data_barlow_twins", _views(4, 0.5), _views(2))
_half_on_imagenet = _difference("data_imagenet100", _views(4, 0.5), _views(2))
_eight_quarter = _difference("data_barlow_twins", _views(8, 0.25), _views(2))
_on_cifar = "CIFAR-10 and STL-10, ResNet-50, 50 to 100 epochs"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "MV-H1",
        "Orthogonal features matter more than a wide projector: at the right weight a narrow one is enough",
        f"{_on_cifar}; 64 against 8192 dimensions",
        (
            Part(
                "Barlow Twins: gain from tuning the narrowest projector's weight, minus gain from width once tuned",
                _above(0.0, "`more` names no amount"),
                _tuning_against_width("width_barlow_twins"),
            ),
            Part(
                "VICReg: the same",
                _above(0.0, "`more` names no amount"),
                _tuning_against_width("width_vicreg"),
                decides=False,
            ),
        ),
    ),
    Claim(
        "MV-H2",
        "A stronger orthogonality weight with a narrower projector gives good features",
        f"{_on_cifar} and ImageNet-100",
        (
            Part(
                "Barlow Twins: narrowest at its best weight above the fixed one, minus widest at the fixed one",
                KEPT,
                _stronger_and_narrow("width_barlow_twins", lambda weight, fixed: weight > fixed),
            ),
            Part(
                "VICReg: the same (its λ = μ orthogonalises more where it is smaller)",
                KEPT,
                _stronger_and_narrow("width_vicreg", lambda weight, fixed: weight < fixed),
                decides=False,
            ),
        ),
    ),
    Claim(
        "MV-H3",
        "More than two views an image improve the representation, and good features appear earlier in training",
        f"{_on_cifar}",
        (
            Part("4 views minus 2, last epoch", BETTER, _difference("views_barlow_twins", _views(4), _views(2))),
            Part(
                "4 views minus 2, smallest over the saved epochs of training's first half",
                _above(0.0, "above at every epoch up to half of training, the pass rule of MV-F4a"),
                _ahead("views_barlow_twins", _views(4), _views(2), 0.5),
            ),
            Part(
                "VICReg: 4 views minus 2, last epoch",
                BETTER,
                _difference("views_vicreg", _views(4), _views(2)),
                decides=False,
            ),
        ),
    ),
    Claim(
        "MV-H4",
        "With more views the pretraining set can be four times smaller at the same accuracy",
        f"{_on_cifar}",
        (
            Part("8 views of 25 % of the images minus 2 views of all", KEPT, _eight_quarter),
            Part("VICReg: the same", KEPT, _difference("data_vicreg", _views(8, 0.25), _views(2)), decides=False),
        ),
    ),
    Claim(
        "MV-H5",
        "With more views the pretraining set can be twice smaller at the same accuracy",
        f"{_on_cifar} and ImageNet-100",
        (
            Part("4 views of 50 % of the images minus 2 views of all", KEPT, _four_half),
            Part("VICReg: the same", KEPT, _difference("data_vicreg", _views(4, 0.5), _views(2)), decides=False),
        ),
    ),
    Claim(
        "MV-H6",
        "Narrow projector, more views and less data together halve the time to the baseline's accuracy and pass it",
        "CIFAR-10 and STL-10, ResNet-50; tested: narrowest, 4 views of 50 % against widest, 2 views of all",
        (
            Part("minutes to the baseline's final accuracy, baseline over recipe", FASTER, _speed_up),
            Part(
                "last-epoch accuracy, recipe minus baseline",
                BETTER,
                _ahead_of_baseline,
            ),
        ),
    ),
    Claim(
        "MV-H7",
        "The recommendations hold on CIFAR, STL and ImageNet with residual networks",
        "no single effect as it stands; tested instead: on each of the three, MV-H5",
        (
            Part("CIFAR: 4 views of 50 % minus 2 views of all", KEPT, _only_on(_four_half, "cifar")),
            Part("STL-10: the same", KEPT, _only_on(_difference("data_stl10", _views(4, 0.5), _views(2)), "stl10")),
            Part("ImageNet-100: the same", KEPT, _only_on(_half_on_imagenet, "imagenet")),
        ),
    ),
    Claim(
        "MV-H8",
        "On ImageNet-100 more views need fewer steps, and 4 views of half of the data match 2 views of all",
        "ImageNet-100, ResNet-18, 100 epochs, Barlow Twins",
        (
            Part("4 views of 50 % minus 2 views of all", EQUAL, _only_on(_half_on_imagenet, "imagenet100", _four_half)),
            Part(
                "4 views minus 2, smallest over all saved epochs",
                _above(0.0, "any level is reached in fewer steps, the pass rule of MV-F4d: above at every epoch"),
                _only_on(
                    _ahead("views_imagenet100", _views(4), _views(2), 1.0),
                    "imagenet100",
                    _ahead("views_barlow_twins", _views(4), _views(2), 1.0),
                ),
            ),
        ),
    ),
    Claim(
        "MV-H9",
        "With a tuned weight the narrowest projector is on par with the widest",
        "CIFAR-10, ResNet-50; 64 against 8192 dimensions",
        (
            Part(
                "Barlow Twins: narrowest minus widest, both tuned",
                EQUAL,
                _difference("width_barlow_twins", NARROW, WIDE),
            ),
            Part("VICReg: the same", EQUAL, _difference("width_vicreg", NARROW, WIDE), decides=False),
        ),
    ),
    Claim(
        "MV-H10",
        "The best orthogonality weight is inversely proportional to the projector's width",
        "Barlow Twins, CIFAR-10, ResNet-50, 256 to 8192 dimensions",
        (
            Part(
                "slope of log best weight on log width",
                Criterion(-1.5, -0.6, "", "the pass rule of MV-F3; inverse proportion is −1"),
                _slope,
            ),
        ),
    ),
    Claim(
        "MV-H11",
        "With very little data, still more views stop helping",
        f"{_on_cifar}",
        (
            Part(
                "8 views minus 4 at the smallest share of the data, 25 % or less",
                Criterion(-math.inf, MARGIN, "points", "helps by no more than the 1 point that counts as equal"),
                _with_little_data(
                    _difference(
                        "grid_barlow_twins",
                        {"views": 8, "subset.fraction": least, "projector.width": least},
                        {"views": 4, "subset.fraction": least, "projector.width": least},
                    ),
                    0.25,
                ),
            ),
        ),
    ),
    Claim(
        "MV-H12",
        "Eight views can end below four",
        "one figure of the first version, read by a reviewer; data set not known",
        (
            Part(
                "8 views minus 4, all the data, last epoch",
                Criterion(-math.inf, 0.0, "points", "worse at all; the reviewer names no amount"),
                _difference("views_barlow_twins", _views(8), _views(4)),
            ),
        ),
    ),
    Claim(
        "MV-H13",
        "Weak and strong orthogonality weights learn by different dynamics, as the theory predicts",
        "Theorem 3.2, not read; tested instead: gradient descent on the reformulated loss against our closed form",
        (
            Part(
                "largest distance of a learned amplitude from the closed form",
                Criterion(-math.inf, 0.0005, "", "equal to three digits, as in spec §2.3"),
                _closed_form,
            ),
            Part(
                "directions above amplitude 0.5 after 300 updates, β 5 minus β 0.05",
                _above(0.0, "a strong weight fills directions sooner (spec §2.3)", "directions"),
                _dynamics(0.05, 5.0, 300, lambda run: float(run.active(0.5)[-1])),
            ),
            Part(
                "energy inside the top eigenspace after 1,000 updates, β 5 minus β 0.05",
                Criterion(-math.inf, 0.0, "", "a strong weight aligns later (spec §2.3)"),
                _dynamics(0.05, 5.0, 1000, lambda run: float(run.share[-1])),
            ),
        ),
    ),
    Claim(
        "DIET-H1",
        "71.4 % linear-probe accuracy on CIFAR-100 with ResNet-101",
        "CIFAR-100, ResNet-101, thousands of epochs",
        (
            Part(
                "accuracy",
                Criterion(71.4 - MARGIN, 71.4 + MARGIN, "%", "the abstract's number, within 1 point"),
                _not_shorter(_reported("cifar100", "resnet101"), 4000),
            ),
        ),
    ),
    Claim(
        "DIET-H2",
        "52.5 % linear-probe accuracy on TinyImageNet with ResNeXt-50",
        "TinyImageNet, ResNeXt-50 (32 × 4d), thousands of epochs",
        (
            Part(
                "accuracy",
                Criterion(52.5 - MARGIN, 52.5 + MARGIN, "%", "the abstract's number, within 1 point"),
                _not_shorter(_reported("tinyimagenet", "resnext50"), 2000),
            ),
        ),
    ),
    Claim(
        "DIET-H3",
        "Up to a few hundred thousand images, self-supervision's further machinery adds nothing to the representation",
        "natural images, up to a few hundred thousand; tested at equal epochs",
        (
            Part(
                "DIET minus the best SSL baseline (chosen on validation)",
                _above(-MARGIN, "adds nothing: no baseline better by more than the 1 point that counts as equal"),
                _reread(_against_baselines("diet_budget", "diet"), _of_supervised),
            ),
        ),
    ),
    Claim(
        "DIET-H4",
        "Self-supervision is sensitive to its settings by its design, not because labels are missing",
        "a cause, which no run shows; tested instead: label-free DIET varies less over batch sizes than SSL does",
        (
            Part(
                "accuracy's range over batch sizes, SSL's mean minus DIET's",
                _above(0.0, "`less` names no amount"),
                _steadier,
            ),
        ),
    ),
    Claim(
        "DIET-H5",
        "The training loss tells how good the representation is",
        "three data sets, all architectures and smoothing levels",
        (
            Part(
                "Spearman's ρ of training loss and accuracy at equal smoothing",
                Criterion(-1.0, -0.5, "", "strong by Cohen's rule (|ρ| ≥ 0.5); the papers' statistic is not known"),
                _tracks,
            ),
        ),
    ),
    Claim(
        "DIET-H6",
        "DIET is competitive on natural, medical and small data sets, over many architectures, without tuning",
        "CIFAR, TinyImageNet, small fine-grained sets, MedMNIST; thirteen architectures",
        (
            Part(
                "natural images: DIET minus the best SSL baseline, mean over data sets and architectures",
                COMPETITIVE,
                _against_baselines("diet*", "diet", lambda dataset: not is_medical(dataset), encoders=2),
            ),
            Part("medical images: the same", COMPETITIVE, _against_baselines("diet*", "diet", is_medical)),
        ),
    ),
    Claim(
        "DIET-H7",
        "DIET is very sensitive to augmentation, converges more slowly than SSL, and smoothing speeds it up",
        "third-party summaries of the first version; data not named",
        (
            Part(
                "strongest augmentation minus weakest",
                _above(
                    5.0,
                    "very sensitive: five times what counts as equal, ours",
                    "points",
                ),
                _levels,
            ),
            Part("epochs to nine tenths of the final gain, DIET over SSL", _above(1.0, "slower at all", "×"), _slower),
            Part("smoothing 0.8 minus the least, equal epochs", BETTER, _smoothing),
        ),
    ),
    Claim(
        "DIET-H8",
        "s-DIET is competitive, robust to the batch size, and its embeddings have a higher rank",
        "CIFAR-10, CIFAR-100, TinyImageNet, ImageNet-100",
        (
            Part(
                "s-DIET minus the best SSL baseline",
                COMPETITIVE,
                _with_s_diet(lambda method: _against_baselines("diet_budget", method)),
            ),
            Part(
                "accuracy's range over batch sizes",
                Criterion(-math.inf, 5.0, "points", "robust: within the 5 points that count as competitive, ours"),
                _batch_spread,
            ),
            Part("RankMe, s-DIET minus SimCLR", _above(0.0, "higher at all", "dimensions"), _rank_against("simclr")),
            Part("RankMe, s-DIET minus VICReg", _above(0.0, "higher at all", "dimensions"), _rank_against("vicreg")),
        ),
    ),
)


# --- judging ------------------------------------------------------------------------------------------------------


def reads(experiment: str) -> bool:
    """Whether any claim reads an experiment."""
    return experiment in READ or experiment.startswith("diet")


def judge(frame: pd.DataFrame, scale: str) -> tuple[Verdict, ...]:
    """Every claim's verdict from `results.frame`'s rows (all experiments' together), in the papers' order."""
    return tuple(verdict(claim, frame, scale) for claim in CLAIMS)


def verdict(claim: Claim, frame: pd.DataFrame, scale: str) -> Verdict:
    """One claim's verdict."""
    deciding = sum(part.decides for part in claim.parts)
    found = tuple(_reading(part, frame, 1 - ERROR / (deciding if part.decides else 1)) for part in claim.parts)
    ruling = _together([reading.verdict for reading in found if reading.decides])
    turned = [reading for reading in found if reading.decides and reading.verdict == ruling]
    shown = next((reading for reading in turned if reading.effect is not None), turned[0])
    return Verdict(
        claim=claim.claim,
        statement=claim.statement,
        verdict=ruling,
        effect=shown.effect,
        unit=shown.unit,
        low=shown.low,
        high=shown.high,
        confidence=shown.confidence,
        criterion=shown.criterion,
        scale=scale,
        cells=tuple(sorted({cell for reading in found for cell in reading.cells})),
        seeds=shown.seeds,
        note=f"claimed of: {claim.about}",
        readings=found,
    )


def _together(rulings: Sequence[Ruling]) -> Ruling:
    if NOT_SUPPORTED in rulings:
        return NOT_SUPPORTED
    return SUPPORTED if all(ruling == SUPPORTED for ruling in rulings) else INCONCLUSIVE


def _reading(part: Part, frame: pd.DataFrame, confidence: float) -> Reading:
    def reading(verdict: Ruling, found: Finding | None, note: str) -> Reading:
        effect, low, high = map(_number, found.estimate[:3]) if found else (None, None, None)
        return Reading(
            what=part.what,
            verdict=verdict,
            decides=part.decides,
            effect=effect,
            low=low,
            high=high,
            unit=part.criterion.unit,
            confidence=round(confidence, 4),
            criterion=str(part.criterion),
            seeds=found.estimate.seeds if found else 0,
            note=note,
            cells=found.cells if found else (),
        )

    try:
        found = part.test(frame, confidence)
    except _Missing as missing:
        return reading(INCONCLUSIVE, None, str(missing))
    ruling, notes = part.criterion.ruling(found.estimate), [f"judged on {found.data}", found.note]
    if found.estimate.low == found.estimate.high and not found.exact:
        # two seeds of a small test split may agree to the last image by chance
        ruling, notes = INCONCLUSIVE, [*notes, "the seeds agree exactly, which gives no interval"]
    if ruling in found.barred:
        ruling = INCONCLUSIVE
    return reading(ruling, found, "; ".join(text for text in notes if text))


def _number(value: float) -> float | None:
    """Six digits and nine decimals, so that a sum's last bits make no other file; nothing where it is not a number."""
    return float(f"{round(value, 9):.6g}") + 0.0 if math.isfinite(value) else None


# --- text ---------------------------------------------------------------------------------------------------------


LEGEND = (
    "Supported: the whole interval lies inside the criterion, for every part. Not supported: a part's whole interval "
    "lies outside. Inconclusive: anything else; at a small scale often the right answer. Intervals: Student t over "
    "seeds, paired where arms share seeds, at 95 % over all parts of a claim. n: seeds. (Beside): decides nothing."
)


def render(verdicts: Sequence[Verdict], scale: str) -> dict[str, str]:
    """`md`, a table to read, and `json`, the same and the cells used; claims as the papers number them."""
    columns = ("claim", "what it says", "verdict", "effect [interval]", "criterion, fixed before the data", "n", "note")
    rows = [columns, ("---",) * len(columns), *(_row(found) for found in verdicts)]
    judged = [found.verdict for found in verdicts]
    counts = ", ".join(f"{judged.count(ruling)} {ruling}" for ruling in (SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE))
    lines = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    text = f"**Claims. What the papers say, judged at {scale} scale: {counts}**\n\n{lines}\n\n{LEGEND}\n"
    content = {"scale": scale, "claims": [asdict(found) for found in verdicts]}
    made = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return {"md": text, "json": made + "\n"}


def _row(found: Verdict) -> tuple[str, ...]:
    many = len(found.readings) > 1

    def each(text: Callable[[Reading], str]) -> str:
        if not many:
            return text(found.readings[0])
        return " · ".join(f"({place}) {text(reading)}" for place, reading in enumerate(found.readings, 1))

    ruled = found.verdict + (f": {each(lambda reading: reading.verdict)}" if many else "")
    said = " · ".join(part for part in (found.note, each(lambda reading: reading.note)) if part)
    seeds = each(lambda reading: str(reading.seeds))
    return (found.claim, found.statement, ruled, each(_effect), each(lambda reading: reading.criterion), seeds, said)


def _effect(reading: Reading) -> str:
    what = f"{'' if reading.decides else '(beside) '}{reading.what}"
    if reading.effect is None:
        return f"{what}: not measured"
    shown = _interval(reading.effect, reading.low, reading.high, reading.unit)
    return f"{what}: {shown} at {100 * reading.confidence:.4g} %"


def _interval(effect: float, low: float | None, high: float | None, unit: str) -> str:
    ends = ["?" if end is None else f"{end:.3g}" for end in (low, high)]
    return f"{effect:.3g}{' ' * bool(unit)}{unit} [{ends[0]}, {ends[1]}]"
