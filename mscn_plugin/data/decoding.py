"""From an image file to RGB with 8 bits per channel: the one rule for every picture that is read.

Training, evaluations, exports and figures decode by :func:`to_rgb`:

* **Frames:** the first one of files that hold several.
* **Orientation:** EXIF's is applied, all eight of them.
* **Alpha:** composited on white, whether it is a channel, a palette's, or one transparent color.
* **8 bits and fewer, all color models:** Pillow's conversion to RGB; color profiles are ignored.
  JPEGs may be decoded by torchvision, to the same pixels (:meth:`EncodedImage.pixels`).
* **Integers of 9 to 16 bits:** black is 0 and white 65535 (4095 in a TIFF of 12 bits; in PPM, PGM
  and JPEG 2000 the largest value that the file states), or what the data set states as
  ``config.MSCN.PIXEL_RANGE``, of values as they are in the file. The 8 highest bits of the range
  are kept.
* **Integers of 32 bits and floats:** the stated range; without one the smallest of 0 to 1 (floats
  alone), 0 to 255 and 0 to 65535 that holds the picture. Others, NaN and Inf are unreadable.

Values outside of a stated range are black or white.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image

from mscn_plugin.errors import RunError
from mscn_plugin.types import is_number

if TYPE_CHECKING:  # a second of import, which figures and the quickstart's photographs do without
    from torch import Tensor

PixelRange = Sequence[float] | None
"""The values of black and white in pictures of more than 8 bits, or None where none are stated."""

BLANK_SHARE = 0.99
BLANK_LEVELS = 16
"""A picture is nearly blank if this share of its pixels lies within so many of the 256 levels."""
BLANK_LEVELS_UNCHANGED = 4
"""The same for RGB and gray of 8 bits, of which decoding loses nothing: fog has few levels."""

SAMPLED_CROPS = "MSCNSampleCrops"
"""The transform that takes files undecoded and hands over whole pictures, for crops on the device.

Here, since both the reading of images and the transforms know it."""

_FEW = 16
"""Pixels of each axis in which a picture that is not blank usually shows it."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPING = tuple(_TURNS[orientation] for orientation in (5, 6, 7, 8))
_MAY_HOLD_ORIENTATION = ("exif", "xmp", "XML:com.adobe.xmp")  # in Pillow's info of a JPEG
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # TIFF's tag and value
_BITS_PER_SAMPLE = 258
_PLANES, _SEPARATE = 284, 2
_SAMPLE_FORMAT, _SIGNED = 339, 2
_BIG_ENDIAN = {"I;16BS": np.int16, "I;32BS": np.int32, "F;32BF": np.float32}
_CODESTREAM = b"\xff\x4f\xff\x51"  # with which that of JPEG 2000 begins
_SRGB, _GRAY = 16, 17  # color spaces of JPEG 2000


class UnreadableImageError(Exception):
    """An image file that cannot be opened or decoded."""


def check_pixel_range(value: object) -> PixelRange:
    """Return ``value`` if it is None or two finite numbers in ascending order.

    Raises:
        ValueError: it is something else; the message starts with ``PIXEL_RANGE``.
    """
    if value is None:
        return None
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(map(is_number, value)):
        black, white = value
        if black < white:
            return black, white
    raise ValueError(
        f"PIXEL_RANGE is {value!r}; it must be null, or the values of black and white, such as "
        "[0, 4095]"
    )


def to_rgb(image: Image.Image, pixel_range: PixelRange = None) -> Image.Image:
    """Decode an opened image by the rule above, and close its file.

    Args:
        image: not loaded yet, since Pillow then scales some pictures of more than 8 bits.
        pixel_range: black and white of a picture with more than 8 bits per channel.

    Returns:
        Upright RGB, 8 bits per channel.

    Raises:
        ValueError: pixels are not finite, or outside of every range that could be meant, or the
            file is of a kind that Pillow and OpenCV misread.
        Exception: what Pillow raises for damaged files.
    """
    with image:
        raw = _raw_mode(image)
        if _in_deep_planes(image, raw):
            raise ValueError(
                "its color of more than 8 bits is stored plane by plane and not compressed, which "
                "Pillow misreads; store it pixel by pixel"
            )
        by_opencv = _by_opencv(image, raw, pixel_range)
        if image.format == "TIFF":
            # Pillow maps some files by their names, which scrambles those that are to be turned.
            image.filename = ""  # type: ignore[attr-defined]
        if by_opencv is None or image.format != "PPM":  # whose decoder of 16 bits takes seconds
            image.load()
        turn = _turn(image)
        if by_opencv is not None:
            picture = by_opencv
        elif image.mode == "F" or image.mode.startswith("I"):
            picture = Image.fromarray(_gray_levels(image, raw, pixel_range))
        else:
            picture = image
            _check_unsigned(image)
            _scale_transparent_level(image, raw)
        picture = _on_white(picture)
    return picture if turn is None else picture.transpose(turn)


def _in_deep_planes(image: Image.Image, raw: str) -> bool:
    """Whether Pillow would read planes of 16 bits as if they had 8."""
    if image.format != "TIFF" or len(image.getbands()) < 3 or not raw or ";16" in raw:
        return False
    bits = image.tag_v2.get(_BITS_PER_SAMPLE, (8,))  # type: ignore[attr-defined]
    codec: str = image.tile[0][0]  # type: ignore[attr-defined]
    return codec == "raw" and max(bits) > 8


def is_deep(image: Image.Image) -> bool:
    """Whether an opened image has more than 8 bits per channel."""
    if image.mode == "F" or image.mode.startswith("I") or ";16" in _raw_mode(image):
        return True
    return _rescaled_white(image) is not None


def _rescaled_white(image: Image.Image) -> int | None:
    """White, as the file states it, of a deep picture whose values Pillow scales to 8 or 16 bits.

    Returns:
        More than 255; None for all other pictures, and for those in memory.
    """
    tiles = getattr(image, "tile", None)
    white = 0
    if not tiles:
        return None
    if image.format == "PPM":
        arguments = tiles[0][3]
        white = arguments[1] if isinstance(arguments, tuple) else 0
    elif image.format == "JPEG2000":
        channels = _jpeg2000_channels(_content(image))
        white = max((2 ** ((channel[0] & 127) + 1) - 1 for channel in channels), default=0)
    elif image.format == "AVIF":
        content = _content(image)
        place = content.find(b"av1C")
        flags = content[place + 6] if 0 < place < len(content) - 6 else 0
        white = (4095 if flags & 0x20 else 1023) if flags & 0x40 else 255
    return white if white > 255 else None


def _jpeg2000_channels(content: bytes) -> list[bytes]:
    """Of each channel three bytes: its bits less 1, 128 added if signed, and two of its spacing."""
    start = content.find(_CODESTREAM) + 4
    count = int.from_bytes(content[start + 36 : start + 38], "big")
    places = range(start + 38, min(start + 38 + 3 * count, len(content) - 2), 3)
    return [content[place : place + 3] for place in places]


def nearly_blank(picture: Image.Image, levels: int = BLANK_LEVELS) -> bool:
    """Whether :data:`BLANK_SHARE` of an RGB picture's pixels lies within ``levels`` levels."""
    # Nearly all pictures show their levels in a few pixels, which takes no time.
    if _levels_of(picture.resize((_FEW, _FEW), Image.Resampling.NEAREST)) >= levels:
        return False
    counts = picture.histogram()
    return all(_span(counts[start : start + 256]) < levels for start in range(0, len(counts), 256))


def _levels_of(picture: Image.Image) -> int:
    darkest, brightest = picture.convert("L").getextrema()
    return int(brightest) - int(darkest)  # type: ignore[arg-type]


def _span(counts: list[int]) -> int:
    """By how many levels the middle :data:`BLANK_SHARE` of the pixels of a channel differs."""
    cumulative = list(itertools.accumulate(counts))
    tail = (1 - BLANK_SHARE) / 2 * cumulative[-1]
    return bisect.bisect_left(cumulative, cumulative[-1] - tail) - bisect.bisect_right(
        cumulative, tail
    )


class Decoded(NamedTuple):
    """A picture, and its size as a part of that in the file: 1, or about 1/2, 1/4 or 1/8."""

    picture: Image.Image
    scale: float


class EncodedImage:
    """An opened image file that is not yet decoded: of a JPEG one may want less than all pixels.

    Attributes:
        nearly_blank: whether the picture is, as soon as it is decoded.
        reducible: whether it can be decoded at a part of its size.
    """

    def __init__(self, image: Image.Image, pixel_range: PixelRange = None, path: str = "") -> None:
        self.image = image
        self.pixel_range = pixel_range
        self.path = path or str(getattr(image, "filename", "") or "image")
        self.nearly_blank = False
        self._decoded: Decoded | None = None
        self._is_jpeg = image.format == "JPEG" and image.mode == "RGB"
        self._turn = _turn(image) if self._is_jpeg else None
        # Reduced, the last pixels of other sizes are cut, and would come first when turned.
        self.reducible = self._is_jpeg and (
            self._turn is None or all(side % 8 == 0 for side in image.size)
        )

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture; not all formats know it before decoding.

        Raises:
            UnreadableImageError: the file cannot be decoded.
        """
        if not self.reducible:
            return self.decode().picture.size
        width, height = self.image.size
        return (height, width) if self._turn in _SWAPPING else (width, height)

    def decode(self, reduction: int = 1) -> Decoded:
        """Decode the picture by :func:`to_rgb`; later calls return what the first one did.

        Args:
            reduction: how many times smaller than the file's it may be; JPEGs can be decoded at a
                half, a quarter and an eighth of their size, by their own cosine transform.

        Raises:
            UnreadableImageError: the file cannot be decoded.
        """
        if self._decoded is not None:
            return self._decoded
        image, scale = self.image, 1.0
        with reading(self.path):
            unchanged = image.mode in ("RGB", "L") and not _has_alpha(image) and not is_deep(image)
        if self.reducible and reduction >= 2:
            width, height = image.size
            drafted = image.draft("RGB", (width // reduction, height // reduction))
            # The picture's extent in reduced pixels, of which the last may be cut.
            scale = drafted[1][2] / width if drafted else 1.0
        with reading(self.path):
            picture = to_rgb(image, self.pixel_range)
        self.nearly_blank = nearly_blank(
            picture, BLANK_LEVELS_UNCHANGED if unchanged else BLANK_LEVELS
        )
        self._decoded = Decoded(picture, scale)
        return self._decoded

    def pixels(self) -> Tensor:
        """The whole picture by the same rule, uint8 ``[3, H, W]`` whose memory is ``[H, W, 3]``.

        JPEGs are decoded by torchvision, which takes a third less time than Pillow, to the same
        pixels and without a copy. It takes no damaged file that Pillow refuses; what it refuses,
        Pillow decides. (OpenCV and simplejpeg are a tenth faster; the one takes damaged files, the
        other would be one more dependency.)

        Raises:
            UnreadableImageError: the file cannot be decoded.
        """
        pixels = None
        if self._is_jpeg and self._decoded is None:
            with reading(self.path):
                pixels = _jpeg_pixels(self.image)
        if pixels is None:
            return as_tensor(self.decode().picture)
        height, width = pixels.shape[1:]
        array = pixels.permute(1, 2, 0).numpy()
        # Those that Pillow takes when it resizes to the nearest.
        rows, columns = ((np.arange(_FEW) + 0.5) * side / _FEW for side in (height, width))
        few = array[rows.astype(int)[:, None], columns.astype(int)]
        if self._turn is None and _levels_of(Image.fromarray(few)) >= BLANK_LEVELS_UNCHANGED:
            self.image.close()
            return pixels
        picture = Image.fromarray(array)
        self.nearly_blank = nearly_blank(picture, BLANK_LEVELS_UNCHANGED)
        self.image.close()
        return as_tensor(picture if self._turn is None else picture.transpose(self._turn))


def as_tensor(picture: Image.Image) -> Tensor:
    """An RGB picture as uint8 ``[3, H, W]`` whose memory is ``[H, W, 3]``."""
    import torch

    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def _jpeg_pixels(image: Image.Image) -> Tensor | None:
    """The pixels of an opened JPEG as they are in the file; None where torchvision refuses it."""
    if getattr(image, "fp", None) is None:  # it is loaded already
        return None
    import torch
    from torchvision.io import decode_jpeg

    content = torch.frombuffer(bytearray(_content(image)), dtype=torch.uint8)
    try:
        pixels: Tensor = decode_jpeg(content)
    except RuntimeError:
        return None
    return pixels


def _content(image: Image.Image) -> bytes:
    """All bytes of an opened file, which Pillow can still read afterwards."""
    stream: Any = image.fp  # type: ignore[attr-defined]
    position = stream.tell()
    stream.seek(0)
    content: bytes = stream.read()
    stream.seek(position)
    return content


def printable(path: str) -> str:
    """``path`` for logs, which are UTF-8: bytes that are not are written as escapes."""
    return os.fsencode(path).decode(errors="backslashreplace")


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn the many kinds of exception that Pillow raises into :class:`UnreadableImageError`.

    RunError, of a source that is damaged as a whole, stays one.
    """
    try:
        yield
    except RunError:
        raise
    except Exception as error:
        text = f"{path}: {type(error).__name__}: {error}"
        raise UnreadableImageError(printable(text)) from error


def _raw_mode(image: Image.Image) -> str:
    """How the file stores its pixels, by Pillow's name; empty for a picture in memory."""
    tiles = getattr(image, "tile", None)
    if not tiles:
        return ""
    arguments = tiles[0][3]
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What brings the picture upright, or None; damaged EXIF says nothing."""
    if image.format == "JPEG" and not any(key in image.info for key in _MAY_HOLD_ORIENTATION):
        return None
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # each kind of damage has its own
        return None


def _has_alpha(image: Image.Image) -> bool:
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return True
    return image.mode == "P" and getattr(image.palette, "mode", "").endswith("A")


def _on_white(image: Image.Image) -> Image.Image:
    if not _has_alpha(image):
        return image.convert("RGB")
    if image.mode.endswith("a"):  # colors times alpha, which Pillow converts to their own kind only
        image = image.convert(image.mode.upper())
    colors = image.convert("RGBA")
    white = Image.new("RGBA", colors.size, "white")
    return Image.alpha_composite(white, colors).convert("RGB")


def _scale_transparent_level(image: Image.Image, raw: str) -> None:
    """Of gray with 2 or 4 bits Pillow scales the pixels to 8 bits, and not the transparent one."""
    factor = {"L;2": 85, "L;4": 17}.get(raw)
    if factor and isinstance(image.info.get("transparency"), int):
        image.info["transparency"] *= factor


def _check_unsigned(image: Image.Image) -> None:
    """Raise ValueError if Pillow reads negative values of 8 bits as bright ones."""
    if getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT, (1,))[0] != _SIGNED:
        return
    if image.getextrema()[1] > 127:  # type: ignore[operator]
        raise ValueError("its signed values of 8 bits go below 0: store them as 16 bits")


def _values(image: Image.Image, raw: str) -> np.ndarray:
    """Gray with more than 8 bits as it is in the file, ``[H, W]``."""
    values = np.asarray(image)
    if raw in _BIG_ENDIAN and image.info.get("compression", "raw") != "raw":
        # libtiff brings the bytes to the machine's order, and Pillow takes them for the file's.
        return values.astype(_BIG_ENDIAN[raw]).byteswap().astype(values.dtype)
    return values.view(np.uint32) if raw == "I;32N" else values


def _gray_levels(image: Image.Image, raw: str, pixel_range: PixelRange) -> np.ndarray:
    """Gray with more than 8 bits as uint8 ``[H, W]``, transparent pixels white."""
    values = _values(image, raw)
    if not np.isfinite(values).all():
        raise ValueError("it has pixels that are not finite")
    black, white = pixel_range or _range_of(image, raw, values)
    levels = _levels(values, black, white)
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        levels = 255 - levels
    if "transparency" in image.info:
        levels[values == image.info["transparency"]] = 255
    return levels


def _range_of(image: Image.Image, raw: str, values: np.ndarray) -> tuple[float, float]:
    """Black and white of a picture whose data set states none."""
    if image.mode != "F" and (image.mode != "I" or image.format in ("PNG", "PPM")):
        return 0, 4095 if raw == "I;12" else 65535
    low, high = values.min(), values.max()
    for white in (1, 255, 65535) if image.mode == "F" else (255, 65535):
        if low >= 0 and high <= white:
            return 0, white
    raise ValueError(
        f"its pixels go from {low:g} to {high:g}, and config.MSCN.PIXEL_RANGE does not state "
        "the values of black and white"
    )


def _levels(values: np.ndarray, black: float, white: float) -> np.ndarray:
    """Values as levels from 0 to 255, uint8 of the same shape."""
    if values.dtype.itemsize == 2:  # a table of all 16-bit values
        table: np.ndarray = _levels(np.arange(65536), black, white)[values]
        return table
    shifted = values.astype(np.float64) - black
    if values.dtype.kind in "iu" and white - black >= 255:
        levels = np.floor(shifted * 256 / (white - black + 1))  # the 8 highest bits
    else:
        levels = np.rint(shifted * 255 / (white - black))
    return levels.clip(0, 255).astype(np.uint8)


def _by_opencv(image: Image.Image, raw: str, pixel_range: PixelRange) -> Image.Image | None:
    """Pictures of more than 8 bits of which Pillow does not keep the values that count.

    Returns:
        Gray, RGB or RGBA; None where Pillow serves.

    Raises:
        ValueError: OpenCV does not read the file, or would misread it.
    """
    rescaled = _rescaled_white(image)
    black, white = pixel_range or (0, rescaled or 65535)
    if rescaled is None:
        if ";16" not in raw or raw.startswith("I"):
            return None
        if (black, white) == (0, 65535) and "transparency" not in image.info:
            return None  # Pillow's higher byte
    if image.format == "AVIF":
        if pixel_range is None:
            return None
        raise ValueError(
            "its AVIF has more than 8 bits, of which 8 can be read, and config.MSCN.PIXEL_RANGE is "
            "about all of them: store it as PNG or TIFF"
        )
    content = _content(image)
    _check_opencv_reads(image, raw, content)
    import cv2

    if image.format == "PPM":  # OpenCV takes the last number of plain ones for cut off without it
        content += b"\n"
    # It would print a line for each picture of a color space that it only assumes.
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    finally:
        cv2.utils.logging.setLogLevel(level)
    if values is None or values.dtype != np.uint16:
        raise ValueError(
            f"OpenCV, by which {image.format} files of more than 8 bits ({raw}) are read, cannot "
            "read it; it may be damaged"
        )
    if values.ndim == 2:
        return Image.fromarray(_levels(values, black, white))
    levels = _levels(values[..., 2::-1], black, white)
    has_alpha = "transparency" in image.info or not raw.startswith("RGBX")
    alpha = _levels(values[..., 3 if has_alpha else 4 :], 0, rescaled or 65535)
    return Image.fromarray(np.concatenate([levels, alpha], axis=2))


def _check_opencv_reads(image: Image.Image, raw: str, content: bytes) -> None:
    """Raise ValueError if OpenCV would misread a picture of more than 8 bits without a word."""
    if getattr(image, "tag_v2", {}).get(_PLANES) == _SEPARATE:
        raise ValueError(
            "its color of more than 8 bits is stored plane by plane, which OpenCV misreads, and "
            "config.MSCN.PIXEL_RANGE requires OpenCV; store it pixel by pixel"
        )
    if raw.startswith("RGBa"):
        raise ValueError(
            "its color of more than 8 bits is multiplied by alpha, to which "
            "config.MSCN.PIXEL_RANGE cannot be applied; store it with unassociated alpha"
        )
    if image.format != "JPEG2000":
        return
    channels = set(_jpeg2000_channels(content))
    space = re.search(rb"colr\x01..(.{4})", content[: content.find(_CODESTREAM)], re.DOTALL)
    if (
        len(channels) > 1
        or not all(channel[0] < 128 and channel[1:] == b"\1\1" for channel in channels)
        or image.mode not in ("L", "I;16", "RGB", "RGBA")
        or (space and int.from_bytes(space[1], "big") not in (_SRGB, _GRAY))
    ):
        raise ValueError(
            "JPEG 2000 of more than 8 bits must be gray without alpha or sRGB, of unsigned values, "
            "and of the same bits and size in all channels; store it as PNG or TIFF"
        )
