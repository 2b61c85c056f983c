"""How many times faster than its peers each part is, from the csv files that the other benchmarks wrote.

    python benchmarks/ratios.py

Writes ratios.csv, ratios.md, ratios.png and ratios.svg under reports/benchmarks/: of each target the ratio, with the
target's mark, and the command that measures it. What has not been measured is left out, and named.
"""

from collections.abc import Callable
from typing import NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
from side_by_side import REPORTS, write


class Target(NamedTuple):
    """A ratio that is aimed at: higher is better. `read` takes it from the table of the benchmark `of`."""

    what: str
    peer: str
    target: float
    of: str
    read: Callable[[pd.DataFrame], float]


def loss(method: str, width: int, views: int) -> Callable[[pd.DataFrame], float]:
    return lambda table: table.query(f"method == '{method}' and width == {width} and views == {views}").ratio.item()


def pipeline(peer: str) -> Callable[[pd.DataFrame], float]:
    return lambda table: table.loc[table.pipeline.str.startswith(peer), "entia / this"].item()


def training(data: str, views: int) -> Callable[[pd.DataFrame], float]:
    return lambda table: table.query(f"data == '{data}' and views == {views}").ratio.item()


def readout(slow: str, fast: str) -> Callable[[pd.DataFrame], float]:
    return lambda table: table.set_index("method").seconds[slow] / table.set_index("method").seconds[fast]


def feeding(table: pd.DataFrame) -> float:
    rates = table.set_index("what").images_per_second
    return rates["reading: entia"] / rates["reading: DataLoader, 2 workers, h5py"]


PLAIN = "lightly, torchvision, DataLoader"
FASTER = "faster of lightly, stable-pretraining"
TARGETS = (
    Target("Barlow Twins, width 2048, 8 views", FASTER, 10, "losses", loss("barlow_twins", 2048, 8)),
    Target("Barlow Twins, width 8192, 4 views", FASTER, 40, "losses", loss("barlow_twins", 8192, 4)),
    Target("VICReg, width 2048, 8 views", FASTER, 40, "losses", loss("vicreg", 2048, 8)),
    Target("SimCLR, width 2048, 8 views", FASTER, 1, "losses", loss("simclr", 2048, 8)),
    Target("any loss, width and views: least", FASTER, 1, "losses", lambda table: table.ratio.min()),
    Target("views, 32 pixels", "torchvision on PIL images", 7, "views", pipeline("torchvision")),
    Target("views, 32 pixels", "kornia, eager", 2, "views", pipeline("kornia")),
    Target("a whole training, digits, 2 views", PLAIN, 3, "training", training("mnist5k", 2)),
    Target("a whole training, digits, 4 views", PLAIN, 3, "training", training("mnist5k", 4)),
    Target("a whole training, CIFAR-10, 2 views", PLAIN, 3, "training", training("cifar10", 2)),
    Target("reading images from their file", "DataLoader, 2 workers, h5py", 1, "feeding", feeding),
    Target(
        "ridge readout, 7 penalties", "the papers' Adam protocol", 20, "readout",
        readout("adam, the papers' protocol", "ridge, 7 penalties"),
    ),
)  # fmt: skip


def measured() -> list[dict[str, object]]:
    """One row a target whose benchmark has run."""
    rows: list[dict[str, object]] = []
    for each in TARGETS:
        try:
            table = pd.read_csv(REPORTS / f"{each.of}.csv")
            ratio = float(each.read(table))
        except (FileNotFoundError, ValueError):  # no such file, or no such row in it
            print(f"{each.what}, against {each.peer}: not measured; python benchmarks/{each.of}.py")
            continue
        row = {"what": each.what, "against": each.peer, "ratio": f"{ratio:.3g}", "target": each.target}
        machine = next(table[name][0] for name in ("device", "cpu", "processor") if name in table)
        rows.append(row | {"command": f"python benchmarks/{each.of}.py", "machine": machine})
    return rows


def markdown(rows: list[dict[str, object]]) -> str:
    names = {"what": "what", "against": "against", "ratio": "times as fast", "target": "target"}
    names |= {"command": "measured by", "machine": "on"}
    lines = [f"| {' | '.join(str(row[name]) for name in names)} |" for row in rows]
    head = f"| {' | '.join(names.values())} |\n| {' | '.join('---' for _ in names)} |"
    return "\n".join(["**Speed beside peers, on one core**", "", head, *lines, ""])


def draw(rows: list[dict[str, object]]) -> None:
    figure, axes = plt.subplots(figsize=(9, 0.5 * len(rows) + 1), layout="constrained")
    ratios = [float(str(row["ratio"])) for row in rows]
    targets = [float(str(row["target"])) for row in rows]
    places = range(len(rows))
    axes.barh(places, [ratio - 1 for ratio in ratios], left=1, height=0.6, color="#4477aa")
    marks = axes.scatter(targets, places, marker="|", s=420, linewidths=2.5, color="#cc3311", zorder=3)
    for place, ratio, target in zip(places, ratios, targets, strict=True):
        axes.annotate(
            f"{ratio:.3g}×", (max(ratio, target), place), xytext=(7, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(places, [f"{row['what']}\nagainst {row['against']}" for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(0.8, 2.2 * max(ratios))
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500) if tick < 2.2 * max(ratios)]
    axes.set_xticks(ticks, [f"{tick}×" for tick in ticks])
    axes.minorticks_off()
    axes.axvline(1, color="black", linewidth=0.8)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("times as fast, in seconds of one core")
    axes.legend([marks], ["target"], frameon=False, loc="lower right", markerscale=0.6)
    for ending in ("png", "svg"):
        figure.savefig(REPORTS / f"ratios.{ending}", dpi=150)


def main() -> None:
    rows = measured()
    write("ratios", rows)
    (REPORTS / "ratios.md").write_text(markdown(rows))
    draw(rows)
    print(markdown(rows))


if __name__ == "__main__":
    main()
