"""How many features a VISSL trunk has, so that a projector fits any of them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from vissl.models.trunks import get_model_trunk

from mscn_plugin.models.input_channels import input_channels
from mscn_plugin.types import Config

T = TypeVar("T")

_known: dict[tuple[str, tuple[int, int]], int] = {}
"""Features by configuration and size: a suite of experiments asks for one trunk many times."""


def trunk_features(model_config: Config, size: tuple[int, int] = (224, 224)) -> int:
    """Number of features that the trunk of a configuration gives for an image.

    Args:
        model_config: VISSL's ``config.MODEL``; it is not changed.
        size: height and width of an image in pixels.
    """

    def ask() -> int:
        image = torch.zeros(1, input_channels(model_config), *size)
        features: torch.Tensor = build_trunk(model_config).eval()(image, [])[-1]
        return features.flatten(1).shape[1]

    key = json.dumps(model_config, sort_keys=True, default=str), size
    if key not in _known:
        _known[key] = of_shapes(ask)
    return _known[key]


def trunk_shapes(model_config: Config) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a trunk's parameters and buffers."""

    def ask() -> dict[str, tuple[int, ...]]:
        state = build_trunk(model_config).state_dict()
        return {name: tuple(tensor.shape) for name, tensor in state.items()}

    return of_shapes(ask)


def build_trunk(model_config: Config) -> torch.nn.Module:
    """The trunk of VISSL's ``config.MODEL``, newly initialized."""
    name = model_config.TRUNK.NAME
    # A copy: a trunk may take keys out of the configuration that it is built from.
    trunk: torch.nn.Module = get_model_trunk(name)(copy.deepcopy(model_config), name)
    return trunk


def of_shapes(ask: Callable[[], T]) -> T:
    """What ``ask`` returns of a model that it builds: on the meta device where that is enough."""
    meta: Any = torch.device("meta")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            # Shapes are enough where a trunk can do with them.
            with meta:
                return ask()
        except RuntimeError:
            return ask()
