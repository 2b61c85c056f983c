"""Tables: which function makes which, and those of any study. Readouts in, a data frame and notes out."""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false, reportUnknownLambdaType=false

import numpy as np
import pandas as pd

from entia import results
from entia.planning import drawings
from entia.planning.drawings import Drawing
from entia.reports import accuracies, captions, diet_tables, reported


def table(drawing: Drawing, rows: pd.DataFrame, known: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The table of a kind, from the rows that it shows, and what must be said of it besides its conditions.

    `known`: what the papers report for it.
    """
    match drawing:
        case drawings.WidthTable():
            return width_table(rows, known), []
        case drawings.TimeToTarget(target=target, target_on=target_on):
            notes = [results.timed(rows)[1], "compared at equal accuracy, interpolated linearly between saved epochs"]
            return time_to_target(rows, known, target, target_on), notes
        case drawings.Accounting(named=named):
            return accounting(rows, named), [results.timed(rows)[1]]
        case drawings.Differences(along=along, baseline=baseline):
            return differences(rows, along, baseline), []
        case drawings.Transfer():
            return transfer(rows), []
        case drawings.HeldOut():
            return held_out(rows), []
        case drawings.Ranks():
            return ranks(rows), [RANKED]
        case drawings.DietCost():
            return diet_tables.cost(rows, known), [results.timed(rows)[1]]
        case drawings.DietAccuracy(pick=pick):
            return diet_tables.accuracy(rows, known, pick), []
        case other:
            raise ValueError(f"{other!r} is not a table")


def width_table(rows: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Accuracy by method, projector width and arm: mean and standard deviation (n − 1) over seeds, in per cent.

    In the arm `tuned`, each width's weight is the one with the best mean validation accuracy.
    """
    final = results.last(rows)
    by = ["method.name", "projector.width"]
    parts = [final[final["arm"] == "fixed"], results.best_weights(final[final["arm"] == "tuned"], by)]
    table = accuracies.by_group(pd.concat(parts), [*by, "arm", "weight"])
    keys = zip(table["method"], table["width"], table["arm"], strict=True)
    table = reported.beside(table, {"reported %": [reported.value(known, *key) for key in keys]})
    return table.sort_values(["method", "width", "arm"]).reset_index(drop=True)


def time_to_target(
    rows: pd.DataFrame, known: pd.DataFrame, target: float | None = None, target_on: str | None = None
) -> pd.DataFrame:
    """Training time at which each arm's runs reach an accuracy, and how much sooner than `usual`'s do.

    The accuracy is `target` on the data set `target_on`. Elsewhere it is what the baseline's run of the same seed has
    at its end; baseline and arms are those of one method, data set and number of epochs. Times are means over the runs
    that get there; one that is there by the first saved epoch counts with that epoch's time, an upper bound.
    """
    rows, _ = results.timed(results.unique(rows))
    found: list[dict[str, object]] = []
    for _, part in rows.groupby(["method.name", "subset.dataset", "epochs"]):
        base = usual(part)
        ends = results.last(base).set_index("seed")["accuracy"]
        goals = ends * 0 + target if target is not None and part["subset.dataset"].iloc[0] == target_on else ends
        minutes = float(_times(base, goals)["minutes"].mean())
        for _, arm in part.groupby([*results.ARM, "weight"], dropna=False):
            found.append(_reaching(arm, goals, minutes))
    table = pd.DataFrame(found)
    arms = [f"{views}v@{percent:g}" for views, percent in zip(table["views"], table["% of images"], strict=True)]
    keys = zip(table["method"], table["width"], arms, strict=True)
    return reported.beside(table, {"reported minutes": [reported.value(known, *key) for key in keys]})


def usual(rows: pd.DataFrame) -> pd.DataFrame:
    """The arm that others are held against: two views of all images, and the widest projector that was run so."""
    found = rows[(rows["views"] == 2) & (rows["subset.fraction"] == 1)]
    return found[found["projector.width"] == found["projector.width"].max()]


def _times(arm: pd.DataFrame, goals: "pd.Series") -> pd.DataFrame:
    """Where each seed's run reaches its goal; seeds that the baseline lacks have none and are left out."""
    axes = ("minutes", "view_images", "epoch")
    runs = {seed: run for seed, run in arm.groupby("seed") if seed in goals.index}
    places = {seed: [results.time_to(run, goals[seed], axis) for axis in axes] for seed, run in runs.items()}
    return pd.DataFrame.from_dict(places, orient="index", columns=axes)


def _reaching(arm: pd.DataFrame, goals: "pd.Series", usual: float) -> dict[str, object]:
    """One row of `time_to_target`: an arm's runs."""
    times, one = _times(arm, goals), arm.iloc[0]
    mean, n, got = times.mean(), len(times), int(times["epoch"].notna().sum())
    early = bool((times["epoch"] <= arm["epoch"].min()).any())
    percent = 100 * one["subset.fraction"]
    fixed = {accuracies.NAMES.get(name, name): one[name] for name in ("method.name", "projector.width", "views")}
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
    read = accuracies.by_group(final.sort_values(by), by)
    return spent.rename(columns=accuracies.NAMES).assign(**read[["accuracy %", *_outcome(read, by)]])


def _outcome(table: pd.DataFrame, by: list[str]) -> list[str]:
    """What an accuracy's columns are, spread and baselines, beside those of `by` and itself."""
    return [str(name) for name in table.columns[len(by) + 1 :]]


def differences(rows: pd.DataFrame, along: str = "arm", baseline: float | str = "") -> pd.DataFrame:
    """Accuracy of each variant, and its difference to the baseline variant in percentage points.

    Variants are the values of the column `along`; the difference is the mean over seeds of the runs' own, each to the
    baseline's run of the same seed, and equal in all that sets other rows apart. `sd` follows the mean that it is of.
    """
    final = results.last(results.unique(rows) if along != "arm" else rows)
    same = [name for name in captions.varied(final, [*results.ARM, "embed.on.dataset"]) if name != along]
    key = [*same, "seed"]
    reference = final[final[along] == baseline][[*key, "accuracy"]].rename(columns={"accuracy": "reference"})
    if reference.empty:
        raise ValueError(f"options.baseline: no row has {along} {baseline!r}")
    paired = final.merge(reference, on=key, how="left", validate="many_to_one")
    paired["difference"] = 100 * (paired["accuracy"] - paired["reference"])
    paired = paired.assign(away=paired[along] != baseline).sort_values([*same, "away", along])
    table = accuracies.by_group(paired, [*same, along])
    groups = paired.groupby([*same, along], sort=False)["difference"]
    table["difference"] = groups.mean().round(2).to_numpy()
    table["sd of difference"] = groups.std().round(2).to_numpy()
    return table.assign(pairs=groups.count().to_numpy())


def transfer(rows: pd.DataFrame) -> pd.DataFrame:
    """Final accuracy of encoders read out on another data set, with `results.ARM` for its rows."""
    final = results.last(results.unique(rows))
    by = [*results.ARM, "weight", "embed.on.dataset"]
    away = final[final["embed.on.dataset"] != final["subset.dataset"]].sort_values(by)
    return accuracies.by_group(away.assign(**{"subset.fraction": 100 * away["subset.fraction"]}), by)


RANKED = (
    "effective rank: how many directions the test images' embeddings spread over; untrained: the same before training; "
    "alpha: the exponent of their spectrum. None of them says how good an encoder is; a rank near 1 says that it has "
    "collapsed. Losses of two methods have different units"
)
"""What is to be said beside `ranks`."""


def ranks(rows: pd.DataFrame) -> pd.DataFrame:
    """Training loss, ranks and exponent of each arm at its last epoch: means over seeds; `sd` of the effective rank."""
    final = results.counted(results.last(results.unique(rows)))
    if "effective_rank" not in final:  # every run diverged
        final = final.assign(effective_rank=np.nan)
    width = final["projector.width"].where(final["projector.depth"] > 0)
    final = final.assign(**{"projector.width": width, "subset.fraction": 100 * final["subset.fraction"]})
    rank = "effective_rank"
    told = {"loss": ("loss", "mean"), "effective rank": (rank, "mean"), "sd": (rank, "std")}
    told |= {name: (name, "mean") for name in ("untrained_rank", "rankme", "alpha") if name in final}
    told |= {"minutes": ("minutes", "mean"), "n": ("ended", "nunique"), "diverged": ("diverged", "sum")}
    by = [*results.ARM, "weight"]
    table = final.groupby(by, as_index=False, dropna=False).agg(**told)
    return accuracies.without_none(
        table.rename(columns={**accuracies.NAMES, "untrained_rank": "untrained", "rankme": "RankMe"})
    )


def held_out(rows: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy with the weight chosen on held-out images, and chosen on the test split itself, by width.

    `flattery` is the difference, in percentage points: what choosing on the test split adds.
    """
    final = results.last(results.unique(rows))
    by = ["method.name", "subset.dataset", "projector.width"]
    fair, flattered = (
        accuracies.by_group(results.best_weights(final, by, on), [*by, "weight"]) for on in ("validation", "accuracy")
    )
    names = [accuracies.NAMES[name] for name in by]
    table = fair[[*names, "weight", "accuracy %", *_outcome(fair, [*by, "weight"])]]
    table = table.rename(columns={"weight": "weight, held out"})
    other = flattered[[*names, "weight", "accuracy %"]]
    other = other.rename(columns={"weight": "weight, test", "accuracy %": "accuracy % if chosen on test"})
    table = table.merge(other, on=names, validate="one_to_one")
    table["flattery"] = table["accuracy % if chosen on test"] - table["accuracy %"]
    return table.sort_values(names).reset_index(drop=True)
