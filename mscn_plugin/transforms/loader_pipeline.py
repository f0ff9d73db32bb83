"""What a configuration means for the loader's workers, and what it leaves to the device."""

from __future__ import annotations

import copy
import importlib.util
import logging

from mscn_plugin.errors import ConfigError, with_path
from mscn_plugin.transforms.on_device import (
    DeviceViews,
    split_augmentations,
    split_crops,
    split_pipeline,
)
from mscn_plugin.transforms.opencv import with_fast_augmentations, with_tensors
from mscn_plugin.types import Config


def loader_config(config: Config) -> tuple[Config, DeviceViews | None]:
    """Apply ``MSCN.DEVICE_VIEWS``, ``AUGMENT_ON``, ``CROP_ON`` and ``FAST_AUGMENTATIONS``.

    Args:
        config: a completed configuration; it is not changed.

    Returns:
        The configuration whose ``DATA.TRAIN`` is the training loader's, and the stage after it,
        if there is one.

    Raises:
        ConfigError: a switch asks for what cannot be.
    """
    config = copy.deepcopy(config)
    asked, stage = config.MSCN.DEVICE_VIEWS, None
    where = f"finish the views, for config.MSCN.DEVICE_VIEWS is {asked}"
    reason = f"config.MSCN.DEVICE_VIEWS is {asked}, which leaves no views to the device"
    if asked is not False:
        try:
            arrays = config.MSCN.CHANNELS is not None
            config.DATA.TRAIN, stage = split_pipeline(config.DATA.TRAIN, arrays)
            where = "leave normalization, filter and masks to the training device"
        except ValueError as error:
            reason = f"config.DATA.TRAIN.{error}"
            where = f"{where}, but {reason}"
            if asked is True:
                raise ConfigError(
                    f"config.MSCN.DEVICE_VIEWS is True, but {reason}; or set DEVICE_VIEWS to auto"
                ) from None
    stage, who = _divide_augmentations(config, stage, reason)
    stage = _divide_crops(config, stage, reason)
    _apply_fast_augmentations(config, to_tensors=stage is not None)
    logging.info(f"the standard augmentations are applied by {who}")
    steps = [transform["name"] for transform in config.DATA.TRAIN.TRANSFORMS]
    logging.info(f"the loader's workers run {', '.join(steps)} and {where}")
    return config, stage


def _divide_augmentations(
    config: Config, stage: DeviceViews | None, no_stage: str
) -> tuple[DeviceViews | None, str]:
    """Leave the augmentations of ``config`` to ``stage`` where ``AUGMENT_ON`` says so.

    Args:
        no_stage: the reason why there is no stage, where there is none.

    Returns:
        The stage, and who applies them and why, for the log.

    Raises:
        ConfigError: the device is asked for, and cannot.
    """
    asked, device = config.MSCN.AUGMENT_ON, config.MACHINE.DEVICE
    given = f"config.MSCN.AUGMENT_ON is {asked}"
    if asked == "worker":
        return stage, f"the loader's workers, for {given}"
    if asked == "auto" and device != "gpu":
        return stage, (
            f"the loader's workers, for {given} and config.MACHINE.DEVICE is {device}, which is no "
            "faster than they are"
        )
    try:
        if stage is None:
            raise ConfigError(no_stage)
        if config.MSCN.CHANNELS is not None:
            channels = f"config.MSCN.CHANNELS is {config.MSCN.CHANNELS}"
            raise ConfigError(f"{channels}, and the device augments pictures alone")
        train, with_augmentations = with_path(
            "config.DATA.TRAIN", split_augmentations, config.DATA.TRAIN, stage
        )
    except ConfigError as error:
        if asked == "device":
            raise ConfigError(
                f"{given}, but {error}; or set AUGMENT_ON to auto or worker"
            ) from None
        return stage, f"the loader's workers, for {given}, but {error}"
    config.DATA.TRAIN = train
    why = given if asked == "device" else f"{given} and config.MACHINE.DEVICE is {device}"
    return with_augmentations, f"the training device, for {why}"


def _divide_crops(config: Config, stage: DeviceViews | None, no_stage: str) -> DeviceViews | None:
    """The same for the crops and ``CROP_ON``, which has no auto; returns the stage."""
    if config.MSCN.CROP_ON == "worker":
        return stage
    try:
        if stage is None:
            raise ConfigError(no_stage)
        if config.MSCN.CACHE != "memory":
            raise ConfigError(
                f"config.MSCN.CACHE is {config.MSCN.CACHE}; it must be memory, for images that "
                "are decoded every epoch are faster cropped where they are decoded"
            )
        config.DATA.TRAIN, stage = with_path(
            "config.DATA.TRAIN", split_crops, config.DATA.TRAIN, stage
        )
    except ConfigError as error:
        raise ConfigError(
            f"config.MSCN.CROP_ON is device, but {error}; or set CROP_ON to worker"
        ) from None
    logging.info("crops are the training device's, for config.MSCN.CROP_ON is device")
    return stage


def _apply_fast_augmentations(config: Config, to_tensors: bool) -> None:
    if not config.MSCN.FAST_AUGMENTATIONS:
        return
    train = config.DATA.TRAIN
    given, train.TRANSFORMS = train.TRANSFORMS, with_fast_augmentations(train.TRANSFORMS)
    if given != train.TRANSFORMS and importlib.util.find_spec("cv2") is None:
        raise ConfigError(
            "config.MSCN.FAST_AUGMENTATIONS is True, which needs OpenCV: pip install "
            "opencv-python-headless, or set it to False"
        )
    if to_tensors:
        train.TRANSFORMS = with_tensors(train.TRANSFORMS)
