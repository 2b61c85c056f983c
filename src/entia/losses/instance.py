"""Linear heads that name an image: its index (DIET, s-DIET), or its label (supervised training).

The head starts by torch's own law for a linear layer, as in the DIET papers' scripts.
"""

import itertools
import math
from typing import Any, Final, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from entia import devices, methods, nets
from entia.losses import Batch, Objective, Setting, Terms

CHUNK: Final = 1 << 26
"""Logits held at a time: 256 MiB of float32."""
EPSILON: Final = 1e-8
"""AdamW's, as in the DIET papers' scripts (and torch's default)."""

_HEAD: Final = 1  # the head's random stream
_CATCH_UP: Final = 1 << 20  # values worked on at a time, in a CPU's cache
_CATCH_UP_GPU: Final = 1 << 26  # 256 MiB: a GPU is bound by the number of operations


class Instance(Objective):
    """DIET: cross-entropy of a linear head on each image's row, mean over views and images.

    Where the encoder's precision is bfloat16, a GPU's products of the head take factors of TF32's ten bits, which is
    more than the features then have; sums, logits and softmax are float32.

    Source: 2302.10260 and 2406.10743; the head by their first author's scripts (DIET spec §1).
    """

    def __init__(self, method: methods.Diet, of: Setting) -> None:
        super().__init__()
        self.smoothing, self.narrow = method.smoothing, of.config.precision == "bfloat16"
        self.lr_factor, self.decay_factor = method.lr_factor, method.decay_factor
        seed = nets.stream(of.config.seed, _HEAD)
        self.head = nets.linear(of.width, of.images, seed, method.bias).to(of.device)

    def forward(self, z: Float[Tensor, "views batch dim"], batch: Batch) -> Terms:
        """The one term, `index`."""
        head, rows, target = self.head, z.flatten(0, 1), batch.row.repeat(len(z))
        return {"index": cross_entropy(rows, head.weight, head.bias, target, self.smoothing, narrow=self.narrow)}


class Labels(Objective):
    """Supervised training: cross-entropy of a linear head on labels, mean over views and images."""

    def __init__(self, method: methods.Supervised, of: Setting) -> None:
        super().__init__()
        if not of.classes:
            raise ValueError("supervised: needs labels")
        self.smoothing = method.smoothing
        self.head = nets.linear(of.width, of.classes, nets.stream(of.config.seed, _HEAD)).to(of.device)

    def forward(self, z: Float[Tensor, "views batch dim"], batch: Batch) -> Terms:
        """The one term, `label`."""
        assert batch.label is not None
        logits = self.head(z.flatten(0, 1))
        return {"label": F.cross_entropy(logits, batch.label.repeat(len(z)), label_smoothing=self.smoothing)}


class BatchInstance(Objective):
    """s-DIET: the softmax runs over the rows of the batch's own images, and no other row is read or written.

    The head is trained by an AdamW of its own, equal to torch's: the steps that a row missed, whose gradient was zero,
    are applied when it is next visited. Nothing is caught up in between: `state_dict` has rows as they were last left.

    Source: OpenReview GFNTbsVFlP and 4NgxI6Z74n, as read by DIET spec §9; their equations could not be seen.
    """

    weight: Tensor
    first: Tensor
    second: Tensor
    seen: Tensor

    def __init__(self, method: methods.SDiet, of: Setting) -> None:
        super().__init__()
        self.method, optimizer = method, of.config.optimizer
        device = torch.device("cpu") if method.offload else of.device
        weight = nets.linear(of.width, of.images, nets.stream(of.config.seed, _HEAD), bias=False).weight.detach()
        self.register_buffer("weight", weight.to(device))
        self.register_buffer("first", torch.zeros_like(self.weight))
        self.register_buffer("second", torch.zeros_like(self.weight))
        self.register_buffer("seen", torch.zeros(of.images, dtype=torch.int64, device=device))
        rates = [rate * method.lr_factor for rate in of.rates]
        self.adamw = AdamW(rates, optimizer.betas, optimizer.weight_decay * method.decay_factor, of.device)

    def forward(self, z: Float[Tensor, "views batch dim"], batch: Batch) -> Terms:
        """The one term, `index`."""
        # Where the head is offloaded this waits for the device, which is the price of its memory.
        row = batch.row.to(self.weight.device)
        rows = self.rows(row, batch.step, z.device)
        self.visited = (row, rows._replace(weight=rows.weight.requires_grad_()))
        features = F.normalize(z, dim=-1) if self.method.normalise else z
        logits = features.flatten(0, 1) @ rows.weight.mT / self.method.temperature
        target = torch.arange(len(row), device=z.device).repeat(len(z))
        return {"index": F.cross_entropy(logits, target, label_smoothing=self.method.smoothing)}

    @torch.no_grad()
    def after_step(self, batch: Batch) -> None:
        """The visited rows' step of AdamW."""
        row, rows = self.visited
        assert rows.weight.grad is not None
        after = self.adamw.step(rows, rows.weight.grad, batch.step)
        for buffer, part in zip((self.weight, self.first, self.second), after, strict=True):
            buffer[row] = part.to(buffer.device)
        self.seen[row] = batch.step + 1
        del self.visited

    @torch.no_grad()
    def rows(self, row: Int64[Tensor, "batch"], step: int, device: torch.device) -> "Rows":
        """These rows and their moments as plain AdamW would have them after `step` steps."""
        rows = Rows(*(buffer[row].to(device) for buffer in (self.weight, self.first, self.second)))
        return self.adamw.missed(rows, self.seen[row].to(device), step) if self.method.catch_up else rows


class Rows(NamedTuple):
    """Rows of a head and their moments in AdamW."""

    weight: Float[Tensor, "batch dim"]
    first: Float[Tensor, "batch dim"]
    second: Float[Tensor, "batch dim"]


class AdamW:
    """AdamW (1711.05101) with decoupled decay as torch has it, on rows that are not all visited in every step."""

    def __init__(self, rates: list[float], betas: tuple[float, float], decay: float, device: torch.device) -> None:
        self.betas, self.rates, self.decay = betas, rates, decay
        kept = itertools.accumulate((math.log1p(-rate * decay) for rate in rates), initial=0.0)
        # log of what decay has left of a weight after each step, and each step's rate
        self.kept = torch.tensor(list(kept), dtype=torch.float64, device=device)
        self.rate = torch.tensor([0.0, *rates], dtype=torch.float64, device=device)

    def step(self, rows: Rows, gradient: Float[Tensor, "batch dim"], before: int) -> Rows:
        """The rows after a step with this gradient, the run's step number `before` + 1."""
        beta, gamma = self.betas
        first = rows.first.lerp(gradient, 1 - beta)
        second = (gamma * rows.second).addcmul(gradient, gradient, value=1 - gamma)
        rate, number = self.rates[before], before + 1
        size = (second.sqrt() / math.sqrt(1 - gamma**number)).add_(EPSILON)
        weight = rows.weight * (1 - rate * self.decay)
        return Rows(weight.addcdiv_(first, size, value=-rate / (1 - beta**number)), first, second)

    def missed(self, rows: Rows, since: Int64[Tensor, "batch"], until: int) -> Rows:
        """The rows after the steps since + 1 … until, their gradient zero in all of them.

        With η_t the rate and λ the decay, the moments shrink to β1^k m and β2^k v in k steps, and the weight to

            w Π_t (1 - η_t λ) - Σ_j η_t Π_{u>t} (1 - η_u λ) β1^j m / (1 - β1^t) / (√(β2^j v / (1 - β2^t)) + ε),

        t = since + j. The products are differences of a running sum of logarithms. The sum ends where its terms, which
        fall as (β1/√β2)^j, are below the last bit: after about 220 steps in float32 at the default betas.
        """
        beta, gamma = self.betas
        missed = until - since
        kept = self.kept[until]
        root = rows.second.sqrt()
        moved = torch.zeros_like(root)
        for j in self._numbers(until, rows.first):
            t = since + j[:, None]
            within, t = t <= until, t.clamp(max=until)
            share = (
                self.rate[t] * torch.exp(kept - self.kept[t]) * beta ** j.double()[:, None] / (1 - beta ** t.double())
            )
            spread = gamma ** (j.double()[:, None] / 2) / (1 - gamma ** t.double()).sqrt()
            share, spread = ((part * within).to(root.dtype).unsqueeze(-1) for part in (share, spread))
            moved += (share / (root * spread).add_(EPSILON)).sum(0)
        left = torch.exp(kept - self.kept[since]), beta ** missed.double(), gamma ** missed.double()
        weight, first, second = (
            part * factor.to(part.dtype).unsqueeze(-1) for part, factor in zip(rows, left, strict=True)
        )
        return Rows(weight.addcmul_(moved, rows.first, value=-1), first, second)

    def _numbers(self, until: int, like: Tensor) -> tuple[Tensor, ...]:
        """1, 2, … to the last step that counts, in parts."""
        beta, gamma = self.betas
        ratio = beta / math.sqrt(gamma) if gamma else math.inf
        last = until
        if 0 < ratio < 1:
            last = min(until, math.ceil(math.log(1e-3 * torch.finfo(like.dtype).eps) / math.log(ratio)))
        numbers = torch.arange(1, last + 1, device=like.device)
        values = _CATCH_UP if like.device.type == "cpu" else _CATCH_UP_GPU
        return numbers.split(max(1, values // max(1, like.numel()))) if last else ()


def cross_entropy(
    z: Float[Tensor, "row dim"],
    weight: Float[Tensor, "count dim"],
    bias: Float[Tensor, "count"] | None,
    target: Int64[Tensor, "row"],
    smoothing: float,
    chunk: int = CHUNK,
    narrow: bool = False,
) -> Float[Tensor, ""]:
    """Smoothed cross-entropy of the logits z Wᵀ + b, mean over rows: torch's, without holding more logits than needed.

    The target has 1 - a + a/N on the own class and a/N on the others. Rows are taken `chunk` logits at a time (one row
    at least). All rows in one chunk: softmax less target is kept for the gradient, and nothing else of that size. More
    than one: no logit is kept, and each chunk's are made again, one matrix product in four.

    `narrow`: a GPU's products are of TF32 factors.
    """
    return _CrossEntropy.apply(z, weight, bias, target, smoothing, chunk, narrow and z.is_cuda)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        smoothing: float,
        chunk: int,
        narrow: bool,
    ) -> Tensor:
        ctx.rows, ctx.smoothing, ctx.narrow = max(1, chunk // len(weight)), smoothing, narrow
        parts = zip(z.split(ctx.rows), target.split(ctx.rows), strict=True)
        with devices.tf32(narrow):
            found = [_losses(part, weight, bias, own, smoothing, len(z) <= ctx.rows) for part, own in parts]
        log_sums = torch.cat([log_sum for _, log_sum, _ in found])
        ctx.save_for_backward(z, weight, bias, target, log_sums, found[0][2])
        return torch.cat([loss for loss, _, _ in found]).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        with devices.tf32(ctx.narrow):
            return _slopes(ctx, grad)


def _slopes(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    z, weight, bias, target, log_sums, kept = ctx.saved_tensors
    scaled = z * (grad / len(z))
    slope, slope_weight = torch.empty_like(z), torch.zeros_like(weight)
    slope_bias = None if bias is None else torch.zeros_like(bias)
    for start in range(0, len(z), ctx.rows):
        rows = slice(start, start + ctx.rows)
        part = kept
        if part is None:
            part = _logits(z[rows], weight, bias).sub_(log_sums[rows, None]).exp_()
            part = _less_target_(part, target[rows], ctx.smoothing)
        torch.mm(part, weight, out=slope[rows])
        slope_weight.addmm_(part.mT, scaled[rows])
        if slope_bias is not None:
            slope_bias += part.sum(0) * (grad / len(z))
        del part
    return slope.mul_(grad / len(z)), slope_weight, slope_bias, None, None, None, None


def _logits(z: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return z @ weight.mT if bias is None else torch.addmm(bias, z, weight.mT)


def _losses(
    z: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, smoothing: float, keep: bool
) -> tuple[Float[Tensor, "row"], Float[Tensor, "row"], Float[Tensor, "row count"] | None]:
    """Each row's loss and log Σ exp of its logits, and its slope along them if that is to be kept."""
    logits = _logits(z, weight, bias)
    top = logits.amax(1, keepdim=True)
    logits.sub_(top)
    wanted = (1 - smoothing) * logits.gather(1, target[:, None])[:, 0] + smoothing * logits.mean(1)
    total = logits.exp_().sum(1, keepdim=True)
    log_total = total.log()
    slope = _less_target_(logits.div_(total), target, smoothing) if keep else None
    return log_total[:, 0] - wanted, (log_total + top)[:, 0], slope


def _less_target_(
    softmax: Float[Tensor, "row count"], target: Int64[Tensor, "row"], smoothing: float
) -> Float[Tensor, "row count"]:
    own = torch.full_like(target, smoothing - 1, dtype=softmax.dtype)
    return softmax.sub_(smoothing / softmax.shape[1]).scatter_add_(1, target[:, None], own[:, None])
