"""Augmented views of a batch of images: whole batches, parameters of each image's own, no state.

Every random number is a hash of (seed, epoch, datum index, view, slot), so that a view depends neither on its batch
nor on the order, the interruptions or the device of a run. Every operator has slots of its own: changing one
probability leaves the other operators' draws as they were.

Images are handled as planes, `channel image height width` in [0, 1], so that a channel of a whole batch is one
contiguous block. Operators whose name ends in an underscore overwrite their planes and return them. They agree with
`torchvision.transforms.v2.functional` on floats; each parameter is one number an image.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from entia.config import Augmentation, Problem

LUMA: Final = (0.2989, 0.587, 0.114)
"""ITU-R BT.601, with torchvision's digits."""
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
_TINY: Final = 1e-12

_CHUNK_VALUES: Final = 1 << 18
"""Values worked on at a time on a CPU, so that an operator finds its planes in the second-level cache."""


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
    drawn = draw(index, views, policy, seed, epoch, (channels, height, width))
    step = _step(pixels, views, side)
    parts: list[Tensor] = []
    for start in range(0, len(pixels), step):
        rows = slice(start, start + step)
        planes = _normalise_(_view(pixels[rows], views, _part(drawn, rows), side), policy.mean, policy.std)
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
        planes = crop(pixels, whole[..., None], None, side)
    return _normalise_(planes, policy.mean, std or policy.std).transpose(0, 1).contiguous()


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


def crop(
    pixels: UInt8[Tensor, "batch channel height width"],
    boxes: Float[Tensor, "4 batch view"],
    flip: Float[Tensor, "batch view"] | None,
    side: int,
) -> Float[Tensor, "channel batch*view side side"]:
    """Crops resized to a square of `side` pixels (bilinear, antialiased), mirrored where `flip` is 1.

    Resizing is linear in the rows and in the columns: rows @ image @ columns', with weight matrices of the image's
    own, exact for enlarging and for shrinking alike.
    """
    count, channels, height, width = pixels.shape
    top, left, high, wide = boxes
    rows = _weights(top, high, height, side)
    columns = _weights(left, wide, width, side, flip).flatten(0, 1)
    # Rows of all views by one product an image, columns of all channels by one product a view: the image is not
    # copied once a view, nor the weights once a channel, and the products are large enough to be fast.
    image = pixels.permute(0, 2, 1, 3).float().div_(255).reshape(count, height, channels * width)
    return _multiply(rows.flatten(1, 2), image, columns, channels)


def brightness_(planes: Float[Tensor, "channel image y x"], factor: Float[Tensor, "image"]) -> Tensor:
    """Times the factor, cut off at 1."""
    return planes.mul_(_each(factor)).clamp_(0, 1)


def contrast_(planes: Float[Tensor, "channel image y x"], factor: Float[Tensor, "image"]) -> Tensor:
    """Blended with the image's mean grey: factor 0 gives flat grey, 1 the image, more overshoots."""
    means = planes.mean((-2, -1))
    mean = _luma(means) if len(planes) == 3 else means[0]
    return planes.mul_(_each(factor)).add_(_each(mean * (1 - factor))).clamp_(0, 1)


def saturation_(planes: Float[Tensor, "3 image y x"], factor: Float[Tensor, "image"]) -> Tensor:
    """Blended with each pixel's grey: factor 0 gives a grey image, 1 the image, more overshoots."""
    grey = _luma(planes).mul_(_each(1 - factor))
    return planes.mul_(_each(factor)).add_(grey).clamp_(0, 1)


def hue_(planes: Float[Tensor, "3 image y x"], shift: Float[Tensor, "image"]) -> Tensor:
    """Hue turned by a share of a full turn, with HSV's saturation and value kept.

    With c = max - min and u = (rgb - min) / c, the hue in sixths of a turn, counted both ways from red, is
    1 + u_g + u_b - u_r, with the sign of g - b: no case by case. Back from a hue h, a channel whose own hue is h_c
    is min + c clamp(2 - |h - h_c|, 0, 1), with the difference taken in [-3, 3].
    """
    red, green, blue = planes.unbind()
    high, low = planes.amax(0), planes.amin(0)
    chroma = high - low
    turned = (green + blue).sub_(red).add_(high).sub_(low).sub_(low).div_(chroma.clamp_min(_TINY))
    turned = turned.copysign_(green - blue).add_(_each(6 * shift))
    turned = turned.sub_((turned * (1 / 6)).round_().mul_(6))
    planes = torch.stack((turned, turned - 2, turned + 2), out=planes)
    # For |t| up to 6, 2 less the distance of t from a multiple of 6 is ||t| - 3| - 1.
    return planes.abs_().sub_(3).abs_().sub_(1).clamp_(0, 1).mul_(chroma).add_(low)


def greyscale_(planes: Float[Tensor, "3 image y x"], amount: Float[Tensor, "image"]) -> Tensor:
    """Luma in every channel where the amount is 1; 0 leaves the image."""
    return planes.lerp_(_luma(planes).expand_as(planes), _each(amount))


def blur(
    planes: Float[Tensor, "channel image side side"], sigma: Float[Tensor, "image"], size: int
) -> Float[Tensor, "channel image side side"]:
    """Gaussian blur of `size` taps (odd) and a standard deviation in pixels; the border is reflected."""
    matrix = _blur_matrix(sigma, size, planes.shape[-1])
    return _multiply(matrix, planes.permute(1, 2, 0, 3).flatten(2), matrix, len(planes))


def solarise_(planes: Float[Tensor, "channel image y x"], threshold: Float[Tensor, "image"]) -> Tensor:
    """Inverted at and above the threshold."""
    above = (planes >= _each(threshold)).float()
    return planes.sub_(above).abs_()


def erase_(planes: Float[Tensor, "channel image y x"], boxes: Float[Tensor, "4 image"]) -> Tensor:
    """Black inside the box."""
    top, left, high, wide = boxes
    rows = _inside(top, high, planes.shape[-2])
    columns = _inside(left, wide, planes.shape[-1])
    return planes.mul_(1 - rows[:, :, None] * columns[:, None, :])


def kernel_size(side: int) -> int:
    """Taps of the blur: odd, about a tenth of the side, at least 3. Source: SimCLR (2002.05709, appendix A)."""
    return 2 * max(1, side // 20) + 1


def _view(
    pixels: UInt8[Tensor, "batch channel height width"], views: int, drawn: Parameters, side: int
) -> Float[Tensor, "channel image side side"]:
    if drawn.crop is None:
        planes = _planes(pixels, views)
    else:
        planes = crop(pixels, drawn.crop, drawn.flip, side)
    if drawn.brightness is not None:
        planes = brightness_(planes, drawn.brightness.flatten())
    if drawn.contrast is not None:
        planes = contrast_(planes, drawn.contrast.flatten())
    if drawn.saturation is not None:
        planes = saturation_(planes, drawn.saturation.flatten())
    if drawn.hue is not None:
        planes = hue_(planes, drawn.hue.flatten())
    if drawn.greyscale is not None:
        planes = greyscale_(planes, drawn.greyscale.flatten())
    if drawn.sigma is not None:
        planes = blur(planes, drawn.sigma.flatten(), kernel_size(side))
    if drawn.threshold is not None:
        planes = solarise_(planes, drawn.threshold.flatten())
    if drawn.erase is not None:
        planes = erase_(planes, drawn.erase.flatten(1))
    return planes


def _planes(pixels: UInt8[Tensor, "batch channel y x"], views: int) -> Float[Tensor, "channel image y x"]:
    return pixels.transpose(0, 1).float().div_(255).repeat_interleave(views, 1)


def _multiply(
    rows: Float[Tensor, "batch row height"],
    image: Float[Tensor, "batch height strip"],
    columns: Float[Tensor, "image side width"],
    channels: int,
) -> Float[Tensor, "channel image side side"]:
    """The product rows @ image @ columns' of each channel, with the channels side by side in the image's strips."""
    side, width = columns.shape[1:]
    with _float32(image.device):
        strips = torch.bmm(rows, image).view(-1, side * channels, width)
        turned = torch.bmm(strips, columns.mT)
    return turned.view(-1, side, channels, side).permute(2, 0, 1, 3).contiguous()


def _float32(device: torch.device) -> torch.autocast:
    """Products as they are: autocast would round images to bfloat16's eight bits."""
    return torch.autocast(device.type, enabled=False)


def _normalise_(
    planes: Float[Tensor, "channel image y x"], mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> Tensor:
    if mean is None or std is None:
        raise ValueError("mean and std are left open: `measured` first")
    scale = 255 / _constants(std, planes.device)
    shift = scale * (_constants(mean, planes.device) / 255)
    return planes.mul_(_each(scale[:, None])).sub_(_each(shift[:, None]))


def _constants(values: tuple[float, ...], device: torch.device) -> Float[Tensor, "value"]:
    # torch.tensor would copy from the host, and so wait for the device.
    return torch.stack([torch.full((), value, device=device) for value in values])


def _each(parameter: Float[Tensor, "*image"]) -> Float[Tensor, "*image 1 1"]:
    return parameter[..., None, None]


def _luma(planes: Float[Tensor, "3 *rest"]) -> Float[Tensor, "*rest"]:
    red, green, blue = planes.unbind()
    return (red * LUMA[0]).add_(green * LUMA[1]).add_(blue * LUMA[2])


def _weights(
    start: Float[Tensor, "*image"],
    length: Float[Tensor, "*image"],
    source: int,
    target: int,
    flip: Float[Tensor, "*image"] | None = None,
) -> Float[Tensor, "*image target source"]:
    """Row i: the share of each source pixel in target pixel i of the box start … start + length, resized.

    A triangle about the target pixel's centre, one source pixel (or, shrinking, one target pixel) to either side,
    cut off at the box and scaled to sum to 1.
    """
    scale = _each(length / target)
    centre = torch.arange(target, device=start.device)[:, None] + 0.5
    if flip is not None:
        centre = centre + _each(flip) * (target - 2 * centre)
    reach = scale.clamp_min(1)
    centre = (_each(start) + scale * centre) / reach
    weight = (torch.arange(source, device=start.device) + 0.5) / reach - centre
    weight = weight.abs_().neg_().add_(1).clamp_min_(0).mul_(_inside(start, length, source)[..., None, :])
    return weight.div_(weight.sum(-1, keepdim=True))


def _inside(start: Float[Tensor, "*image"], length: Float[Tensor, "*image"], size: int) -> Float[Tensor, "*image size"]:
    offset = torch.arange(size, device=start.device) - start[..., None]
    return ((offset >= 0) & (offset < length[..., None])).float()


def _blur_matrix(sigma: Float[Tensor, "image"], size: int, side: int) -> Float[Tensor, "image side side"]:
    reach = size // 2
    tap = torch.arange(-reach, reach + 1, device=sigma.device)
    pixel = torch.arange(side, device=sigma.device)
    source = (side - 1) - ((side - 1) - (tap[:, None] + pixel).abs()).abs()
    spread = (source[..., None] == pixel).float().flatten(1)
    # In float64 the exponential's last bit, which may differ by position in the batch, is lost in rounding.
    kernel = (-0.5 * (tap / sigma[:, None].double()) ** 2).softmax(-1).float()
    with _float32(sigma.device):
        return (kernel @ spread).view(-1, side, side)


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


def _step(pixels: UInt8[Tensor, "batch channel height width"], views: int, side: int) -> int:
    """Images worked on at a time: all of them, but on a CPU as many as its cache holds."""
    if pixels.device.type != "cpu":
        return len(pixels)
    return max(1, _CHUNK_VALUES // (views * pixels.shape[1] * side * side))


def _part(drawn: Parameters, rows: slice) -> Parameters:
    return Parameters(*(None if x is None else x[..., rows, :] for x in drawn))
