"""What a configuration means for the loader's workers, and what it leaves to the device."""

from __future__ import annotations

import copy
import importlib.util
import logging

from mscn_plugin.errors import ConfigError
from mscn_plugin.transforms.on_device import DeviceViews, split_pipeline
from mscn_plugin.transforms.opencv import with_fast_augmentations
from mscn_plugin.types import Config


def loader_config(config: Config) -> tuple[Config, DeviceViews | None]:
    """Apply ``MSCN.FAST_AUGMENTATIONS`` and ``MSCN.DEVICE_VIEWS`` to ``DATA.TRAIN``.

    Args:
        config: a completed configuration; it is not changed.

    Returns:
        The configuration for the training loader, and the stage behind it, if there is one.

    Raises:
        ConfigError: a switch is True where it cannot be.
    """
    config = copy.deepcopy(config)
    train = config.DATA.TRAIN
    if config.MSCN.FAST_AUGMENTATIONS:
        given, train.TRANSFORMS = train.TRANSFORMS, with_fast_augmentations(train.TRANSFORMS)
        if given != train.TRANSFORMS and importlib.util.find_spec("cv2") is None:
            raise ConfigError(
                "config.MSCN.FAST_AUGMENTATIONS is True, which needs OpenCV: pip install "
                "opencv-python-headless, or set it to False"
            )
    asked, stage = config.MSCN.DEVICE_VIEWS, None
    where = f"finish the views, for config.MSCN.DEVICE_VIEWS is {asked}"
    if asked is not False:
        try:
            config.DATA.TRAIN, stage = split_pipeline(train)
            where = "leave normalization, filter and masks to the training device"
        except ValueError as error:
            reason = f"but config.DATA.TRAIN.{error}"
            where = f"{where}, {reason}"
            if asked is True:
                raise ConfigError(
                    f"config.MSCN.DEVICE_VIEWS is True, {reason}; or set DEVICE_VIEWS to auto"
                ) from None
    steps = [transform["name"] for transform in config.DATA.TRAIN.TRANSFORMS]
    logging.info(f"the loader's workers run {', '.join(steps)} and {where}")
    return config, stage
