"""Losses that decorrelate features: Barlow Twins (2103.03230) and VICReg (2105.04906), for any number of views.

Nothing here costs more than linearly in dim where dim is large. The squared Frobenius norm of a dim × dim matrix AᵀB,
with A and B batch × dim, is the inner product ⟨AAᵀ, BBᵀ⟩ of two batch × batch ones, so a sum over view pairs needs one
Gram matrix a view: Σ_{i<j} ⟨G_i, G_j⟩ = (‖Σ G_i‖² - Σ ‖G_i‖²) / 2. Where dim is small the matrix itself is cheaper;
which form runs is read off the shapes, and both give the same value and gradient.
"""

import math
from functools import reduce
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from entia.losses import Terms
from entia.losses.gram import gram, squared_gram
from entia.methods import BarlowTwins, VICReg

BATCH_NORM_EPSILON = 1e-5
"""Added to the variance, as the published Barlow Twins code's batch norm does."""

JOINT_EPSILON = 1e-12
"""Below float32's resolution at every variance that occurs. It keeps the gradient of a collapsed batch finite."""


def barlow_twins(of: BarlowTwins, z: Float[Tensor, "views batch dim"]) -> Terms:
    """`invariance`, and `redundancy` times the weight λ.

    With c^{ij} = x_iᵀ x_j / batch, where x is z standardised:

    - pairs: mean over pairs i < j of Σ_d (c_dd - 1)² and of λ Σ_{d≠e} c_de². At two views, the published loss.
    - view_mean: with x̄ the mean of all views, mean over views of Σ_d (mean_b[x_v x̄]_d - 1)² and
      λ Σ_{d≠e} (x̄ᵀ x̄ / batch)_de². It is not the pairs' loss at two views: λ means another thing.
    - as_run: pairs at two views, view_mean beyond.

    Standardising: per_view is the published code's batch norm (biased variance, + 1e-5); joint takes one mean and one
    unbiased standard deviation over all views' rows. `l2_normalise` gives rows equal length before it.

    Source: Barlow Twins (2103.03230), eq. 1, 2; view_mean, as_run, joint and l2_normalise: the small-projector papers'
    code (2312.10725).
    """
    x = _standardise(_equal_length(z) if of.l2_normalise else z, of.standardise)
    if of.form == "view_mean" or (of.form == "as_run" and len(z) > 2):
        on, off = _against_view_mean(x)
    else:
        on, off = _by_images(x) if _images_are_cheaper(x) else _by_features(x)
    return {"invariance": on, "redundancy": of.weight * off}


def vicreg(of: VICReg, z: Float[Tensor, "views batch dim"]) -> Terms:
    """`invariance`, `variance` and `covariance`, each times its weight.

    For sides x and y, in the published code's normalisation:

    - invariance: (x - y)², mean over batch and dim;
    - variance: relu(1 - sqrt(var + epsilon)), mean over dim, of x and of y, the two halved; var over batch - 1;
    - covariance: squared off-diagonal covariances (over batch - 1) summed and divided by dim, of x plus of y: this
      sum is not halved, as it is not in the published code.

    - pairs: mean over view pairs. At two views, the published loss.
    - leave_one_out: x is a view, y the mean of the others, mean over views. At two views both directions are equal,
      and are the published loss too.

    Source: VICReg (2105.04906), eq. 1 to 6; leave_one_out and epsilon 0: the small-projector papers' code (2312.10725).
    """
    views = len(z)
    rest = (z.sum(0) - z) / (views - 1) if of.form == "leave_one_out" else None
    distance = (z - z.mean(0)).square().mean()
    # Σ_{i<j} ‖z_i - z_j‖² = views Σ ‖z_i - z̄‖², and z_i - rest_i = views / (views - 1) (z_i - z̄).
    distance = distance * (2 * views / (views - 1) if rest is None else (views / (views - 1)) ** 2)
    # Each view is in equally many pairs, so a mean over pairs of x's and y's terms is one over views.
    sides = [_spread(side, of.epsilon) for side in ((z,) if rest is None else (z, rest))]
    hinge, off_diagonal = (torch.stack(terms).mean() for terms in zip(*sides, strict=True))
    return {
        "invariance": of.invariance * distance,
        "variance": of.variance * hinge,
        "covariance": 2 * of.covariance * off_diagonal,
    }


class _ByFeatures(torch.autograd.Function):
    """See `_by_features`. Written out because at small dim the time goes to the number of operations."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        views, batch, _ = x.shape
        pairs = views * (views - 1) // 2
        # Views `apart` from each other, for each distance: every pair once, without copying a view.
        blocks = [x[:-apart].mT @ x[apart:] for apart in range(1, views)]
        miss = torch.cat([block.diagonal(dim1=1, dim2=2) for block in blocks]).div_(batch).sub_(1)
        for block in blocks:
            block.diagonal(dim1=1, dim2=2).zero_()
        ctx.save_for_backward(x, miss, *blocks)
        off = reduce(torch.add, [block.flatten().dot(block.flatten()) for block in blocks])
        return miss.square().sum() / pairs, off / (batch**2 * pairs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, on: Tensor, off: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, miss, *blocks = ctx.saved_tensors
        batch, pairs = x.shape[1], len(miss)
        diagonals = (miss * (on * (2 / (batch * pairs)))).split([len(block) for block in blocks])
        off, grad = off * (2 / (batch**2 * pairs)), torch.zeros_like(x)
        for apart, (block, diagonal) in enumerate(zip(blocks, diagonals, strict=True), start=1):
            slope = block * off
            slope.diagonal(dim1=1, dim2=2).copy_(diagonal)
            grad[:-apart].baddbmm_(x[apart:], slope.mT)
            grad[apart:].baddbmm_(x[:-apart], slope)
        return grad


class _Products(torch.autograd.Function):
    """Σ_b x_i x_j for all views i, j and each dim. Slice by slice: faster than batched products of views × batch."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        views, _, dim = x.shape
        products = x.new_empty(views, views, dim)
        for i in range(views):
            for j in range(i + 1):
                products[i, j] = products[j, i] = (x[i] * x[j]).sum(0)
        return products

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = ctx.saved_tensors
        both = grad + grad.transpose(0, 1)
        rows: list[Tensor] = []
        for i in range(len(x)):
            row = x[0] * both[i, 0]
            for j in range(1, len(x)):
                row.addcmul_(x[j], both[i, j])
            rows.append(row)
        return torch.stack(rows)


def _equal_length(z: Float[Tensor, "views batch dim"]) -> Float[Tensor, "views batch dim"]:
    # Length √dim, not 1: standardising undoes the factor, and its epsilon stays small beside the variance.
    return F.normalize(z, dim=-1) * math.sqrt(z.shape[-1])


def _standardise(z: Float[Tensor, "views batch dim"], over: str) -> Float[Tensor, "views batch dim"]:
    if over == "per_view":
        return torch.stack([F.batch_norm(view, None, None, training=True, eps=BATCH_NORM_EPSILON) for view in z])
    centred = z - z.mean((0, 1))
    variance = centred.square().sum((0, 1)) / (z.shape[0] * z.shape[1] - 1)
    return centred * torch.rsqrt(variance + JOINT_EPSILON)


def _images_are_cheaper(x: Float[Tensor, "views batch dim"]) -> bool:
    # Multiplications are equally many, forward and backward, at (views - 1) dim = 4/3 batch. The Gram form has the
    # diagonals to do besides: measured on a CPU, batch 128 to 512, 2 to 8 views, both take as long at about 2 batch.
    views, batch, dim = x.shape
    return (views - 1) * dim > 2 * batch


def _by_features(x: Float[Tensor, "views batch dim"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Mean over pairs of Σ_d (c_dd - 1)² and of Σ_{d≠e} c_de², c = x_iᵀ x_j / batch, with every c written out."""
    return _ByFeatures.apply(x)


def _by_images(x: Float[Tensor, "views batch dim"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The same from batch × batch Gram matrices, one a view."""
    views, batch, _ = x.shape
    pairs = views * (views - 1) // 2
    products: Tensor = _Products.apply(x)
    diagonal = torch.cat([products.diagonal(apart).mT for apart in range(1, views)]) / batch
    g = gram(x)
    squares = (g.sum(0).square().sum() - g.square().sum()) / (2 * batch**2)
    return (diagonal - 1).square().sum() / pairs, (squares - diagonal.square().sum()) / pairs


def _against_view_mean(x: Float[Tensor, "views batch dim"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    mean, batch = x.mean(0), x.shape[1]
    on = ((x * mean).mean(1) - 1).square().sum() / len(x)
    return on, squared_gram(mean) / batch**2 - mean.square().mean(0).square().sum()


def _spread(z: Float[Tensor, "views batch dim"], epsilon: float) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Means over views of the hinge on standard deviations and of the squared off-diagonal covariances over dim."""
    views, batch, dim = z.shape
    centred = z - z.mean(1, keepdim=True)
    variance = centred.square().sum(1) / (batch - 1)
    # Without an epsilon the root's slope at a constant dim is infinite; clamping there makes its gradient 0.
    deviation = (variance + epsilon).clamp_min(torch.finfo(z.dtype).tiny).sqrt()
    squares = squared_gram(centred).sum() / (batch - 1) ** 2
    return F.relu(1 - deviation).mean(), (squares - variance.square().sum()) / (views * dim)
