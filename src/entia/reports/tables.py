"""Tables: readouts in, a data frame out, and its csv, Markdown and LaTeX text."""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false, reportUnknownLambdaType=false

import numpy as np
import pandas as pd

from entia import results
from entia.claims import tuning
from entia.config import Problem
from entia.planning import drawings
from entia.planning.drawings import Report
from entia.system import home

REPORTED = (home.REPORTED / "multi_view.csv", home.REPORTED / "diet.csv")
UNKNOWN = "not known"
CHOOSING = ("width_table", "held_out")  # tables that show a chosen weight
NAMES = {
    "method.name": "method",
    "subset.dataset": "data",
    "embed.on.dataset": "read out on",
    "projector.width": "width",
    "subset.fraction": "% of images",
    "pixels": "raw pixels %",
    "untrained": "untrained %",
    "chance": "chance %",
}
BASELINES = ("pixels", "untrained", "chance")
"""What an accuracy has to be better than, where a row has them."""


def draw(report: Report, rows: pd.DataFrame, scale: str, artefact: str) -> dict[str, str]:
    """The table as csv (numbers as they are), md and tex (numbers as people read them), each with its conditions.

    Where a `Problem` keeps it from being drawn, a table that says so.
    """
    try:
        if rows.empty:
            raise Problem("none of its experiments has a cell at this scale")
        rows = tuning.trained(rows)
        shown = rows if report.table == "held_out" else tuning.judged(rows)
        return _drawn(report, shown, scale, artefact)
    except Problem as problem:
        why = pd.DataFrame({"cannot be drawn": [" ".join(str(problem).split())]})
        return rendered(why, report.title, f"{scale} scale", artefact)


def _drawn(report: Report, rows: pd.DataFrame, scale: str, artefact: str) -> dict[str, str]:
    known, lost = reported(artefact), results.diverged(rows)
    notes = [results.conditions(rows, scale, chosen=report.table in CHOOSING)]
    match report.drawing:
        case drawings.WidthTable():
            table = width_table(rows, known)
        case drawings.TimeToTarget(target=target, target_on=target_on):
            table = time_to_target(rows, known, target, target_on)
            notes += [results.timed(rows)[1], "compared at equal accuracy, interpolated linearly between saved epochs"]
        case drawings.Accounting(named=named):
            table = accounting(rows, named)
            notes += [results.timed(rows)[1]]
        case drawings.Differences(along=along, baseline=baseline):
            table = differences(rows, along, baseline)
        case drawings.Transfer():
            table = transfer(rows)
        case drawings.HeldOut():
            table = held_out(rows)
        case drawings.DietCost():
            from entia.reports import diet  # imports this module

            table = diet.cost(rows, known)
            notes += [diet.READ_AS, results.timed(rows)[1]]
        case drawings.DietAccuracy(pick=pick):
            from entia.reports import diet

            table = diet.accuracy(rows, known, pick)
            notes += [diet.READ_AS]
        case other:
            raise ValueError(f"reports.{artefact}.table: {other!r} is no table")
    notes += [lost] if lost else []
    notes += [_said(known)] if known.empty or (known["arm"] == "").any() else []
    return rendered(table, results.heading(report.title, rows, scale), "; ".join(notes), artefact)


def reported(artefact: str) -> pd.DataFrame:
    """The papers' own figures for an artefact, each with its source; empty where none is known."""
    found = pd.concat([pd.read_csv(file, dtype=str, keep_default_na=False) for file in REPORTED])
    return found[found["artefact"] == artefact]


def _said(known: pd.DataFrame) -> str:
    """What the papers say of an artefact as a whole, beside its cells."""
    whole = known[known["arm"] == ""]
    texts = [f"{row['quantity']}: {row['value']} {row['unit']} ({row['source']})" for _, row in whole.iterrows()]
    return f"the papers report {', '.join(texts)}" if texts else f"the papers' values are {UNKNOWN}"


def _known(known: pd.DataFrame, method: str, width: object, arm: str) -> str:
    match = known[(known["method"] == method) & (known["width"] == str(width)) & (known["arm"] == arm)]
    return f"{match.iloc[0]['value']} ({match.iloc[0]['source']})" if len(match) else UNKNOWN


def width_table(rows: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Accuracy by method, projector width and arm: mean and standard deviation (n − 1) over seeds, in per cent.

    In the arm `tuned`, each width's weight is the one with the best mean validation accuracy.
    """
    final = results.last(rows)
    by = ["method.name", "projector.width"]
    parts = [final[final["arm"] == "fixed"], results.best_weights(final[final["arm"] == "tuned"], by)]
    table = _accuracy(pd.concat(parts), [*by, "arm", "weight"])
    table["reported %"] = [
        _known(known, *key) for key in zip(table["method"], table["width"], table["arm"], strict=True)
    ]
    return table.sort_values(["method", "width", "arm"]).reset_index(drop=True)


def _accuracy(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Mean and standard deviation of test accuracy over seeds, their number, and baselines, in per cent, by groups.

    A run that diverged counts in the column `diverged`, which is there where one did, and nowhere else.
    """
    groups = results.counted(rows).groupby(by, as_index=False, sort=False, dropna=False)
    beside = {name: (name, "mean") for name in BASELINES if name in rows}
    table = groups.agg(
        mean=("accuracy", "mean"),
        sd=("accuracy", "std"),
        n=("ended", "nunique"),
        diverged=("diverged", "sum"),
        **beside,
    )
    for column in ("mean", "sd", *beside):
        table[column] = (100 * table[column]).round(2)
    return without_none(table.rename(columns={"mean": "accuracy %", **NAMES}))


def without_none(table: pd.DataFrame) -> pd.DataFrame:
    """The table without its count of diverged runs where there is none."""
    return table if table["diverged"].any() else table.drop(columns="diverged")


def time_to_target(
    rows: pd.DataFrame, known: pd.DataFrame, target: float | None = None, target_on: str | None = None
) -> pd.DataFrame:
    """Training time at which each arm's runs reach an accuracy, and how much sooner than `results.baseline`'s do.

    The accuracy is `target` on the data set `target_on`. Elsewhere it is what the baseline's run of the same seed has
    at its end; baseline and arms are those of one method, data set and number of epochs. Times are means over the runs
    that get there; one that is there by the first saved epoch counts with that epoch's time, an upper bound.
    """
    rows, _ = results.timed(results.unique(rows))
    found: list[dict[str, object]] = []
    for _, part in rows.groupby(["method.name", "subset.dataset", "epochs"]):
        base = results.baseline(part)
        ends = results.last(base).set_index("seed")["accuracy"]
        goals = ends * 0 + target if target is not None and part["subset.dataset"].iloc[0] == target_on else ends
        usual = float(_times(base, goals)["minutes"].mean())
        for _, arm in part.groupby([*results.ARM, "weight"], dropna=False):
            found.append(_reaching(arm, goals, usual, known))
    return pd.DataFrame(found)


def _times(arm: pd.DataFrame, goals: "pd.Series") -> pd.DataFrame:
    """Where each seed's run reaches its goal; seeds that the baseline lacks have none and are left out."""
    axes = ("minutes", "view_images", "epoch")
    runs = {seed: run for seed, run in arm.groupby("seed") if seed in goals.index}
    places = {seed: [results.time_to(run, goals[seed], axis) for axis in axes] for seed, run in runs.items()}
    return pd.DataFrame.from_dict(places, orient="index", columns=axes)


def _reaching(arm: pd.DataFrame, goals: "pd.Series", usual: float, known: pd.DataFrame) -> dict[str, object]:
    """One row of `time_to_target`: an arm's runs."""
    times, one = _times(arm, goals), arm.iloc[0]
    mean, n, got = times.mean(), len(times), int(times["epoch"].notna().sum())
    early = bool((times["epoch"] <= arm["epoch"].min()).any())
    percent = 100 * one["subset.fraction"]
    fixed = {NAMES.get(name, name): one[name] for name in ("method.name", "projector.width", "views")}
    return fixed | {
        "% of images": percent,
        "weight": one["weight"],
        "epochs": one["epochs"],
        "target %": round(100 * goals[times.index].mean(), 2),
        "minutes": mean["minutes"],
        "sd": times["minutes"].std(),
        "n": n,
        "reached": f"{got} of {n}" + (", by the first saved epoch" if early else ""),
        "× sooner than baseline": usual / mean["minutes"],
        "at epoch": mean["epoch"],
        "view-images": mean["view_images"],
        "peak MiB": arm["peak_mib"].max(),
        "reported minutes": _known(known, one["method.name"], one["projector.width"], f"{one['views']}v@{percent:g}"),
    }


def accounting(rows: pd.DataFrame, named: str = "") -> pd.DataFrame:
    """What each arm spent by its last epoch, means over seeds, and the accuracy it has for that.

    `named`: a column, such as `arm`, that tells apart what `results.ARM` does not. View-images are images times views;
    steps are updates; memory is the peak of the process on a CPU, of the allocator on a GPU.
    """
    rows, _ = results.timed(results.unique(rows))
    final = results.last(rows)
    unique = final["view_images"] / final["all_views"] / final["epochs"]
    # whole steps an epoch: the last may be of a smaller batch, where that is not left out
    final = final.assign(unique=unique, steps=final["epochs"] * np.ceil(unique / final["batch"]))
    by = [*([named] if named else []), *results.ARM, "weight"]
    spent = final.groupby(by, as_index=False, dropna=False).agg(
        **{
            "unique images": ("unique", "mean"),
            "steps": ("steps", "mean"),
            "view-images": ("view_images", "mean"),
            "peak MiB": ("peak_mib", "max"),
            "minutes": ("minutes", "mean"),
        }
    )
    spent["subset.fraction"] *= 100
    read = _accuracy(final.sort_values(by), by)
    return spent.rename(columns=NAMES).assign(**read[["accuracy %", *_outcome(read, by)]])


def _outcome(table: pd.DataFrame, by: list[str]) -> list[str]:
    """What an accuracy's columns are, spread and baselines, beside those of `by` and itself."""
    return [str(name) for name in table.columns[len(by) + 1 :]]


def differences(rows: pd.DataFrame, along: str = "arm", baseline: float | str = "") -> pd.DataFrame:
    """Accuracy of each variant, and its difference to the baseline variant in percentage points.

    Variants are the values of the column `along`; the difference is the mean over seeds of the runs' own, each to the
    baseline's run of the same seed, and equal in all that sets other rows apart. `sd` follows the mean that it is of.
    """
    final = results.last(results.unique(rows) if along != "arm" else rows)
    same = [name for name in results.varied(final, [*results.ARM, "embed.on.dataset"]) if name != along]
    key = [*same, "seed"]
    reference = final[final[along] == baseline][[*key, "accuracy"]].rename(columns={"accuracy": "reference"})
    if reference.empty:
        raise ValueError(f"options.baseline: no row has {along} {baseline!r}")
    paired = final.merge(reference, on=key, how="left", validate="many_to_one")
    paired["difference"] = 100 * (paired["accuracy"] - paired["reference"])
    paired = paired.assign(away=paired[along] != baseline).sort_values([*same, "away", along])
    table = _accuracy(paired, [*same, along])
    groups = paired.groupby([*same, along], sort=False)["difference"]
    table["difference"] = groups.mean().round(2).to_numpy()
    table["sd of difference"] = groups.std().round(2).to_numpy()
    return table.assign(pairs=groups.count().to_numpy())


def transfer(rows: pd.DataFrame) -> pd.DataFrame:
    """Final accuracy of encoders read out on another data set, with `results.ARM` for its rows."""
    final = results.last(results.unique(rows))
    by = [*results.ARM, "weight", "embed.on.dataset"]
    away = final[final["embed.on.dataset"] != final["subset.dataset"]].sort_values(by)
    table = _accuracy(away.assign(**{"subset.fraction": 100 * away["subset.fraction"]}), by)
    return table.assign(**{"reported %": UNKNOWN})


def held_out(rows: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy with the weight chosen on held-out images, and chosen on the test split itself, by width.

    `flattery` is the difference, in percentage points: what choosing on the test split adds.
    """
    final = results.last(results.unique(rows))
    by = ["method.name", "subset.dataset", "projector.width"]
    fair, flattered = (
        _accuracy(results.best_weights(final, by, on), [*by, "weight"]) for on in ("validation", "accuracy")
    )
    names = [NAMES[name] for name in by]
    table = fair[[*names, "weight", "accuracy %", *_outcome(fair, [*by, "weight"])]]
    table = table.rename(columns={"weight": "weight, held out"})
    other = flattered[[*names, "weight", "accuracy %"]]
    other = other.rename(columns={"weight": "weight, test", "accuracy %": "accuracy % if chosen on test"})
    table = table.merge(other, on=names, validate="one_to_one")
    table["flattery"] = table["accuracy % if chosen on test"] - table["accuracy %"]
    return table.sort_values(names).reset_index(drop=True)


def rendered(table: pd.DataFrame, title: str, conditions: str, artefact: str) -> dict[str, str]:
    """A table's csv, Markdown and LaTeX text; the latter two with mean and spread in one cell."""
    shown = readable(table)
    markdown = "\n".join(
        [_line(shown.columns), _line(["---"] * len(shown.columns)), *(_line(row) for row in shown.to_numpy())]
    )
    caption = f"{artefact}. {title}. {conditions}."
    return {
        "csv": table.assign(conditions=conditions).to_csv(index=False, lineterminator="\n"),
        "md": f"**{artefact}. {title}**\n\n{markdown}\n\n{conditions}.\n",
        "tex": _latex(shown, caption, artefact),
    }


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `84.1 ± 0.6` in place of a mean and its `sd`, and numbers without needless digits.

    A spread stands right of the mean it is of; what has no value (one seed's spread, a target not reached) is `–`.
    """
    shown = table.astype(object).copy()
    for spread in [name for name in table if str(name).startswith("sd")]:
        mean = table.columns[table.columns.get_loc(spread) - 1]
        digits = 2 if mean == "minutes" else 1
        shown[mean] = [_spread(m, s, digits) for m, s in zip(table[mean], table[spread], strict=True)]
        if "diverged" in table and mean in ("accuracy %", "last epoch %"):
            shown[mean] = shown[mean].where(table[mean].notna() | (table["diverged"] == 0), "diverged")
        shown = shown.drop(columns=spread)
    return shown.map(_number)


def _number(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    if pd.isna(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _spread(mean: float, spread: float, digits: int) -> str:
    if pd.isna(mean):
        return "–"
    return f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if pd.notna(spread) else "")


def _line(cells: object) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"  # pyright: ignore


def _latex(shown: pd.DataFrame, caption: str, artefact: str) -> str:
    escaped = shown.map(_escape).rename(columns=_escape)
    body = "\n".join(" & ".join(row) + r" \\" for row in escaped.to_numpy())
    head = " & ".join(escaped.columns) + r" \\"
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escape(caption)}}}",
            rf"\label{{tab:{artefact}}}",
            rf"\begin{{tabular}}{{{'l' * len(shown.columns)}}}",
            r"\hline",
            head,
            r"\hline",
            body,
            r"\hline",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _escape(text: str) -> str:
    for plain, escaped in (
        ("\\", r"\textbackslash{}"),
        ("%", r"\%"),
        ("_", r"\_"),
        ("&", r"\&"),
        ("#", r"\#"),
        ("±", r"$\pm$"),
        ("λ", r"$\lambda$"),
        ("μ", r"$\mu$"),
        ("×", r"$\times$"),
        ("⁶", r"$^6$"),
        ("–", "--"),
        ("≥", r"$\ge$"),
        ("β", r"$\beta$"),
        ("α", r"$\alpha$"),
    ):
        text = text.replace(plain, escaped)
    return text
