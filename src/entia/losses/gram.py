"""Products of all rows with each other: what makes the losses linear in views and in a wide projector's width."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def gram(x: Float[Tensor, "*stack row column"]) -> Float[Tensor, "*stack row row"]:
    """Products x xᵀ of rows. Its backward pass is one matrix product, where autograd's own would be two."""
    return _Gram.apply(x)


def squared_gram(x: Float[Tensor, "*stack batch dim"]) -> Float[Tensor, "*stack"]:
    """‖xᵀx‖² = ‖xxᵀ‖² (squared Frobenius norm), by the smaller of the two."""
    batch, dim = x.shape[-2:]
    return gram(x if batch < dim else x.mT).square().sum((-2, -1))


class _Gram(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x @ x.mT

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = ctx.saved_tensors
        return (grad + grad.mT) @ x
