"""The claims of the DIET papers (2302.10260, 2406.10743 and s-DIET's; their spec §10).

The papers give numbers for two of them. What stands in no paper says `ours`.
"""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false, reportUnknownLambdaType=false
# pyright: reportInvalidTypeArguments=false

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from entia import results
from entia.arms import (
    POINTS,
    Term,
    Where,
    arm,
    bounded,
    compared,
    difference,
    exponential,
    final,
    finding,
    least,
    most,
    of,
    times,
)
from entia.intervals import Missing, contrast, rank_correlation, spearman, t_interval
from entia.judging import (
    BETTER,
    MARGIN,
    NOT_SUPPORTED,
    SUPPORTED,
    Claim,
    Criterion,
    Finding,
    Part,
    Test,
    above,
    below,
)

S_DIET = "sdiet"


# --- DIET's numbers -----------------------------------------------------------------------------------------------


def _reported(experiment: str, dataset: str, encoder: str, epochs: int) -> Test:
    """DIET's accuracy on a data set and an encoder: all images, smoothing 0.8 (spec §2.3), the longest runs.

    Barred on other data or another encoder, and for runs shorter than those that the papers' number can come from.
    """

    def test(frame: pd.DataFrame, confidence: float) -> Finding:
        rows = _method(of(frame, experiment), "diet")
        on = rows["subset.dataset"].map(results.plain) == dataset
        by = rows["encoder.name"].map(results.plain).str.startswith(encoder)
        there = bool((on & by).any())
        where: Where = {"subset.fraction": most, "method.smoothing": 0.8, "epochs": most}
        found = arm(rows[on & by] if there else rows, where)
        judged = finding(t_interval(POINTS(found).to_numpy(), confidence), [found])
        if not there:
            note = f"{encoder} on {dataset} was not run: the accuracy shown is of other data or another encoder"
            return judged.bar(note, SUPPORTED, NOT_SUPPORTED)
        if (length := int(found["epochs"].iloc[0])) < epochs:
            note = f"{length} epochs are not comparable with a number from {epochs} or more"
            return judged.bar(note, SUPPORTED, NOT_SUPPORTED)
        return judged

    return test


def _method(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    found = rows[rows["method.name"] == name]
    if found.empty:
        raise Missing(f"no cell of method {name}")
    return found


# --- against other methods ----------------------------------------------------------------------------------------


def _against_baselines(experiment: str, method: str, encoders: int = 1) -> Test:
    """Accuracy (points) of a method minus the best baseline's: mean over the (data, encoder) pairs that have both.

    The baseline of each pair is the one with the best mean over seeds on the validation split. Barred where fewer than
    `encoders` architectures have both.
    """

    def test(frame: pd.DataFrame, confidence: float) -> Finding:
        rows = of(frame, experiment)
        pairs: list[tuple[pd.DataFrame, pd.DataFrame]] = []
        notes: list[str] = []
        for (dataset, encoder), part in rows.groupby(["subset.dataset", "encoder.name"]):
            there = set(part["method.name"])
            if method not in there or not there & set(results.SSL):
                continue
            try:
                pairs.append((arm(part, {"method.name": method}), _best_baseline(part)))
            except Missing as missing:
                notes.append(f"{dataset} with {encoder} left out ({missing})")
                continue
            notes.append(f"{dataset} with {encoder}: {_lead(*pairs[-1])}")
        if not pairs:
            raise Missing("; ".join([f"{experiment}: no data set has both {method} and a baseline", *notes]))
        used = [one for pair in pairs for one in pair]
        coefficients = [1 / len(pairs), -1 / len(pairs)] * len(pairs)
        found = finding(contrast([POINTS(one) for one in used], coefficients, confidence), used, notes)
        if len({one["encoder.name"].iloc[0] for one in used}) < encoders:
            return found.bar("baselines on one architecture; the claim is of many", SUPPORTED, NOT_SUPPORTED)
        return found

    return test


def _best_baseline(rows: pd.DataFrame) -> pd.DataFrame:
    arms = {name: arm(rows, {"method.name": name}) for name in _baselines(rows)}
    on = results.chosen_on(pd.concat(arms.values()))
    best = max(arms, key=lambda name: results.last(arms[name])[on].mean())
    return arms[best].assign(chosen_on=on) if len(arms) > 1 else arms[best]


def _baselines(rows: pd.DataFrame) -> list[str]:
    found = [name for name in results.SSL if (rows["method.name"] == name).any()]
    if not found:
        raise Missing(f"no baseline among {', '.join(results.SSL)}")
    return found


def _lead(ours: pd.DataFrame, best: pd.DataFrame) -> str:
    lead = POINTS(ours).mean() - POINTS(best).mean()
    return f"{lead:+.1f} points against {best['method.name'].iloc[0]}"


def _on(dataset: Callable[[object], bool], kind: str, test: Test) -> Test:
    """A test of the rows of some data sets alone."""

    def kept(frame: pd.DataFrame, confidence: float) -> Finding:
        rows = frame[frame["subset.dataset"].map(dataset).astype(bool)] if len(frame) else frame
        if len(frame) and rows.empty:
            raise Missing(f"no {kind} were run")
        return test(rows, confidence)

    return kept


def is_medical(dataset: object) -> bool:
    """Whether a data set is one of MedMNIST's."""
    return results.plain(dataset).endswith("mnist")


def _slower(frame: pd.DataFrame, confidence: float) -> Finding:
    """Epochs to nine tenths of the way from chance to a run's own final accuracy: DIET's over SSL's, geometric mean."""
    rows = of(frame, "diet_budget")
    present = _baselines(rows)
    terms = [Term(1.0, {"method.name": "diet"}), *(Term(-1 / len(present), {"method.name": name}) for name in present)]
    found = compared(rows, terms, confidence, lambda run: _times_of_gain(run).log)
    kept = rows[rows["cell"].isin(found.cells)].drop_duplicates(["cell", "epoch"])
    each = {
        name: [_times_of_gain(run) for _, run in part.groupby("cell")] for name, part in kept.groupby("method.name")
    }
    others = [one for name in present for one in each[name]]
    found = Finding(found.estimate.through(exponential), found.cells, found.data, found.note)
    return bounded(found.bar(f"baselines: {', '.join(present)}"), over=each["diet"], under=others)


def _times_of_gain(rows: pd.DataFrame) -> Any:
    ends = results.last(rows).set_index("seed")
    if (ends["accuracy"] <= ends["chance"]).any():
        raise Missing("a run ended at chance: there is no gain to reach")
    return times(rows, (ends["chance"] + 0.9 * (ends["accuracy"] - ends["chance"])).to_dict(), "epoch")


def _supervised(extreme: Callable[[Any], Any]) -> Test:
    """DIET minus supervised training at the fewest or the most images."""
    arms: list[Where] = [{"method.name": name, "images": extreme} for name in ("diet", "supervised")]
    return difference("diet_supervised", *arms)


# --- batch sizes --------------------------------------------------------------------------------------------------


def _steadier(frame: pd.DataFrame, confidence: float) -> Finding:
    """Range over batch sizes of the baselines (their mean) minus DIET's, over the sizes that all of them have."""
    rows = of(frame, "diet_batch")
    present = _baselines(rows)
    used = _at_shared_sizes(rows, ["diet", *present])
    coefficients = [-1.0, *([1 / len(present)] * len(present))]
    estimate = contrast([_range(part) for part in used], coefficients, confidence)
    return finding(estimate, used, [f"baselines: {', '.join(present)}", _sizes(used[0])])


def _batch_range(frame: pd.DataFrame, confidence: float) -> Finding:
    """Range over batch sizes of s-DIET; where it was not run, DIET's, barred."""
    rows = of(frame, "diet_batch")
    method, note = _s_diet(rows)
    used = _at_shared_sizes(rows, [method])
    found = finding(t_interval(_range(used[0]).to_numpy(), confidence), used, [_sizes(used[0])])
    return found.bar(note, SUPPORTED, NOT_SUPPORTED) if note else found


def _at_shared_sizes(rows: pd.DataFrame, methods: Sequence[str]) -> list[pd.DataFrame]:
    """Each method's last epochs at the batch sizes that all have: more sizes alone would make a range larger.

    Where a method has learning rates that grow with the batch and fixed ones, those that grow: all methods have them.
    """
    parts = [_growing(results.last(_method(rows, name))) for name in methods]
    shared = set[int].intersection(*(set(part["batch"]) for part in parts))
    if len(shared) < 2:
        raise Missing(f"{' and '.join(methods)} share fewer than 2 batch sizes")
    return [pd.concat([arm(part, {"batch": size}) for size in sorted(shared)]) for part in parts]


def _growing(rows: pd.DataFrame) -> pd.DataFrame:
    grows = rows["optimizer.lr_per"].notna() if "optimizer.lr_per" in rows else pd.Series(False, index=rows.index)
    return rows[grows] if grows.any() else rows


def _range(rows: pd.DataFrame) -> "pd.Series[float]":
    """Each seed's largest minus smallest accuracy (points), noise included: what one run of each size shows."""
    table = rows.pivot_table(index="seed", columns="batch", values="accuracy").dropna()
    return 100 * (table.max(axis=1) - table.min(axis=1))


def _sizes(rows: pd.DataFrame) -> str:
    return f"batch sizes {', '.join(map(str, sorted(rows['batch'].unique())))}"


# --- s-DIET -------------------------------------------------------------------------------------------------------


def _s_diet(rows: pd.DataFrame) -> tuple[str, str]:
    if (rows["method.name"] == S_DIET).any():
        return S_DIET, ""
    return "diet", "s-DIET was not run; plain DIET's effect is shown"


def _with_s_diet(test: Callable[[str], Test]) -> Test:
    """A test of s-DIET in diet_budget; where it was not run, DIET's effect, barred."""

    def checked(frame: pd.DataFrame, confidence: float) -> Finding:
        method, note = _s_diet(of(frame, "diet_budget"))
        found = test(method)(frame, confidence)
        return found.bar(note, SUPPORTED, NOT_SUPPORTED) if note else found

    return checked


def _rank_against(baseline: str) -> Test:
    return _with_s_diet(
        lambda method: difference("diet_budget", {"method.name": method}, {"method.name": baseline}, final("rankme"))
    )


# --- DIET's own settings ------------------------------------------------------------------------------------------


def _tracks(frame: pd.DataFrame, confidence: float) -> Finding:
    """ρ of training loss and accuracy over all saved epochs of all runs of one data set at one smoothing level.

    The mean is over data sets and levels; all networks of a level together, as in the papers' Figure 1.
    """
    rows = _method(of(frame, "diet_loss"), "diet").drop_duplicates(["cell", "epoch", "accuracy"])
    levels = {level: part for level, part in rows.groupby(["subset.dataset", "method.smoothing"]) if _many(part)}
    if not levels:
        raise Missing("diet_loss: no smoothing level has 2 runs with 2 saved epochs")
    kept = pd.concat(levels.values())
    each = sorted(spearman(part["loss"], part["accuracy"]) for part in levels.values())
    notes = [
        f"ρ from {each[0]:.2f} to {each[-1]:.2f} at {len(each)} levels",
        f"{spearman(kept['loss'], kept['accuracy']):.2f} over all, floors not subtracted",
        "n counts runs",
    ]
    return finding(rank_correlation(list(levels.values()), "loss", "accuracy", confidence), [kept], notes)


def _many(rows: pd.DataFrame) -> bool:
    return bool(rows["cell"].nunique() > 1 and rows.groupby("cell")["epoch"].nunique().min() > 1)


def _levels(frame: pd.DataFrame, confidence: float) -> Finding:
    """Accuracy (points) at the strongest minus at the weakest augmentation level run."""
    rows = _method(of(frame, "diet_levels"), "diet")
    rows = rows.assign(level=[results.augmentation_level(row) for row in rows.to_dict("records")])
    return compared(rows, (Term(1.0, {"level": most}), Term(-1.0, {"level": least})), confidence)


def _smoothing(frame: pd.DataFrame, confidence: float) -> Finding:
    """Accuracy (points) at smoothing 0.8 minus at the least run, in the shortest runs of each data set and encoder.

    Those whose least level is above 0.1 are left out.
    """
    rows = _method(of(frame, "diet_smoothing"), "diet")
    pairs = rows.groupby(["subset.dataset", "encoder.name"])
    rows = rows[pairs["method.smoothing"].transform("min") <= 0.1]
    if rows.empty:
        raise Missing("diet_smoothing has no level of 0.1 or below")
    rows = rows[rows["epochs"] == rows.groupby(["subset.dataset", "encoder.name"])["epochs"].transform("min")]
    terms = (Term(1.0, {"method.smoothing": 0.8}), Term(-1.0, {"method.smoothing": least}))
    return compared(rows, terms, confidence)


# --- the claims ---------------------------------------------------------------------------------------------------

COMPETITIVE = above(-5.0, "competitive is less than equal: within 5 points, ours, for the papers give no number")
HIGHER = above(0.0, "higher at all", "dimensions")
_number = "the abstract's number, within 1 point"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "DIET-H1",
        "71.4 % linear-probe accuracy on CIFAR-100 with ResNet-101",
        "CIFAR-100, ResNet-101, thousands of epochs",
        (
            Part(
                "accuracy",
                Criterion(71.4 - MARGIN, 71.4 + MARGIN, "%", _number),
                _reported("diet_encoders_cifar100", "cifar100", "resnet101", 4000),
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
                Criterion(52.5 - MARGIN, 52.5 + MARGIN, "%", _number),
                _reported("diet_encoders_tinyimagenet", "tinyimagenet", "resnext50", 2000),
            ),
        ),
    ),
    Claim(
        "DIET-H3",
        "Up to a few hundred thousand images, self-supervision's further machinery adds nothing to the representation",
        "natural images, up to a few hundred thousand; tested at equal epochs",
        (
            Part(
                "DIET minus the best SSL baseline",
                above(-MARGIN, "adds nothing: no baseline better by more than the 1 point that counts as equal"),
                _against_baselines("diet_budget", "diet"),
            ),
            Part("DIET minus supervised training at the fewest images", COMPETITIVE, _supervised(least), decides=False),
            Part("DIET minus supervised training at the most images", COMPETITIVE, _supervised(most), decides=False),
        ),
    ),
    Claim(
        "DIET-H4",
        "Self-supervision is sensitive to its settings by its design, not because labels are missing",
        "a cause, which no run shows; tested instead: label-free DIET varies less over batch sizes than SSL does",
        (
            Part(
                "accuracy's range over batch sizes, SSL's mean minus DIET's",
                above(0.0, "`less` names no amount"),
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
                below(-0.5, "strong by Cohen's rule (|ρ| ≥ 0.5); the papers' statistic is not known", ""),
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
                _on(
                    lambda dataset: not is_medical(dataset),
                    "natural images",
                    _against_baselines("diet_encoders*", "diet", encoders=2),
                ),
            ),
            Part(
                "medical images: the same",
                COMPETITIVE,
                _on(is_medical, "medical images", _against_baselines("diet_medical", "diet")),
            ),
        ),
    ),
    Claim(
        "DIET-H7",
        "DIET is very sensitive to augmentation, converges more slowly than SSL, and smoothing speeds it up",
        "third-party summaries of the first version; data not named",
        (
            Part(
                "strongest augmentation minus weakest",
                above(5.0, "very sensitive: five times what counts as equal, ours"),
                _levels,
            ),
            Part("epochs to nine tenths of the final gain, DIET over SSL", above(1.0, "slower at all", "×"), _slower),
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
                below(5.0, "robust: within the 5 points that count as competitive, ours"),
                _batch_range,
            ),
            Part("RankMe, s-DIET minus SimCLR", HIGHER, _rank_against("simclr")),
            Part("RankMe, s-DIET minus VICReg", HIGHER, _rank_against("vicreg")),
        ),
    ),
)
