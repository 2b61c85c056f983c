"""An image file's bytes as eight bits a colour, as a viewer shows them, or the reason why that cannot be told."""

import struct
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from entia.config import Fit

FORMATS = frozenset(
    ["AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "QOI", "TGA", "TIFF", "WEBP"]
)
"""What a file may be inside, by Pillow's names; its ending need not agree. Others, such as EPS, run programs."""
ENDINGS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp", ".avif", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".jpc", ".j2c", ".jpf", ".jpx"}
    | {".ico", ".pcx", ".qoi", ".tga"}
)
"""Endings of the files that are held to be images, in any capitals."""
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image upright, by its orientation tag (EXIF 2.3, tag 274)."""
BITS, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # TIFF 6.0
DEPTH = 24  # where a PNG has its bits a channel (PNG 1.2, IHDR)


class Unreadable(Exception):
    """Why a file's content cannot be shown as an image."""


@dataclass(frozen=True, eq=False)
class Picture:
    """`pages`: how many images the file holds, of which this is the first."""

    pixels: UInt8[np.ndarray, "3 side side"]
    pages: int
    brightest: float | None
    """Of grey of more than 8 bits, the greatest value as a share of white: cameras of 12 bits often use a sixteenth."""


def decode(content: bytes, side: int, fit: Fit = "crop") -> Picture:
    """A file's first image, upright, on white, in red, green and blue, as a square of `side` pixels a side.

    Grey of 16 bits is divided by 257 and rounded; colours of 16 bits keep their upper 8 (within one level of that).
    Floats must lie in 0 to 1, which become 0 to 255. Whole numbers of 32 bits, or with a sign, are refused.

    Raises: Unreadable, with the reason.
    """
    if not content:
        raise Unreadable("empty (0 bytes)")
    try:
        return _picture(content, side, fit)
    except Unreadable:
        raise
    except UnidentifiedImageError as error:
        raise Unreadable("not an image, damaged at its start, or of a kind that Pillow cannot read") from error
    except Image.DecompressionBombError as error:
        raise Unreadable(f"too large (above {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels)") from error
    except Exception as error:  # Pillow raises a dozen kinds
        raise Unreadable(f"damaged ({(str(error) or type(error).__name__).splitlines()[0]})") from error


def square(image: Image.Image, side: int) -> UInt8[np.ndarray, "side side *channel"]:
    """The image's central square, averaged over to `side` pixels a side (antialiased bilinear)."""
    return np.asarray(ImageOps.fit(image, (side, side), Image.Resampling.BILINEAR))


def padded(image: Image.Image, side: int) -> UInt8[np.ndarray, "side side 3"]:
    """The whole image in the middle of a black square of `side` pixels a side, averaged over (antialiased bilinear)."""
    width, height = (max(1, round(side * length / max(image.size))) for length in image.size)
    shown = image.resize((width, height), Image.Resampling.BILINEAR)
    canvas = Image.new(image.mode, (side, side), "black")
    canvas.paste(shown, ((side - width) // 2, (side - height) // 2))
    return np.asarray(canvas)


def _picture(content: bytes, side: int, fit: Fit) -> Picture:
    image = Image.open(BytesIO(content))
    if image.format not in FORMATS:
        raise Unreadable(f"{image.format} inside, which is not read")
    pages = getattr(image, "n_frames", 1)
    image.load()  # before its tags are asked for: Pillow turns a TIFF upright by itself, and takes the tag away
    eight, brightest = _eight_bits(image, content[DEPTH] if image.format == "PNG" else 8)
    upright = _upright(_on_white(eight), _turn(image))
    shown = padded(upright, side) if fit == "pad" else square(upright, side)
    return Picture(shown.transpose(2, 0, 1), pages, brightest)


def _eight_bits(image: Image.Image, depth: int) -> tuple[Image.Image, float | None]:
    """The image with at most eight bits a channel, and its `brightest`. `depth`: a PNG's bits a channel."""
    match image.mode:
        case "F":
            return _from_floats(image), None
        case "I;16" | "I;16L" | "I;16B" | "I;16N":
            return _from_sixteen(image)
        case "I" if image.format in ("PNG", "PPM"):  # neither has more than 16 bits
            return _from_sixteen(image)
        case "I":
            raise Unreadable(
                "whole numbers of 32 bits, or with a sign, do not say what is white; save it as 8 or 16 bits"
            )
        case _:
            return _with_its_transparent_colour(image, depth), None


def _from_floats(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if not ((values >= 0) & (values <= 1)).all():
        raise Unreadable(
            f"floats from {values.min():g} to {values.max():g} do not say what is white; save it as 8 or 16 bits, "
            "or scale it to 0 to 1"
        )
    grey = np.rint(255 * (1 - values if _is_negative(image) else values))
    return Image.fromarray(grey.astype(np.uint8))


def _from_sixteen(image: Image.Image) -> tuple[Image.Image, float]:
    values = np.asarray(image).astype(np.uint32)
    white = 2 ** _tag(image, BITS, (16,))[0] - 1  # a TIFF may have 12
    shown = white - values if _is_negative(image) else values
    grey = ((255 * shown + white // 2) // white).astype(np.uint8)
    grey[values == image.info.get("transparency", -1)] = 255  # on white
    return Image.fromarray(grey), float(shown.max() / white)


def _is_negative(image: Image.Image) -> bool:
    """Whether 0 is white. Pillow itself inverts images of 8 bits and fewer alone."""
    return _tag(image, PHOTOMETRIC, 1) == WHITE_IS_ZERO


def _tag(image: Image.Image, tag: int, otherwise: Any) -> Any:
    return getattr(image, "tag_v2", {}).get(tag, otherwise)


def _with_its_transparent_colour(image: Image.Image, depth: int) -> Image.Image:
    """The image, the one colour that a PNG may name as transparent scaled as Pillow scaled the pixels."""
    colour = image.info.get("transparency")
    if image.mode == "L" and isinstance(colour, int):
        image.info["transparency"] = colour * 255 // (2 ** min(depth, 8) - 1)
    elif image.mode == "RGB" and depth == 16 and colour is not None:
        raise Unreadable("colours of 16 bits, one of which is transparent; save it as 8 bits, or with an alpha channel")
    return image


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    colours = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), colours).convert("RGB")


def _upright(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    return image if turn is None else image.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What the orientation tag asks for. Tags that cannot be read turn nothing: viewers show the pixels as they lie."""
    try:
        return UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (SyntaxError, ValueError, TypeError, KeyError, struct.error):
        return None
