"""Time of our losses, forward and backward, beside lightly's two-view losses looped over view pairs.

    python benchmarks/losses.py            # widths 64 to 8192, 2, 4 and 8 views
    python benchmarks/losses.py --quick

One process and one thread. The two take turns, so that whatever else the machine does falls on both. Medians over the
turns, and their spread: half the distance between the quartiles. Combinations that lightly would need more than 30 s
or more than 8 GiB for are left out.
"""

import argparse
import csv
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from functools import reduce
from itertools import combinations
from pathlib import Path

import torch
from lightly.loss import BarlowTwinsLoss, NTXentLoss, VICRegLoss
from torch import Tensor

from entia.config import BarlowTwins, Method, SimCLR, VICReg
from entia.losses import build

BATCH = 256
WIDTHS = (64, 256, 1024, 2048, 8192)
VIEWS = (2, 4, 8)
QUICK = ((64, 2), (64, 4), (256, 2), (1024, 2), (2048, 2), (2048, 4))
PAIRS: dict[str, tuple[Method, torch.nn.Module]] = {
    "barlow_twins": (BarlowTwins(weight=0.005), BarlowTwinsLoss(lambda_param=0.005)),
    "vicreg": (VICReg(), VICRegLoss()),
    "simclr": (SimCLR(temperature=0.5), NTXentLoss(temperature=0.5)),
}
TURNS = 11
BUDGET = 6.0
"""Seconds an implementation may take for its turns; it gets three at least."""
LONGEST = 30.0
MEMORY = 8 * 2**30
REPORT = Path("reports/benchmarks/losses.csv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a few sizes, in about a minute")
    parser.add_argument("--only", choices=PAIRS, help="one method")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sizes = QUICK if arguments.quick else tuple((width, views) for width in WIDTHS for views in VIEWS)
    print(f"{cpu()}; one thread, batch {BATCH}, float32, torch {torch.__version__}; milliseconds")
    print(f"{'method':14}{'width':>7}{'views':>6}{'lightly':>18}{'entia':>16}{'ratio':>8}{'differ':>10}")
    rows = list(measure(sizes, [arguments.only] if arguments.only else list(PAIRS)))
    write(rows)


def measure(sizes: tuple[tuple[int, int], ...], methods: list[str]) -> Iterator[dict[str, object]]:
    """One row a method and size, printed as it comes."""
    for method in methods:
        slowest = 0.0
        for width, views in sizes:
            config, published = PAIRS[method]
            pairs = views * (views - 1) // 2
            if needed(method, width, pairs) > MEMORY or expected(method, width, pairs, slowest) > LONGEST:
                continue
            row = compare(method, config, published, width, views)
            if width >= 1024:  # below, a matrix is too small for its size to say how long it takes
                slowest = max(slowest, float(str(row["lightly_ms"])) / 1000 / (pairs * width**2))
            print(
                f"{method:14}{width:7d}{views:6d}{row['lightly_ms']:>10} ±{row['lightly_spread_ms']:>6}"
                f"{row['entia_ms']:>9} ±{row['entia_spread_ms']:>5}{row['ratio']:>7}x{row['gradient_difference']:>10}",
                flush=True,
            )
            yield row


def needed(method: str, width: int, pairs: int) -> int:
    """Bytes that lightly keeps for its backward pass: some matrices of width × width a pair."""
    kept = {"barlow_twins": 3, "vicreg": 6, "simclr": 0}[method]
    return 4 * kept * pairs * width**2


def expected(method: str, width: int, pairs: int, slowest: float) -> float:
    """Seconds, at the slowest rate so far. SimCLR's cost grows with the width, not with its square."""
    return 0.0 if method == "simclr" else slowest * pairs * width**2


def compare(method: str, config: Method, published: torch.nn.Module, width: int, views: int) -> dict[str, object]:
    z = torch.randn(views, BATCH, width, generator=torch.Generator().manual_seed(0))
    loss = build(config)

    def ours(z: Tensor) -> Tensor:
        return reduce(torch.add, loss(z).values())

    def theirs(z: Tensor) -> Tensor:
        pairs = [published(a, b) for a, b in combinations(z.unbind(), 2)]
        return torch.stack(pairs).mean()

    difference = relative(step(ours, z)[1], step(theirs, z)[1])
    mine, other = take_turns(ours, theirs, z)
    return {
        "method": method,
        "width": width,
        "views": views,
        "batch": BATCH,
        "lightly_ms": f"{1000 * statistics.median(other):.2f}",
        "lightly_spread_ms": f"{1000 * spread(other):.2f}",
        "entia_ms": f"{1000 * statistics.median(mine):.2f}",
        "entia_spread_ms": f"{1000 * spread(mine):.2f}",
        "ratio": f"{statistics.median(other) / statistics.median(mine):.2f}",
        "gradient_difference": f"{difference:.1e}",
        "turns": len(mine),
        "cpu": cpu(),
        "torch": torch.__version__,
    }


def take_turns(
    ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], z: Tensor
) -> tuple[list[float], list[float]]:
    """Seconds of each turn. Small sizes get many steps a turn, so that a turn lasts some milliseconds."""
    once = {f: max(seconds(f, z, 1), 1e-4) for f in (ours, theirs)}
    steps = {f: max(1, round(0.02 / once[f])) for f in once}
    turns = min(TURNS, max(3, round(BUDGET / max(once.values()))))
    mine: list[float] = []
    other: list[float] = []
    for _ in range(turns):
        mine.append(seconds(ours, z, steps[ours]))
        other.append(seconds(theirs, z, steps[theirs]))
    return mine, other


def seconds(loss: Callable[[Tensor], Tensor], z: Tensor, steps: int) -> float:
    """Of this process on the CPU, a step: another process's share of the core does not count."""
    start = time.process_time()
    for _ in range(steps):
        step(loss, z)
    return (time.process_time() - start) / steps


def step(loss: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    leaf = z.detach().requires_grad_()
    value = loss(leaf)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


def relative(left: Tensor, right: Tensor) -> float:
    return float((left - right).abs().max() / right.abs().max())


def spread(values: list[float]) -> float:
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / 2


def cpu() -> str:
    """The processor's name, as its maker gives it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def write(rows: list[dict[str, object]]) -> None:
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    with REPORT.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(f"written: {REPORT}")


if __name__ == "__main__":
    main()
