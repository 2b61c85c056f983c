"""Augmented views of a batch of images: whole batches, parameters of each image's own, no state.

`drawing` draws the parameters, `operators` apply them.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from entia.config import Augmentation
from entia.fields import Problem
from entia.views import drawing, operators

_CHUNK_VALUES: Final = 1 << 18
"""Values worked on at a time on a CPU, so that an operator finds its planes in the second-level cache."""


def augment(
    pixels: UInt8[Tensor, "batch channel height width"],
    index: Int64[Tensor, "batch"],
    views: int,
    policy: Augmentation,
    seed: int | Int64[Tensor, ""],
    epoch: int | Int64[Tensor, ""],
) -> Float[Tensor, "views batch channel side side"]:
    """Views of every image, normalised: (255 x - mean) / std by the policy's mean and std.

    Crop and flip, brightness, contrast, saturation, hue, greyscale, blur, solarisation, erasing to black,
    normalisation, in this order (torchvision draws the jitter's order; the papers' code has it fixed). View v of the
    datum with index i in an epoch is the same whatever stands beside it, and however many views are asked for.
    Images of one channel have no colour: saturation, hue and greyscale leave them alone.

    A seed and an epoch given as tensors do not make `torch.compile` compile again for each of them.

    Source: SimCLR (2002.05709, appendix A); Random Erasing (1708.04896).
    """
    _, channels, height, width = pixels.shape
    side = policy.size or height
    drawn = drawing.draw(index, views, policy, seed, epoch, (channels, height, width))
    step = _step(pixels, views, side)
    parts: list[Tensor] = []
    for start in range(0, len(pixels), step):
        rows = slice(start, start + step)
        planes = operators.normalise_(_view(pixels[rows], views, _part(drawn, rows), side), policy.mean, policy.std)
        parts.append(planes.view(channels, -1, views, side, side).permute(2, 1, 0, 3, 4))
    return torch.cat(parts, dim=1).contiguous()


def measured(policy: Augmentation, pixels: Mapping[str, Sequence[float]]) -> Augmentation:
    """The policy, its mean and deviation those of `pixels` (`datasets.statistics`) where it leaves them open.

    Raises `Problem` where there is no deviation to divide by.
    """
    mean, std = policy.mean or tuple(pixels["mean"]), policy.std or tuple(pixels["std"])
    if 0 in std:
        raise Problem(
            f"augmentation.std: channel {std.index(0) + 1} is the same in every pixel of the training images, so there "
            "is nothing to measure; give augmentation.std, such as [255]"
        )
    return msgspec.structs.replace(policy, mean=mean, std=std)


def clean(
    pixels: UInt8[Tensor, "batch channel height width"],
    policy: Augmentation,
    std: tuple[float, ...] | None = None,
) -> Float[Tensor, "batch channel side side"]:
    """The images themselves, resized to the policy's size (bilinear, antialiased) and normalised as views are.

    `std` (per channel, in 0 to 255) stands in for the policy's where it is given.
    """
    count, _, height, width = pixels.shape
    side = policy.size or height
    planes = _planes(pixels, 1)
    if (height, width) != (side, side):
        whole = pixels.new_zeros(4, count, dtype=torch.float32)
        whole[2], whole[3] = height, width
        planes = operators.crop(pixels, whole[..., None], None, side)
    return operators.normalise_(planes, policy.mean, std or policy.std).transpose(0, 1).contiguous()


def _view(
    pixels: UInt8[Tensor, "batch channel height width"], views: int, drawn: drawing.Parameters, side: int
) -> Float[Tensor, "channel image side side"]:
    if drawn.crop is None:
        planes = _planes(pixels, views)
    else:
        planes = operators.crop(pixels, drawn.crop, drawn.flip, side)
    if drawn.brightness is not None:
        planes = operators.brightness_(planes, drawn.brightness.flatten())
    if drawn.contrast is not None:
        planes = operators.contrast_(planes, drawn.contrast.flatten())
    if drawn.saturation is not None:
        planes = operators.saturation_(planes, drawn.saturation.flatten())
    if drawn.hue is not None:
        planes = operators.hue_(planes, drawn.hue.flatten())
    if drawn.greyscale is not None:
        planes = operators.greyscale_(planes, drawn.greyscale.flatten())
    if drawn.sigma is not None:
        planes = operators.blur(planes, drawn.sigma.flatten(), operators.kernel_size(side))
    if drawn.threshold is not None:
        planes = operators.solarise_(planes, drawn.threshold.flatten())
    if drawn.erase is not None:
        planes = operators.erase_(planes, drawn.erase.flatten(1))
    return planes


def _planes(pixels: UInt8[Tensor, "batch channel y x"], views: int) -> Float[Tensor, "channel image y x"]:
    return pixels.transpose(0, 1).float().div_(255).repeat_interleave(views, 1)


def _step(pixels: UInt8[Tensor, "batch channel height width"], views: int, side: int) -> int:
    """Images worked on at a time: all of them, but on a CPU as many as its cache holds."""
    if pixels.device.type != "cpu":
        return len(pixels)
    return max(1, _CHUNK_VALUES // (views * pixels.shape[1] * side * side))


def _part(drawn: drawing.Parameters, rows: slice) -> drawing.Parameters:
    return drawing.Parameters(*(None if x is None else x[..., rows, :] for x in drawn))
