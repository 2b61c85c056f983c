"""What tables and figures say of themselves: titles, conditions, the names of arms."""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false, reportGeneralTypeIssues=false, reportUnknownLambdaType=false

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from entia import results


def varied(rows: pd.DataFrame, among: list[str]) -> list[str]:
    """The columns that do not hold one value alone."""
    return [name for name in among if rows[name].nunique() > 1]


def arm_names(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows in the order of their arms, each with its arm's `name`: `4 views, 50 % of images, width 256`."""
    rows = rows.sort_values([*results.ARM, "weight", "seed", "epoch"])
    kinds = set(varied(rows, results.ARM))
    names = [_arm_name(row, kinds) for row in rows.to_dict("records")]
    rows = rows.assign(name=names)
    several = rows.groupby("name")["weight"].transform("nunique") > 1
    return rows.assign(name=rows["name"].where(~several, rows["name"] + [f", weight {w:g}" for w in rows["weight"]]))


def _arm_name(row: Mapping[Any, Any], kinds: set[str]) -> str:
    said = {
        "method.name": f"{row['method.name']}",
        "subset.dataset": f"{row['subset.dataset']}",
        "epochs": f"{row['epochs']} epochs",
        "views": f"{row['views']} view{'s' * (row['views'] != 1)}",
        "subset.fraction": f"{100 * row['subset.fraction']:g} % of images",
        "projector.width": f"width {row['projector.width']}" if row.get("projector.depth", 1) else "no projector",
    }
    return ", ".join(text for name, text in said.items() if name in kinds | {"views"})


def comparison(rows: pd.DataFrame) -> str:
    """What arms of different views have in common at the same epoch; empty where views do not differ."""
    if rows.empty or rows["views"].nunique() == 1:
        return ""
    if rows["subset.fraction"].nunique() == 1:
        return "equal unique images at equal epochs (view-images grow with the views)"
    if np.allclose(rows["views"] * rows["subset.fraction"], (rows["views"] * rows["subset.fraction"]).iloc[0]):
        return "equal view-images at equal epochs (unique images shrink as views grow)"
    return "equal neither in unique images nor in view-images at equal epochs"


def conditions(rows: pd.DataFrame, scale: str, chosen: bool = True) -> str:
    """What a table or figure must say of itself: scale, data, encoder, epochs, seeds and probe.

    Also where weights were chosen, if it shows the `chosen` of several, and what arms of unlike views have in common.
    """
    if rows.empty:
        return f"{scale} scale; no network is trained"
    seeds, views = rows["seed"].nunique(), _every(rows, "embed.views") if "embed.views" in rows else "1"
    of = "" if views == "1" else f" of {views} views an image"
    parts = [
        f"{scale} scale: {_every(rows, 'subset.dataset')}, "
        f"{_every(rows, 'encoder.name')} (width {_every(rows, 'encoder.width')}), "
        f"{_every(rows, 'epochs')} epochs, batch {_every(rows, 'batch')}, {seeds} seed{'s' * (seeds > 1)}, "
        f"{_every(rows, 'probe.name')} readout{of}"
    ]
    if chosen and rows.groupby(results.ARM)["weight"].nunique().max() > 1:
        held = {"validation": "the validation split", "accuracy": "the TEST split (none was held out)"}[
            results.chosen_on(rows)
        ]
        parts.append(f"weights chosen on {held}")
    if said := comparison(rows):
        parts.append(f"arms compared: {said}")
    return "; ".join(parts)


def heading(title: str, rows: pd.DataFrame, scale: str) -> str:
    """A report's title; below the papers' scale with the data it was really drawn on, whatever the title names."""
    return (
        title if scale == "paper" or rows.empty else f"{title} [here {_every(rows, 'subset.dataset')}, {scale} scale]"
    )


def _every(rows: pd.DataFrame, column: str) -> str:
    return " and ".join(str(value) for value in sorted(rows[column].unique()))
