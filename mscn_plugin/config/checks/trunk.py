"""Check of a trunk of timm, which is built and run once, with shapes and no values."""

from __future__ import annotations

import copy
import os

from mscn_plugin.allowed import refuse
from mscn_plugin.errors import ConfigError, with_path
from mscn_plugin.models.input_channels import input_channels
from mscn_plugin.models.shapes import trunk_features
from mscn_plugin.models.timm_trunk import is_timm
from mscn_plugin.transforms.stated import crop_size
from mscn_plugin.types import Config

_PATH = "config.MODEL.TRUNK.TIMM"


def check(cfg: Config) -> None:
    """Check the section ``MODEL.TRUNK.TIMM``, and that the trunk takes the crops.

    Makes ``WEIGHTS`` absolute, and null where a checkpoint's weights take their place.

    Raises:
        ConfigError: timm does not take a setting, the file of weights does not fit, or an image
            is too small for the trunk; the message names the key.
    """
    if not is_timm(cfg.MODEL):
        return
    section = cfg.MODEL.TRUNK.get("TIMM") or {}
    if cfg.MODEL.WEIGHTS_INIT.PARAMS_FILE and "WEIGHTS" in section:
        section["WEIGHTS"] = None
    if isinstance(section.get("WEIGHTS"), str):
        section["WEIGHTS"] = os.path.realpath(os.path.expanduser(section["WEIGHTS"]))
    channels, stated = input_channels(cfg.MODEL), section.get("IN_CHANS")
    if stated is not None and cfg.MODEL.INPUT_TYPE == "rgb" and stated != channels:
        refuse(f"{_PATH}.IN_CHANS", stated, f"null or {channels}, the channels of the images")
    plain = copy.deepcopy(cfg.MODEL)
    plain.TRUNK.NAME = "timm"  # the filter's sigma may not be known yet
    height, width = crop_size(cfg.DATA.TRAIN.TRANSFORMS) or (224, 224)
    try:
        with_path(_PATH, trunk_features, plain, (height, width))
    except ConfigError:
        raise
    except Exception as error:
        words = " ".join(str(error).split())[:300] or type(error).__name__
        raise ConfigError(
            f"{_PATH}.NAME is {section['NAME']!r}, which does not take the crops of "
            f"config.DATA.TRAIN.TRANSFORMS, {height} x {width} pixels: {words}"
        ) from error
    synced = cfg.MODEL.SYNC_BN_CONFIG
    if synced.CONVERT_BN_TO_SYNC_BN and synced.SYNC_BN_TYPE == "apex":
        refuse("config.MODEL.SYNC_BN_CONFIG.SYNC_BN_TYPE", "apex", "pytorch with a trunk of timm")
