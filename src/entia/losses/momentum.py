"""Methods with a second network, a running average of the first: BYOL (2006.07733), MoCo (1911.05722, 2003.04297)."""

import copy
import math
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from entia import methods, nets
from entia.losses import Batch, Objective, Setting, Terms

_PREDICTOR: Final = 2  # random streams
_QUEUE: Final = 3


class Averaged(Objective):
    """The target network: the same encoder and projector, averaged after every step, without gradient.

    It is in training mode, as in the published codes: its batch-norms take the batch's statistics.
    """

    def __init__(self, of: Setting) -> None:
        super().__init__()
        self.target = copy.deepcopy(of.model).requires_grad_(False)
        # in lists, which hide them from `parameters` and `state_dict`
        self.online: list[Tensor] = list(of.model.parameters())
        self.kept: list[Tensor] = list(self.target.parameters())
        self.batch_norm, self.precision, self.among = of.config.batch_norm, of.config.precision, of.among

    @torch.no_grad()
    def project(self, batch: Batch) -> Float[Tensor, "views batch dim"]:
        """The target's projections."""
        own = nets.project(self.target, batch.views, self.batch_norm, self.precision)[1].float()
        return self.among.whole(own, len(batch.row))

    @torch.no_grad()
    def average(self, momentum: float) -> None:
        """The target keeps `momentum` of itself and takes the rest from the online network."""
        # one call, where a GPU would wait for one a tensor
        torch._foreach_lerp_(self.kept, self.online, 1 - momentum)  # pyright: ignore[reportPrivateImportUsage]


class Bootstrap(Averaged):
    """BYOL: a predictor's output of one view against the target's projection of another."""

    def __init__(self, method: methods.BYOL, of: Setting) -> None:
        super().__init__(of)
        self.method, self.steps = method, len(of.rates)
        seed = nets.stream(of.config.seed, _PREDICTOR)
        self.predictor = nets.mlp(of.width, method.hidden or of.width, of.width, seed).to(of.device)

    def forward(self, z: Float[Tensor, "views batch dim"], batch: Batch) -> Terms:
        """The one term, `prediction`."""
        return {"prediction": prediction(self.predict(z), self.project(batch))}

    def predict(self, z: Float[Tensor, "views batch dim"]) -> Float[Tensor, "views batch dim"]:
        """The predictor's outputs, with batch statistics over what the encoder's are over."""
        if self.batch_norm == "per_view":
            return torch.stack([self.predictor(view) for view in z])
        return self.predictor(z.flatten(0, 1)).unflatten(0, z.shape[:2])

    def after_step(self, batch: Batch) -> None:
        """The target follows, by 1 - τ: τ = 1 - (1 - τ₀) (cos(π step / steps) + 1) / 2 (2006.07733, §3.2)."""
        share = 1 - self.method.momentum
        if self.method.course == "cosine":
            share *= (math.cos(math.pi * batch.step / self.steps) + 1) / 2
        self.average(1 - share)


class Queue(Averaged):
    """MoCo: a view's projection against the target's of another, among a queue of the target's earlier projections."""

    keys: Tensor
    pointer: Tensor

    def __init__(self, method: methods.MoCo, of: Setting) -> None:
        super().__init__(of)
        self.method = method
        generator = torch.Generator().manual_seed(nets.stream(of.config.seed, _QUEUE))
        keys = F.normalize(torch.randn(method.queue, of.width, generator=generator), dim=1)
        self.register_buffer("keys", keys.to(of.device))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64, device=of.device))

    def forward(self, z: Float[Tensor, "views batch dim"], batch: Batch) -> Terms:
        """The one term, `contrast`."""
        self.fresh = F.normalize(self.project(batch), dim=-1)
        return {"contrast": contrast(z, self.fresh, self.keys, self.method.temperature)}

    @torch.no_grad()
    def after_step(self, batch: Batch) -> None:
        """The target follows; this step's keys take the oldest ones' places."""
        self.average(self.method.momentum)
        fresh = self.fresh.flatten(0, 1)
        place = (self.pointer + torch.arange(len(fresh), device=fresh.device)) % len(self.keys)
        self.keys[place] = fresh
        self.pointer.add_(len(fresh)).remainder_(len(self.keys))
        del self.fresh


def prediction(
    predicted: Float[Tensor, "views batch dim"], target: Float[Tensor, "views batch dim"]
) -> Float[Tensor, ""]:
    """BYOL's loss: ‖p̄_i - t̄_j‖² + ‖p̄_j - t̄_i‖² of unit vectors, mean over view pairs and over the batch.

    At two views, the published loss. It is 4 + 4 × the mean over ordered pairs of the negative cosine similarity.

    Source: 2006.07733, eq. 2 and the text after it.
    """
    views, batch, _ = predicted.shape
    p, t = F.normalize(predicted, dim=-1), F.normalize(target, dim=-1)
    # Σ_{i≠j} ⟨p_i, t_j⟩ = ⟨Σ p_i, Σ t_j⟩ - Σ ⟨p_i, t_i⟩
    cosine = ((p.sum(0) * t.sum(0)).sum() - (p * t).sum()) / (views * (views - 1) * batch)
    return 4 - 4 * cosine


def contrast(
    query: Float[Tensor, "views batch dim"],
    key: Float[Tensor, "views batch dim"],
    queue: Float[Tensor, "size dim"],
    temperature: float,
) -> Float[Tensor, ""]:
    """InfoNCE of each view's query: the key of another view against the queue; mean over ordered pairs and the batch.

    Queries are scaled to unit length; keys and queue have it. Published with one direction of two views.

    Source: 1911.05722, eq. 1.
    """
    views, batch, _ = query.shape
    q = F.normalize(query, dim=-1)
    among = (q @ queue.mT / temperature).logsumexp(-1)
    own = torch.einsum("ibd,jbd->ijb", q, key) / temperature
    loss = torch.logaddexp(own, among[:, None]) - own
    return (loss.sum() - loss.diagonal().sum()) / (views * (views - 1) * batch)
