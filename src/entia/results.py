"""Readouts and logs of an artefact's cells as one table: a row for each readout of each saved epoch."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pandas as pd

from entia import config
from entia.config import Readout
from entia.plan import Plan, Row

Log = list[dict[str, str]]


def frame(
    plan: Plan, rows: tuple[Row, ...], readout: Callable[[Readout], Mapping[str, Any]], log: Callable[[Readout], Log]
) -> pd.DataFrame:
    """One row for each (artefact row, saved epoch).

    Columns: `experiment`, `arm`; the config by dotted path (`views`, `projector.width`, `method.name`, `subset.fraction`,
    …, and `embed.*`, `probe.*`); `weight`, the method's orthogonality weight (Barlow Twins' λ, VICReg's λ = μ, β);
    `cell`, the pretraining run's name; `epoch`; the readout's metrics (fractions in [0, 1]); and from the log, up to
    that epoch: `minutes` of training, `view_images`, `peak_mib`, that epoch's `loss`, and the `machines` it ran on.
    """
    found: list[dict[str, Any]] = []
    for row in rows:
        stage = plan.readouts[row.readout]
        fixed = {"experiment": row.experiment, "arm": row.arm, **columns(stage)}
        epochs = _by_epoch(log(stage))
        content = readout(stage)
        for epoch, metrics in content["metrics"].items():
            found.append({**fixed, **epochs[int(epoch)], "chance": content["chance"], **metrics})
    return pd.DataFrame(found)


def columns(stage: Readout) -> dict[str, Any]:
    """A readout's config as flat columns."""
    embed = stage.embed
    parts = {"": embed.pretrain, "embed.": embed, "probe.": stage.probe}
    flat: dict[str, Any] = {"cell": config.name(embed.pretrain), "weight": weight(embed.pretrain)}
    for prefix, part in parts.items():
        content = {name: value for name, value in msgspec.to_builtins(part).items() if name != "pretrain"}
        flat |= _flat(content, prefix)
    return flat


def weight(pretrain: config.Pretrain) -> float:
    """The method's orthogonality weight as the papers sweep it; not a number where a method has none."""
    match pretrain.method:
        case config.BarlowTwins(weight=found) | config.SpectralContrastive(weight=found):
            return found
        case config.VICReg(invariance=found):
            return found
        case _:
            return float("nan")


def _flat(content: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in content.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _by_epoch(log: Log) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    seconds, images, peak, machines = 0.0, 0, 0, set[str]()
    for row in log:
        seconds, images = seconds + float(row["seconds"]), images + int(row["view_images"])
        peak = max(peak, int(row["peak_mib"]))
        machines |= {row["machine"]}
        found[int(row["epoch"])] = {
            "epoch": int(row["epoch"]),
            "minutes": seconds / 60,
            "view_images": images,
            "peak_mib": peak,
            "loss": float(row["loss"]),
            "machines": " + ".join(sorted(machines)),
        }
    return found


def last(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of each readout's last epoch."""
    return rows[rows["epoch"] == rows["epochs"]]


def chosen_on(rows: pd.DataFrame) -> str:
    """The column that weights are chosen on: `validation` where images were held out, else `accuracy` (the test split)."""
    return "validation" if "validation" in rows and rows["validation"].notna().all() else "accuracy"


def best_weights(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """For each group, the rows of the weight with the best mean over seeds of the column that weights are chosen on.

    A tie goes to the smaller weight.
    """
    mean = rows.groupby([*by, "weight"], as_index=False)[chosen_on(rows)].mean()
    order = mean.sort_values([*by, chosen_on(rows), "weight"], ascending=[True] * len(by) + [False, True])
    best = order.drop_duplicates(by)[[*by, "weight"]]
    return rows.merge(best, on=[*by, "weight"])


def conditions(rows: pd.DataFrame, scale: str) -> str:
    """What a table or figure must say of itself: scale, data, encoder, epochs, seeds, probe, and where weights were chosen."""
    if rows.empty:
        return f"{scale} scale"
    held = {"validation": "the validation split", "accuracy": "the TEST split (none was held out)"}[chosen_on(rows)]
    seeds = rows["seed"].nunique()
    return (
        f"{scale} scale: {_every(rows, 'subset.dataset')}, {_every(rows, 'encoder.name')} (width {_every(rows, 'encoder.width')}), "
        f"{_every(rows, 'epochs')} epochs, batch {_every(rows, 'batch')}, {seeds} seed{'s' * (seeds > 1)}, "
        f"{_every(rows, 'probe.name')} readout; weights chosen on {held}"
    )


def _every(rows: pd.DataFrame, column: str) -> str:
    return " and ".join(str(value) for value in rows[column].unique())
