"""What noise from seed to seed an effect has: its own over two or three seeds, shrunk to that of arms like its own.

Model, within one protocol: y[arm, seed] = mean[arm] + effect[seed] + noise of the arm's variance. A contrast's own
variance has n − 1 degrees of freedom, one with two seeds; the residuals of all arms of its protocol and method have
many. The weight of what they say is fixed, four degrees of freedom at most, and not estimated: from two seeds an
estimate comes out infinite in a third of studies whose variances differ strongly.
"""

# pandas' type stubs give every cell and column the union of all that it might hold.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportInvalidTypeArguments=false

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.special import fdtrc

from entia.claims.intervals import Mean, enough

WEIGHT = 4.0
"""Degrees of freedom that the pooled variance counts for at most, and `SHARE` of its own."""
SHARE = 1 / 3
LEAST = 6.0
"""Degrees of freedom below which a stratum is merged with the other small ones of its protocol."""
FEW = 3.0
"""Degrees of freedom below which a pooled variance says nothing."""


class Stratum(NamedTuple):
    """A variance over seeds and its degrees of freedom."""

    variance: float
    freedom: float


NOTHING = Stratum(math.nan, 0.0)
Place = tuple[str, str]
"""A protocol and, in it, a method."""


@dataclass(frozen=True)
class Pool:
    """The variance of each protocol and method; `rest` of a protocol stands for the methods not named."""

    strata: Mapping[Place, Stratum]
    rest: Mapping[str, Stratum]

    def of(self, place: Place) -> tuple[object, Stratum]:
        """The stratum that an arm borrows from, and what tells it from the others."""
        found = self.strata.get(place)
        return (place, found) if found else (place[0], self.rest.get(place[0], NOTHING))


NO_POOL = Pool({}, {})


class Sample(NamedTuple):
    """An arm's measure by seed, the cell it was measured in by seed, and where the arm's noise belongs."""

    values: Mapping[int, float]
    cells: Mapping[int, str]
    place: Place


Terms = Sequence[tuple[float, Sample]]


# --- residuals of all arms ----------------------------------------------------------------------------------------


def pool(rows: pd.DataFrame, column: str) -> Pool:
    """The pooled variances of a column. Rows: one a cell, with `protocol`, `method.name`, `configuration` and `seed`.

    A configuration is a cell's config without its seed: cells that experiments share are one arm.
    """
    strata: dict[Place, Stratum] = {}
    rest: dict[str, Stratum] = {}
    for name, part in rows.dropna(subset=[column]).groupby("protocol"):
        protocol = str(name)
        squares, freedom, methods = _of_arms(part, column)
        found = {str(one): _sum(squares, freedom, methods == one) for one in np.unique(methods)}
        small = [one for one, stratum in found.items() if stratum.freedom < LEAST]
        alone = _sum(squares, freedom, np.isin(methods, small))
        rest[protocol] = alone if alone.freedom >= LEAST else _sum(squares, freedom, np.ones(len(methods), bool))
        strata |= {(protocol, one): stratum for one, stratum in found.items() if one not in small}
    return Pool(strata, rest)


class Noise(NamedTuple):
    """How far arms of one method lie apart from seed to seed, in one protocol."""

    protocol: str
    method: str
    """Or `others`: methods of too few degrees of freedom to stand alone."""
    deviation: float
    freedom: float
    unlike: float | None
    """Of the noisiest: how often so large a ratio to the others' variance would come of equal noise, at most."""


def noise(found: Pool) -> list[Noise]:
    """Each stratum's standard deviation. The noisiest is held against the rest of its protocol by an F test.

    Its p is multiplied by the number of strata, since the noisiest of them was picked. It informs and decides nothing:
    strata are kept apart whatever it says.
    """
    told: list[Noise] = []
    for protocol, rest in found.rest.items():
        strata = {method: stratum for (place, method), stratum in found.strata.items() if place == protocol}
        if not strata or rest.freedom < sum(stratum.freedom for stratum in strata.values()):  # else it is all of them
            strata["others" if strata else "all methods"] = rest
        strata = {method: stratum for method, stratum in strata.items() if stratum.freedom > 0}
        noisiest = max(strata, key=lambda method: strata[method].variance, default=None)
        for method, (variance, freedom) in strata.items():
            others = [stratum for other, stratum in strata.items() if other != noisiest]
            unlike = _unlike(strata[method], others) if method == noisiest and others else None
            told.append(Noise(protocol, method, math.sqrt(variance), freedom, unlike))
    return told


def _unlike(noisiest: Stratum, others: Sequence[Stratum]) -> float:
    freedom = sum(stratum.freedom for stratum in others)
    variance = sum(stratum.variance * stratum.freedom for stratum in others) / freedom
    ratio = noisiest.variance / variance if variance else math.inf
    return min(1.0, (len(others) + 1) * float(fdtrc(noisiest.freedom, freedom, ratio)))


def _of_arms(rows: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Squares and degrees of freedom of each arm of a protocol, and its method."""
    arm, arms = pd.factorize(rows["configuration"], sort=True)
    seed, seeds = pd.factorize(rows["seed"], sort=True)
    table = np.full((len(arms), len(seeds)), np.nan)
    table[arm, seed] = rows[column].to_numpy(dtype=float)
    methods = np.empty(len(arms), dtype=object)
    methods[arm] = rows["method.name"].map(str)
    return *residuals(table), methods.astype(str)


def residuals(
    values: Float[np.ndarray, "arm seed"],
) -> tuple[Float[np.ndarray, "arm"], Float[np.ndarray, "arm"]]:
    """Each arm's sum of squared residuals of arm + seed effects by least squares, and its degrees of freedom.

    Missing values are not a number. An arm's degrees of freedom are Σ (1 − leverage) over its seeds: (n − 1)(k − 1) / k
    for k arms that all have n seeds. An arm of one seed has none.
    """
    arm, seed = np.nonzero(np.isfinite(values))
    design = np.column_stack([np.eye(len(values))[arm], np.eye(values.shape[1])[seed][:, 1:]])
    hat = design @ np.linalg.pinv(design)
    y = values[arm, seed]
    squares = np.bincount(arm, (y - hat @ y) ** 2, len(values))
    freedom = np.bincount(arm, np.maximum(1 - np.diag(hat), 0.0), len(values))
    return squares, np.where(freedom > 1e-9, freedom, 0.0)


def _sum(squares: np.ndarray, freedom: np.ndarray, chosen: np.ndarray) -> Stratum:
    total = float(freedom[chosen].sum())
    return Stratum(float(squares[chosen].sum()) / total, total) if total > 0 else NOTHING


# --- an effect -------------------------------------------------------------------------------------------------------


def contrast(groups: Sequence[Terms], pooled: Pool) -> Mean:
    """Σ aᵢ meanᵢ over groups of arms, each group's contrast once a seed, over the seeds that all its arms have.

    With Σ a = 0 the variance over n seeds is V = (d₀ P + (n − 1) s²) / (d₀ + n − 1): s² the contrast's own, P = Σ A S
    over its strata, A the sum of their arms' a²; d₀ = min(4, ν / 3), ν Satterthwaite's degrees of freedom of P. Its
    error is √(V / n) with min(d₀ + n − 1, ν) degrees of freedom. Groups are independent: their P and s² add.
    With Σ a ≠ 0 nothing is borrowed, for a seed's own effect does not cancel: Student's t.
    """
    values = [_by_seed(terms) for terms in groups]
    seeds = min(map(len, values))
    scale = [seeds / len(each) for each in values]
    effect = sum(float(each.mean()) for each in values)
    own = sum(s * float(each.var(ddof=1)) for s, each in zip(scale, values, strict=True))
    cancels = all(abs(sum(a for a, _ in terms)) < 1e-9 for terms in groups)
    sizes = [(place, s * size) for s, terms in zip(scale, groups, strict=True) for place, size in _sizes(terms)]
    borrowed = _borrowed(sizes, pooled) if cancels else NOTHING
    if borrowed.freedom < FEW:
        return Mean(effect, math.sqrt(own / seeds), seeds - 1, seeds)
    weight = min(WEIGHT, SHARE * borrowed.freedom)
    freedom = weight + seeds - 1
    variance = (weight * borrowed.variance + (seeds - 1) * own) / freedom
    return Mean(effect, math.sqrt(variance / seeds), min(freedom, borrowed.freedom), seeds, prior=weight)


def _by_seed(terms: Terms) -> np.ndarray:
    """The contrast once for each seed that all arms have. `Missing` where these are fewer than two."""
    seeds = _common(terms)
    enough(len(seeds))
    return np.array([sum(a * sample.values[seed] for a, sample in terms) for seed in seeds])


def _common(terms: Terms) -> list[int]:
    return sorted(set[int].intersection(*(set(sample.values) for _, sample in terms)))


def _sizes(terms: Terms) -> list[tuple[Place, float]]:
    """Σ a² by place, the mean over seeds. A cell that stands in two arms of a seed counts with the sum of their a."""
    found: defaultdict[Place, float] = defaultdict(float)
    seeds = _common(terms)
    for seed in seeds:
        each: defaultdict[tuple[Place, str], float] = defaultdict(float)
        for a, sample in terms:
            each[sample.place, sample.cells[seed]] += a
        for (place, _), a in each.items():
            found[place] += a * a / len(seeds)
    return list(found.items())


def _borrowed(sizes: Iterable[tuple[Place, float]], pooled: Pool) -> Stratum:
    """P = Σ A S over strata and its degrees of freedom, P² / Σ (A S)² / ν (Satterthwaite 1946)."""
    parts: dict[object, float] = {}
    freedom: dict[object, float] = {}
    for place, size in sizes:
        name, (variance, degrees) = pooled.of(place)
        if not variance > 0:
            return NOTHING
        parts[name], freedom[name] = parts.get(name, 0.0) + size * variance, degrees
    total = sum(parts.values())
    if total == 0:
        return NOTHING
    return Stratum(total, total**2 / sum(part**2 / freedom[name] for name, part in parts.items()))
