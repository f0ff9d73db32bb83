"""What an image goes through before a trunk, the high-pass filter apart."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from torch import Tensor
from torchvision import transforms

from mscn_plugin.data.decoding import PixelRange, check_pixel_range, to_rgb
from mscn_plugin.errors import ConfigError
from mscn_plugin.transforms.stated import (
    BILINEAR,
    crop_size,
    interpolation_of,
    normalize_of,
    resize_for,
    spellings,
)
from mscn_plugin.types import value_at

_MARGIN = 5.0


class Preprocessing(NamedTuple):
    """Resize, crop and normalization of an evaluation; the defaults are ImageNet's (A.2).

    Attributes:
        resize: shorter side after resizing, in pixels; None: arrays as large as they are.
        crop: side of the central square, in pixels.
        mean, std: of the RGB channels, for pixels from 0 to 1; of arrays in the files' own units.
        pixel_range: black and white of pictures with more than 8 bits, where the data set's are
            stated (:mod:`mscn_plugin.data.decoding`).
        channels: of images that are arrays (``config.MSCN.CHANNELS``); None: they are pictures.
        interpolation: of the resizing, by Pillow's numbers, which torchvision takes.
    """

    resize: int | None = 256
    crop: int = 224
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    pixel_range: PixelRange = None
    channels: int | None = None
    interpolation: int = BILINEAR

    def __call__(self, picture: Image.Image) -> Tensor:
        """Return the normalized, unfiltered image ``[3, crop, crop]`` of a picture."""
        steps = [
            *([] if self.resize is None else [transforms.Resize(self.resize, self._mode)]),
            transforms.CenterCrop(self.crop),
            transforms.ToTensor(),
            transforms.Normalize(self.mean, self.std),
        ]
        return transforms.Compose(steps)(to_rgb(picture, self.pixel_range))

    def in_words(self) -> str:
        """What is done to a picture, the decoding of its pixels included."""
        mode = "" if self.interpolation == BILINEAR else f" ({self._mode.value})"
        resized = "" if self.resize is None else f"resized to {self.resize}{mode} and "
        black_to_white = list(self.pixel_range) if self.pixel_range else "null"
        return (
            f"pictures in RGB, {resized}cropped to {self.crop} pixels, normalized with mean "
            f"{list(self.mean)} and std {list(self.std)}, MSCN.PIXEL_RANGE {black_to_white}"
        )

    def resizing_in_code(self) -> str:
        """The ``Resize`` as Python has it, with ``transforms`` of torchvision; "" without one."""
        if self.resize is None:
            return ""
        name = self._mode.name
        mode = "" if name == "BILINEAR" else f", transforms.InterpolationMode.{name}"
        return f"transforms.Resize({self.resize}{mode})"

    @property
    def _mode(self) -> transforms.InterpolationMode:
        return transforms.InterpolationMode[Image.Resampling(self.interpolation).name]

    @property
    def limit(self) -> float:
        """What a normalized pixel never reaches, Gaussian noise neither, and pixels to 255 do.

        Infinite for arrays, whose units may be any.
        """
        if self.channels is not None:
            return math.inf
        largest = max(max(mean, 1 - mean) / std for mean, std in zip(self.mean, self.std))
        return _MARGIN * largest


def assumption(checkpoint: Path, images: str) -> str:
    """A warning that it is not stated how a checkpoint's images were processed.

    Args:
        images: what is assumed of them, in words.
    """
    return (
        f"{checkpoint} does not hold its run's configuration, nor is there a train_config.yaml "
        f"beside it: assumed are {images}"
    )


def preprocessing_of(config: dict[str, Any] | None, size: int | None) -> Preprocessing:
    """What a run's evaluations do to an image; without a configuration ImageNet's.

    Mean and std are those that the trunk was trained with, 0 and 1 where it had none.

    Args:
        size: side of the central square in pixels, in place of the configuration's.

    Raises:
        ConfigError: images are resized or cropped to a height and a width that differ, or to
            less than the crop, or in another way that an export cannot state.
        ValueError, TypeError: a value of the configuration is none of its kind.
    """
    found = Preprocessing()
    images = (config or {}).get("MSCN") or {}
    found = found._replace(pixel_range=check_pixel_range(images.get("PIXEL_RANGE")))
    channels = images.get("CHANNELS")
    if channels is not None:
        found = found._replace(channels=int(channels))
    statistics = statistics_of(config)
    if statistics is not None:
        found = found._replace(mean=statistics.mean, std=statistics.std)
    test = value_at(config, "DATA.TEST.TRANSFORMS") or []
    mode = Image.Resampling(interpolation_of(test, "Resize"))
    try:
        resize, crop = _sizes(config, found.channels)
    except ConfigError:
        if size is None:
            raise
        resize, crop = None if found.channels else resize_for(size), size
    if size is not None:
        resize, crop = None if resize is None else round(size * resize / crop), size
    return found._replace(resize=resize, crop=crop, interpolation=int(mode))


def _sizes(config: dict[str, Any] | None, channels: int | None) -> tuple[int | None, int]:
    """Sides after resizing and cropping, those that are not stated as ``mscn evaluate`` has them.

    It crops to the size of the run's views, of a picture that is 8 / 7 as large; arrays are not
    resized where the run does not.
    """
    test = value_at(config, "DATA.TEST.TRANSFORMS") or []
    resize = next((_side(t, channels) for t in reversed(test) if "Resize" in spellings(t)), None)
    crop = Preprocessing().crop
    for split in ("TEST", "TRAIN"):
        stated = crop_size(value_at(config, f"DATA.{split}.TRANSFORMS") or [])
        if stated is not None:
            crop = _square(stated, split)
            break
    if resize is None and channels is None:
        resize = resize_for(crop)
    if resize is not None and resize < crop:
        raise ConfigError(
            f"config.DATA.TEST.TRANSFORMS resizes to {resize} pixels, less than the crop of {crop} "
            "(the views' where no crop is stated): the rest would be black; an export takes one "
            "side of a square in pixels: --size states it"
        )
    return resize, crop


class Statistics(NamedTuple):
    """Mean and std of the channels that images are normalized with."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def statistics_of(config: dict[str, Any] | None) -> Statistics | None:
    """What a run's trunk was trained with: 0 and 1 without ``Normalize``; None: it is not known.

    Raises:
        ValueError, TypeError: a value of the configuration is none of its kind.
    """
    normalize = normalize_of(config)
    if normalize is not None:
        return Statistics(*(tuple(map(float, normalize[key])) for key in Statistics._fields))
    if value_at(config, "MSCN.CHANNELS") is not None:
        return Statistics((0.0,), (1.0,))
    if value_at(config, "DATA.TRAIN.TRANSFORMS"):
        return Statistics((0.0,) * 3, (1.0,) * 3)
    return None


def _side(resize: dict[str, Any], channels: int | None) -> int:
    """The one side in pixels of a resize, alone or in a list."""
    for key, usual in (("max_size", None), ("antialias", True)):
        value = resize.get(key, usual)
        # Pillow resizes pictures with antialiasing, whatever is requested.
        if value != usual and (key == "max_size" or channels is not None):
            raise ConfigError(
                f"config.DATA.TEST.TRANSFORMS has {resize['name']} with {key} {value!r}, which an "
                "export does not take; it must be left out, or --size state one side of a square "
                "in pixels"
            )
    size = resize["size"]
    sides = size if isinstance(size, (list, tuple)) else [size]
    if len(sides) != 1:  # two numbers make it stretch an image, whatever they are
        raise _no_square("TEST", resize["name"], size)
    return int(sides[0])


def _square(size: tuple[int, int], split: str) -> int:
    if size[0] != size[1]:
        raise _no_square(split, "a crop", list(size))
    return size[0]


def _no_square(split: str, name: str, size: Any) -> ConfigError:
    return ConfigError(
        f"config.DATA.{split}.TRANSFORMS has {name} with size {size!r}; an export takes one side "
        "of a square in pixels: --size states it"
    )
