"""What a list of transforms in a configuration states of the images that it gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mscn_plugin.errors import ConfigError
from mscn_plugin.types import is_number, is_whole, value_at

CROPS = {
    "RandomResizedCrop": "size",
    "MSCNRandomResizedCrops": "size",
    "RandomCrop": "size",
    "CenterCrop": "size",
    "ImgPilToMultiCrop": "size_crops",
}
"""Transforms that crop to a size, and the key that states it."""

BILINEAR = 2
"""torchvision's ``interpolation`` where a transform does not state it, by Pillow's number."""

NOT_NORMALIZED = {"mean": [0.0], "std": [1.0]}
"""What :func:`normalization` would be of transforms that do not normalize."""


def crop_size(transforms: Sequence[dict[str, Any]]) -> tuple[int, int] | None:
    """The size (H, W) in pixels of the views, those of the first size of ``ImgPilToMultiCrop``.

    Returns:
        None where no crop states it.

    Raises:
        ConfigError: a size is neither a whole number above 0 nor two of them.
    """
    for transform in reversed(transforms):
        name = crop_name(transform)
        if name is None or CROPS[name] not in transform:
            continue
        size = transform[CROPS[name]]
        sides = list(size) if isinstance(size, (list, tuple)) else [size]
        if CROPS[name] == "size_crops":
            sides = sides[:1]  # of the others each is a size of its own
        if len(sides) not in (1, 2) or not all(is_whole(side) and side > 0 for side in sides):
            raise ConfigError(
                f"config.DATA.*.TRANSFORMS has {name} with {CROPS[name]} {size!r}; it must "
                "be a whole number of pixels above 0, or two"
            )
        return sides[0], sides[-1]
    return None


def crop_name(transform: dict[str, Any]) -> str | None:
    """Which of :data:`CROPS` a transform is, in either of the spellings that VISSL takes."""
    return next((name for name in spellings(transform) if name in CROPS), None)


def spellings(transform: dict[str, Any]) -> tuple[str, str]:
    """A transform's name as it is written, and as VISSL looks for it in torchvision."""
    name = str(transform.get("name"))
    return name, name.title().replace("_", "")


def interpolation_of(transforms: Sequence[dict[str, Any]], *names: str) -> Any:
    """The ``interpolation`` of the last transform of these names; bilinear where none states it."""
    found = (dict(t) for t in reversed(transforms) if {*names} & {*spellings(t)})
    return next(found, {"interpolation": BILINEAR}).get("interpolation", BILINEAR)


def resized(size: Sequence[int], wanted: int | Sequence[int]) -> tuple[int, int]:
    """A size (W, H) in pixels after torchvision's ``Resize`` of both sides, or the shorter one.

    Args:
        wanted: the transform's ``size``, one number or (H, W).
    """
    sides = [wanted] if isinstance(wanted, int) else wanted
    if len(sides) == 2:
        return sides[1], sides[0]
    width, height = (side * sides[0] // min(size) for side in size)
    return width, height


def resize_for(crop: int) -> int:
    """Shorter side of the resized picture of which evaluations take a central ``crop``: A.2's."""
    return round(crop * 8 / 7)


def normalize_of(config: dict[str, Any] | None) -> dict[str, Any] | None:
    """The ``Normalize`` that a run's trunk was trained behind.

    Args:
        config: the ``config`` part of the run's configuration.

    Returns:
        The section of ``DATA.TRAIN.TRANSFORMS``, or where there are none that of
        ``DATA.TEST.TRANSFORMS``; None where these do not normalize.
    """
    train, test = (value_at(config, f"DATA.{split}.TRANSFORMS") for split in ("TRAIN", "TEST"))
    return normalization(train or test or ())


def normalization(transforms: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The first ``Normalize`` of a list of transforms, if it has one: its ``mean`` and ``std``."""
    found = (dict(transform) for transform in transforms if "Normalize" in spellings(transform))
    return next(found, None)


def normalization_in_words(transforms: Sequence[dict[str, Any]]) -> str:
    """What a list of transforms does, the same words where two lists give the same values."""
    found = normalization(transforms)
    if found is None:
        return "do not normalize"
    mean, std = (_of_channels(found.get(key)) for key in ("mean", "std"))
    return f"normalize with mean {mean} and std {std}"


def _of_channels(values: Any) -> Any:
    """Numbers of all channels, one where they are equal; as it is what is none, such as null."""
    numbers = values if isinstance(values, (list, tuple)) else [values]
    if not all(map(is_number, numbers)):
        return values
    different = list(map(float, numbers))
    return different[:1] if len(set(different)) == 1 else different
