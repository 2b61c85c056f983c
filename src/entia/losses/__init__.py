"""From a method's config to what it minimises.

`build` gives the loss of a method that is a function of the views' projections alone. `objective` gives any method as a
module with one call, whatever parameters and state of its own it has: so the training loop asks no method's name.

A family's module is imported where it is asked for, so that a stage's code fingerprint holds that family alone.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from entia import nets
from entia.config import Pretrain
from entia.methods import (
    BYOL,
    BarlowTwins,
    Diet,
    MoCo,
    MultiView,
    SDiet,
    SimCLR,
    SpectralContrastive,
    Supervised,
    Untrained,
    VICReg,
)
from entia.processes import ALONE, Processes

Terms = dict[str, Float[Tensor, ""]]
"""Named scalars, each already weighted. Their sum is the loss."""

Loss = Callable[[Float[Tensor, "views batch dim"]], Terms]
"""Takes the projector's outputs, one row an image, and keeps to their device: no value is read back to the host."""


class Batch(NamedTuple):
    """What a step trains on."""

    views: Float[Tensor, "views share channel side side"]
    """Of several processes each has its share of the batch; all else here, and the projections, are the whole's."""
    row: Int64[Tensor, "batch"]
    """Each image's position in the training subset, 0 to N - 1: DIET's target. The subset is sorted by datum index, so
    a datum keeps its row whatever the shuffle."""
    label: Int64[Tensor, "batch"] | None
    step: int
    """Steps made before this one, over the whole run."""


class Setting(NamedTuple):
    """What an objective is built for."""

    config: Pretrain
    model: nets.Model
    """On the device that trains."""
    images: int
    """In the training subset."""
    classes: int
    """Of the labels; 0 where there are none."""
    rates: Sequence[float]
    """The learning rate at every step of the run."""
    among: Processes = ALONE
    """Those that train together."""

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return next(self.model.parameters()).device

    @property
    def width(self) -> int:
        """Of the projections."""
        projector = self.config.projector
        return projector.width if projector.depth else self.model.features


class Objective(nn.Module):
    """A method. Its parameters with gradients are the loop's optimiser's, its `state_dict` is saved with the run."""

    lr_factor: float = 1.0
    """Times the learning rate, for the objective's own parameters."""
    decay_factor: float = 1.0
    """Times the weight decay, for them."""

    def forward(self, z: Float[Tensor, "views batch dim"], batch: Batch) -> Terms:
        """The loss's terms, of float32 projections; called outside autocast."""
        raise NotImplementedError

    def after_step(self, batch: Batch) -> None:
        """Called when the optimiser has made the step for this batch."""


class Stateless(Objective):
    """A loss that is a function of the projections."""

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, z: Float[Tensor, "views batch dim"], batch: Batch) -> Terms:
        """The loss's terms."""
        return self.loss(z)


def objective(of: Setting) -> Objective:
    """The method of `of.config`, on the model's device. Its initial state depends on nothing but the config."""
    method = of.config.method
    match method:
        case Diet():
            from entia.losses.instance import Instance

            return Instance(method, of)
        case SDiet():
            from entia.losses.instance import BatchInstance

            return BatchInstance(method, of)
        case Supervised():
            from entia.losses.instance import Labels

            return Labels(method, of)
        case BYOL():
            from entia.losses.momentum import Bootstrap

            return Bootstrap(method, of)
        case MoCo():
            from entia.losses.momentum import Queue

            return Queue(method, of)
        case Untrained():
            raise ValueError("untrained: nothing is minimised")
        case _:
            return Stateless(build(method))


def build(config: MultiView) -> Loss:
    """The method's loss. It works in float32 (float64 where it is given float64), under autocast too.

    As for anything under autocast, `backward` is to be called outside it: inside, its matrix products are narrowed.
    """
    match config:
        case BarlowTwins():
            from entia.losses.redundancy import barlow_twins

            loss = partial(barlow_twins, config)
        case VICReg():
            from entia.losses.redundancy import vicreg

            loss = partial(vicreg, config)
        case SimCLR():
            from entia.losses.contrastive import simclr

            loss = partial(simclr, config)
        case SpectralContrastive():
            from entia.losses.contrastive import spectral_contrastive

            loss = partial(spectral_contrastive, config)
    return partial(_in_full_precision, loss)


def _in_full_precision(loss: Loss, z: Float[Tensor, "views batch dim"]) -> Terms:
    with torch.autocast(z.device.type, enabled=False):
        return loss(z.to(torch.promote_types(z.dtype, torch.float32)))
