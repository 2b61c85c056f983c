"""Time of our losses, forward and backward, beside the peers' two-view losses looped over view pairs.

    python benchmarks/losses.py            # widths 64 to 8192, 2, 4 and 8 views
    python benchmarks/losses.py --quick

Peers: lightly, and stable-pretraining where it is installed (no part of the lock: it brings 108 packages). One process
and one thread. All take turns, so that whatever else the machine does falls on all. Medians over the turns, with the
median distance from them. The ratio is of the faster peer's time to ours. Combinations that a peer would need more than
30 s or more than 8 GiB for are left out.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial, reduce
from importlib.util import find_spec
from itertools import combinations
from statistics import median

import torch
from lightly.loss import BarlowTwinsLoss, NTXentLoss, VICRegLoss
from side_by_side import processor, spread, take_turns, write
from torch import Tensor

from entia.losses import build
from entia.methods import BarlowTwins, Method, SimCLR, VICReg

BATCH = 256
WIDTHS = (64, 256, 1024, 2048, 8192)
VIEWS = (2, 4, 8)
QUICK = ((64, 2), (64, 4), (256, 2), (1024, 2), (2048, 2), (2048, 4))
METHODS: dict[str, Method] = {
    "barlow_twins": BarlowTwins(weight=0.005),
    "vicreg": VICReg(),
    "simclr": SimCLR(temperature=0.5),
}
PEERS: dict[str, dict[str, torch.nn.Module]] = {
    "lightly": {
        "barlow_twins": BarlowTwinsLoss(lambda_param=0.005),
        "vicreg": VICRegLoss(),
        "simclr": NTXentLoss(temperature=0.5),
    }
}
TURNS = 11
BUDGET = 6.0
"""Seconds an implementation may take for its turns; it gets three at least."""
LONGEST = 30.0
MEMORY = 8 * 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a few sizes, in about a minute")
    parser.add_argument("--only", choices=METHODS, help="one method")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    add_stable_pretraining()
    sizes = QUICK if arguments.quick else tuple((width, views) for width in WIDTHS for views in VIEWS)
    print(f"{processor()}; one thread, batch {BATCH}, float32, torch {torch.__version__}; milliseconds")
    names = "".join(f"{name:>20}" for name in [*PEERS, "entia"])
    print(f"{'method':14}{'width':>7}{'views':>6}{names}{'ratio':>8}{'differ':>10}")
    write("losses", list(measure(sizes, [arguments.only] if arguments.only else list(METHODS))))


def add_stable_pretraining() -> None:
    if find_spec("stable_pretraining") is None:
        print("stable-pretraining: skipped, it is not installed")
        return
    from stable_pretraining import losses as peer

    PEERS["stable-pretraining"] = {
        "barlow_twins": peer.BarlowTwinsLoss(lambd=0.005),
        "vicreg": peer.VICRegLoss(),
        "simclr": peer.NTXEntLoss(temperature=0.5),
    }


def measure(sizes: tuple[tuple[int, int], ...], methods: list[str]) -> Iterator[dict[str, object]]:
    """One row a method and size, printed as it comes."""
    for method in methods:
        slowest = 0.0
        for width, views in sizes:
            pairs = views * (views - 1) // 2
            if needed(method, width, pairs) > MEMORY or expected(method, width, pairs, slowest) > LONGEST:
                continue
            row = compare(method, width, views)
            if width >= 1024:  # below, a matrix is too small for its size to say how long it takes
                worst = max(float(str(row[f"{peer}_ms"])) for peer in PEERS)
                slowest = max(slowest, worst / 1000 / (pairs * width**2))
            times = "".join(f"{row[f'{name}_ms']:>11} ±{row[f'{name}_spread_ms']:>7}" for name in [*PEERS, "entia"])
            print(
                f"{method:14}{width:7d}{views:6d}{times}{row['ratio']:>7}x{row['gradient_difference']:>10}", flush=True
            )
            yield row


def needed(method: str, width: int, pairs: int) -> int:
    """Bytes that a peer keeps for its backward pass: some matrices of width × width a pair."""
    kept = {"barlow_twins": 3, "vicreg": 6, "simclr": 0}[method]
    return 4 * kept * pairs * width**2


def expected(method: str, width: int, pairs: int, slowest: float) -> float:
    """Seconds, at the slowest rate so far. SimCLR's cost grows with the width, not with its square."""
    return 0.0 if method == "simclr" else slowest * pairs * width**2


def compare(method: str, width: int, views: int) -> dict[str, object]:
    z = torch.randn(views, BATCH, width, generator=torch.Generator().manual_seed(0))
    loss = build(METHODS[method])

    def ours(z: Tensor) -> Tensor:
        return reduce(torch.add, loss(z).values())

    def pairwise(published: torch.nn.Module, z: Tensor) -> Tensor:
        return torch.stack([published(a, b) for a, b in combinations(z.unbind(), 2)]).mean()

    losses = {name: partial(pairwise, peer[method]) for name, peer in PEERS.items()} | {"entia": ours}
    difference = relative(step(ours, z)[1], step(losses["lightly"], z)[1])
    taken = timed(losses, z)
    middle = {name: 1000 * median(seconds) for name, seconds in taken.items()}
    row: dict[str, object] = {"method": method, "width": width, "views": views, "batch": BATCH}
    for name, seconds in taken.items():
        row |= {f"{name}_ms": f"{middle[name]:.3f}", f"{name}_spread_ms": f"{1000 * spread(seconds):.3f}"}
    return row | {
        "ratio": f"{min(middle[name] for name in PEERS) / middle['entia']:.2f}",
        "gradient_difference": f"{difference:.1e}",
        "turns": len(taken["entia"]),
        "cpu": processor(),
        "torch": torch.__version__,
    }


def timed(losses: dict[str, Callable[[Tensor], Tensor]], z: Tensor) -> dict[str, list[float]]:
    """Seconds a step in every turn. Small sizes get many steps a turn, so that a turn lasts some milliseconds."""

    def repeat(loss: Callable[[Tensor], Tensor], steps: int) -> None:
        for _ in range(steps):
            step(loss, z)

    once = {name: max(seconds(loss, z), 1e-4) for name, loss in losses.items()}
    steps = {name: max(1, round(0.02 / once[name])) for name in losses}
    turns = min(TURNS, max(3, round(BUDGET / max(once.values()))))
    taken = take_turns({name: partial(repeat, loss, steps[name]) for name, loss in losses.items()}, turns)
    return {name: [each / steps[name] for each in taken[name]] for name in losses}


def seconds(loss: Callable[[Tensor], Tensor], z: Tensor) -> float:
    start = time.process_time()
    step(loss, z)
    return time.process_time() - start


def step(loss: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    leaf = z.detach().requires_grad_()
    value = loss(leaf)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


def relative(left: Tensor, right: Tensor) -> float:
    return float((left - right).abs().max() / right.abs().max())


if __name__ == "__main__":
    main()
