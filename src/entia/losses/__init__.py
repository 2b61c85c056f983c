"""From a method's config to its loss: a function of all views of a batch, for any number of views.

A family's module is imported where it is asked for, so that a stage's code fingerprint holds that family alone.
"""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from entia.config import BarlowTwins, Method, SimCLR, SpectralContrastive, VICReg

Terms = dict[str, Float[Tensor, ""]]
"""Named scalars, each already weighted. Their sum is the loss."""

Loss = Callable[[Float[Tensor, "views batch dim"]], Terms]
"""Takes the projector's outputs, one row an image, and keeps to their device: no value is read back to the host."""


def build(config: Method) -> Loss:
    """The method's loss. It works in float32 (float64 where it is given float64), under autocast too.

    As for anything under autocast, `backward` is to be called outside it: inside, its matrix products are narrowed.
    """
    match config:
        case BarlowTwins():
            from entia.losses.redundancy import barlow_twins

            loss = partial(
                barlow_twins,
                weight=config.weight,
                form=config.form,
                l2_normalise=config.l2_normalise,
                standardise=config.standardise,
            )
        case VICReg():
            from entia.losses.redundancy import vicreg

            loss = partial(
                vicreg,
                invariance=config.invariance,
                variance=config.variance,
                covariance=config.covariance,
                form=config.form,
                epsilon=config.epsilon,
            )
        case SimCLR():
            from entia.losses.contrastive import simclr

            loss = partial(simclr, temperature=config.temperature, form=config.form)
        case SpectralContrastive():
            from entia.losses.contrastive import spectral_contrastive

            loss = partial(spectral_contrastive, weight=config.weight)
    return partial(_in_full_precision, loss)


def _in_full_precision(loss: Loss, z: Float[Tensor, "views batch dim"]) -> Terms:
    with torch.autocast(z.device.type, enabled=False):
        return loss(z.to(torch.promote_types(z.dtype, torch.float32)))
