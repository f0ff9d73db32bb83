"""Images as arrays: any number of channels, in the file's own units, nothing decoded to RGB.

Where ``config.MSCN.CHANNELS`` says C, a folder's images are its ``.npy``, ``.npz``, ``.tif``,
``.tiff`` and ``.png`` files, and a sample is a float32 array ``[C, H, W]`` with the values that
stand in the file, neither clipped nor scaled. What cannot be read so is an unreadable image
(:func:`read_array`). No file is ever unpickled.

Shape shorthand: C channels, H, W height and width in pixels.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from mscn_plugin.data.decoding import reading

if TYPE_CHECKING:
    from mscn_plugin.types import Config

ARRAYS = "array_folder"
"""Name of the source of folders of arrays."""
EXTENSIONS = (".npy", ".npz", ".tif", ".tiff", ".png")
"""Endings, in lower case, of the files that are taken for arrays."""
MAX_CHANNELS = 64
LAYOUTS = ("auto", "channels_first", "channels_last")
"""For arrays of three dimensions, ``[C, H, W]`` and ``[H, W, C]``; auto: by their channels."""
EXACT = 2**24
"""Up to this magnitude float32 holds every whole number."""

_KINDS = "uif"  # of NumPy's types: integers without and with a sign, floats
_LARGEST = 8  # bytes of a number; NumPy's float128 is none of any file
_LOST = 0.01  # of an array's range: more is lost where float64 is rounded to float32
_PNG_MODES = ("L", "I;16", "I;16B", "RGB", "RGBA", "LA")
"""How PNG files store pixels that Pillow hands over as they are."""
_NAMED_FILE = re.compile(r'<UUID[^>]*FileName="([^"]*)"')
"""A file that OME-XML says a part of the image is in."""
_BINS = 32  # of a histogram
_CLIPPED_SHARE = 0.01  # of the values on either side, in pictures for people


class ArrayFormat(NamedTuple):
    """What a data set's arrays are.

    Attributes:
        channels: C, from 1 to 64.
        layout: one of :data:`LAYOUTS`.
    """

    channels: int
    layout: str = "auto"

    @classmethod
    def of(cls, cfg: Config) -> ArrayFormat | None:
        """That of a configuration; None where its images are pictures."""
        settings = cfg.get("MSCN", {})
        channels = settings.get("CHANNELS")
        return None if channels is None else cls(channels, settings.get("ARRAY_LAYOUT", "auto"))


class AmbiguousLayoutError(ValueError):
    """Both the first and the last dimension may be the channels'."""


def read_array(path: str, form: ArrayFormat) -> np.ndarray:
    """The image in a file: float32 ``[C, H, W]``, in the file's own units.

    Raises:
        UnreadableImageError: the file is damaged, of another kind or shape, or holds values that
            are not finite or that float32 does not hold.
    """
    with reading(path):
        return as_float32(channels_first(stored_values(path), form))


def stored_values(path: str) -> np.ndarray:
    """The array in a file as it is stored.

    Raises:
        ValueError: it has none, several, or one that is not of real numbers.
        Exception: what NumPy, tifffile and Pillow raise for damaged files.
    """
    ending = os.path.splitext(path)[1].lower()
    if ending in (".tif", ".tiff"):
        values = _tiff(path)
    elif ending == ".png":
        values = _png(path)
    else:
        values = _numpy(path)
    if values.dtype.kind not in _KINDS or values.dtype.itemsize > _LARGEST:
        raise ValueError(
            f"its values are of type {values.dtype}; they must be integers or floats, of 8 to 64 "
            "bits"
        )
    if values.size == 0:
        raise ValueError(f"it is empty, of shape {list(values.shape)}")
    return values


def channels_first(values: np.ndarray, form: ArrayFormat) -> np.ndarray:
    """A view ``[C, H, W]`` of ``[H, W]``, ``[C, H, W]`` or ``[H, W, C]``.

    Raises:
        AmbiguousLayoutError: both the first and the last dimension have C entries.
        ValueError: the shape has not C channels.
    """
    channels, shape = form.channels, list(values.shape)
    if values.ndim == 2 and channels == 1:
        return values[None]
    if values.ndim == 3:
        first, last = (values.shape[place] == channels for place in (0, -1))
        if first and last and form.layout == "auto":
            raise AmbiguousLayoutError(
                f"its shape is {shape}, of which both the first and the last may be the "
                f"{channels} of config.MSCN.CHANNELS: set config.MSCN.ARRAY_LAYOUT to "
                "channels_first or channels_last"
            )
        if first and form.layout != "channels_last":
            return values
        if last and form.layout != "channels_first":
            return np.moveaxis(values, -1, 0)
    wanted = {"channels_first": ["[C, H, W]"], "channels_last": ["[H, W, C]"]}
    shapes = wanted.get(form.layout, ["[C, H, W]", "[H, W, C]"])
    shapes = ["[H, W]", *shapes] if channels == 1 else shapes
    raise ValueError(
        f"its shape is {shape}; with config.MSCN.CHANNELS {channels} it must be "
        f"{' or '.join(shapes)}, C {channels}"
    )


def as_float32(values: np.ndarray) -> np.ndarray:
    """The same values as float32, in C order.

    Raises:
        ValueError: they are not finite, or float32 does not hold them: integers above
            :data:`EXACT`, and floats of 64 bits that are above it and rounded, or rounded by more
            than a hundredth of the range of all.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError("it has pixels that are not finite (NaN or Inf)")
    with np.errstate(over="ignore", under="ignore"):
        converted = np.ascontiguousarray(values, dtype=np.float32)
    if values.dtype.itemsize < 4 or values.dtype == np.float32:
        return converted
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        lost = np.abs(converted - values)
        rounded = lost.max() > _LOST * (high - low) > 0 or lost[np.abs(values) > EXACT].any()
    else:
        rounded = int(low) < -EXACT or int(high) > EXACT
    if rounded:
        raise ValueError(
            f"its {values.dtype} values go from {low} to {high}, which float32, with whole numbers "
            f"up to {EXACT}, does not hold: bring them to a smaller range, or save them as float32"
        )
    return converted


def value_histogram(image: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Histograms of each channel's values: what a trunk on arrays has to be better than.

    Args:
        image: float32 ``[C, H, W]``.
        mean, std: of the data set, per channel; :data:`_BINS` bins of equal width cover 3 standard
            deviations to each side, and the outer ones all beyond.

    Returns:
        float32 ``[C * bins]``, of which each channel's part sums to 1.
    """
    center, width = (np.asarray(values, np.float64)[:, None, None] for values in (mean, std))
    places = ((image - center) / width + 3) * (_BINS / 6)
    channel = np.arange(len(image))[:, None, None] * _BINS
    flat = places.clip(0, _BINS - 1).astype(np.int64) + channel
    counts = np.bincount(flat.reshape(-1), minlength=len(image) * _BINS)
    shares: np.ndarray = (counts / image[0].size).astype(np.float32)
    return shares


def as_picture(image: np.ndarray, shown: Sequence[int] | None = None) -> Image.Image:
    """An image for people: RGB, each channel stretched from its dark to its bright values.

    Args:
        image: float32 ``[C, H, W]``.
        shown: see :func:`shown_channels`.
    """
    picked = image[shown_channels(len(image), shown)]
    low, high = (
        np.quantile(picked, share, axis=(1, 2), keepdims=True)
        for share in (_CLIPPED_SHARE, 1 - _CLIPPED_SHARE)
    )
    levels = (picked - low) / np.where(high > low, high - low, 1)
    return Image.fromarray((255 * levels.clip(0, 1)).round().astype(np.uint8).transpose(1, 2, 0))


def shown_channels(channels: int, shown: Sequence[int] | None = None) -> list[int]:
    """The three channels that are drawn as red, green and blue; thrice the same for gray.

    Args:
        channels: C.
        shown: ``config.MSCN.PICTURE_CHANNELS``, one or three; None: the first three, and of fewer
            channels the first one.
    """
    chosen = list(shown) if shown else list(range(3)) if channels >= 3 else [0]
    return chosen * 3 if len(chosen) == 1 else chosen


def _numpy(path: str) -> np.ndarray:
    try:
        return _only_array(path)
    except ValueError as error:
        if "pickle" in str(error):  # NumPy's words name a way that is unsafe
            raise ValueError("it holds pickled objects, or nothing of NumPy's") from None
        raise


def _only_array(path: str) -> np.ndarray:
    loaded: Any = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        if len(loaded.files) != 1:
            names = ", ".join(loaded.files[:5]) or "none"
            raise ValueError(
                f"it holds {len(loaded.files)} arrays ({names}), and must hold one: save each in a "
                "file of its own"
            )
        values: np.ndarray = loaded[loaded.files[0]]
        return values


def _tiff(path: str) -> np.ndarray:
    """All pages of a TIFF file, which are channels; smaller copies of the picture are left out."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        named = set(_NAMED_FILE.findall(file.ome_metadata or ""))
        if len(named) > 1:
            raise ValueError(
                f"its OME-XML spreads one image over {len(named)} files; it must have all channels "
                "in one file"
            )
        parts = [part for part in file.series if not part.keyframe.is_reduced]
        kinds = dict.fromkeys(f"{list(part.shape)} {part.dtype}" for part in parts)
        if len(kinds) != 1:
            raise ValueError(
                f"it must hold pages of one size and type, and has {', '.join(kinds) or 'none'}"
            )
        if parts[0].keyframe.photometric == tifffile.PHOTOMETRIC.PALETTE:
            raise ValueError("its values are places in a palette of colors")
        for part in parts:  # where OME-XML or the like names pages that are not there: zeros
            pages: list[Any] = [] if part.dataoffset is not None else list(part.pages)
            if None in pages:
                raise ValueError(
                    f"its metadata names {len(pages)} pages, and {pages.count(None)} are missing"
                )
        values: list[np.ndarray] = [part.asarray() for part in parts]
        return values[0] if len(values) == 1 else np.stack(values)


def _png(path: str) -> np.ndarray:
    with Image.open(path) as image:
        tiles: Any = getattr(image, "tile", None)
        arguments = tiles[0][3] if tiles else image.mode
        mode = arguments if isinstance(arguments, str) else arguments[0]
        if image.format != "PNG" or mode not in _PNG_MODES:
            raise ValueError(
                f"it is a {image.format} file with pixels {mode}; a PNG that is read as an array "
                "has gray of 8 or 16 bits, or colors of 8: save it as TIFF or .npy"
            )
        return np.asarray(image)
