"""The claims of the multi-view, small-projector papers (2312.10725, spec §1), with criteria from its pass rules.

What stands in no paper and in no pass rule says `ours`.
"""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeArguments=false

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from entia import results
from entia.claims.arms import Term, Where, arm, compared, difference, held, in_common, least, most, of
from entia.claims.curves import ahead, bounded, ratio, times
from entia.claims.intervals import Missing
from entia.claims.judging import (
    BETTER,
    EQUAL,
    NOT_SUPPORTED,
    Claim,
    Criterion,
    Elsewhere,
    Finding,
    Part,
    Test,
    above,
    below,
    margin,
    one,
)
from entia.claims.pooling import contrast
from entia.claims.slope import best_weight_slope
from entia.claims.study import POINTS, Study, sample

READ = (
    *("width_barlow_twins", "width_vicreg", "weight_sweep_barlow_twins"),
    *("views_barlow_twins", "views_vicreg", "views_imagenet100"),
    *("data_barlow_twins", "data_vicreg", "data_stl10", "data_imagenet100", "grid_barlow_twins"),
)
"""Experiments that these claims read."""

NARROW: Where = {"arm": "tuned", "projector.width": least}
WIDE: Where = {"arm": "tuned", "projector.width": most}
NARROW_FIXED: Where = {"arm": "fixed", "projector.width": least}
WIDE_FIXED: Where = {"arm": "fixed", "projector.width": most}


# --- width and weight ---------------------------------------------------------------------------------------------


def _tuning_against_width(experiment: str) -> Test:
    """Points that tuning the weight gains at the narrowest projector, minus those that width gains once it is tuned."""
    terms = (Term(2.0, NARROW), Term(-1.0, NARROW_FIXED), Term(-1.0, WIDE))
    return lambda study: compared(study, of(study, experiment), terms)


def _stronger_and_narrow(experiment: str, stronger: Callable[[Any, Any], Any]) -> Test:
    """Narrowest projector at its best weight stronger than the fixed one, minus the widest at the fixed one."""

    def test(study: Study) -> Finding:
        rows = of(study, experiment)
        fixed = arm(rows, WIDE_FIXED)["weight"].iloc[0]

        def orthogonalised(weights: "pd.Series[float]") -> "pd.Series[bool]":
            return stronger(weights, fixed)

        terms = (Term(1.0, {**NARROW, "weight": orthogonalised}), Term(-1.0, WIDE_FIXED))
        return compared(study, rows, terms)

    return test


# --- views and data -----------------------------------------------------------------------------------------------


def _views(views: int, fraction: float = 1.0) -> Where:
    return {"views": views, "subset.fraction": fraction, "projector.width": least}


def _at_length(where: Where) -> Where:
    """The longest runs, where an experiment has two lengths: STL-10's 50 epochs are the first version's alone."""
    return {**where, "epochs": most}


_half = (_views(4, 0.5), _views(2))
_half_on_cifar = difference("data_barlow_twins", *_half)
_half_on_stl10 = difference("data_stl10", *map(_at_length, _half))
_half_on_imagenet = difference("data_imagenet100", *_half)


def _with_little_data(study: Study) -> Finding:
    """8 views minus 4 at the smallest share of the data, where it is small."""
    rows = of(study, "grid_barlow_twins")
    smallest = float(rows["subset.fraction"].min())
    if smallest > 0.25:
        raise Missing(f"the smallest share of the data run is {smallest:g}; very little is 0.25 or less")
    terms = (Term(1.0, _views(8, smallest)), Term(-1.0, _views(4, smallest)))
    return compared(study, rows, terms)


def _can_be(test: Test) -> Test:
    """A test of what can happen: one data set on which it does not refutes nothing."""

    def checked(study: Study) -> Finding:
        return test(study).bar("the claim is that it can happen: no one data set refutes it", NOT_SUPPORTED)

    return checked


def _only_on(test: Test, dataset: str, analogue: Test | None = None) -> Test:
    """The test, ruled on with this data set alone; elsewhere its effect is shown, or that of the analogous test."""

    def checked(study: Study) -> Finding:
        try:
            found = test(study)
        except Missing as missing:
            if analogue is None:
                raise Elsewhere(f"{dataset} was not run: {missing}") from missing
            return analogue(study).not_here(f"{dataset} was not run; shown is the analogous effect on other data")
        rows = study.frame[study.frame["cell"].isin(found.cells)]
        judged = {results.plain(name) for name in rows["subset.dataset"]}
        if all(dataset in name for name in judged):
            return found
        return found.not_here(f"{dataset} was not run; shown is the analogous effect on {', '.join(sorted(judged))}")

    return checked


# --- time ---------------------------------------------------------------------------------------------------------


def _recipe_and_baseline(study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """4 views of half of the images with the narrowest projector; 2 views of all with the widest."""
    recipe = arm(of(study, "data_barlow_twins"), _views(4, 0.5))
    baseline = arm(of(study, "views_barlow_twins"), {"views": 2, "subset.fraction": 1.0, "projector.width": most})
    if recipe["projector.width"].iloc[0] >= baseline["projector.width"].iloc[0]:
        raise Missing("views_barlow_twins has no projector wider than the recipe's")
    in_common([recipe, baseline])
    return recipe, baseline


def _ahead_of_baseline(study: Study) -> Finding:
    """The combined recipe's last-epoch accuracy minus the baseline's."""
    recipe, baseline = _recipe_and_baseline(study)
    terms = [(1.0, sample(recipe, POINTS)), (-1.0, sample(baseline, POINTS))]
    return held(study, one(contrast([terms], study.pool(POINTS))), [recipe, baseline])


def _speed_up(study: Study) -> Finding:
    """Time to the baseline's final accuracy: the baseline's over the recipe's, geometric mean over seeds."""
    recipe, baseline = _of_one_machine(*_recipe_and_baseline(study))
    ends = results.last(baseline).set_index("seed")
    if (ends["accuracy"] <= ends["chance"]).any():
        raise Missing("a run of the baseline ended at chance: there is no time to reach it")
    axis = results.clock(pd.concat([recipe, baseline]))
    slow, fast = (times(rows, ends["accuracy"].to_dict(), axis) for rows in (baseline, recipe))
    estimate = ratio([[(1.0, baseline, slow), (-1.0, recipe, fast)]])
    found = held(study, one(estimate), [baseline, recipe], [_CLOCKS[axis]])
    return bounded(found, over=[slow], under=[fast])


_CLOCKS = {"cpu_minutes": "by the processor's seconds", "minutes": "by the clock, which other work beside it slows"}


def _of_one_machine(recipe: pd.DataFrame, baseline: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both arms at the seeds that they share. `Missing` where their times are of several machines."""
    shared = set(recipe["seed"]) & set(baseline["seed"])
    if said := results.several(pd.concat([baseline, recipe])):
        raise Missing(f"minutes of different machines are not compared: {said}")
    return recipe[recipe["seed"].isin(shared)], baseline[baseline["seed"].isin(shared)]


# --- the claims ---------------------------------------------------------------------------------------------------

KEPT = margin(-1, math.inf, "no loss that counts: the pass rule of MV-F5a, `within 1 point`; a gain is no loss")
MORE = above(0.0, "`more` names no amount")
FASTER = above(1.5, "MV-T2's `about 2`, read as what rounds to 2 or more", "×")
_SETS = ("cifar10", "stl10")
_CIFAR = "CIFAR-10 and STL-10, ResNet-50, 50 to 100 epochs"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "MV-H1",
        "Orthogonal features matter more than a wide projector: at the right weight a narrow one is enough",
        f"{_CIFAR}; 64 against 8192 dimensions",
        (
            Part(
                "Barlow Twins: gain from tuning the narrowest projector's weight, minus gain from width once tuned",
                MORE,
                _tuning_against_width("width_barlow_twins"),
            ),
            Part("VICReg: the same", MORE, _tuning_against_width("width_vicreg"), decides=False),
        ),
        named=_SETS,
    ),
    Claim(
        "MV-H2",
        "A stronger orthogonality weight with a narrower projector gives good features",
        f"{_CIFAR} and ImageNet-100",
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
        named=_SETS,
    ),
    Claim(
        "MV-H3",
        "More than two views an image improve the representation, and good features appear earlier in training",
        _CIFAR,
        (
            Part("4 views minus 2, last epoch", BETTER, difference("views_barlow_twins", _views(4), _views(2))),
            Part(
                "4 views minus 2, smallest over the saved epochs of training's first half",
                above(0.0, "above at every epoch up to half of training, the pass rule of MV-F4a"),
                ahead("views_barlow_twins", _views(4), _views(2), 0.5),
            ),
            Part(
                "VICReg: 4 views minus 2, last epoch",
                BETTER,
                difference("views_vicreg", _views(4), _views(2)),
                decides=False,
            ),
        ),
        named=_SETS,
    ),
    Claim(
        "MV-H4",
        "With more views the pretraining set can be four times smaller at the same accuracy",
        _CIFAR,
        (
            Part(
                "8 views of 25 % of the images minus 2 views of all",
                KEPT,
                difference("data_barlow_twins", _views(8, 0.25), _views(2)),
            ),
            Part("VICReg: the same", KEPT, difference("data_vicreg", _views(8, 0.25), _views(2)), decides=False),
        ),
        named=_SETS,
    ),
    Claim(
        "MV-H5",
        "With more views the pretraining set can be twice smaller at the same accuracy",
        f"{_CIFAR} and ImageNet-100",
        (
            Part("4 views of 50 % of the images minus 2 views of all", KEPT, _half_on_cifar),
            Part("VICReg: the same", KEPT, difference("data_vicreg", *_half), decides=False),
        ),
        named=_SETS,
    ),
    Claim(
        "MV-H6",
        "Narrow projector, more views and less data together halve the time to the baseline's accuracy and pass it",
        "CIFAR-10 and STL-10, ResNet-50; tested: narrowest, 4 views of 50 % against widest, 2 views of all",
        (
            Part("minutes to the baseline's final accuracy, baseline over recipe", FASTER, _speed_up),
            Part("last-epoch accuracy, recipe minus baseline", BETTER, _ahead_of_baseline),
        ),
        named=_SETS,
    ),
    Claim(
        "MV-H7",
        "The recommendations hold on CIFAR, STL and ImageNet with residual networks",
        "no single effect as it stands; tested instead: on each of the three, MV-H5",
        (
            Part("CIFAR: 4 views of 50 % minus 2 views of all", KEPT, _only_on(_half_on_cifar, "cifar")),
            Part("STL-10: the same", KEPT, _only_on(_half_on_stl10, "stl10")),
            Part("ImageNet-100: the same", KEPT, _only_on(_half_on_imagenet, "imagenet")),
        ),
        needs="CIFAR-10, STL-10 and ImageNet-100",
    ),
    Claim(
        "MV-H8",
        "On ImageNet-100 more views need fewer steps, and 4 views of half of the data match 2 views of all",
        "ImageNet-100, ResNet-18, 100 epochs, Barlow Twins",
        (
            Part(
                "4 views of 50 % minus 2 views of all",
                EQUAL,
                _only_on(_half_on_imagenet, "imagenet100", _half_on_cifar),
            ),
            Part(
                "4 views minus 2, smallest over all saved epochs",
                above(0.0, "any level is reached in fewer steps, the pass rule of MV-F4d: above at every epoch"),
                _only_on(
                    ahead("views_imagenet100", _views(4), _views(2), 1.0),
                    "imagenet100",
                    ahead("views_barlow_twins", _views(4), _views(2), 1.0),
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
                difference("width_barlow_twins", NARROW, WIDE),
            ),
            Part("VICReg: the same", EQUAL, difference("width_vicreg", NARROW, WIDE), decides=False),
        ),
    ),
    Claim(
        "MV-H10",
        "The best orthogonality weight is inversely proportional to the projector's width",
        "Barlow Twins, CIFAR-10, ResNet-50, 256 to 8192 dimensions",
        (
            Part(
                "slope of log best weight on log width",
                Criterion(
                    -1.5,
                    -0.5,
                    "",
                    "nearer to inverse proportion, −1, than to no dependence, 0, or the inverse square, −2; the "
                    "papers' selected weights give −0.955 [−1.34, −0.571], which MV-F3's −1.5 to −0.6 would not pass",
                ),
                best_weight_slope,
            ),
        ),
        needs="a grid of weights at three widths or more, run by every judged seed",
    ),
    Claim(
        "MV-H11",
        "With very little data, still more views stop helping",
        _CIFAR,
        (
            Part(
                "8 views minus 4 at the smallest share of the data, 25 % or less",
                margin(-math.inf, 1, "helps by no more than what counts as equal"),
                _with_little_data,
            ),
        ),
        named=_SETS,
        needs="four and eight views of a quarter of the images or less",
    ),
    Claim(
        "MV-H12",
        "Eight views can end below four",
        "one figure of the first version, read by a reviewer; data set not known",
        (
            Part(
                "8 views minus 4, all the data, last epoch",
                below(0.0, "worse at all; the reviewer names no amount"),
                _can_be(difference("views_barlow_twins", _views(8), _views(4))),
            ),
        ),
        needs="four and eight views of all the images, at equal epochs",
    ),
)
