"""Readouts and logs of a report's cells as one table: a row for each readout of each saved epoch."""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false, reportUnknownLambdaType=false

import functools
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from entia import config, naming
from entia.artefacts import provenance
from entia.config import Readout
from entia.fields import Problem
from entia.plan import Plan, Row
from entia.planning import baselines, budgets, mistakes
from entia.planning import columns as derived

Log = list[dict[str, str]]
# What tells the arms of a study of views apart, in the order in which they are drawn.
ARM = list(derived.ARM)


def frame(
    plan: Plan, rows: tuple[Row, ...], readout: Callable[[Readout], Mapping[str, Any]], log: Callable[[Readout], Log]
) -> pd.DataFrame:
    """One row for each (row of a report, saved epoch).

    Columns: `experiment`, `arm`, `readout` (its name); the config by dotted path (`views`, `projector.width`,
    `method.name`, `subset.fraction`, …, and `embed.*`, `probe.*`); `weight`, the method's orthogonality weight (Barlow
    Twins' λ, VICReg's λ = μ, β); `all_views`, crops of another size among them; `level`, DIET's augmentation level;
    `rate`, the learning rate of the run's batch; `tried`, how many settings a tuning seed tried for it; `cell`, the
    pretraining run's name;
    `epoch`; the readout's metrics (fractions in [0, 1]); and from the log, up to that epoch: `minutes` of training and
    the processor's `cpu_minutes`, `view_images`, `peak_mib`, the `machines` it ran on and the online probe's best
    accuracy `probe_best`; that epoch's `loss`, `probe_loss` and `probe_accuracy`; and `images`, what the run trains on.
    Beside them `untrained` and `pixels`, the accuracy of its own baselines. Where no label is read there is no
    accuracy, and of baselines `untrained_rank` alone, the untrained encoder's effective rank.

    A readout that diverged has one row, of the epoch at which its run should have ended, without metrics, minutes or
    view-images; `diverged_at` says how far it came. What it read out before is in the readout's file alone.
    """
    found: list[dict[str, Any]] = []
    readout = functools.cache(readout)
    tried = budgets.tried(((row.experiment, row.readout) for row in rows), plan.readouts)
    for row in rows:
        stage = plan.readouts[row.readout]
        fixed = {"experiment": row.experiment, "arm": row.arm, "readout": row.readout, **columns(stage)}
        if row.experiment != baselines.EXPERIMENT:
            fixed |= {"tried": tried[row.experiment, row.readout], **beside(stage, readout)}
        content = readout(stage)
        chance = {name: content[name] for name in ("chance",) if name in content}
        if "diverged" in content:
            end = log(stage)[-1]
            found.append({**fixed, **_lost(stage, end, content["diverged"]), **chance})
            continue
        epochs = _by_epoch(log(stage), {int(epoch) for epoch in content["metrics"]})
        for epoch, metrics in content["metrics"].items():
            found.append({**fixed, **epochs[int(epoch)], **chance, **metrics})
    return pd.DataFrame(found)


def beside(stage: Readout, readout: Callable[[Readout], Mapping[str, Any]]) -> dict[str, float]:
    """The accuracy of a readout's baselines: its encoder `untrained`, and raw `pixels` at the best of several sizes.

    The size is chosen on the validation images; where there are none, on the test images, which favours the pixels.
    Without labels the effective rank of the untrained encoder alone.
    """
    last: dict[str, list[dict[str, float]]] = {}
    for arm, found in baselines.of(stage):
        last.setdefault(arm, []).append(list(readout(found)["metrics"].values())[-1])
    if not stage.is_labelled:
        return {"untrained_rank": last[baselines.UNTRAINED][0]["effective_rank"]}
    best = max(last[baselines.PIXELS], key=lambda read: read.get("validation", read["accuracy"]))
    return {"untrained": last[baselines.UNTRAINED][0]["accuracy"], "pixels": best["accuracy"]}


def _lost(stage: Readout, end: Mapping[str, str], how: str) -> dict[str, Any]:
    """The row of a readout that diverged."""
    missing = dict.fromkeys(("accuracy", "minutes", "view_images", "loss"), float("nan"))
    ran = {"images": int(end["images"]), "peak_mib": int(end["peak_mib"]), "machines": end["machine"]}
    return {"epoch": stage.embed.pretrain.epochs, **missing, **ran, "diverged_at": how}


def diverged(rows: pd.DataFrame) -> str:
    """A note that names the runs that diverged, and where; empty without any."""
    if "diverged_at" not in rows:
        return ""
    lost = rows[rows["diverged_at"].notna()].drop_duplicates("cell")
    if lost.empty:
        return ""
    named = [f"{cell} ({how})" for cell, how in zip(lost["cell"], lost["diverged_at"], strict=True)]
    counted = "1 run diverged and counts" if len(named) == 1 else f"{len(named)} runs diverged and count"
    return f"{counted} as missing: {mistakes.some(named, 3)}"


def ended(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without those of readouts that diverged."""
    return rows[rows["diverged_at"].isna()] if "diverged_at" in rows else rows


def counted(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with `diverged`, whether a readout did, and `ended`, its seed if it did not."""
    lost = rows["diverged_at"].notna() if "diverged_at" in rows else pd.Series(False, index=rows.index)
    return rows.assign(diverged=lost.astype(int), ended=rows["seed"].where(~lost))


def columns(stage: Readout) -> dict[str, Any]:
    """A readout's config as flat columns."""
    embed = stage.embed
    parts = {"": embed.pretrain, "embed.": embed, "probe.": stage.probe}
    cell = embed.pretrain
    flat: dict[str, Any] = {
        "cell": naming.name(cell),
        "weight": weight(cell),
        "all_views": config.all_views(cell),
        "level": derived.augmentation_level(cell.augmentation),
        "rate": derived.rate(cell),
    }
    for prefix, part in parts.items():
        content = {name: value for name, value in msgspec.to_builtins(part).items() if name != "pretrain"}
        flat |= derived.leaves(content, prefix)
    return flat


def weight(pretrain: config.Pretrain) -> float:
    """The method's orthogonality weight as the papers sweep it; not a number where a method has none."""
    found = derived.weight(pretrain)
    return float("nan") if found is None else found


def _by_epoch(log: Log, saved: set[int]) -> dict[int, dict[str, Any]]:
    """What the log says of a run up to each saved epoch."""
    found: dict[int, dict[str, Any]] = {}
    seconds, worked, view_images, peak, best, machines = 0.0, 0.0, 0, 0, 0.0, set[str]()
    for row in log:
        seconds, view_images = seconds + float(row["seconds"]), view_images + int(row["view_images"])
        worked += float(row.get("cpu_seconds", "nan"))
        peak, best = max(peak, int(row["peak_mib"])), max(best, float(row.get("probe_accuracy", 0)))
        machines.add(provenance.model(row["machine"]))
        if (epoch := int(row["epoch"])) not in saved:
            continue
        found[epoch] = {
            "epoch": epoch,
            "minutes": seconds / 60,
            "cpu_minutes": worked / 60,
            "view_images": view_images,
            "images": int(row["images"]),
            "peak_mib": peak,
            "loss": float(row["loss"]),
            "machines": " + ".join(sorted(machines)),
            **{name: float(row[name]) for name in ("probe_loss", "probe_accuracy") if name in row},
            **({"probe_best": best} if "probe_accuracy" in row else {}),
        }
    return found


def unique(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without those of a readout that several experiments or arms share: each epoch of it once."""
    return rows.drop_duplicates(["readout", "epoch"])


def last(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of each readout's last epoch."""
    return rows[rows["epoch"] == rows["epochs"]]


def chosen_on(rows: pd.DataFrame) -> str:
    """What weights are chosen on: `validation` where images were held out, else `accuracy` (the test split)."""
    return "validation" if "validation" in rows and ended(rows)["validation"].notna().all() else "accuracy"


def best_weights(rows: pd.DataFrame, by: list[str], on: str | None = None) -> pd.DataFrame:
    """For each group, the rows of the weight with the best mean over seeds of `on`: the column weights are chosen on.

    A tie goes to the smaller weight.
    """
    on = on or chosen_on(rows)
    mean = rows.groupby([*by, "weight"], as_index=False)[on].mean()
    order = mean.sort_values([*by, on, "weight"], ascending=[True] * len(by) + [False, True])
    best = order.drop_duplicates(by)[[*by, "weight"]]
    return rows.merge(best, on=[*by, "weight"])


def time_to(curve: pd.DataFrame, target: float, axis: str = "minutes") -> float:
    """Where a run's accuracy first reaches a target, along `axis`: linear between saved epochs.

    Not a number where it never does. Where the first saved epoch is already there, that epoch's place: an upper bound.
    """
    curve = curve.sort_values("epoch")
    x, y = (curve[name].to_numpy(dtype=float) for name in (axis, "accuracy"))
    there = np.flatnonzero(y >= target)
    if not len(there):
        return float("nan")
    i = int(there[0])
    return float(x[0] if i == 0 else x[i - 1] + (target - y[i - 1]) / (y[i] - y[i - 1]) * (x[i] - x[i - 1]))


# --- minutes: those of one machine alone are held against each other -------------------------------------------------


def machines(rows: pd.DataFrame) -> list[str]:
    """The machines that the rows' cells were trained on."""
    return sorted({name for text in rows["machines"].unique() for name in text.split(" + ")})


def several(rows: pd.DataFrame) -> str:
    """That the cells were trained on several machines, and on which; empty where they were not."""
    found = machines(rows)
    return f"cells were trained on {len(found)} machines ({'; '.join(found)})" if len(found) > 1 else ""


def clock(rows: pd.DataFrame) -> str:
    """The column of training time: the processor's own of cells that none but processors trained, else the clock's.

    Other work beside a cell slows the clock and not the processor; a GPU's time is no processor's.
    """
    are_logged = "cpu_minutes" in rows and bool(rows["cpu_minutes"].notna().all())
    return "cpu_minutes" if are_logged and all("no GPU" in name for name in machines(rows)) else "minutes"


CLOCKS = {"cpu_minutes": "processor minutes", "minutes": "minutes"}


def _by_its_clock(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(minutes=rows[clock(rows)])


def timed(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows, without a minute where those are of several machines, and what is to be said of their minutes."""
    if said := several(rows):
        return rows.assign(minutes=np.nan), f"no minutes: {said}, whose times cannot be compared"
    said = f"{CLOCKS[clock(rows)]} of training steps alone (no readouts, no saving), all on {machines(rows)[0]}"
    return _by_its_clock(rows), said


def on_one_machine(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows of the machine that trained the most cells, by its clock, and its name.

    With how many of them, where it is not all.

    Raises `Problem` where every cell was begun on one machine and ended on another.
    """
    found = machines(rows)
    if len(found) == 1:
        return _by_its_clock(rows), found[0]
    cells = rows.sort_values("epoch").groupby("cell")["machines"].last()  # along its epochs a cell gathers names
    counts = cells[cells.isin(found)].value_counts()
    if counts.empty:
        raise Problem(f"every cell was trained on several machines in turn: {'; '.join(found)}")
    name = min(counts[counts == counts.max()].index)
    kept = rows[rows["cell"].isin(cells[cells == name].index)]
    return _by_its_clock(kept), f"{name} alone ({counts[name]} of {len(cells)} cells)"


# --- names -----------------------------------------------------------------------------------------------------------

SSL = ("simclr", "vicreg", "barlow_twins", "byol", "moco")
"""The baselines that DIET is held against."""


def plain(name: object) -> str:
    """A data set's or network's bare name: `image_folder/Tiny-ImageNet` is `tinyimagenet`."""
    return str(name).removeprefix("image_folder/").lower().replace("-", "").replace("_", "").rsplit("/", 1)[-1]
