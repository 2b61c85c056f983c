"""How an embedding spreads its variance over directions: power-law exponent, RankMe, effective rank.

Everything comes from one pair, the mean and the covariance, accumulated in float64 over blocks of rows: the second
moment that RankMe needs is the covariance plus the mean's outer product. Numpy alone, no torch.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Features = Float[np.ndarray, "datum feature"]
Vector = Float[np.ndarray, "feature"]
Matrix = Float[np.ndarray, "feature feature"]

BLOCK = 1024
"""Rows taken at a time: 512 features of them are 4 MiB in float64, which stay in a core's cache from use to use."""


class PowerLaw(NamedTuple):
    """λ_k ∝ k^(−alpha) fitted to the eigenvalues of ranks `first` to `last`: one-based, both included, as used."""

    alpha: float
    r2: float
    first: int
    last: int


def blocks(rows: int) -> Iterator[slice]:
    """Slices that cover `rows` rows, in order, `BLOCK` at a time."""
    return (slice(start, start + BLOCK) for start in range(0, rows, BLOCK))


def centre(features: Features) -> Vector:
    """The mean row, in float64. Measured from the first row, so that a constant feature's mean is exactly itself."""
    origin = features[0].astype(np.float64)
    total = np.zeros_like(origin)
    for rows in blocks(len(features)):
        total += (features[rows] - origin).sum(0)
    return origin + total / len(features)


def covariance(features: Features) -> tuple[Vector, Matrix]:
    """Mean μ and covariance C = (1/n) Σ (x − μ)(x − μ)ᵀ (a mean over rows, not n − 1), in float64.

    A constant feature's row and column of C are exactly zero.

    Raises ValueError where there is no row or a feature is not finite.
    """
    if len(features) == 0:
        raise ValueError("features: no rows; a spectrum needs at least one")
    if bad := int((~np.isfinite(features)).sum()):
        raise ValueError(
            f"features: {bad} of {features.size} values are not finite; the encoder that made them diverged"
        )
    mean = centre(features)
    total = np.zeros((mean.size, mean.size))
    for rows in blocks(len(features)):
        part = features[rows] - mean
        total += part.T @ part
    return mean, total / len(features)


def eigenvalues(features: Features) -> Vector:
    """Eigenvalues of the centred covariance (see `covariance`), largest first; what is below rounding is 0.

    Raises ValueError as `covariance` does.
    """
    return _descending(covariance(features)[1])


def power_law(eigenvalues: Vector, first: int = 4, last: int = 100) -> PowerLaw:
    """The exponent of λ_k ∝ k^(−α), by least squares of log λ_k on log k, rank k weighted by 1/k.

    `first` and `last` are one-based ranks, both included. The default is the wider of the papers' two windows
    (ranks 4 to 100; the other is 4 to 50), cut to the eigenvalues that are above zero. r2 is the weighted share of
    the variance of log λ_k that the line explains, in that window and with those weights; 1 where log λ varies
    by rounding alone.

    Raises ValueError where fewer than three eigenvalues above zero are in the window: a line through two fits always.

    Source: the α of 2312.10725's code, which fits on ranks 4 to 50 or 4 to 100 with these weights. The r2 that it
    prints is over other ranks (up to 500, up to 100).
    """
    last = min(last, int(np.count_nonzero(eigenvalues > 0)))
    if first < 1 or last - first + 1 < 3:
        raise ValueError(f"eigenvalues: fewer than three above zero from rank {first} on, to fit a power law to")
    rank = np.arange(first, last + 1)
    weight = 1 / rank / (1 / rank).sum()
    x, y = np.log(rank), np.log(eigenvalues[first - 1 : last])
    x, y = x - weight @ x, y - weight @ y
    slope = (weight * x) @ y / ((weight * x) @ x)
    spread, left = weight @ y**2, weight @ (y - slope * x) ** 2
    return PowerLaw(float(-slope), float(1 - left / spread) if spread > 1e-24 else 1.0, first, last)


def rankme(features: Features) -> float:
    """The exponential of the entropy of σ / Σσ, with σ the singular values of the features as they are, not centred.

    From 1 (one direction) to the smaller of rows and features; 0 where every feature is 0. 0 log 0 is 0, so the
    small constant that RankMe adds to keep the logarithm finite is not needed.

    Raises ValueError as `covariance` does.

    Source: RankMe, 2210.02885. σ are the roots of the second moment's eigenvalues, not those eigenvalues.
    """
    return _entropy_rank(_descending(_moment(*covariance(features))))


def effective_rank(features: Features) -> float:
    """The exponential of the entropy of σ / Σσ, with σ the singular values of the *centred* features.

    σ are the roots of `eigenvalues`. `rankme` but for the centring: RankMe counts the mean as a direction, and a large
    mean hides the others; this one is the same wherever the origin lies. 0 where all rows are alike.

    Raises ValueError as `covariance` does.

    Source: Roy and Vetterli, The effective rank, EUSIPCO 2007, for any matrix; the centred one is our choice.
    """
    return _entropy_rank(eigenvalues(features))


def summary(features: Features, first: int = 4, last: int = 100) -> dict[str, float]:
    """`rankme`, `effective_rank`, and `alpha`, `alpha_r2`, `alpha_first`, `alpha_last` of `power_law`.

    One pass makes the covariance that all of them share. The four alphas are left out where the embedding has too few
    directions for a fit, rather than given as NaN.

    Raises ValueError as `covariance` does.
    """
    mean, spread = covariance(features)
    values = _descending(spread)
    found = {
        "rankme": _entropy_rank(_descending(_moment(mean, spread))),
        "effective_rank": _entropy_rank(values),
    }
    if np.count_nonzero(values) < first + 2:
        return found
    law = power_law(values, first, last)
    return found | {
        "alpha": law.alpha,
        "alpha_r2": law.r2,
        "alpha_first": float(law.first),
        "alpha_last": float(law.last),
    }


def _moment(mean: Vector, spread: Matrix) -> Matrix:
    """(1/n) Σ x xᵀ. Adding the mean back loses nothing; taking it out of the moment would cancel digits."""
    return spread + np.outer(mean, mean)


def _descending(symmetric: Matrix) -> Vector:
    values = np.linalg.eigvalsh(symmetric)[::-1].clip(min=0)
    floor = values[0] * values.size * np.finfo(np.float64).eps  # what rounding alone leaves of a zero eigenvalue
    return np.where(values > floor, values, 0.0)


def _entropy_rank(values: Vector) -> float:
    """From eigenvalues, that is squared singular values; their common factor 1/n cancels."""
    singular = np.sqrt(values[values > 0])
    if singular.size == 0:
        return 0.0
    share = singular / singular.sum()
    return float(np.exp(-(share @ np.log(share))))
