"""How many features a VISSL trunk has, so that a projector fits any of them."""

from __future__ import annotations

import contextlib
import copy
from typing import Any, Tuple

import torch
from vissl.models.trunks import get_model_trunk


def trunk_features(model_config: Any, size: Tuple[int, int] = (224, 224)) -> int:
    """Number of features that the trunk of a configuration gives for an image.

    Args:
        model_config: VISSL's ``config.MODEL``; it is not changed.
        size: height and width of an image in pixels.
    """
    meta: Any = torch.device("meta")
    try:
        # Shapes are enough where a trunk can do with them, from PyTorch 2.
        return _features(model_config, size, meta)
    except (RuntimeError, AttributeError):  # the latter before PyTorch 2
        return _features(model_config, size, contextlib.nullcontext())


def _features(model_config: Any, size: Tuple[int, int], place: Any) -> int:
    name = model_config.TRUNK.NAME
    with torch.random.fork_rng(devices=[]), torch.no_grad(), place:
        # A copy: VISSL's EfficientNet takes keys out of the configuration that it is built from.
        trunk = get_model_trunk(name)(copy.deepcopy(model_config), name).eval()
        return trunk(torch.zeros(1, 3, *size), [])[-1].flatten(1).shape[1]
