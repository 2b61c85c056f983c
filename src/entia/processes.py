"""One training run in several processes: each has a share of every batch, and all have the loss of the whole of it.

The rule, on which the gradients' size rests: what a process computes of its own images (encoder and projector) has its
share of a gradient, so those are summed; what it computes of all projections (losses, heads, predictors) has the whole
gradient already, so those are left alone. No mean is taken anywhere, and the number of processes divides nothing.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

Found = TypeVar("Found")


@dataclass(frozen=True)
class Processes:
    """Those that train together, seen from one of them, number `rank` of `count`.

    More than one are a process group of torch.distributed, and call each method here in the same order.
    """

    rank: int = 0
    count: int = 1

    def share(self, images: int) -> slice:
        """The part of a batch that is this process's: parts stand in order, and differ by one image at most."""
        return slice(self.rank * images // self.count, (self.rank + 1) * images // self.count)

    def whole(self, own: Float[Tensor, "views share dim"], images: int) -> Float[Tensor, "views batch dim"]:
        """The whole batch's rows from each process's own; their gradient comes back to those alone."""
        return own if self.count == 1 else _Whole.apply(own, images, self)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Gives each parameter the sum of all processes' gradients; one that has none is left without."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.count == 1 or not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        for gradient, summed in zip(gradients, flat.split([each.numel() for each in gradients]), strict=True):
            gradient.copy_(summed.view_as(gradient))

    def as_first(self, tensors: Iterable[Tensor]) -> None:
        """Gives each tensor the values that it has in the first process."""
        if self.count > 1:
            for tensor in tensors:
                held = tensor.contiguous()
                distributed.broadcast(held, 0)
                tensor.copy_(held)

    def total(self, number: float, device: torch.device) -> float:
        """The sum of all processes' numbers, exact in float64."""
        if self.count == 1:
            return number
        held = torch.full((), number, dtype=torch.float64, device=device)
        distributed.all_reduce(held)
        return held.item()

    def after_first(self, read: Callable[[], Found]) -> Found:
        """What `read` gives, called by the first process, and by the others once it has returned there."""
        if self.rank:
            distributed.barrier()
        found = read()
        if self.count > 1 and not self.rank:
            distributed.barrier()
        return found

    def normalise_together(self, model: nn.Module) -> None:
        """From now on `model`'s batch-norms take the statistics of the whole batch. Its state's names stay."""
        if self.count == 1:
            return
        for name, module in list(model.named_modules()):
            if isinstance(module, _BatchNorm):
                model.set_submodule(name, BatchNorm(module, self))


ALONE = Processes()


class _Whole(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, images: int, among: Processes) -> Tensor:
        ctx.part = among.share(images)
        whole = own.new_zeros(own.shape[0], images, own.shape[2])
        whole[:, ctx.part] = own
        distributed.all_reduce(whole)  # a sum with zeros: exact, and parts need not be equal
        return whole

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        # Every process has made the same loss of all rows: `grad` is whole, and a sum over processes would be too much.
        return grad[:, ctx.part].contiguous(), None, None


class BatchNorm(_BatchNorm):
    """A batch-norm of any number of dimensions whose statistics in training are the whole batch's.

    As torch's in all else, its running variance over n - 1 included. torch's own SyncBatchNorm refuses a CPU.
    """

    def __init__(self, of: _BatchNorm, among: Processes) -> None:
        super().__init__(of.num_features, of.eps, of.momentum, of.affine, of.track_running_stats)
        self.weight, self.bias, self.among = of.weight, of.bias, among
        for name, held in of.named_buffers(recurse=False):
            setattr(self, name, held)
        self.train(of.training)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any will do."""

    def forward(self, input: Tensor) -> Tensor:
        """The input, normalised channel by channel."""
        if not self.training:
            return super().forward(input)
        with torch.no_grad():
            mean, variance, count = _moments(input, self.among)
            self._follow(mean, variance * (count / (count - 1)))
        return _Normalise.apply(input, self.weight, self.bias, mean, variance, count, self.eps)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """The running statistics take up a batch's."""
        share = self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            share = 1 / self.num_batches_tracked if share is None else share
        for running, now in ((self.running_mean, mean), (self.running_var, variance)):
            if running is not None and share is not None:
                running.add_((now - running) * share)


def _moments(x: Tensor, among: Processes) -> tuple[Tensor, Tensor, Tensor]:
    """Each channel's mean and (biased) variance over all processes' values, and how many these are.

    From each process's own mean and sum of squared deviations, which lose no digits where the mean is large.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    variance, mean = torch.var_mean(x.to(wide), _but_channels(x), correction=0)
    own = torch.stack((mean, variance, torch.full_like(mean, x.numel() // x.shape[1])))
    parts = own.new_zeros(among.count, *own.shape)
    parts[among.rank] = own
    distributed.all_reduce(parts)
    means, variances, counts = parts.unbind(1)
    count = counts.sum(0)
    mean = (means * counts).sum(0) / count
    return mean, ((variances + (means - mean).square()) * counts).sum(0) / count, count


def _but_channels(x: Tensor) -> list[int]:
    return [dim for dim in range(x.ndim) if dim != 1]


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(variance + eps), count)
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, mean, scale, count = ctx.saved_tensors
        over, shape = _but_channels(x), [1, -1] + [1] * (x.ndim - 2)
        mean, scale = mean.view(shape), scale.view(shape)
        unit = (x.to(mean.dtype) - mean) * scale
        grad = grad.to(mean.dtype)
        own = torch.stack((grad.sum(over), (grad * unit).sum(over)))
        everyones = own.clone()
        distributed.all_reduce(everyones)
        shift, slope = (everyones / count).view(2, *shape).unbind()
        factor = scale if weight is None else scale * weight.view(shape)
        # The parameters' own sums are this process's share: theirs are summed with all others.
        bias_, weight_ = (None, None) if weight is None else own.to(weight.dtype).unbind()
        return ((grad - shift - unit * slope) * factor).to(x.dtype), weight_, bias_, None, None, None, None
