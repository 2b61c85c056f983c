"""Losses that hold images apart: SimCLR's NT-Xent (2002.05709) and the small-projector papers' reformulated loss."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from entia.losses import Terms
from entia.losses.gram import gram, squared_gram
from entia.methods import SimCLR, SpectralContrastive


def simclr(of: SimCLR, z: Float[Tensor, "views batch dim"]) -> Terms:
    """The one term, `contrast`: NT-Xent, mean over the anchors of both sides (2 batch of them).

    An anchor's negatives are the other images of both sides; similarities are between unit vectors x.

    - pairs: mean over view pairs of the published loss, all from one similarity matrix.
    - leave_one_out: mean over views of the loss between x_v and the mean of the others' unit vectors (which is not
      scaled to unit length again). At two views, the published loss too.

    Source: SimCLR (2002.05709), eq. 1; leave_one_out: the small-projector papers' code (2312.10725).
    """
    x = F.normalize(z, dim=-1)
    if of.form == "leave_one_out":
        x = torch.stack((x, (x.sum(0) - x) / (len(x) - 1)), dim=1)
    return {"contrast": _nt_xent(x, of.temperature)}


def spectral_contrastive(of: SpectralContrastive, z: Float[Tensor, "views batch dim"]) -> Terms:
    """`invariance`, and `redundancy` times the weight β: the small-projector papers' reformulated loss.

    With z̄ the mean of an image's views: ‖z_v - z̄‖², summed over dim, mean over views and batch; and
    β ‖E[z̄ z̄ᵀ] - I‖² (squared Frobenius norm), E the mean over the batch, not centred.

    Relation to the spectral contrastive loss L = -2 E⟨z, z⁺⟩ + E⟨z, z'⟩² (2106.04156), with positives over all view
    pairs of an image and negatives over all pairs of images, an image with itself too, between view means:
    L = 2 / (views - 1) invariance + redundancy / β - dim. So L and this loss have the same minimisers at
    β = (views - 1) / 2. Where the views of an image are equal, L = redundancy / β - dim, whichever views the
    negatives are taken from.

    Source: 2312.10725, as worked out from its abstract and code; 2106.04156, section 3.2.
    """
    mean = z.mean(0)
    invariance = (z - mean).square().sum() / (z.shape[0] * z.shape[1])
    return {"invariance": invariance, "redundancy": of.weight * _distance_from_identity(mean)}


def _distance_from_identity(x: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
    """‖xᵀx / batch - I‖²."""
    batch, dim = x.shape
    if dim <= batch:
        return (gram(x.mT) / batch - torch.eye(dim, dtype=x.dtype, device=x.device)).square().sum()
    return squared_gram(x) / batch**2 - 2 * x.square().sum() / batch + dim


def _nt_xent(x: Float[Tensor, "*stack views batch dim"], temperature: float) -> Float[Tensor, ""]:
    """Mean over ordered pairs of views, over the batch and over the stack. Rows are taken as they are."""
    views = x.shape[-3]
    blocks: Tensor = _BlockLogSum.apply(x, temperature)
    own = blocks.diagonal(dim1=-3, dim2=-1).mT.unsqueeze(-1)
    log_sum = torch.logaddexp(blocks, own)
    # A view with itself is no pair.
    spent = log_sum.sum() - log_sum.diagonal(dim1=-3, dim2=-1).sum()
    # Σ_{i≠j} ⟨x_i, x_j⟩ = ‖Σ x_i‖² - Σ ‖x_i‖²
    earned = (x.sum(-3).square().sum() - x.square().sum()) / temperature
    return (spent - earned) * views / (x.shape[:-1].numel() * views * (views - 1))


class _BlockLogSum(torch.autograd.Function):
    """log Σ_c exp(⟨x_ib, x_jc⟩ / temperature) for rows x_ib and views j; where i = j, c = b is left out.

    Backward is written out so that it is one matrix product, and so that the exponentials, views batch × views batch,
    are the only thing of that size to be kept.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, temperature: float) -> Tensor:
        views, batch, _ = x.shape[-3:]
        rows = x.flatten(-3, -2)
        similarity = rows @ rows.mT / temperature
        similarity.diagonal(dim1=-2, dim2=-1).fill_(-torch.inf)
        blocks = similarity.unflatten(-1, (views, batch)).unflatten(-3, (views, batch))
        top = blocks.amax(-1, keepdim=True)
        shares = (blocks - top).exp_()
        total = shares.sum(-1, keepdim=True)
        ctx.save_for_backward(x, shares, total)
        ctx.temperature = temperature
        return (total.log() + top).squeeze(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, shares, total = ctx.saved_tensors
        slope = shares * (grad.unsqueeze(-1) / (total * ctx.temperature))
        slope = slope.flatten(-2).flatten(-3, -2)
        return ((slope + slope.mT) @ x.flatten(-3, -2)).view_as(x), None
