"""Statistics of a data set's arrays, per channel: what ``Normalize`` takes, measured in one pass.

Sums are float64, of each image by itself and then merged (Chan, Golub, LeVeque 1983), in the order
of the images: the result depends neither on offsets in the data nor on the number of processes.

Shape shorthand: C channels, H, W height and width in pixels.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from mscn_plugin.data.arrays import (
    LAYOUTS,
    AmbiguousLayoutError,
    ArrayFormat,
    as_float32,
    channels_first,
    stored_values,
)
from mscn_plugin.data.decoding import UnreadableImageError, reading
from mscn_plugin.data.image_folder import Contents, images_fingerprint, spread_paths
from mscn_plugin.data.parallel import in_processes
from mscn_plugin.data.sources import contents_of, find_splits, size_listed
from mscn_plugin.errors import ConfigError
from mscn_plugin.types import is_number, is_whole

FILE = "statistics.json"
"""Name of the file in the folder of a data set."""
_VERSION = 1
_CHUNK = 64  # images that a process measures at a time
_HASHED = 16  # files, evenly spaced
_NAMED = 100  # unreadable images that the file names
_VALUES = ("mean", "std", "min", "max")


@dataclasses.dataclass(frozen=True)
class Moments:
    """What is known of the pixels of some images, per channel, float64 ``[C]``.

    Attributes:
        pixels: of each channel.
        mean: of the values.
        squares: sum of the squared distances from the mean.
        low, high: smallest and largest value.
    """

    pixels: int
    mean: np.ndarray
    squares: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray) -> Moments:
        """Those of one image ``[C, H, W]``."""
        values = image.reshape(len(image), -1).astype(np.float64)
        mean = values.mean(axis=1)
        squares = ((values - mean[:, None]) ** 2).sum(axis=1)
        return cls(values.shape[1], mean, squares, values.min(axis=1), values.max(axis=1))

    def merged(self, other: Moments) -> Moments:
        """Those of both sets of images."""
        pixels = self.pixels + other.pixels
        shift, share = other.mean - self.mean, other.pixels / pixels
        return Moments(
            pixels,
            self.mean + share * shift,
            self.squares + other.squares + self.pixels * share * shift**2,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )


class _Part(NamedTuple):
    place: int
    moments: Moments | None
    types: Counter[str]
    unreadable: list[str]


def measure(data: str, form: ArrayFormat, processes: int = 1) -> dict[str, Any]:
    """Measure the training images of a data set, with a progress bar.

    Args:
        data: a folder of arrays, as ``config.MSCN.DATA`` takes it.
        processes: that read them.

    Returns:
        What the file holds: ``channels``, ``layout``, ``images``, ``pixels`` (of each channel, of
        all images), lists ``mean``, ``std``, ``min`` and ``max`` in the files' own units, ``types``
        (how many files are of which type), ``unreadable`` with their number and the first names
        and reasons, and the images' :func:`arrays_fingerprint`.

    Raises:
        ConfigError: there are no arrays, none can be read, or their layout is ambiguous.
    """
    splits = find_splits(data, "the folder", form.channels)
    contents = contents_of(splits)
    paths = [path for path, _ in contents.images]
    chunks = [(place, paths[place : place + _CHUNK]) for place in range(0, len(paths), _CHUNK)]
    parts: list[_Part] = []
    with (
        in_processes(functools.partial(_measure, form), chunks, processes) as measured,
        tqdm(total=len(paths), unit=" images", disable=None) as bar,
    ):
        for part in measured:
            if isinstance(part, str):
                raise ConfigError(part)
            parts.append(part)
            bar.update(min(_CHUNK, len(paths) - part.place))
    parts.sort(key=lambda part: part.place)
    unreadable = [text for part in parts for text in part.unreadable]
    found = [part.moments for part in parts if part.moments is not None]
    if not found:
        raise ConfigError(f"none of the {len(paths)} arrays of {data} can be read: {unreadable[0]}")
    moments = functools.reduce(Moments.merged, found)
    return {
        "version": _VERSION,
        "channels": form.channels,
        "layout": form.layout,
        "images": len(paths) - len(unreadable),
        "pixels": moments.pixels,
        "mean": moments.mean.tolist(),
        "std": np.sqrt(moments.squares / moments.pixels).tolist(),
        "min": moments.low.tolist(),
        "max": moments.high.tolist(),
        "types": dict(sum((part.types for part in parts), Counter())),
        "unreadable": {"number": len(unreadable), "first": unreadable[:_NAMED]},
        "fingerprint": arrays_fingerprint(contents),
    }


def arrays_fingerprint(contents: Contents) -> dict[str, Any]:
    """Of which arrays statistics are: names, sizes, and a hash of the bytes of a few files.

    Arrays keep their size where their values change: the few tell, without reading all.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in spread_paths(contents.images, _HASHED):
        try:
            content = Path(path).read_bytes()
        except OSError:  # unreadable, as which it is counted elsewhere
            content = b"none can be read"
        digest.update(content)
    return {**images_fingerprint(contents, size_listed), "contents": digest.hexdigest()}


def _measure(form: ArrayFormat, chunk: tuple[int, Sequence[str]]) -> _Part | str:
    """Measure some images; returns the message of an error that ends all."""
    place, paths = chunk
    moments: Moments | None = None
    types, unreadable = Counter[str](), []
    for path in paths:
        try:
            with reading(path):
                values = stored_values(path)
                of_image = Moments.of(as_float32(channels_first(values, form)))
        except UnreadableImageError as error:
            if isinstance(error.__cause__, AmbiguousLayoutError):
                return str(error)
            unreadable.append(str(error))
            continue
        types[values.dtype.name] += 1
        moments = of_image if moments is None else moments.merged(of_image)
    return _Part(place, moments, types, unreadable)


def read_statistics(file: Path, form: ArrayFormat, remedy: str) -> dict[str, Any]:
    """What :func:`measure` has returned, from its file.

    Args:
        form: that they must be of.
        remedy: the command that writes the file.

    Raises:
        ConfigError: there is no such file, or it is damaged, or of other channels or another
            layout.
    """
    channels = form.channels
    try:
        statistics: Any = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read ({error.strerror}): {remedy}") from None
    except ValueError:
        statistics = None
    if not isinstance(statistics, dict) or not is_whole(statistics.get("channels")):
        raise ConfigError(f"{file} is damaged, or no file of statistics: {remedy}")
    if statistics["channels"] != channels:
        raise ConfigError(
            f"{file} is of {statistics['channels']} channels, and config.MSCN.CHANNELS is "
            f"{channels}; where the arrays have {channels}, {remedy}"
        )
    measured = statistics.get("layout")
    # Where one of them is auto, arrays that both read are read alike: auto refuses ambiguous ones.
    if measured in LAYOUTS and measured != form.layout and "auto" not in (measured, form.layout):
        raise ConfigError(
            f"{file} is of arrays that are {measured}, and config.MSCN.ARRAY_LAYOUT is "
            f"{form.layout}; where they are {form.layout}, {remedy}"
        )
    for name in _VALUES:
        values: Any = statistics.get(name)
        whole = isinstance(values, list) and len(values) == channels
        if not whole or not all(map(is_number, values)):
            raise ConfigError(f"{file} has no {name} of {channels} channels: {remedy}")
    return statistics
