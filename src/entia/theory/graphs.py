"""The augmentation graph of four blocks, two classes × two styles, and its spectrum (MV-F8)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse.csgraph import connected_components

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
