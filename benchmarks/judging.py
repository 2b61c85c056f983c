"""How often the judging code rules wrongly, holds the truth and finds an effect, on simulated studies.

`python benchmarks/judging.py [CONTRASTS]`: 20,000 contrasts a design if not said; ends with 1 where a rate is out of
bounds. Each study is a frame of rows as readouts give them; variances, effects and rulings are `entia.claims`' own.

Model: accuracy[arm, seed] = mean[arm] + effect of the seed (sd 1.2 points) + noise of the arm's sd, in points.
"""

import argparse
import functools
import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from entia.claims import judging, pooling
from entia.claims.judging import ERROR, SUPPORTED, above, one
from entia.claims.pooling import Sample, contrast
from entia.claims.study import POINTS, Study

KINDS = ("equal", "0.5 to 4", "1 and 3", "kin", "recorded")
"""Noise of one sd; of sds eightfold apart that no stratum knows of; two methods of sd 1 and 3; the arms of a method in
fours that share half of their variance in a seed; and what the recorded laptop study left, resampled by method."""
RECORDED = Path(__file__).with_name("laptop_seeds.csv")
"""Last-epoch test accuracy of each arm of the recorded laptop study that two judged seeds ran, by seed."""
SEED_SD, SD = 1.2, 1.5
AT_ONCE = 50
"""Studies in a frame."""
EDGE, INSIDE = 0.0, 4.0
"""True effects of a contrast: at the boundary of `above 0`, and four points inside."""


@dataclass(frozen=True)
class Rates:
    """Shares of contrasts (or claims), and how many there were."""

    contrasts: int
    wrong_support: float
    wrong_refutation: float
    covered: float
    power: float


def noise(kind: str, arms: int, seeds: int, generator: np.random.Generator) -> np.ndarray:
    """Noise in points, by arm and seed."""
    if kind == "recorded":
        pools = [residuals()[method] for method in methods(kind, arms)]
        return np.array([generator.choice(pool, seeds) * generator.choice([-1, 1], seeds) for pool in pools])
    drawn = generator.standard_normal((arms, seeds))
    if kind == "kin":
        shared = np.repeat(generator.standard_normal((-(-arms // 4), seeds)), 4, axis=0)[:arms]
        drawn = np.sqrt(0.5) * (drawn + shared)
    if kind == "0.5 to 4":
        return drawn * np.exp(generator.uniform(np.log(0.5), np.log(4), (arms, 1)))
    if kind == "1 and 3":
        return drawn * np.where(np.arange(arms) < arms // 2, 1.0, 3.0)[:, None]
    return drawn * SD


@functools.cache
def residuals() -> dict[str, np.ndarray]:
    """The sizes, in points, of the recorded arms' residuals, by method; only methods of four arms or more.

    A residual is what is left of an arm's accuracy once its mean and each seed's effect in its protocol are taken out,
    over the root of its degrees of freedom, so that its square has the noise's variance for a mean.
    """
    found: dict[str, list[float]] = {}
    for _, part in pd.read_csv(RECORDED).groupby("protocol"):
        table = 100 * part.pivot_table(index=["method", "arm"], columns="seed", values="accuracy")
        squares, freedom = pooling.residuals(table.to_numpy())
        for (method, _), square, free in zip(table.index, squares, freedom, strict=True):
            if free > 0:
                found.setdefault(method, []).append(float(np.sqrt(square / free)))
    return {method: np.array(sizes) for method, sizes in found.items() if len(sizes) > 3}


def methods(kind: str, arms: int) -> np.ndarray:
    """Each arm's method: halves of two, or shares of the recorded ones."""
    names = sorted(residuals()) if kind == "recorded" else ["first", "second"]
    return np.repeat(names, -(-arms // len(names)))[:arms]


def frame(kind: str, arms: int, seeds: int, generator: np.random.Generator, studies: int = 1) -> pd.DataFrame:
    """Studies of so many arms each, all of true accuracy 50 %, half of each method; each has a data set of its own."""
    drawn = (noise(kind, arms, seeds, generator) + SEED_SD * generator.standard_normal(seeds) for _ in range(studies))
    y = 50 + np.array(list(drawn))
    of, arm, seed = (part.ravel() for part in np.indices(y.shape))
    columns = {
        "experiment": "simulated",
        "arm": [f"arm {each}" for each in arm],
        "cell": [f"cell {s} {a} {j}" for s, a, j in zip(of, arm, seed, strict=True)],
        "readout": "simulated",
        "seed": seed,
        "epoch": 5,
        "epochs": 5,
        "subset.dataset": [f"made up {each}" for each in of],
        "encoder.name": "none",
        "projector.width": arm,
        "method.name": methods(kind, arms)[arm],
        "weight": np.nan,
        "minutes": 1.0,
        "accuracy": y.ravel() / 100,
    }
    return pd.DataFrame(columns)


def pairs(kind: str, arms: int) -> list[tuple[int, int]]:
    """The arms held against each other, each in one contrast: neighbours; of kin, those that share nothing."""
    if kind == "kin":
        return [(i, i + 4) for i in range(arms - 4) if i % 8 < 4]
    return [(i, i + 1) for i in range(0, arms - 1, 2)]


Arms = list[Sample]


def arms_of(study: Study) -> list[Arms]:
    """Each study's arms, measured."""
    values: dict[tuple[str, str], dict[int, float]] = {}
    cells: dict[tuple[str, str], dict[int, str]] = {}
    found: dict[str, dict[int, Sample]] = {}
    names = ["protocol", "method.name", "projector.width", "seed", "cell", "accuracy"]
    for protocol, method, arm, seed, cell, accuracy in POINTS.rows(study.frame)[names].itertuples(index=False):
        values.setdefault((protocol, arm), {})[seed] = POINTS.factor * accuracy
        cells.setdefault((protocol, arm), {})[seed] = cell
        there = Sample(values[protocol, arm], cells[protocol, arm], (protocol, method))
        found.setdefault(protocol, {})[arm] = there
    return [list(arms.values()) for arms in found.values()]


def part(arms: Arms, plus: int, minus: int, low: float) -> judging.Part:
    """One arm minus another is above a number."""

    def test(study: Study) -> judging.Finding:
        return judging.Finding(one(contrast([[(1.0, arms[plus]), (-1.0, arms[minus])]], study.pool(POINTS))))

    return judging.Part(f"{plus} minus {minus}", above(low, "simulated"), test)


def verdict(study: Study, *parts: judging.Part) -> judging.Verdict:
    """A claim of these parts, judged."""
    return judging.verdict(judging.Claim("S", "simulated", "nothing", parts), study)


def rates(kind: str, arms: int, seeds: int, contrasts: int) -> Rates:
    """Rates of contrasts of two arms, all of them equal: at the boundary for the errors, inside it for power."""
    generator = np.random.default_rng([arms, seeds, KINDS.index(kind)])
    found: list[tuple[bool, bool, bool, bool]] = []
    while len(found) < contrasts:
        study = Study.of(frame(kind, arms, seeds, generator, AT_ONCE))
        found += [_one(study, measured, *pair) for measured in arms_of(study) for pair in pairs(kind, arms)]
    return Rates(len(found), *np.mean(found, axis=0))


def _one(study: Study, measured: Arms, plus: int, minus: int) -> tuple[bool, bool, bool, bool]:
    edge, inside = part(measured, plus, minus, EDGE), part(measured, plus, minus, -INSIDE)
    estimate = edge.test(study).comparisons[0].estimate
    at_edge = verdict(study, edge).verdict
    covered = estimate.low(ERROR / 2) < 0 < estimate.high(ERROR / 2)
    power = inside.criterion.holds(estimate, ERROR)
    return at_edge == SUPPORTED, at_edge == judging.NOT_SUPPORTED, covered, power


def of_parts(kind: str, arms: int, seeds: int, claims: int, at_edge: int, parts: int) -> Rates:
    """Rates of claims of several parts: so many of them at their boundary, the others far inside."""
    generator = np.random.default_rng([arms, seeds, parts, at_edge])
    among = pairs(kind, arms)
    chosen = [among[start : start + parts] for start in range(0, len(among) - parts + 1, parts)]
    lows = [EDGE if place < at_edge else -20.0 for place in range(parts)]
    found: list[tuple[bool, bool, bool, bool]] = []
    while len(found) < claims:
        study = Study.of(frame(kind, arms, seeds, generator, AT_ONCE))
        for measured, each in itertools.product(arms_of(study), chosen):
            made = [part(measured, *pair, low) for pair, low in zip(each, lows, strict=True)]
            ruling = verdict(study, *made).verdict
            found.append((ruling == SUPPORTED, ruling == judging.NOT_SUPPORTED, True, False))
    return Rates(len(found), *np.mean(found, axis=0))


def allowed(rate: float, contrasts: int) -> float:
    """Three Monte-Carlo errors of a rate."""
    return 3 * float(np.sqrt(rate * (1 - rate) / contrasts))


def wrong(kind: str, found: Rates, power: float = 0.0) -> Iterator[str]:
    """What is out of bounds: errors above 5 % (6 % of kin), coverage below 95 %, power below what is asked."""
    most = 0.06 if kind == "kin" else ERROR
    for name, rate in (("supports", found.wrong_support), ("refutes", found.wrong_refutation)):
        if rate > most + allowed(most, found.contrasts):
            yield f"{kind}: {name} wrongly in {100 * rate:.1f} %"
    if found.covered < 0.95 - allowed(0.95, found.contrasts):
        yield f"{kind}: covers {100 * found.covered:.1f} %"
    if found.power < power - allowed(max(power, 0.01), found.contrasts):
        yield f"{kind}: finds 4 points in {100 * found.power:.0f} %"


HEAD = (
    "noise",
    "arms × seeds",
    "contrasts",
    "wrong support, %",
    "wrong refutation, %",
    "95 % covers, %",
    "power at 4, %",
)


def _line(name: str, design: str, found: Rates, more: bool) -> str:
    shares = [found.wrong_support, found.wrong_refutation, *([found.covered, found.power] if more else [])]
    cells = [name, design, str(found.contrasts), *(f"{100 * share:.1f}" for share in shares), *[""] * (4 - len(shares))]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contrasts", type=int, nargs="?", default=20_000)
    asked = parser.parse_args().contrasts
    print(f"| {' | '.join(HEAD)} |\n{'| --- ' * len(HEAD)}|")
    mistakes: list[str] = []
    for kind, seeds in itertools.product(KINDS, (2, 3)):
        found = rates(kind, 20, seeds, asked)
        print(_line(kind, f"20 × {seeds}", found, True), flush=True)
        mistakes += wrong(kind, found, 0.65 if (kind, seeds) == ("equal", 2) else 0.0)
    for parts, at_edge in ((2, 1), (2, 2), (3, 1), (3, 3)):
        found = of_parts("equal", 20, 2, asked, at_edge, parts)
        print(_line(f"equal; claims of {parts} parts, {at_edge} at the boundary", "20 × 2", found, False), flush=True)
        mistakes += wrong("equal", found)
    sys.exit("\n".join(mistakes))


if __name__ == "__main__":
    main()
