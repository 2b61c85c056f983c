"""How the effects that the DIET papers claim are measured."""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false, reportUnknownLambdaType=false
# pyright: reportInvalidTypeArguments=false

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from entia import results
from entia.claims.arms import (
    Term,
    Where,
    arm,
    compared,
    difference,
    finding,
    groups,
    held,
    in_common,
    least,
    most,
    named,
    of,
    samples,
)
from entia.claims.curves import Times, bounded, ratio, times
from entia.claims.intervals import LEAST, Mean, Missing, Range, RangeDifference, rank_correlation, spearman, t_interval
from entia.claims.judging import (
    NOT_SUPPORTED,
    SUPPORTED,
    Elsewhere,
    Finding,
    Test,
    one,
)
from entia.claims.pooling import contrast
from entia.claims.study import POINTS, Measure, Study, sample

S_DIET = "sdiet"


# --- DIET's numbers -----------------------------------------------------------------------------------------------


def reported(experiment: str, dataset: str, encoder: str, epochs: int, column: str) -> Test:
    """DIET's accuracy (%) on a data set and an encoder: all images, smoothing 0.8 (DIET spec §2.3), the longest runs.

    Not judged on other data, another encoder, or in runs shorter than those that the papers' number can come from. An
    accuracy borrows no other arm's noise: a seed's own effect does not cancel in it.
    """

    def test(study: Study) -> Finding:
        rows = _method(of(study, experiment), "diet")
        on = rows["subset.dataset"].map(results.plain) == dataset
        by = rows["encoder.name"].map(results.plain).str.startswith(encoder)
        there = bool((on & by).any())
        where: Where = {"subset.fraction": most, "method.smoothing": 0.8, "epochs": most}
        found = arm(rows[on & by] if there else rows, where)
        judged = finding(one(t_interval([*sample(found, Measure(column, 100.0)).values.values()])), [found])
        if not there:
            return judged.not_here(f"{encoder} on {dataset} was not run; shown is DIET's accuracy on what was")
        if (length := int(found["epochs"].iloc[0])) < epochs:
            return judged.not_here(f"{length} epochs are not comparable with a number from {epochs} or more")
        return judged

    return test


def _method(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    found = rows[rows["method.name"] == name]
    if found.empty:
        raise Missing(f"no cell of method {name}")
    return found


# --- against other methods ----------------------------------------------------------------------------------------


def _any(dataset: object) -> bool:
    return True


def against_baselines(
    experiment: str, method: str, encoders: int = 1, on: Callable[[object], bool] = _any, kind: str = "images"
) -> Test:
    """Accuracy (points) of a method minus each baseline's in turn, over the (data, encoder) pairs that have both.

    Within a margin of the best is within it of each; the best by held-out images alone would refute wrongly in 14 %.
    One baseline for all pairs is weaker than each pair's own best. Not judged in fewer than `encoders` architectures,
    nor without data sets that are `on`.
    """

    def test(study: Study) -> Finding:
        rows = of(study, experiment)
        rows = rows[rows["subset.dataset"].map(on).astype(bool)]
        if rows.empty:
            raise Elsewhere(f"no {kind} were run")
        found = {f"against {name}": _pairs(rows, method, name) for name in _baselines(rows)}
        found = {name: pairs for name, pairs in found.items() if pairs}
        if not found:
            raise Missing(f"{experiment}: no data set has both {method} and a baseline, in 2 seeds or more")
        effects = {name: contrast(samples(pairs, _MINUS, POINTS), study.pool(POINTS)) for name, pairs in found.items()}
        arms = [each for pairs in found.values() for pair in pairs for each in pair]
        judged = held(study, named(effects), arms, ["each baseline in turn"])
        if len({each["encoder.name"].iloc[0] for each in arms}) < encoders:
            return judged.not_here("baselines on one architecture; the claim is of many")
        return judged

    return test


_MINUS = (Term(1.0, {}), Term(-1.0, {}))


def _pairs(rows: pd.DataFrame, method: str, baseline: str) -> list[list[pd.DataFrame]]:
    """The method's and the baseline's arms on each data set and encoder that has both, in two seeds or more."""
    found: list[list[pd.DataFrame]] = []
    for _, part in rows.groupby(["subset.dataset", "encoder.name"]):
        if {method, baseline} <= set(part["method.name"]):
            arms = [arm(part, {"method.name": name}) for name in (method, baseline)]
            if len(set(arms[0]["seed"]) & set(arms[1]["seed"])) > 1:
                found.append(arms)
    return found


def _baselines(rows: pd.DataFrame) -> list[str]:
    found = [name for name in results.SSL if (rows["method.name"] == name).any()]
    if not found:
        raise Missing(f"no baseline among {', '.join(results.SSL)}")
    return found


def is_medical(dataset: object) -> bool:
    """Whether a data set is one of MedMNIST's."""
    return results.plain(dataset).endswith("mnist")


def slower(study: Study) -> Finding:
    """Epochs to nine tenths of the way from chance to a run's own final accuracy: DIET's over SSL's, geometric mean."""
    rows = of(study, "diet_budget")
    present = _baselines(rows)
    terms = [Term(1.0, {"method.name": "diet"}), *(Term(-1 / len(present), {"method.name": name}) for name in present)]
    used, left = groups(rows, terms)
    reached = [[_times_of_gain(each) for each in arms] for arms in used]
    shares = [term.coefficient / len(used) for term in terms]
    estimate = ratio([list(zip(shares, *pair, strict=True)) for pair in zip(used, reached, strict=True)])
    arms = [each for group in used for each in group]
    found = held(study, one(estimate), arms, [f"baselines: {', '.join(present)}", *left])
    return bounded(found, over=[each[0] for each in reached], under=[run for each in reached for run in each[1:]])


NEARLY = 0.9
"""The share of a run's own gain that its speed is told by."""


def _times_of_gain(rows: pd.DataFrame) -> Times:
    ends = results.last(rows).set_index("seed")
    if (ends["accuracy"] <= ends["chance"]).any():
        raise Missing("a run ended at chance: there is no gain to reach")
    return times(rows, (ends["chance"] + NEARLY * (ends["accuracy"] - ends["chance"])).to_dict(), "epoch")


def against_supervised(extreme: Callable[[Any], Any]) -> Test:
    """DIET minus supervised training at the fewest or the most images."""
    arms: list[Where] = [{"method.name": name, "images": extreme} for name in ("diet", "supervised")]
    return difference("diet_supervised", *arms)


# --- batch sizes --------------------------------------------------------------------------------------------------


def steadier(study: Study) -> Finding:
    """Range over batch sizes of the baselines (their mean) minus DIET's, over the sizes that all of them have."""
    rows = of(study, "diet_batch")
    present = _baselines(rows)
    used = _at_shared_sizes(rows, ["diet", *present])
    ours, *others = (Range(tuple(_between(study, sizes).values())) for sizes in used)
    notes = [f"baselines: {', '.join(present)}", _sizes(used[0])]
    return _by_one_rule(held(study, one(RangeDifference(tuple(others), ours)), _flat(used), notes), used)


def between_batches(study: Study) -> Finding:
    """Differences of s-DIET's accuracies at each pair of batch sizes; where it was not run, DIET's, not ruled on.

    A range below a number is every pair within it: an observed range is biased upwards by noise.
    """
    rows = of(study, "diet_batch")
    method, note = _s_diet(rows)
    used = _at_shared_sizes(rows, [method])
    found = held(study, named(_between(study, used[0])), _flat(used), [_sizes(used[0])])
    return found.not_here(note) if note else _by_one_rule(found, used)


Sizes = Mapping[int, pd.DataFrame]
"""A method's arms by batch size."""


def _between(study: Study, sizes: Sizes) -> dict[str, Mean]:
    """The difference of accuracy (points) of each pair of batch sizes."""
    pairs = itertools.combinations(sizes, 2)
    return {
        f"batch {more} minus {less}": contrast(
            samples([[sizes[more], sizes[less]]], _MINUS, POINTS), study.pool(POINTS)
        )
        for less, more in pairs
    }


def _at_shared_sizes(rows: pd.DataFrame, methods: Sequence[str]) -> list[Sizes]:
    """Each method's arms at the batch sizes that all have: more sizes alone would make a range larger.

    Where a method has learning rates that grow with the batch and fixed ones, those that grow.
    """
    parts = [_growing(results.last(_method(rows, name))) for name in methods]
    shared = set[int].intersection(*(set(part["batch"]) for part in parts))
    if len(shared) < 2:
        raise Missing(f"{' and '.join(methods)} share fewer than 2 batch sizes")
    found = [{size: arm(part, {"batch": size}) for size in sorted(shared)} for part in parts]
    in_common(_flat(found))
    return found


def _flat(used: Sequence[Sizes]) -> list[pd.DataFrame]:
    return [each for sizes in used for each in sizes.values()]


def _growing(rows: pd.DataFrame) -> pd.DataFrame:
    grows = _grows(rows)
    return rows[grows] if grows.any() else rows


def _grows(rows: pd.DataFrame) -> "pd.Series[bool]":
    return rows["optimizer.lr_per"].notna() if "optimizer.lr_per" in rows else pd.Series(False, index=rows.index)


def _by_one_rule(found: Finding, used: Sequence[Sizes]) -> Finding:
    """Barred where one method's learning rate grows with the batch and another's stays: the rule may be the cause."""
    grows = {bool(_grows(each).any()) for each in _flat(used)}
    if len(grows) == 1:
        return found
    return found.bar("the learning rate grows with the batch in some methods alone", SUPPORTED, NOT_SUPPORTED)


def _sizes(sizes: Sizes) -> str:
    return f"batch sizes {', '.join(map(str, sizes))}"


# --- s-DIET -------------------------------------------------------------------------------------------------------


def _s_diet(rows: pd.DataFrame) -> tuple[str, str]:
    if (rows["method.name"] == S_DIET).any():
        return S_DIET, ""
    return "diet", "s-DIET was not run; plain DIET's effect is shown"


def of_s_diet(test: Callable[[str], Test]) -> Test:
    """A test of s-DIET in diet_budget; where it was not run, DIET's effect, not ruled on."""

    def checked(study: Study) -> Finding:
        method, note = _s_diet(of(study, "diet_budget"))
        found = test(method)(study)
        return found.not_here(note) if note else found

    return checked


def rank_against(baseline: str) -> Test:
    """The test of s-DIET's effective rank minus a baseline's."""
    return of_s_diet(
        lambda method: difference("diet_budget", {"method.name": method}, {"method.name": baseline}, Measure("rankme"))
    )


# --- DIET's own settings ------------------------------------------------------------------------------------------


def tracks(study: Study) -> Finding:
    """ρ of training loss and accuracy over DIET's configurations that differ, at the last epoch; mean over levels.

    A configuration is the mean of its seeds. A level is one data set, number of images, smoothing and length: the loss
    has another floor at each. Epochs of one run say only that both improve with time.
    """
    rows = results.last(_method(of(study, "diet*"), "diet")).drop_duplicates("cell")
    like = ["subset.dataset", "images", "method.smoothing", "epochs"]
    means = rows.groupby([*like, "configuration"], as_index=False)[["loss", "accuracy"]].mean()
    sizes = {level: part for level, part in means.groupby(like)}
    levels = [part for part in sizes.values() if len(part) >= LEAST]
    if not levels:
        most_run = max(map(len, sizes.values()))
        raise Missing(
            f"{most_run} configurations that differ, at most, in one level: a correlation needs {LEAST} or more, "
            "and 15 in one level, or 8 in each of three, to be told"
        )
    each = sorted(spearman(part["loss"], part["accuracy"]) for part in levels)
    used = rows[rows["configuration"].isin(set(pd.concat(levels)["configuration"]))]
    return finding(
        one(rank_correlation(levels, "loss", "accuracy")),
        [used],
        [f"ρ from {each[0]:.2f} to {each[-1]:.2f} at {len(each)} levels", "n counts configurations"],
    )


def strongest_minus_weakest(study: Study) -> Finding:
    """Accuracy (points) at the strongest minus at the weakest augmentation level run."""
    rows = _method(of(study, "diet_levels"), "diet")
    return compared(study, rows, (Term(1.0, {"level": most}), Term(-1.0, {"level": least})))


def smoothing(study: Study) -> Finding:
    """Accuracy (points) at smoothing 0.8 minus at the least run, in the shortest runs of each data set and encoder.

    Those whose least level is above 0.1 are left out.
    """
    rows = _method(of(study, "diet_smoothing"), "diet")
    pairs = rows.groupby(["subset.dataset", "encoder.name"])
    rows = rows[pairs["method.smoothing"].transform("min") <= 0.1]
    if rows.empty:
        raise Missing("diet_smoothing has no level of 0.1 or below")
    rows = rows[rows["epochs"] == rows.groupby(["subset.dataset", "encoder.name"])["epochs"].transform("min")]
    terms = (Term(1.0, {"method.smoothing": 0.8}), Term(-1.0, {"method.smoothing": least}))
    return compared(study, rows, terms)
