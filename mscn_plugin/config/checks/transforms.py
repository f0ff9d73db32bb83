"""Checks of the transforms and collators of both splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from classy_vision.dataset.transforms import TRANSFORM_REGISTRY, build_transform
from torchvision import transforms as torchvision_transforms
from vissl.data.collators import COLLATOR_REGISTRY

from mscn_plugin.allowed import (
    ABOVE_ZERO_TO_ONE,
    FRACTION,
    POSITIVE,
    Allowed,
    at_least,
    either,
    list_of,
    number,
    whole,
)
from mscn_plugin.config.checks.build import RecordedSection, build, call_of
from mscn_plugin.errors import ConfigError
from mscn_plugin.transforms.stated import resized, spellings
from mscn_plugin.types import Config, is_whole

Size = tuple[int, int]
"""Width and height in pixels."""
_KEEPING_SIZES = (
    *("ImgReplicatePil", "ImgPilColorDistortion", "ImgPilGaussianBlur", "ColorJitter", "Grayscale"),
    *("RandomGrayscale", "RandomHorizontalFlip", "RandomVerticalFlip", "ToTensor", "Normalize"),
    *("MSCNHighPass", "MSCNMask"),
)
"""Transforms that keep the size of an image."""
_WRAPPER_KEYS = ("name", "indices", "transform_type")
"""Keys of a transform that VISSL's wrapper reads."""
_SIZES = list_of(whole(1))
_RULES: dict[str, Allowed] = {
    "p": either(FRACTION, list_of(FRACTION)),
    "prob": either(FRACTION, list_of(FRACTION)),
    "strength": at_least(0),
    "radius_min": at_least(0),
    "radius_max": at_least(0),
    "size": either(whole(1), list_of(whole(1), (1, 2))),
    "num_times": whole(1),
    "total_num_crops": whole(1),
    "num_crops": _SIZES,
    "size_crops": _SIZES,
    "interpolation": Allowed("a whole number from 0 to 5", lambda v: is_whole(v) and 0 <= v <= 5),
    "value": Allowed("given", lambda v: v is not None),  # RandomErasing says what it may be
}
"""Of keys of transforms that the transforms themselves do not check, or in the workers alone."""
_CROP_RULES = {
    "scale": list_of(ABOVE_ZERO_TO_ONE, (2,), ordered=True),
    "ratio": list_of(POSITIVE, (2,), ordered=True),
}
_RESIZED_CROPS = ("RandomResizedCrop", "MSCNRandomResizedCrops")


def check(cfg: Config) -> None:
    """Build every transform of both splits.

    Raises:
        ConfigError: see :func:`mscn_plugin.config.checks.build.build`.
    """
    rules = {**_RULES, **_normalization(cfg.MSCN.CHANNELS)}
    for split in ("TRAIN", "TEST"):
        _check_transforms(f"config.DATA.{split}.TRANSFORMS", cfg.DATA[split].TRANSFORMS, rules)


def check_sizes(cfg: Config, split: str, sizes: set[Size]) -> None:
    """Check that a split's transforms bring images of several sizes to one, as a batch needs it.

    A transform that is not known to leave sizes alone is trusted to bring them to one, and so is a
    collator of a user's own. An image may be a batch by itself.

    Args:
        sizes: of some of the split's images.

    Raises:
        ConfigError: they leave several.
    """
    data = cfg.DATA[split]
    transforms, collator = data.TRANSFORMS, COLLATOR_REGISTRY.get(data.COLLATE_FUNCTION)
    module = "vissl." if collator is None else collator.__module__
    if data.BATCHSIZE_PER_REPLICA == 1 or not module.startswith(("vissl.", "mscn_plugin.")):
        return
    for transform in transforms:
        if "Resize" in spellings(transform) and transform.get("max_size") is None:
            sizes = {resized(size, transform["size"]) for size in sizes}
        elif not set(_KEEPING_SIZES).intersection(spellings(transform)):
            return
    if transforms and len(sizes) > 1:
        first, second = (f"{width} x {height}" for width, height in sorted(sizes)[:2])
        raise ConfigError(
            f"config.DATA.{split}.TRANSFORMS leave images of several sizes, such as {first} and "
            f"{second} pixels, which no batch can hold: they must have a crop, such as "
            "{name: CenterCrop, size: <pixels>}"
        )


def _normalization(channels: int | None) -> dict[str, Allowed]:
    """What mean and std may be.

    Args:
        channels: ``MSCN.CHANNELS``, whose values are in units of their own; None: of pictures, in
            units of the range from 0 to 1 that ToTensor gives.
    """
    if channels is None:
        share = number("above 0 and at most 1", lambda v: 0 < v <= 1)
        return {"mean": list_of(FRACTION, (1, 3)), "std": list_of(share, (1, 3))}
    lengths = dict.fromkeys((1, channels))
    return {
        "mean": list_of(number("a number", lambda v: True), lengths),
        "std": list_of(POSITIVE, lengths),
    }


def _check_transforms(
    path: str, transforms: list[dict[str, Any]], rules_of_all: Mapping[str, Allowed]
) -> None:
    for index, section in enumerate(transforms):
        place, name = f"{path}[{index}]", section["name"]
        if section.get("transform_type") is not None:
            continue  # augly's, built in the dry run
        nested = section.get("transforms")
        if isinstance(nested, list):
            for inner in nested:
                if not isinstance(inner, dict) or "name" not in inner:
                    raise ConfigError(f"{place}.transforms has {inner!r}; it must name a transform")
            _check_transforms(f"{place}.transforms", nested, rules_of_all)
        rules = {**rules_of_all, **(_CROP_RULES if name in _RESIZED_CROPS else {})}
        part = transform_class(name)
        build(place, name, _make_transform, section, part, _WRAPPER_KEYS, rules)
        low, high = section.get("radius_min", 0.1), section.get("radius_max", 2.0)
        if "Blur" in name and low > high:
            raise ConfigError(f"{place}.radius_min is {low}; it must be at most radius_max, {high}")


def _make_transform(section: RecordedSection) -> Any:
    """As Classy Vision does, which copies the section and would thus read all of its keys."""
    registered = TRANSFORM_REGISTRY.get(section["name"])
    if registered is None:
        return build_transform(section)
    section.pop("name")
    return registered.from_config(section)


def transform_class(name: str) -> Any:
    """The class of a transform, of VISSL's registry or of torchvision in its two spellings."""
    of_torchvision = (getattr(torchvision_transforms, n, None) for n in spellings({"name": name}))
    return TRANSFORM_REGISTRY.get(name) or next(filter(None, of_torchvision), None)


def check_collators(cfg: Config) -> None:
    """Check the parameters of both collators against the functions that take them.

    Raises:
        ConfigError: see :func:`mscn_plugin.config.checks.build.build`.
    """
    for split in ("TRAIN", "TEST"):
        name, settings = cfg.DATA[split].COLLATE_FUNCTION, cfg.DATA[split].COLLATE_FUNCTION_PARAMS
        collator = COLLATOR_REGISTRY.get(name)
        if collator is not None:  # PyTorch's own, which VISSL hands no parameters
            path = f"config.DATA.{split}.COLLATE_FUNCTION_PARAMS"
            build(path, name, call_of(collator, []), settings or {}, collator)
