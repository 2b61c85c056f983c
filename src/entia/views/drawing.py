"""How each view of each image is drawn: its parameters, from random numbers that are hashes.

Every random number is a hash of (seed, epoch, datum index, view, slot), so that a view depends neither on its batch
nor on the order, the interruptions or the device of a run. Every operator has slots of its own: changing one
probability leaves the other operators' draws as they were.
"""

import math
from typing import Final, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from entia.config import Augmentation

ERASE_SCALE: Final = (0.02, 0.33)
ERASE_RATIO: Final = (0.3, 3.3)
"""Random Erasing's area (share of the image) and height : width (1708.04896; torchvision's defaults)."""
TRIES: Final = 10
"""Boxes drawn before falling back, as torchvision does."""
# Slots of random numbers. Append; do not reorder: that would change every view.
_CROP: Final = range(0, 2 * TRIES + 2)
_FLIP: Final = 22
_JITTER: Final = range(23, 28)
_GREYSCALE: Final = 28
_BLUR: Final = range(29, 31)
_SOLARISE: Final = 31
_ERASE: Final = range(32, 32 + 2 * TRIES + 3)
_SLOTS: Final = 32 + 2 * TRIES + 3
_GOLDEN: Final = 0x9E3779B97F4A7C15
_FACTORS: Final = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


class Parameters(NamedTuple):
    """What each view of each image is made with; None where the policy never uses the operator."""

    crop: Float[Tensor, "4 batch view"] | None
    """Top, left, height, width: whole pixels."""
    flip: Float[Tensor, "batch view"] | None
    """1: mirrored."""
    brightness: Float[Tensor, "batch view"] | None
    contrast: Float[Tensor, "batch view"] | None
    saturation: Float[Tensor, "batch view"] | None
    hue: Float[Tensor, "batch view"] | None
    """In turns: from -0.5 to 0.5."""
    greyscale: Float[Tensor, "batch view"] | None
    """1: grey."""
    sigma: Float[Tensor, "batch view"] | None
    """Of the blur, in pixels; next to nothing where the image is not blurred."""
    threshold: Float[Tensor, "batch view"] | None
    """Above 1 where the image is not solarised."""
    erase: Float[Tensor, "4 batch view"] | None
    """Top, left, height, width; of height 0 where nothing is erased."""


def uniform(
    seed: int | Int64[Tensor, ""],
    epoch: int | Int64[Tensor, ""],
    index: Int64[Tensor, "batch"],
    views: int,
    draws: range,
) -> Float[Tensor, "draw batch view"]:
    """Numbers uniform on the multiples of 2^-24 in [0, 1): a function of (seed, epoch, index, view, draw) alone.

    Each of the five in turn is added to the state, times 2^64 / golden ratio, and the state goes through SplitMix64's
    finaliser, a bijection: so two counters that differ in one place only never share a state.

    Source: Steele, Lea, Flood, Fast splittable pseudorandom number generators (OOPSLA 2014), with Stafford's mix 13.
    """
    device = index.device
    state = torch.zeros((), dtype=torch.int64, device=device)
    for counter in (seed, epoch):
        state = _absorb(state, counter if isinstance(counter, Tensor) else torch.full((), counter, device=device))
    state = _absorb(state, index)[:, None]
    state = _absorb(state, torch.arange(views, device=device))
    state = _absorb(state, torch.arange(draws.start, draws.stop, device=device)[:, None, None])
    return _shift(state, 40).float() * 2.0**-24


def draw(
    index: Int64[Tensor, "batch"],
    views: int,
    policy: Augmentation,
    seed: int | Int64[Tensor, ""],
    epoch: int | Int64[Tensor, ""],
    shape: tuple[int, int, int],
) -> Parameters:
    """Parameters of every view of images of a shape (channels, height, width), by the policy's laws."""
    channels, height, width = shape
    side = policy.size or height
    colour = channels == 3
    u = uniform(seed, epoch, index, views, range(_SLOTS if policy.erase else _ERASE.start))
    jittered = u[_JITTER.start] < policy.jitter
    whole = policy.crop_scale == policy.crop_ratio == (1, 1) and height == width == side

    def factor(slot: int, strength: float, used: bool = True) -> Tensor | None:
        return _factor(u[slot], strength, jittered) if policy.jitter and strength and used else None

    return Parameters(
        crop=None if whole and not policy.flip else crop_boxes(u[_CROP.start : _CROP.stop], policy, height, width),
        flip=(u[_FLIP] < policy.flip).float() if policy.flip else None,
        brightness=factor(24, policy.brightness),
        contrast=factor(25, policy.contrast),
        saturation=factor(26, policy.saturation, colour),
        hue=_span(u[27], -policy.hue, policy.hue) * jittered if policy.jitter and policy.hue and colour else None,
        greyscale=(u[_GREYSCALE] < policy.greyscale).float() if policy.greyscale and colour else None,
        sigma=_sigma(u[_BLUR.start : _BLUR.stop], policy) if policy.blur else None,
        threshold=_threshold(u[_SOLARISE], policy) if policy.solarise else None,
        erase=erase_boxes(u[_ERASE.start : _ERASE.stop], policy.erase, side) if policy.erase else None,
    )


def crop_boxes(
    u: Float[Tensor, "draw *image"], policy: Augmentation, height: int, width: int
) -> Float[Tensor, "4 *image"]:
    """Top, left, height and width of crops of whole pixels: torchvision's RandomResizedCrop's law.

    Area uniform in the policy's scale, log of width : height uniform in its ratio, rounded; the first of ten that fits
    in the image, or else the largest central box whose ratio is allowed; its position uniform.
    """
    wide, high = _rectangles(u, height * width, policy.crop_scale, policy.crop_ratio)
    fits = (wide > 0) & (wide <= width) & (high > 0) & (high <= height)
    found, wide, high = _first(fits, wide, high)
    ratio = min(max(width / height, policy.crop_ratio[0]), policy.crop_ratio[1])
    central_wide, central_high = min(width, round(height * ratio)), min(height, round(width / ratio))
    wide, high = torch.where(found, wide, central_wide), torch.where(found, high, central_high)
    top = torch.where(found, (u[2 * TRIES] * (height - high + 1)).floor(), (height - central_high) // 2)
    left = torch.where(found, (u[2 * TRIES + 1] * (width - wide + 1)).floor(), (width - central_wide) // 2)
    return torch.stack((top, left, high, wide)).float()


def erase_boxes(u: Float[Tensor, "draw *image"], probability: float, side: int) -> Float[Tensor, "4 *image"]:
    """Top, left, height and width of the box to erase, of height 0 for none: torchvision's RandomErasing's law."""
    high, wide = _rectangles(u[1:], side * side, ERASE_SCALE, ERASE_RATIO)
    found, high, wide = _first((high < side) & (wide < side), high, wide)
    high = high * (found & (u[0] < probability))
    top = (u[2 * TRIES + 1] * (side - high + 1)).floor()
    left = (u[2 * TRIES + 2] * (side - wide + 1)).floor()
    return torch.stack((top, left, high, wide)).float()


def _rectangles(
    u: Float[Tensor, "draw *image"], area: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[Float[Tensor, "try *image"], Float[Tensor, "try *image"]]:
    """Sides a and b, whole pixels, with a b / area uniform in the scale and log(a / b) uniform in the ratio's."""
    # In float64, as torchvision's: the last bit of exp, which differs between devices, all but never moves a box.
    size = area * _span(u[:TRIES].double(), *scale)
    aspect = _span(u[TRIES : 2 * TRIES].double(), math.log(ratio[0]), math.log(ratio[1])).exp()
    return (size * aspect).sqrt().round(), (size / aspect).sqrt().round()


def _first(valid: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
    """Whether any try is valid, and each value at the first that is."""
    choice = valid.byte().argmax(0, keepdim=True)
    return valid.any(0), *(value.gather(0, choice)[0] for value in values)


def _factor(u: Float[Tensor, "*image"], strength: float, jittered: Tensor) -> Float[Tensor, "*image"]:
    return torch.where(jittered, _span(u, max(0.0, 1 - strength), 1 + strength), 1.0)


def _sigma(u: Float[Tensor, "2 *image"], policy: Augmentation) -> Float[Tensor, "*image"]:
    # So narrow a kernel is exactly 1 in the middle and 0 elsewhere.
    return torch.where(u[0] < policy.blur, _span(u[1], *policy.blur_sigma), 1e-3)


def _threshold(u: Float[Tensor, "*image"], policy: Augmentation) -> Float[Tensor, "*image"]:
    return torch.where(u < policy.solarise, policy.solarise_threshold, 2.0)


def _span(u: Tensor, low: float, high: float) -> Tensor:
    return u * (high - low) + low


def _absorb(state: Int64[Tensor, "*shape"], value: Int64[Tensor, "*other"]) -> Int64[Tensor, "*both"]:
    # ~value * -c is (value + 1) * c. Written so, torch.compile does not take it for an address, which cannot wrap.
    z = state + ~value * -_signed(_GOLDEN)
    z = (z ^ _shift(z, 30)) * _signed(_FACTORS[0])
    z = (z ^ _shift(z, 27)) * _signed(_FACTORS[1])
    return z ^ _shift(z, 31)


def _shift(x: Int64[Tensor, "*shape"], bits: int) -> Int64[Tensor, "*shape"]:
    """Logical: int64 has none but the arithmetic one, so the copied sign is masked off."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(x: int) -> int:
    return x - (1 << 64) if x >> 63 else x
