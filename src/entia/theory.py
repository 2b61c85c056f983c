"""Closed forms and toys of the papers' theory, to be drawn by `figures`.

Four figures rest on this module: gradient descent on the penalised multi-view loss (MV-F7), the spectrum of a sampled
augmentation graph (MV-F8), and DIET's linear model, its optimum and its predicted interactions (DIET-F4, DIET-F5).
Neither paper's proofs nor its toy parameters could be read. What is ours is said where it stands.

The papers:
    Agrawal, Ghosh, Oberman, Richards: Harnessing small projectors and multiple views for efficient vision
    pretraining, 2312.10725.
    Ibrahim, Klindt, Balestriero: Occam's razor for self supervised learning, 2406.10743.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize
from scipy.sparse.csgraph import connected_components
from scipy.special import log_softmax

Objective = Callable[[Float[np.ndarray, "output input"]], tuple[float, Float[np.ndarray, "output input"]]]
"""A loss of the linear model M = W V: its value at M and its gradient there."""

# The penalised multi-view loss on the eigenbasis of the augmentation operator T (MV-F7)


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


# The augmentation graph of four blocks: two classes × two styles (MV-F8)

SIGNS = np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]], dtype=np.float64)
"""Eigenvectors constant, class, style, class × style, a row each. Columns: the blocks, as (class, style) = 00, 01, 10,
11; seen from block 00 these are: the same, the other style, the other class, both other."""

EDGES = np.array([0.6, 0.2, 0.15, 0.05])
"""Our toy's edge weights: same block, other style, other class, both other. The paper's are not known."""


class GraphSpectrum(NamedTuple):
    """The spectrum of an augmentation graph's normalised adjacency; leading axes, if any, are view counts and draws.

    Direction and rank have length four: constant, class, style, class × style, and the four largest eigenvalues.
    """

    matched: Float[np.ndarray, "*draw direction"]
    """Rayleigh quotient of each known direction: the mean of its sign's product over positive pairs."""
    ordered: Float[np.ndarray, "*draw rank"]
    """The four largest eigenvalues of the largest connected piece."""
    overlap: Float[np.ndarray, "*draw rank direction"]
    """Share of each of those eigenfunctions, over all nodes alike, that lies along each known direction."""
    piece: Float[np.ndarray, "*draw"]
    """Share of all nodes that the largest connected piece holds."""

    def worth(self, edges: Float[np.ndarray, " relation"] = EDGES) -> Float[np.ndarray, "*draw rank"]:
        """The Rayleigh quotients that the graph's eigenfunctions have on the complete graph."""
        return self.overlap @ block_eigenvalues(edges)


def block_eigenvalues(edges: Float[np.ndarray, " relation"] = EDGES) -> Float[np.ndarray, " direction"]:
    """Eigenvalues of the complete graph: constant ρ+μ+ν+δ, class ρ+μ−ν−δ, style ρ−μ+ν−δ, class × style ρ−μ−ν+δ.

    Edges are (ρ, μ, ν, δ): the probabilities that a positive pair lies in the same block, differs in style, in class,
    in both.
    """
    return SIGNS @ edges


def augmentation_law(edges: Float[np.ndarray, " relation"] = EDGES) -> Float[np.ndarray, " relation"]:
    """Where one view of an image falls, relative to the image's block, so that two views pair up as `edges` say.

    A positive pair is two independent views of one image. Its block matrix is therefore the square of the views', and
    the views' law is its root: eigenvalues √λ. ValueError where no augmentation gives such pairs: a negative eigenvalue
    or a root with a negative entry.
    """
    eigenvalues = block_eigenvalues(edges)
    law = SIGNS @ np.sqrt(np.maximum(eigenvalues, 0)) / 4
    if eigenvalues.min() < 0 or law.min() < 0 or not math.isclose(eigenvalues[0], 1):
        raise ValueError(
            f"edges: {edges.tolist()} are not the pairs of an augmentation; block eigenvalues {eigenvalues}"
        )
    return law


def complete_graph(images: int, edges: Float[np.ndarray, " relation"] = EDGES) -> Float[np.ndarray, "node node"]:
    """Adjacency of the graph with every edge: `images` nodes a block, sorted by block, rows summing to 1."""
    block = np.arange(4)
    return np.kron(edges[block[:, None] ^ block], np.full((images, images), 1 / images))


def sampled_graph(
    images: int, views: int, generator: np.random.Generator, edges: Float[np.ndarray, " relation"] = EDGES
) -> Float[np.ndarray, "node node"]:
    """Adjacency of the graph seen through a few views of each image: the count of each positive pair.

    Our model. There are `images` images and as many nodes (augmented images) a block. Each image draws `views` views
    with replacement: the view's block by `augmentation_law`, the node in it uniformly. Every ordered pair of an image's
    distinct draws adds one. So its expectation is proportional to the complete graph, for any number of views.
    """
    law, home = augmentation_law(edges), np.repeat(np.arange(4), images)
    block = home[:, None] ^ generator.choice(4, size=(4 * images, views), p=law)
    node = images * block + generator.integers(images, size=block.shape)
    counts = np.zeros((4 * images, 4 * images))
    np.add.at(counts, (np.arange(4 * images)[:, None], node), 1.0)
    return counts.T @ counts - np.diag(counts.sum(axis=0))


def graph_spectrum(adjacency: Float[np.ndarray, "node node"]) -> GraphSpectrum:
    """The spectrum of D^(−1/2) A D^(−1/2) for nodes sorted into four blocks of equal size.

    Known directions are matched on the whole graph. Eigenvalues by order are those of the largest connected piece:
    others would only repeat the eigenvalue 1, once each.
    """
    nodes = len(adjacency)
    direction = np.repeat(SIGNS, nodes // 4, axis=1)
    matched = ((direction @ adjacency) * direction).sum(axis=1) / adjacency.sum()
    piece = _largest_piece(adjacency)
    part = adjacency[np.ix_(piece, piece)]
    root = np.sqrt(part.sum(axis=1))
    values, vectors = np.linalg.eigh(part / root[:, None] / root)
    functions = (vectors[:, :-5:-1] / root[:, None]).T
    cosine = functions @ direction[:, piece].T / np.linalg.norm(functions, axis=1, keepdims=True)
    return GraphSpectrum(matched, values[:-5:-1], cosine**2 / nodes, np.asarray(len(piece) / nodes))


def _largest_piece(adjacency: Float[np.ndarray, "node node"]) -> Int[np.ndarray, " member"]:
    _, piece = connected_components(adjacency, directed=False)
    return np.flatnonzero(piece == np.bincount(piece).argmax())


def subsampled_spectra(
    views: Sequence[int | None],
    resamplings: int,
    generator: np.random.Generator,
    images: int = 64,
    edges: Float[np.ndarray, " relation"] = EDGES,
) -> GraphSpectrum:
    """`graph_spectrum` of fresh `sampled_graph`s: axes are views, resampling, then the spectrum's own.

    None among the views stands for all of them, the complete graph, which is the same in every resampling.

    What the paper's figure is said to show, at few views per image, and what this model gives: the class and the style
    eigenvalue do nearly merge, but by rising (`ordered`); no eigenvalue goes to 0, as `matched` is unbiased and
    `ordered` lifted by noise; what goes to 0 is the class × style content of the fourth eigenfunction (`overlap`) and
    with it what that function is `worth` on the complete graph.
    """

    def draw(number: int | None) -> list[GraphSpectrum]:
        if number is None:
            return [graph_spectrum(complete_graph(images, edges))] * resamplings
        return [graph_spectrum(sampled_graph(images, number, generator, edges)) for _ in range(resamplings)]

    draws = [draw(number) for number in views]
    return GraphSpectrum(*(np.array([[one[i] for one in row] for row in draws]) for i in range(4)))


# DIET's linear model: encoder z = V x, head W, target the datum's index (DIET-F4, DIET-F5)


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
