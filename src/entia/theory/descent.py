"""The penalised multi-view loss on the eigenbasis of the augmentation operator T (MV-F7)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Trajectory(NamedTuple):
    """What gradient descent had learned after each recorded number of updates."""

    step: Int[np.ndarray, " record"]
    """Updates made."""
    amplitude: Float[np.ndarray, "record width"]
    """Singular values of the coefficients C, largest first: the strengths of the output directions."""
    energy: Float[np.ndarray, "record mode"]
    """Squared coefficients of each eigenfunction, summed over outputs."""
    alignment: Float[np.ndarray, " record"]
    """Share of the features' span inside the top-width eigenspace, all directions counting alike: (1/r) ‖U_top‖² for an
    orthonormal basis U of C's r numerically non-zero directions (r = width until a direction has died out)."""
    share: Float[np.ndarray, " record"]
    """Share of the features' energy inside the top-width eigenspace: ‖C_top‖² / ‖C‖². Strong directions count more."""

    def active(self, threshold: float = 0.05) -> Int[np.ndarray, " record"]:
        """The number of output directions stronger than the threshold."""
        return (self.amplitude > threshold).sum(axis=1)


def amplitude(beta: float, eigenvalue: Float[np.ndarray, "*mode"] | float) -> Float[np.ndarray, "*mode"] | np.float64:
    """The learned amplitude of an eigenfunction of T: the root of 1 − (1 − λ)² / (2β), or 0. Derived by us."""
    return np.sqrt(np.maximum(0.0, 1 - (1 - np.asarray(eigenvalue)) ** 2 / (2 * beta)))


def active_directions(beta: float, eigenvalues: Float[np.ndarray, " mode"], width: int, threshold: float = 0.0) -> int:
    """The number of output directions in use once training has ended: min(width, modes stronger than the threshold)."""
    return min(width, int(np.count_nonzero(amplitude(beta, eigenvalues) > threshold)))


def penalised_loss(
    coefficients: Float[np.ndarray, "mode width"], eigenvalues: Float[np.ndarray, " mode"], beta: float
) -> float:
    """Σ_i ‖T f_i − f_i‖² + β ‖E[F Fᵀ] − I‖² for features F with these coefficients on T's orthonormal eigenfunctions.

    Both terms are sums: over outputs and eigenfunctions, and over all width² entries.

    Source: our reading of the reformulated loss of 2312.10725, whose printed form we have not seen.
    """
    gram = coefficients.T @ coefficients
    invariance = ((1 - eigenvalues[:, None]) * coefficients) ** 2
    return float(invariance.sum() + beta * ((gram - np.eye(len(gram))) ** 2).sum())


def gradient_descent(
    eigenvalues: Float[np.ndarray, " mode"],
    width: int,
    beta: float,
    record: Sequence[int],
    generator: np.random.Generator,
    step_size: float | None = None,
    scale: float = 1e-3,
) -> Trajectory:
    """The course of plain gradient descent on `penalised_loss` from a small Gaussian start.

    The gradient is 2 (1 − λ_k)² C_k + 4β C (CᵀC − I). `record` counts updates, in rising order; its last entry is the
    run's length and 0 is the start. `eigenvalues` must fall, so that the first `width` are the top ones. Entries of the
    start have standard deviation `scale`; the default step is 0.05 / max(1, 4β).
    """
    step = 0.05 / max(1.0, 4 * beta) if step_size is None else step_size
    growth = 1 + step * (4 * beta - 2 * (1 - eigenvalues[:, None]) ** 2)
    saturation = 4 * beta * step
    c = scale * generator.standard_normal((len(eigenvalues), width))
    made, kept = 0, list[np.ndarray]()
    for updates in record:
        for update in range(made, updates):
            if update % 1000 == 0:  # dead directions would reach subnormal numbers, which are ten times slower
                c[np.abs(c) < 1e-60] = 0
            c = growth * c - saturation * (c @ (c.T @ c))
        made = updates
        kept.append(c.copy())
    return _trajectory(np.asarray(record, dtype=np.int64), np.stack(kept))


def _trajectory(step: Int[np.ndarray, " record"], c: Float[np.ndarray, "record mode width"]) -> Trajectory:
    width = c.shape[2]
    directions, strength, _ = np.linalg.svd(c, full_matrices=False)
    alive = strength > strength[:, :1] * max(c.shape[1:]) * np.finfo(c.dtype).eps
    inside = (directions[:, :width] ** 2).sum(axis=1)
    energy = (c**2).sum(axis=2)
    alignment = (inside * alive).sum(axis=1) / alive.sum(axis=1)
    return Trajectory(step, strength, energy, alignment, energy[:, :width].sum(axis=1) / energy.sum(axis=1))
