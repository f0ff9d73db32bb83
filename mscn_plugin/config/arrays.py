"""What ``config.MSCN.CHANNELS``, images as arrays, means for the rest of a configuration."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import Any

from vissl.models.trunks import MODEL_TRUNKS_REGISTRY

from mscn_plugin.config.checks.transforms import transform_class
from mscn_plugin.data.arrays import ARRAYS, ArrayFormat
from mscn_plugin.data.sources import contents_of, find_splits
from mscn_plugin.data.statistics import FILE, arrays_fingerprint, read_statistics
from mscn_plugin.errors import ConfigError
from mscn_plugin.models import input_channels
from mscn_plugin.models.sections import plain_name
from mscn_plugin.types import Config, section_like

TRANSFORMS = (
    *("MSCNRandomResizedCrops", "MSCNHighPass", "MSCNMask", "Normalize", "Resize", "CenterCrop"),
    *("RandomResizedCrop", "RandomCrop", "RandomHorizontalFlip", "RandomVerticalFlip"),
    *("RandomRotation", "RandomAffine", "GaussianBlur", "RandomErasing", "Pad"),
)
"""Transforms of ours and of torchvision that take arrays and keep the units of their values."""
_FOREIGN = ("classy_vision", "mscn_plugin", "torchvision", "vissl")
"""Packages whose other transforms are for pictures; a user's own may be for arrays."""
_TRUNKS = (*input_channels.TRUNKS, "small_resnet", "timm")


def infer_and_check(cfg: Config) -> None:
    """Tell the trunk its channels, take null means from statistics, and check the transforms.

    Raises:
        ConfigError: names the key that does not fit arrays, or that needs them.
    """
    _infer_input_channels(cfg)
    _take_statistics(cfg)
    if cfg.MSCN.CHANNELS is not None:
        _check_transforms(cfg)
        _check_keys_of_images(cfg)


def _infer_input_channels(cfg: Config) -> None:
    channels, trunk = cfg.MSCN.CHANNELS, cfg.MODEL.TRUNK
    stated = (trunk.get("INPUT") or {}).get("CHANNELS")
    if stated not in (None, channels):
        raise ConfigError(
            f"config.MODEL.TRUNK.INPUT.CHANNELS is {stated}, and config.MSCN.CHANNELS {channels}, "
            "which sets it: leave it out"
        )
    if channels is None:
        return
    name = plain_name(trunk.NAME)
    of_vissl = getattr(MODEL_TRUNKS_REGISTRY.get(name), "__module__", "").startswith("vissl.")
    if channels != input_channels.RGB and of_vissl and name not in _TRUNKS:
        raise ConfigError(
            f"config.MODEL.TRUNK.NAME is {trunk.NAME}, which takes RGB alone; with "
            f"config.MSCN.CHANNELS {channels} it must be one of {', '.join(_TRUNKS)}"
        )
    if cfg.MODEL.INPUT_TYPE != "rgb":
        raise ConfigError(
            f"config.MODEL.INPUT_TYPE is {cfg.MODEL.INPUT_TYPE}; with config.MSCN.CHANNELS "
            f"{channels}, whose order stays as it is, it must be rgb"
        )
    trunk["INPUT"] = section_like(cfg, {"CHANNELS": channels})
    cfg.HOOKS.MODEL_COMPLEXITY.INPUT_SHAPE[0] = channels  # of the image that VISSL's hook makes


def _take_statistics(cfg: Config) -> None:
    """Put the data set's mean and std in the place of nulls."""
    sections = [
        (f"config.DATA.{split}.TRANSFORMS[{index}]", transform)
        for split in ("TRAIN", "TEST")
        for index, transform in enumerate(cfg.DATA[split].TRANSFORMS)
        if transform["name"] == "Normalize"
        and "mean" in transform
        and "std" in transform
        and None in (transform["mean"], transform["std"])
    ]
    if not sections:
        if cfg.MSCN.STATISTICS and cfg.MSCN.CHANNELS is None:
            raise ConfigError(
                f"config.MSCN.STATISTICS is {cfg.MSCN.STATISTICS!r}, which pictures do not "
                "have: it must be '', or config.MSCN.CHANNELS the number of the arrays' channels"
            )
        return
    place, first = sections[0]
    if cfg.MSCN.CHANNELS is None:
        raise ConfigError(
            f"{place} is Normalize with mean {first['mean']} and std {first['std']}, which takes "
            "the statistics of arrays: set config.MSCN.CHANNELS=<the number of their channels>, "
            "or of pictures give the numbers"
        )
    for place, transform in sections:
        if not transform["mean"] is transform["std"] is None:
            raise ConfigError(
                f"{place} is Normalize with mean {transform['mean']} and std {transform['std']}; "
                "both must be null, or both lists"
            )
    statistics = _statistics(cfg, place)
    for _, transform in sections:
        transform.update(mean=list(statistics["mean"]), std=list(statistics["std"]))


def _statistics(cfg: Config, place: str) -> dict[str, Any]:
    """The data set's statistics, which must be of its current images."""
    form, data = ArrayFormat.of(cfg), str(cfg.MSCN.DATA)
    assert form is not None
    layout = "" if form.layout == "auto" else f" --layout {form.layout}"
    given = cfg.MSCN.STATISTICS
    output = f" --output {shlex.quote(given)}" if given else ""
    folder = shlex.quote(data) if data else "<folder>"
    measuring = f"mscn statistics {folder} --channels {form.channels}{layout}{output}"
    remedy = f"{measuring} writes it"
    if not given and not data:
        raise ConfigError(
            f"{place} has mean null, which takes the statistics of config.MSCN.DATA, and that is "
            "empty: set it, or config.MSCN.STATISTICS=<file>"
        )
    splits = find_splits(data, "config.MSCN.DATA", form.channels) if data else None
    file = Path(given) if given or splits is None else splits.folder / FILE
    statistics = read_statistics(file, form, remedy)
    constant = [channel for channel, std in enumerate(statistics["std"]) if std <= 0]
    if constant:
        raise ConfigError(
            f"{file} has channels that are the same number in every pixel, counted from 0: "
            f"{constant}; they cannot be normalized: leave them out of the arrays"
        )
    now = arrays_fingerprint(contents_of(splits)) if splits else None
    if now is not None and statistics.get("fingerprint") != now:
        what = f"{file} is of other images than the current training images of {data}"
        if not given:
            raise ConfigError(f"{what}: {remedy} again")
        logging.warning(f"{what} (config.MSCN.STATISTICS)")
    return statistics


def _check_transforms(cfg: Config) -> None:
    for split in ("TRAIN", "TEST"):
        for index, transform in enumerate(cfg.DATA[split].TRANSFORMS):
            name = transform["name"]
            if name not in TRANSFORMS and _is_foreign(name):
                raise ConfigError(
                    f"config.DATA.{split}.TRANSFORMS[{index}] is {name}, which is for pictures; "
                    f"with config.MSCN.CHANNELS {cfg.MSCN.CHANNELS} it must be one of "
                    f"{', '.join(TRANSFORMS)}, or your own: config=mscn/arrays has a set"
                )


def _is_foreign(name: str) -> bool:
    """Whether a transform is VISSL's, torchvision's or ours; others check unknown names."""
    return getattr(transform_class(name), "__module__", "").partition(".")[0] in _FOREIGN


def _check_keys_of_images(cfg: Config) -> None:
    shown, channels = cfg.MSCN.PICTURE_CHANNELS, cfg.MSCN.CHANNELS
    if cfg.MSCN.PIXEL_RANGE is not None:
        raise ConfigError(
            f"config.MSCN.PIXEL_RANGE is {list(cfg.MSCN.PIXEL_RANGE)}, which scales pictures to 8 "
            f"bits; with config.MSCN.CHANNELS {channels}, whose values stay as they are, it must "
            "be null"
        )
    if shown and max(shown) >= channels:
        raise ConfigError(
            f"config.MSCN.PICTURE_CHANNELS is {shown}; with config.MSCN.CHANNELS {channels} each "
            f"must be from 0 to {channels - 1}"
        )


def check_sources(cfg: Config, split: str) -> None:
    """Check that a split's sources hold arrays where they must, and nowhere else.

    Raises:
        ConfigError: one does not.
    """
    channels, sources = cfg.MSCN.CHANNELS, list(cfg.DATA[split].DATA_SOURCES)
    key = f"config.DATA.{split}.DATA_SOURCES is {sources}"
    if channels is None and ARRAYS in sources:
        raise ConfigError(f"{key}, which needs config.MSCN.CHANNELS=<the number of channels>")
    if channels is not None and not {ARRAYS, "disk_filelist"}.issuperset(sources):
        raise ConfigError(
            f"{key}; with config.MSCN.CHANNELS {channels} each must be {ARRAYS} or disk_filelist: "
            "config.MSCN.DATA=<folder of arrays> sets them"
        )
