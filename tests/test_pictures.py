"""Each kind of image file is seen as a viewer shows it, computed by hand; what says no brightness is refused."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from entia.datasets import pictures

SIDE = 8
GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6  # colour types of PNG
CHANNELS = {GREY: 1, COLOUR: 3, PALETTE: 1, GREY_ALPHA: 2, COLOUR_ALPHA: 4}
DEPTHS = {GREY: (1, 2, 4, 8, 16), COLOUR: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), COLOUR_ALPHA: (8, 16)}


def draw(seed: int, top: int, *shape: int) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(seed)).integers(0, top, shape)


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def seen(content: bytes, side: int = SIDE) -> np.ndarray:
    """Height, width, colours."""
    return pictures.decode(content, side).pixels.transpose(1, 2, 0)


def png(values: np.ndarray, kind: int, depth: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of `values` [height, width, channel], as the standard has it and without Pillow."""
    height, width, _ = values.shape
    bits = (values.reshape(height, -1, 1) >> np.arange(depth)[::-1]) & 1
    rows = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    head = b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    parts = [head, *chunks, body, (b"IEND", b"")]
    written = (struct.pack(">I", len(part)) + name + part + crc(name + part) for name, part in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


def crc(content: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(content))


def tiff(values: bytes, bits: int, photometric: int, sample: int = 1) -> bytes:
    """A grey TIFF of SIDE × SIDE, little-endian, one strip, as the standard has it and without Pillow."""
    tags = [(256, SIDE), (257, SIDE), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, SIDE)]
    tags += [(279, len(values)), (339, sample)]
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(values)) + values + struct.pack("<H", len(tags)) + table + bytes(4)


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Both from 0 to 1."""
    return colour * alpha + 1 - alpha


# --- PNG ----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.sampled_from([(kind, depth) for kind, depths in DEPTHS.items() for depth in depths]), st.integers(0, 99))
def test_every_kind_of_png_is_seen_as_the_standard_says(form: tuple[int, int], seed: int) -> None:
    kind, depth = form
    white = 2**depth - 1
    values = draw(seed, white + 1, SIDE, SIDE, CHANNELS[kind])
    colours = draw(seed, 256, 2**depth, 3) if kind == PALETTE else None
    chunks = () if colours is None else ((b"PLTE", colours.astype(np.uint8).tobytes()),)
    expected = values / white if colours is None else colours[values[..., 0]] / 255
    if kind in (GREY_ALPHA, COLOUR_ALPHA):
        expected = on_white(expected[..., :-1], expected[..., -1:])
    # of 16 bits of colour, and of alpha, the upper 8 are kept
    off = 0.5 + (depth == 16 and kind != GREY) * (1 + (kind in (GREY_ALPHA, COLOUR_ALPHA)))
    found = seen(png(values, kind, depth, *chunks))
    assert np.abs(found - 255 * np.broadcast_to(expected, found.shape)).max() <= off


@pytest.mark.parametrize(
    ("kind", "depth"), [(GREY, 1), (GREY, 2), (GREY, 4), (GREY, 8), (GREY, 16), (COLOUR, 8), (PALETTE, 4)]
)
def test_a_pngs_transparent_colour_is_white_and_no_other(kind: int, depth: int) -> None:
    values = draw(0, 2**depth, SIDE, SIDE, CHANNELS[kind])
    clear = values[3, 4]
    colours = draw(1, 255, 2**depth, 3)
    if kind == PALETTE:
        alphas = np.full(2**depth, 255, np.uint8)
        alphas[clear] = 0
        chunks = (b"PLTE", colours.astype(np.uint8).tobytes()), (b"tRNS", alphas.tobytes())
        expected = colours[values[..., 0]]
    else:
        chunks = ((b"tRNS", clear.astype(">u2").tobytes()),)
        expected = np.broadcast_to(np.rint(values * 255 / (2**depth - 1)), (SIDE, SIDE, 3))
    hidden = (values == clear).all(-1)[..., None]
    np.testing.assert_array_equal(seen(png(values, kind, depth, *chunks)), np.where(hidden, 255, expected))


def test_a_transparent_colour_of_16_bits_cannot_be_told_in_8_and_is_refused() -> None:
    values = draw(0, 2**16, SIDE, SIDE, 3)
    with pytest.raises(pictures.Unreadable, match="save it as 8 bits"):
        seen(png(values, COLOUR, 16, (b"tRNS", bytes(6))))


def test_black_drawn_on_nothing_is_black_on_white() -> None:
    image = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (2, 2, 6, 6))
    expected = np.full((SIDE, SIDE, 3), 255)
    expected[2:6, 2:6] = 0
    for form in ("PNG", "TIFF", "WEBP", "ICO"):
        options = {"lossless": True} if form == "WEBP" else {"sizes": [(SIDE, SIDE)]} if form == "ICO" else {}
        np.testing.assert_array_equal(seen(saved(image, form, **options)), expected)


def test_opaque_colours_with_an_alpha_channel_are_kept_to_the_bit() -> None:
    values = np.concatenate([draw(0, 256, SIDE, SIDE, 3), np.full((SIDE, SIDE, 1), 255)], axis=-1).astype(np.uint8)
    np.testing.assert_array_equal(seen(saved(Image.fromarray(values), "PNG")), values[..., :3])


# --- more than eight bits -----------------------------------------------------------------------------------------

RAMP = np.linspace(0, 65535, SIDE * SIDE).astype(np.uint16).reshape(SIDE, SIDE)


@pytest.mark.parametrize(
    "content",
    [
        saved(Image.fromarray(RAMP), "PNG"),
        saved(Image.fromarray(RAMP), "TIFF"),
        saved(Image.fromarray(RAMP), "TIFF", compression="tiff_lzw"),
        saved(Image.frombytes("I;16B", RAMP.shape, RAMP.astype(">u2").tobytes()), "TIFF"),
        saved(Image.frombytes("I;16B", RAMP.shape, RAMP.astype(">u2").tobytes()), "TIFF", compression="tiff_lzw"),
        saved(Image.fromarray(RAMP), "PPM"),
        saved(Image.fromarray(RAMP), "JPEG2000", irreversible=False),
        tiff(RAMP.tobytes(), 16, 1),
        tiff((65535 - RAMP).tobytes(), 16, 0),
    ],
    ids=["png", "tiff", "lzw", "big", "big lzw", "pgm", "jpeg2000", "black is zero", "white is zero"],
)
def test_sixteen_bits_of_grey_are_seen_from_black_to_white(content: bytes) -> None:
    np.testing.assert_array_equal(seen(content), np.rint(RAMP / 257)[..., None].repeat(3, -1))


def test_a_pgm_that_names_its_own_white_is_scaled_by_it() -> None:
    values = RAMP // 64  # 0 to 1,023
    content = b"P5 8 8 1023\n" + values.astype(">u2").tobytes()
    np.testing.assert_allclose(seen(content)[..., 0], values * (255 / 1023), atol=0.51)


def test_twelve_bits_of_grey_are_seen_from_black_to_white() -> None:
    values = RAMP.ravel().astype(int) >> 4
    bits = (values[:, None] >> np.arange(12)[::-1]) & 1
    content = tiff(np.packbits(bits.astype(np.uint8)).tobytes(), 12, 1)
    np.testing.assert_array_equal(seen(content)[..., 1].ravel(), np.rint(values * (255 / 4095)))


def test_how_bright_an_image_of_sixteen_bits_is_comes_with_it() -> None:
    """Twelve bits in sixteen are a sixteenth of white: seen almost black, which its user should be told."""
    assert pictures.decode(saved(Image.fromarray(RAMP // 16), "PNG"), SIDE).brightest == 4095 / 65535
    assert pictures.decode(saved(Image.fromarray((RAMP // 257).astype(np.uint8)), "PNG"), SIDE).brightest is None


@pytest.mark.parametrize("photometric", [0, 1])
def test_floats_from_0_to_1_are_seen_from_black_to_white(photometric: int) -> None:
    values = (RAMP / 65535).astype(np.float32)
    content = tiff((values if photometric else 1 - values).tobytes(), 32, photometric, sample=3)
    np.testing.assert_allclose(seen(content)[..., 2], 255 * values, atol=0.51)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.full((SIDE, SIDE), 200, np.float32), "floats from 200 to 200"),
        (np.full((SIDE, SIDE), -0.1, np.float32), "floats from -0.1 to -0.1"),
        (np.full((SIDE, SIDE), np.nan, np.float32), "floats from nan to nan"),
        (np.full((SIDE, SIDE), 200, np.int32), "whole numbers of 32 bits"),
    ],
)
def test_numbers_that_do_not_say_what_is_white_are_refused_with_the_remedy(values: np.ndarray, said: str) -> None:
    with pytest.raises(pictures.Unreadable, match=f"{said}.*save it as 8 or 16 bits"):
        seen(saved(Image.fromarray(values), "TIFF"))


def test_whole_numbers_with_a_sign_are_refused() -> None:
    with pytest.raises(pictures.Unreadable, match="with a sign"):
        seen(tiff(RAMP.tobytes(), 16, 1, sample=2))


# --- other kinds --------------------------------------------------------------------------------------------------


def test_inks_are_seen_as_colours() -> None:
    inks = {(0, 0, 0, 0): (255, 255, 255), (255, 0, 0, 0): (0, 255, 255), (0, 0, 0, 255): (0, 0, 0)}
    for ink, colour in inks.items():
        for form in ("TIFF", "JPEG"):
            found = seen(saved(Image.new("CMYK", (SIDE, SIDE), ink), form))
            np.testing.assert_allclose(found.astype(int), np.broadcast_to(colour, found.shape), atol=2)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP", "GIF", "PPM", "PCX"])
def test_one_bit_is_black_or_white(form: str) -> None:
    bits = draw(0, 2, SIDE, SIDE).astype(bool)
    np.testing.assert_array_equal(seen(saved(Image.fromarray(bits), form))[..., 0], bits * 255)


@pytest.mark.filterwarnings("ignore:The image decoding")
@settings(deadline=None, max_examples=30)
@given(st.integers(0, 99), st.sampled_from(["JPEG", "PNG", "WEBP", "GIF"]), st.booleans())
def test_ordinary_images_are_what_torchvision_reads(seed: int, form: str, grey: bool) -> None:
    import torch
    import torchvision

    values = draw(seed, 256, SIDE, SIDE).astype(np.uint8) if grey else draw(seed, 256, SIDE, SIDE, 3).astype(np.uint8)
    image = Image.fromarray(values)
    content = saved(image, form)
    mode = torchvision.io.ImageReadMode.RGB
    expected = torchvision.io.decode_image(torch.frombuffer(bytearray(content), dtype=torch.uint8), mode).numpy()
    np.testing.assert_allclose(pictures.decode(content, SIDE).pixels.astype(int), expected.astype(int), atol=3)


# --- upright, first page ------------------------------------------------------------------------------------------

TURNED = {  # what the file holds, for what is to be seen: EXIF 2.3, tag 274
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
        ("JPEG", {"quality": 100, "subsampling": 0}),
    ],
)
def test_an_image_is_turned_upright(orientation: int, form: str, options: dict[str, object]) -> None:
    upright = np.kron(draw(0, 256, 2, 2, 3), np.ones((8, 8, 1))).astype(np.uint8)  # whole blocks of a JPEG
    exif = Image.Exif()
    exif[274] = orientation
    stored = Image.fromarray(np.ascontiguousarray(TURNED[orientation](upright)))
    found = seen(saved(stored, form, exif=exif, **options), 16)
    np.testing.assert_allclose(found.astype(int), upright.astype(int), atol=3 if form == "JPEG" else 0)


def test_a_tall_image_lying_on_its_side_is_cropped_as_it_stands() -> None:
    upright = np.zeros((4 * SIDE, SIDE, 3), np.uint8)
    upright[: 2 * SIDE, :, 0] = 255  # red above, black below
    exif = Image.Exif()
    exif[274] = 6
    found = seen(saved(Image.fromarray(np.ascontiguousarray(np.rot90(upright, 1))), "PNG", exif=exif))
    np.testing.assert_array_equal(found, upright[SIDE + SIDE // 2 : 2 * SIDE + SIDE // 2])


@pytest.mark.parametrize("exif", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"])
@pytest.mark.filterwarnings("ignore")
def test_tags_that_cannot_be_read_turn_nothing(exif: bytes) -> None:
    image = Image.fromarray(draw(0, 256, SIDE, SIDE, 3).astype(np.uint8))
    np.testing.assert_array_equal(seen(saved(image, "JPEG", exif=exif)), seen(saved(image, "JPEG")))


@pytest.mark.parametrize("form", ["TIFF", "GIF", "WEBP", "PNG"])
def test_of_several_pages_the_first_is_seen_and_all_are_counted(form: str) -> None:
    pages = [Image.new("RGB", (SIDE, SIDE), colour) for colour in ("red", "lime", "blue")]
    content = saved(
        pages[0], form, save_all=True, append_images=pages[1:], **({"lossless": True} if form == "WEBP" else {})
    )
    found = pictures.decode(content, SIDE)
    assert found.pages == 3
    np.testing.assert_array_equal(found.pixels[:, 0, 0], [255, 0, 0])


# --- what cannot be seen ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"not an image at all", "not an image"),
        (b"\x00\x05\x16\x07" + bytes(78), "not an image"),  # what a Mac leaves beside a file
        (saved(Image.new("RGB", (90, 90)), "EPS"), "EPS inside"),
        (png(np.zeros((2, 2, 1), int), GREY, 8)[:45], "damaged \\("),
    ],
)
def test_what_is_no_image_is_named_for_what_it_is(content: bytes, said: str) -> None:
    with pytest.raises(pictures.Unreadable, match=said):
        seen(content)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "AVIF"])
def test_half_a_file_is_not_read(form: str) -> None:
    content = saved(Image.fromarray(draw(0, 256, 64, 64, 3).astype(np.uint8)), form)
    with pytest.raises(pictures.Unreadable):
        seen(content[: len(content) // 2])


def test_an_image_of_too_many_pixels_is_named_before_it_is_unpacked() -> None:
    head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, GREY, 0, 0, 0)
    content = png(np.zeros((1, 1, 1), int), GREY, 8)
    content = content.replace(content[16:29], head).replace(crc(b"IHDR" + content[16:29]), crc(b"IHDR" + head))
    with pytest.raises(pictures.Unreadable, match=r"too large \(above 178,956,970 pixels\)"):
        seen(content)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60), st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"]), st.integers(0, 400))
@pytest.mark.filterwarnings("ignore")
def test_any_bytes_are_an_image_or_unreadable(junk: bytes, form: str, place: int) -> None:
    content = saved(Image.fromarray(draw(0, 256, SIDE, SIDE, 3).astype(np.uint8)), form)
    for given_ in (
        junk,
        content[:place] + junk + content[place:],
        content[:place] + junk + content[place + len(junk) :],
    ):
        try:
            assert pictures.decode(given_, SIDE).pixels.shape == (3, SIDE, SIDE)
        except pictures.Unreadable as why:
            assert str(why) and "\n" not in str(why)


# --- padding ------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(width=st.integers(1, 60), height=st.integers(1, 60), side=st.integers(1, 24))
def test_a_padded_image_is_whole_in_the_middle_of_black(width: int, height: int, side: int) -> None:
    found = pictures.decode(saved(Image.new("RGB", (width, height), "white"), "PNG"), side, "pad").pixels
    longer = max(width, height)
    inner = [max(1, round(side * length / longer)) for length in (height, width)]
    begins = [(side - length) // 2 for length in inner]
    expected = np.zeros((3, side, side), dtype=np.uint8)
    expected[:, begins[0] : begins[0] + inner[0], begins[1] : begins[1] + inner[1]] = 255
    np.testing.assert_array_equal(found, expected)


@settings(deadline=None)
@given(length=st.integers(1, 30), side=st.integers(1, 24), seed=st.integers(0, 99))
def test_a_square_image_is_the_same_padded_and_cropped(length: int, side: int, seed: int) -> None:
    content = saved(Image.fromarray(draw(seed, 256, length, length, 3).astype(np.uint8)), "PNG")
    np.testing.assert_array_equal(
        pictures.decode(content, side, "pad").pixels, pictures.decode(content, side, "crop").pixels
    )
