"""DIET's linear model, encoder z = V x, head W, target the datum's index (DIET-F4, DIET-F5)."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize
from scipy.special import log_softmax

Objective = Callable[[Float[np.ndarray, "output input"]], tuple[float, Float[np.ndarray, "output input"]]]
"""A loss of the linear model M = W V: its value at M and its gradient there."""


class LinearOptimum(NamedTuple):
    """The best head and encoder of one width under squared error."""

    head: Float[np.ndarray, "datum width"]
    encoder: Float[np.ndarray, "width input"]
    spectrum: Float[np.ndarray, " direction"]
    """s_k, largest first, all of them; datums × s_k² is direction k's share of between-image in total energy."""
    loss: float


class Optimum(NamedTuple):
    """The best linear map from input to logits, without a limit on its rank."""

    map: Float[np.ndarray, "datum input"]
    loss: float


class Training(NamedTuple):
    """Weights at the end of a training, and the loss after each recorded number of updates."""

    step: Int[np.ndarray, " record"]
    loss: Float[np.ndarray, " record"]
    head: Float[np.ndarray, "datum width"]
    encoder: Float[np.ndarray, "width input"]


def whitening(second_moment: Float[np.ndarray, "input input"]) -> Float[np.ndarray, "input input"]:
    """Σ^(−1/2), symmetric, on Σ's range and zero off it.

    Inputs times this make the same problem with the same optimum, and one that gradient descent solves fast: images as
    they come take it far longer than their closed form is worth.
    """
    values, vectors = np.linalg.eigh(second_moment)
    inside = values > values[-1] * len(values) * np.finfo(values.dtype).eps
    return (vectors[:, inside] / np.sqrt(values[inside])) @ vectors[:, inside].T


def linear_diet(
    second_moment: Float[np.ndarray, "input input"], means: Float[np.ndarray, "input datum"], width: int
) -> LinearOptimum:
    """The minimum of `squared_error` over heads W and encoders V of one width, in closed form.

    With B = X̄ᵀ/N and the SVD B Σ^(−1/2) = P S Qᵀ, the best W V is P_K S_K Q_Kᵀ Σ^(−1/2) and the loss 1 − Σ_{k≤K} s_k².
    Here V = Q_Kᵀ Σ^(−1/2), so that codes are white under Σ, and W = P_K S_K; any R⁻¹ between them serves as well. A
    singular Σ is inverted on its range, in which the means lie.

    Source: derived by us; the paper's own equation (2406.10743, its linear-model section) has not been seen.
    """
    white = whitening(second_moment)
    left, spectrum, right = np.linalg.svd(means.T @ white / means.shape[1], full_matrices=False)
    loss = 1 - float((spectrum[:width] ** 2).sum())
    return LinearOptimum(left[:, :width] * spectrum[:width], right[:width] @ white, spectrum, loss)


def squared_error(
    second_moment: Float[np.ndarray, "input input"], means: Float[np.ndarray, "input datum"]
) -> Objective:
    """DIET's loss under squared error, as a function of M = W V: mean over datums n and views t of ‖e_n − M t(x_n)‖².

    Σ is the mean over datums and views of t tᵀ, and X̄ holds each datum's mean view: tr(M Σ Mᵀ) − 2 tr(M X̄)/N + 1.
    """
    target = means.T / means.shape[1]

    def objective(m: np.ndarray) -> tuple[float, np.ndarray]:
        response = m @ second_moment
        return float(((response - 2 * target) * m).sum()) + 1, 2 * (response - target)

    return objective


def cross_entropy(inputs: Float[np.ndarray, "input datum"], smoothing: float) -> Objective:
    """DIET's loss with label smoothing, as a function of M = W V: mean over datums of the cross-entropy of M x_n.

    The target gives 1 − a + a/N to the datum's own index and a/N to each other.
    """
    count = inputs.shape[1]
    targets = (1 - smoothing) * np.eye(count) + smoothing / count

    def objective(m: np.ndarray) -> tuple[float, np.ndarray]:
        log_p = log_softmax(m @ inputs, axis=0)
        return -float((targets * log_p).sum()) / len(targets), (np.exp(log_p) - targets) @ inputs.T / len(targets)

    return objective


def train(
    objective: Objective,
    shape: tuple[int, int],
    width: int,
    record: Sequence[int],
    generator: np.random.Generator,
    scale: float = 1e-2,
) -> Training:
    """Head and encoder trained together by full-batch gradient descent from a small Gaussian start.

    `shape` is M's: (datums, inputs). Descent is Nesterov's, its step halved until the loss falls as the gradient
    promises and its momentum dropped when the loss would rise. `record` counts updates in rising order, 0 the start;
    its last entry is the run's length. Entries of the start have standard deviation `scale`.
    """
    datums, _ = shape

    def both(stacked: np.ndarray) -> tuple[float, np.ndarray]:
        head, code = stacked[:datums], stacked[datums:]
        loss, gradient = objective(head @ code.T)
        return loss, np.concatenate((gradient @ code, gradient.T @ head))

    losses, weights = _descend(both, scale * generator.standard_normal((sum(shape), width)), record[-1])
    step = np.asarray(record, dtype=np.int64)
    return Training(step, losses[step], weights[:datums], weights[datums:].T)


def _descend(
    objective: Callable[[np.ndarray], tuple[float, np.ndarray]], start: np.ndarray, updates: int
) -> tuple[np.ndarray, np.ndarray]:
    """Losses [updates + 1] and the last point of Nesterov's descent with backtracking and restarts."""
    point, ahead, inertia, step = start, start, 1.0, 1.0
    loss, gradient = objective(start)
    base, losses = loss, [loss]
    for _ in range(updates):
        square = float((gradient**2).sum())
        step *= 1.1  # so that a step once cut short by a steep stretch grows back
        while (new := objective(ahead - step * gradient))[0] > base - step * square / 2 + 1e-15 * abs(base):
            step /= 2
        if new[0] > loss and ahead is not point:
            ahead, inertia = point, 1.0
        else:
            after, grown = ahead - step * gradient, (1 + math.sqrt(1 + 4 * inertia**2)) / 2
            ahead, point, loss = after + (inertia - 1) / grown * (after - point), after, new[0]
            inertia = grown
        base, gradient = objective(ahead)
        losses.append(loss)
    return np.array(losses), point


def floor(smoothing: float, count: int, size: int = 1) -> float:
    """The smallest smoothed cross-entropy over `count` datums in clusters of `size` that coincide, in nats.

    It is the entropy of the target averaged over a cluster: (1 − a)/size + a/N for each of the cluster's own indices,
    a/N for the others. At size 1 this is H(a, N); without smoothing it is log size. Logits all zero cost log N.
    """
    own, other = (1 - smoothing) / size + smoothing / count, smoothing / count
    return -size * own * math.log(own) - ((count - size) * other * math.log(other) if other else 0.0)


def smoothed_optimum(inputs: Float[np.ndarray, "input datum"], smoothing: float) -> Optimum:
    """The minimum of `cross_entropy` over every linear map, by BFGS: the problem is convex.

    Equals `floor` where the distinct inputs are linearly independent. The map has columns summing to zero and vanishes
    off the inputs' span: what the loss leaves open. ValueError without smoothing, where no finite map is best.
    """
    if smoothing <= 0:
        raise ValueError(f"smoothing: {smoothing} has no finite optimum; take a number above 0")
    basis, strength, codes = np.linalg.svd(inputs, full_matrices=False)
    rank = int((strength > strength[0] * max(inputs.shape) * np.finfo(inputs.dtype).eps).sum())
    shape = inputs.shape[1], rank
    objective = cross_entropy(codes[:rank], smoothing)  # in orthonormal coordinates, in which it is well conditioned

    def flat(m: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = objective(m.reshape(shape))
        return loss, gradient.ravel()

    found = minimize(flat, np.zeros(math.prod(shape)), jac=True, method="BFGS", options={"gtol": 1e-10})
    if np.abs(found.jac).max() > 1e-8:
        raise RuntimeError(f"no optimum: {found.message}")
    return Optimum(found.x.reshape(shape) / strength[:rank] @ basis[:, :rank].T, float(found.fun))


def clusters(
    generator: np.random.Generator, count: int = 4, size: int = 4, dim: int = 32, spread: float = 0.0
) -> Float[np.ndarray, "input datum"]:
    """The clustered input of DIET's Figures 4 and 5: `count` clusters of `size` samples each, sorted by cluster.

    Four of four is the paper's; the rest is ours. Cluster means are orthonormal, and each sample adds Gaussian noise of
    root-mean-square length `spread` (0: samples of a cluster coincide). ValueError where `dim` is below `count`.
    """
    if dim < count:
        raise ValueError(f"dim: {dim} cannot hold {count} orthonormal cluster means")
    means = np.linalg.qr(generator.standard_normal((dim, count)))[0]
    return np.repeat(means, size, axis=1) + spread / math.sqrt(dim) * generator.standard_normal((dim, count * size))


def block_energy(interactions: Float[np.ndarray, "datum datum"], size: int) -> float:
    """Share of the squared predicted interactions that lies inside the diagonal blocks of `size` datums.

    Interactions are A = W V X: rows are indices predicted, columns inputs, both sorted by cluster. That A is the matrix
    of the paper's Figure 5 is our reading. A softmax ignores a constant added to a column, so each column is first
    taken relative to its mean over the other clusters' indices. 1: no interaction across clusters, whatever the blocks
    hold (their diagonal is inside too). Noise scores about size / datums.
    """
    block = np.arange(len(interactions)) // size
    inside = block[:, None] == block
    relative = interactions - np.mean(interactions, axis=0, where=~inside)
    return float((relative[inside] ** 2).sum() / (relative**2).sum())
