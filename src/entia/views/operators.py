"""The operators: each changes a batch of planes by one number an image.

Images are handled as planes, `channel image height width` in [0, 1], so that a channel of a whole batch is one
contiguous block. Operators whose name ends in an underscore overwrite their planes and return them. They agree with
`torchvision.transforms.v2.functional` on floats; each parameter is one number an image.
"""

from typing import Final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

LUMA: Final = (0.2989, 0.587, 0.114)
"""ITU-R BT.601, with torchvision's digits."""
_TINY: Final = 1e-12


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


def normalise_(
    planes: Float[Tensor, "channel image y x"], mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> Tensor:
    """(255 x - mean) / std, per channel or one for all. Raises ValueError where either is left open."""
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
