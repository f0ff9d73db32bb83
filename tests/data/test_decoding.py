"""The rule by which pictures are decoded, against Pillow's parts, formulas and other readers."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import skimage.color
import tifffile
from PIL import Image, ImageOps, UnidentifiedImageError

from mscn_plugin.data.decoding import (
    EncodedImage,
    UnreadableImageError,
    check_pixel_range,
    is_deep,
    nearly_blank,
    reading,
    to_rgb,
)

PHOTOGRAPH = np.random.RandomState(0).randint(0, 256, (24, 40, 3)).astype(np.uint8)


def stored(image, kind="PNG", **options):
    """A picture as it is after a way through a file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return Image.open(stream)


def tiff(values, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, **options)
    stream.seek(0)
    return Image.open(stream)


def png(width, bits, color, row, transparent=b""):
    """A PNG of one row, which Pillow itself cannot write."""

    def chunk(name, content):
        checksum = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, 1, bits, color, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    content += chunk(b"tRNS", transparent) if transparent else b""
    content += chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    return Image.open(io.BytesIO(content))


def pnm(values, white, plain=False):
    """PGM or PPM, of bytes or of words, whose largest value is ``white``."""
    kind = {(2, False): 5, (3, False): 6, (2, True): 2, (3, True): 3}[values.ndim, plain]
    content = values.astype(">u2" if white > 255 else "u1").tobytes()
    if plain:
        content = b"\n".join(b"%d" % value for value in values.ravel())
    height, width = values.shape[:2]
    return Image.open(io.BytesIO(b"P%d\n%d %d\n%d\n" % (kind, width, height, white) + content))


def jpeg2000(values, bits, signed=False, space=None, last_bits=None, codestream=False):
    """JPEG 2000 without loss: 16 bits as OpenCV writes them, with a header that says otherwise."""
    shifted = (values + (2**15 - 2 ** (bits - 1))).astype(np.uint16)
    bgr = shifted if values.ndim == 2 else shifted[..., [2, 1, 0, 3][: values.shape[2]]]
    _, encoded = cv2.imencode(".jp2", bgr, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])
    content = bytearray(encoded.tobytes())
    start = content.find(b"\xff\x4f\xff\x51")
    channels = content[start + 41]
    for channel in range(channels):
        content[start + 42 + 3 * channel] = bits - 1 + 128 * signed
    if last_bits:
        content[start + 42 + 3 * channel] = last_bits - 1
    content[content.find(b"ihdr") + 14] = bits - 1
    if space:
        content[content.find(b"colr") + 10] = space
    return Image.open(io.BytesIO(bytes(content[start:] if codestream else content)))


def levels(image, pixel_range=None):
    pixels = np.asarray(to_rgb(image, pixel_range))
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3
    return pixels


def gray(image, pixel_range=None):
    pixels = levels(image, pixel_range)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0].ravel()


def on_white(colors, alpha):
    """The definition, in real numbers."""
    share = alpha[..., None] / 255
    return colors * share + 255 * (1 - share)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"])
def test_color_models_of_8_bits_are_converted_by_pillow(mode):
    image = Image.fromarray(PHOTOGRAPH).convert(mode)
    assert np.array_equal(levels(image.copy()), np.asarray(image.convert("RGB")))


def test_an_rgb_jpeg_is_what_pillow_decodes():
    for options in ({}, {"quality": 60}, {"progressive": True}, {"exif": Image.Exif()}):
        jpeg = stored(Image.fromarray(PHOTOGRAPH), "JPEG", **options)
        expected = np.asarray(stored(Image.fromarray(PHOTOGRAPH), "JPEG", **options).convert("RGB"))
        assert np.array_equal(levels(jpeg), expected)


def test_cmyk_jpegs_of_adobe_are_inverted():
    """Against OpenCV, whose decoder undoes the inversion by itself."""
    smooth = Image.fromarray(PHOTOGRAPH[:2, :3]).resize((64, 64), Image.BICUBIC)
    stream = io.BytesIO()
    smooth.convert("CMYK").save(stream, "JPEG", quality=95)
    theirs = cv2.imdecode(np.frombuffer(stream.getvalue(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(levels(Image.open(stream)).astype(int) - theirs).mean() < 2


def test_lab_is_the_formula():
    """Lightness as 0 to 255, a and b in two's complement, as TIFF stores them."""
    lab = np.array([[[0, 0, 0], [50, 0, 0], [100, 0, 0], [60, 30, -30], [70, -20, 30]]])
    content = np.round(lab * [2.55, 1, 1]).astype(int)
    file = tiff((content % 256).astype(np.uint8), photometric="cielab")
    expected = 255 * skimage.color.lab2rgb(lab.astype(float))
    assert np.abs(levels(file) - expected).max() < 12  # of two white points


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBA", "RGBa"])
def test_channels_of_alpha_are_composited_on_white(mode):
    alpha = np.tile(np.linspace(0, 255, 40).round(), (24, 1)).astype(np.uint8)
    image = Image.fromarray(np.dstack([PHOTOGRAPH, alpha]))
    image = image.convert({"La": "LA", "RGBa": "RGBA"}.get(mode, mode)).convert(mode)
    straight = image.convert(mode.upper()).convert("RGBA")
    colors, alpha = np.split(np.asarray(straight).astype(float), [3], axis=2)
    assert np.abs(levels(image) - on_white(colors, alpha[..., 0])).max() <= 1


def test_what_is_black_below_alpha_0_becomes_white():
    drawing = np.zeros((20, 20, 4), np.uint8)
    drawing[5:15, 5:15] = (10, 20, 30, 255)
    expected = np.full((20, 20, 3), 255)
    expected[5:15, 5:15] = (10, 20, 30)
    assert np.array_equal(levels(stored(Image.fromarray(drawing))), expected)
    assert np.array_equal(levels(stored(Image.fromarray(drawing), "WEBP", lossless=True)), expected)
    gif = stored(Image.fromarray(drawing), "GIF")
    assert np.abs(levels(gif).astype(int) - expected).max() <= 4  # of the palette


@pytest.mark.parametrize("transparency", [2, bytes([255, 255, 0]), bytes([255, 128, 0, 255])])
def test_transparent_colors_of_a_palette(transparency):
    image = Image.new("P", (4, 1))
    colors = np.array([[200, 100, 50], [10, 20, 30], [0, 0, 0], [90, 80, 70]])
    image.putpalette(colors.ravel().tolist())
    image.putdata([0, 1, 2, 3])
    alpha = np.full(4, 255.0)
    if isinstance(transparency, int):
        alpha[transparency] = 0
    else:
        alpha[: len(transparency)] = list(transparency)
    expected = on_white(colors[None], alpha[None])
    in_file = stored(image, transparency=transparency)
    image.info["transparency"] = transparency
    assert np.abs(levels(in_file) - expected).max() <= 1
    assert np.abs(levels(image) - expected).max() <= 1


def test_one_transparent_level_or_color():
    white = [255] * 3
    assert levels(png(8, 1, 0, b"\xf0", struct.pack(">H", 0)))[0].tolist() == [white] * 8
    assert gray(png(4, 2, 0, b"\x1b", struct.pack(">H", 1))).tolist() == [0, 255, 170, 255]
    assert gray(png(2, 4, 0, b"\x56", struct.pack(">H", 5))).tolist() == [255, 102]
    assert gray(png(2, 8, 0, b"\x05\x06", struct.pack(">H", 5))).tolist() == [255, 6]
    two = struct.pack(">HH", 0x1234, 0x1235)
    assert gray(png(2, 16, 0, two, struct.pack(">H", 0x1234))).tolist() == [255, 0x12]
    color = png(2, 8, 2, bytes([1, 2, 3, 1, 2, 4]), struct.pack(">HHH", 1, 2, 3))
    assert levels(color)[0].tolist() == [white, [1, 2, 4]]
    deep = struct.pack(">6H", 0x0100, 0x0200, 0x0300, 0x0100, 0x0200, 0x0301)
    color = png(2, 16, 2, deep, struct.pack(">HHH", 0x0100, 0x0200, 0x0300))
    assert levels(color)[0].tolist() == [white, [1, 2, 3]]


RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_16_bits_keep_their_higher_byte(mode):
    dtype = ">u2" if mode == "I;16B" else "<u2"
    image = Image.frombytes(mode, (256, 256), RAMP.astype(dtype).tobytes())
    assert np.array_equal(gray(image), RAMP.ravel() // 256)


def test_16_bits_in_files():
    for image in (
        stored(Image.fromarray(RAMP)),
        stored(Image.fromarray(RAMP), "TIFF"),
        tiff(RAMP),
        tiff(RAMP, byteorder=">"),
        tiff(RAMP.astype(np.int32)),
        tiff(RAMP.astype(np.float32)),
    ):
        assert np.abs(gray(image).astype(int) - RAMP.ravel() // 256).max() <= (image.mode == "F")
    assert np.array_equal(gray(tiff(65535 - RAMP, photometric="miniswhite")), RAMP.ravel() // 256)
    pgm = Image.open(io.BytesIO(b"P5 256 256 65535\n" + RAMP.astype(">u2").tobytes()))
    assert np.array_equal(gray(pgm), RAMP.ravel() // 256)


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
def test_a_stated_range_keeps_all_levels(bits):
    """Gray and color, in PNG and TIFF: 8 of the bits that the data set uses."""
    ramp = np.arange(2**bits, dtype=np.uint16).reshape(-1, 2 ** (bits // 2))
    expected = ramp.ravel() >> (bits - 8)
    pixel_range = [0, 2**bits - 1]
    assert np.array_equal(gray(stored(Image.fromarray(ramp)), pixel_range), expected)
    assert np.array_equal(gray(tiff(ramp.astype(np.int32)), pixel_range), expected)
    assert np.abs(gray(tiff(ramp.astype(np.float32)), pixel_range) - expected.astype(int)).max() < 2
    color = np.dstack([ramp, ramp[::-1], 2**bits - 1 - ramp])
    _, content = cv2.imencode(".png", color[..., ::-1])
    for image in (Image.open(io.BytesIO(content.tobytes())), tiff(color, photometric="rgb")):
        assert np.array_equal(levels(image, pixel_range), color >> (bits - 8))
    alpha = np.full_like(ramp, 65535)
    alpha[0] = 0
    _, content = cv2.imencode(".png", np.dstack([color[..., ::-1], alpha]))
    pixels = levels(Image.open(io.BytesIO(content.tobytes())), pixel_range)
    assert np.array_equal(pixels[1:], color[1:] >> (bits - 8))
    assert (pixels[0] == 255).all()
    infrared = tiff(np.dstack([color, ramp]), photometric="rgb", extrasamples=["unspecified"])
    assert np.array_equal(levels(infrared, pixel_range), color >> (bits - 8))


def random_values(shape, white):
    values = np.random.RandomState(0).randint(0, white + 1, shape)
    values.flat[:2] = 0, white
    return values


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3)])
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("white", [255, 256, 1000, 4095, 65535])
@pytest.mark.parametrize("pixel_range", [None, (0, 511)])
def test_pnm_has_the_values_that_are_in_the_file(shape, plain, white, pixel_range):
    values = random_values(shape, white)
    image = pnm(values, white, plain)
    top = pixel_range[1] if pixel_range and white > 255 else white
    assert is_deep(image) == (white > 255)
    expected = np.minimum(values * 256 // (top + 1), 255)
    pixels = levels(image, pixel_range)
    assert np.array_equal(pixels if len(shape) == 3 else pixels[..., 0], expected)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("bits", [8, 9, 12, 15, 16])
@pytest.mark.parametrize("pixel_range", [None, (0, 511)])
def test_jpeg_2000_has_the_values_that_are_in_the_file(channels, bits, pixel_range):
    values = random_values((64, 64, channels), 2**bits - 1)
    image = jpeg2000(values if channels > 1 else values[..., 0], bits)
    assert is_deep(image) == (bits > 8)
    top = pixel_range[1] if pixel_range and bits > 8 else 2**bits - 1
    expected = np.minimum(values[..., :3] * 256 // (top + 1), 255)
    if channels == 4:
        expected = on_white(expected, values[..., 3] >> (bits - 8))
    assert np.abs(levels(image, pixel_range) - expected).max() <= (channels == 4)


def test_a_jpeg_2000_without_boxes_is_read_as_one_with_them():
    values = random_values((64, 64, 3), 4095)
    assert np.array_equal(levels(jpeg2000(values, 12, codestream=True)), values >> 4)


@pytest.mark.parametrize(
    "options", [{"signed": True}, {"space": 18}, {"space": 14}, {"last_bits": 8}]
)
def test_jpeg_2000_that_would_be_misread_is_unreadable(options):
    image = jpeg2000(random_values((64, 64, 3), 65535), 16, **options)
    assert is_deep(image)
    with pytest.raises(ValueError, match="must be gray without alpha or sRGB, of unsigned"):
        to_rgb(image)


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_avif_of_more_than_8_bits_takes_no_range(bits):
    values = random_values((32, 32, 3), 2**bits - 1).astype(np.uint8 if bits == 8 else np.uint16)
    _, content = cv2.imencode(".avif", values, [cv2.IMWRITE_AVIF_DEPTH, bits])
    image, again, third = (Image.open(io.BytesIO(content.tobytes())) for _ in range(3))
    assert is_deep(image) == (bits > 8)
    if bits == 8:
        assert np.array_equal(levels(image, (0, 4095)), levels(again))
        return
    with pytest.raises(ValueError, match="its AVIF has more than 8 bits, of which 8 can be read"):
        to_rgb(image, (0, 4095))
    assert np.array_equal(levels(again), np.asarray(third))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzma"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("kind", ["u2", "i2", "u4", "i4", "f4"])
def test_gray_tiffs_have_the_values_that_tifffile_reads(order, compression, tile, kind):
    values = random_values((48, 64), 30000).astype(kind)
    options = {"byteorder": order, "compression": compression, "tile": tile}
    try:
        image = tiff(values, **options)
    except UnidentifiedImageError:
        assert (order, kind) == (">", "u4")
        return
    expected = np.minimum(values.astype(int) * 256 // 8192, 255)
    assert np.abs(gray(image, (0, 8191)).astype(int) - expected.ravel()).max() <= (kind == "f4")
    if kind[0] in "if":
        below = tiff(values - values.dtype.type(100), **options)
        assert np.abs(gray(below, (-100, 8091)).astype(int) - expected.ravel()).max() <= 1


def test_unsigned_integers_of_32_bits_have_their_upper_half():
    values = random_values((20, 30), 2**32 - 1).astype(np.uint32)
    assert np.array_equal(gray(tiff(values), (0, 2**32 - 1)), values.ravel() >> 24)


def test_signed_values_of_8_bits_are_levels_where_none_is_below_0():
    values = np.arange(128, dtype=np.int8).reshape(8, 16)
    assert np.array_equal(gray(tiff(values)), values.ravel())
    with pytest.raises(ValueError, match="its signed values of 8 bits go below 0"):
        to_rgb(tiff(values - np.int8(1)))


def test_12_bits_that_the_file_states_need_no_range():
    ramp = np.arange(4096, dtype=np.uint16)
    packed = "".join(f"{value:012b}" for value in ramp)
    content = int(packed, 2).to_bytes(len(packed) // 8, "big")
    tags = [(256, 4096), (257, 1), (258, 12), (259, 1), (262, 1), (273, 0), (277, 1), (278, 1)]
    tags.append((279, len(content)))
    start = 8 + 2 + 12 * len(tags) + 4
    tags[5] = (273, start)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    file = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0) + content
    assert np.array_equal(gray(Image.open(io.BytesIO(file))), ramp >> 4)


def test_floats_keep_their_content():
    ramp = np.linspace(0, 1, 4096, dtype=np.float32).reshape(64, 64)
    nearest = np.round(255 * ramp.astype(float)).ravel()
    assert np.abs(gray(tiff(ramp)) - nearest).max() == 0
    assert np.abs(gray(tiff(255 * ramp)) - nearest).max() <= 1
    assert np.abs(gray(tiff(2 * ramp - 1), [-1, 1]) - nearest).max() <= 1
    assert np.abs(gray(tiff(1e4 * ramp), [0, 1e4]) - nearest).max() <= 1
    assert gray(tiff(np.array([[-5, 0.5, 7]], np.float32)), [0, 1]).tolist() == [0, 128, 255]


def test_integers_of_32_bits_up_to_255_are_levels():
    ramp = np.arange(256, dtype=np.int32).reshape(16, 16)
    assert np.array_equal(gray(tiff(ramp)), ramp.ravel())
    assert np.array_equal(gray(tiff(ramp.astype(np.int16))), ramp.ravel())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[0.5, np.nan]], np.float32), "not finite"),
        (np.array([[0.5, np.inf]], np.float32), "not finite"),
        (np.array([[-0.5, 0.5]], np.float32), r"from -0.5 to 0.5, and config.MSCN.PIXEL_RANGE"),
        (np.array([[-3, 200]], np.int16), r"from -3 to 200, and config.MSCN.PIXEL_RANGE"),
        (np.array([[0, 70000]], np.int32), r"from 0 to 70000, and config.MSCN.PIXEL_RANGE"),
    ],
)
def test_what_has_no_black_and_white_is_unreadable(tmp_path, values, message):
    tifffile.imwrite(tmp_path / "x.tiff", values)
    with pytest.raises(UnreadableImageError, match=f"x.tiff: ValueError: .*{message}"):
        EncodedImage(Image.open(tmp_path / "x.tiff")).decode()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "MPO"])
@pytest.mark.parametrize("orientation", [*range(1, 9), 0, 9])
def test_orientation_is_applied(kind, orientation):
    smooth = Image.fromarray(PHOTOGRAPH[:3, :2]).resize((40, 24), Image.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    exact = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(kind, {})
    image = stored(smooth, kind, exif=exif, **exact)
    expected = np.asarray(ImageOps.exif_transpose(stored(smooth, kind, exif=exif, **exact)))
    upright = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a),
    }.get(orientation, lambda a: a)(np.asarray(smooth).astype(int))
    assert np.array_equal(levels(image), expected)
    assert np.abs(levels(stored(smooth, kind, exif=exif, **exact)) - upright).mean() < 4


@pytest.mark.parametrize("mode", ["L", "P", "I;16", "RGB"])
def test_tiffs_that_pillow_maps_into_memory_are_turned(tmp_path, mode):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(RAMP[:24, :40]) if mode == "I;16" else Image.fromarray(PHOTOGRAPH)
    image = image if image.mode == mode else image.convert(mode)
    expected = np.rot90(levels(image.copy()), -1)
    image.save(tmp_path / "x.tiff", exif=exif)
    assert np.array_equal(levels(Image.open(tmp_path / "x.tiff")), expected)
    assert np.array_equal(EncodedImage(Image.open(tmp_path / "x.tiff")).decode().picture, expected)


def test_damaged_exif_says_nothing():
    jpeg = stored(Image.fromarray(PHOTOGRAPH), "JPEG", exif=b"Exif\0\0damaged")
    assert to_rgb(jpeg).size == (40, 24)


def test_the_first_of_several_frames():
    frames = [Image.fromarray(np.full((8, 8, 3), level, np.uint8)) for level in (10, 200)]
    for kind in ("TIFF", "GIF", "PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        image = stored(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert (levels(image) == 10).all()


def test_files_are_closed(tmp_path):
    for kind in ("png", "jpg", "tiff", "gif"):
        Image.fromarray(PHOTOGRAPH).save(tmp_path / f"x.{kind}")
        image = Image.open(tmp_path / f"x.{kind}")
        to_rgb(image)
        assert getattr(image, "fp", None) is None or image.fp.closed


def test_planes_of_16_bits_that_pillow_misreads_are_unreadable():
    planes = np.stack([RAMP, RAMP[::-1], RAMP.T])
    for order in "<>":
        with pytest.raises(ValueError, match="plane by plane"):
            to_rgb(tiff(planes, photometric="rgb", planarconfig="separate", byteorder=order))
    eight = tiff((planes // 256).astype(np.uint8), photometric="rgb", planarconfig="separate")
    assert np.array_equal(levels(eight), planes.transpose(1, 2, 0) // 256)
    packed = tiff(planes, photometric="rgb", planarconfig="separate", compression="zlib")
    assert np.array_equal(levels(packed), planes.transpose(1, 2, 0) // 256)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"planarconfig": "separate", "compression": "zlib"}, "plane by plane, which OpenCV"),
        ({"extrasamples": ["assocalpha"]}, "is multiplied by alpha, to which"),
    ],
)
def test_color_of_16_bits_that_opencv_misreads_takes_no_range(options, message):
    values = np.dstack([RAMP] * (4 if "extrasamples" in options else 3))
    values = np.moveaxis(values, -1, 0) if "planarconfig" in options else values
    with pytest.raises(ValueError, match=message):
        to_rgb(tiff(values, photometric="rgb", **options), (0, 4095))
    to_rgb(tiff(values, photometric="rgb", **options))


def test_12_of_16_bits_in_color_are_nearly_blank(tmp_path):
    color = np.dstack([np.arange(4096, dtype=np.uint16).reshape(64, 64)] * 3)
    cv2.imwrite(str(tmp_path / "x.png"), color)
    with Image.open(tmp_path / "x.png") as image:
        encoded = EncodedImage(image, None, "x.png")
        encoded.decode()
    assert encoded.nearly_blank


def test_nearly_blank():
    assert nearly_blank(Image.new("RGB", (50, 50), "white"))
    assert nearly_blank(Image.new("RGB", (1, 1)))
    twelve = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    assert nearly_blank(to_rgb(Image.fromarray(twelve)))
    assert not nearly_blank(to_rgb(Image.fromarray(twelve), (0, 4095)))
    twelve[0, 0] = 65535  # one broken pixel hides nothing
    assert nearly_blank(to_rgb(Image.fromarray(twelve)))
    assert not nearly_blank(Image.fromarray(PHOTOGRAPH))
    red_and_cyan = np.zeros((50, 50, 3), np.uint8)  # of one luminance
    red_and_cyan[:, ::2, 0], red_and_cyan[:, 1::2, 1] = 255, 130
    assert not nearly_blank(Image.fromarray(red_and_cyan))


def test_fog_is_no_loss(tmp_path):
    fog = (PHOTOGRAPH // 26 + 120).astype(np.uint8)
    for image, blank in (
        (Image.fromarray(fog), False),
        (Image.new("RGB", (40, 24), "white"), True),
        (Image.fromarray(np.dstack([fog, np.full(fog.shape[:2], 250, np.uint8)])), True),
    ):
        file = EncodedImage(stored(image))
        assert not file.nearly_blank
        file.decode()
        assert file.nearly_blank == blank


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(160, 96), (150, 90)])
def test_reduced_pictures_are_upright(orientation, size):
    smooth = Image.fromarray(PHOTOGRAPH[:6, :8]).resize(size, Image.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    jpeg = stored(smooth, "JPEG", quality=95, exif=exif)
    file = EncodedImage(jpeg)
    whole = to_rgb(stored(smooth, "JPEG", quality=95, exif=exif))
    assert file.size == whole.size
    picture, scale = file.decode(reduction=4)
    turned = orientation > 1 and size == (150, 90)
    assert scale == (1 if turned else 0.25)
    assert file.decode() == (picture, scale)
    same_size = np.asarray(picture.resize(whole.size, Image.BICUBIC)).astype(int)
    assert np.abs(same_size - np.asarray(whole)).mean() < 10  # of 40 for another way up


@pytest.mark.parametrize(
    "value",
    [
        4095,
        [4095],
        [0, 1, 2],
        [1, 0],
        [1, 1],
        [0, "a"],
        [0, True],
        [0, float("inf")],
        "0,1",
        {},
        [],
    ],
)
def test_wrong_ranges_are_refused(value):
    with pytest.raises(ValueError, match="PIXEL_RANGE is .*; it must be null, or the values"):
        check_pixel_range(value)


def test_ranges():
    assert check_pixel_range(None) is None
    assert check_pixel_range([-1, 0.5]) == (-1, 0.5)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "options", [{}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}, {"quality": 30}]
)
def test_pixels_are_pillows(tmp_path, mode, options):
    path = tmp_path / "x.jpg"
    Image.fromarray(PHOTOGRAPH).convert(mode).save(path, **options)
    file = EncodedImage(Image.open(path))
    assert np.array_equal(file.pixels().permute(1, 2, 0), to_rgb(Image.open(path)))
    assert not file.nearly_blank


@pytest.mark.parametrize("turn", range(1, 9))
def test_pixels_are_upright(tmp_path, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(PHOTOGRAPH).save(tmp_path / "x.jpg", exif=exif)
    pixels = EncodedImage(Image.open(tmp_path / "x.jpg")).pixels()
    assert np.array_equal(pixels.permute(1, 2, 0), to_rgb(Image.open(tmp_path / "x.jpg")))


def damaged(content):
    """Cut off, shortened, with noise and with other bits, at random places."""
    random = np.random.RandomState(0)
    for _ in range(25):
        yield content[: random.randint(200, len(content))]
        first = random.randint(20, len(content) - 60)
        start = content[:first]
        yield start + content[first + 20 :]
        yield start + random.bytes(40) + content[first + 40 :]
        yield start + bytes([content[first] ^ 1 << random.randint(8)]) + content[first + 1 :]


def test_damaged_jpegs_are_what_pillow_says():
    stream, outcomes = io.BytesIO(), []
    Image.fromarray(PHOTOGRAPH).save(stream, "JPEG")
    for content in damaged(stream.getvalue()):
        pixels = []
        for read in (lambda f: f.decode().picture, lambda f: f.pixels().permute(1, 2, 0).numpy()):
            try:
                with reading("x"):
                    pixels.append(np.asarray(read(EncodedImage(Image.open(io.BytesIO(content))))))
            except UnreadableImageError:
                pixels.append(None)
        theirs, ours = pixels
        assert (theirs is None) == (ours is None)
        assert theirs is None or np.array_equal(theirs, ours)
        outcomes.append(theirs is None)
    assert 20 < sum(outcomes) < 80


def test_blank_jpegs_are_seen(tmp_path):
    dot = np.zeros((100, 100, 3), np.uint8)
    dot[9, 9] = 255  # one of the few pixels that are looked at first
    for name, picture in (
        ("white", Image.new("RGB", (50, 40), "white")),
        ("dot", Image.fromarray(dot)),
    ):
        picture.save(tmp_path / f"{name}.jpg")
        by_pillow, file = (EncodedImage(Image.open(tmp_path / f"{name}.jpg")) for _ in range(2))
        by_pillow.decode()
        file.pixels()
        assert file.nearly_blank == by_pillow.nearly_blank == (name == "white")


def test_a_loaded_jpeg_has_pixels(tmp_path):
    Image.fromarray(PHOTOGRAPH).save(tmp_path / "x.jpg")
    image = Image.open(tmp_path / "x.jpg")
    image.load()
    assert EncodedImage(image).pixels().shape == (3, *PHOTOGRAPH.shape[:2])
