"""Weights by the names of torchvision and timm: those of ResNets that both have, and timm's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mscn_plugin.errors import ConfigError
from mscn_plugin.export.export import Export
from mscn_plugin.export.pretrained import Pretrained, describe
from mscn_plugin.export.weight_files import write_and_read
from mscn_plugin.masking import high_pass
from mscn_plugin.models.input_channels import RGB, input_channels
from mscn_plugin.models.timm_trunk import TimmSettings, is_timm

PREFIX = "_feature_blocks."
"""What VISSL puts in front of torchvision's names."""

NAMES = {
    (50, 1, 64): "resnet50",
    (101, 1, 64): "resnet101",
    (152, 1, 64): "resnet152",
    (200, 1, 64): "resnet200",
    (50, 1, 128): "wide_resnet50_2",
    (101, 1, 128): "wide_resnet101_2",
    (50, 32, 4): "resnext50_32x4d",
    (101, 32, 4): "resnext101_32x4d",
    (101, 32, 8): "resnext101_32x8d",
    (101, 64, 4): "resnext101_64x4d",
}
"""Both libraries' names of architectures by depth, groups and width per group."""

LOADING = """\
```python
import torch
import {library}
from mscn_plugin.masking import high_pass

{build}
weights = torch.load("{library}.pth", weights_only=True)
# or: weights = safetensors.torch.load_file("{library}.safetensors")
model.load_state_dict(weights)
with torch.no_grad():
    features = model.eval()(high_pass(images, sigma={sigma}))
```"""


def export_torchvision(pretrained: Pretrained, folder: Path) -> Export:
    """Write ``torchvision.pth`` and ``torchvision.safetensors``, all of the model but its ``fc``.

    Raises:
        ConfigError: torchvision lacks the trunk's architecture.
    """
    from torchvision import models

    name = resnet_name(pretrained.model_config, "torchvision", lambda name: hasattr(models, name))
    model = getattr(models, name)()
    model.fc = nn.Identity()
    code = f"model = torchvision.models.{name}()\nmodel.fc = torch.nn.Identity()"
    channels = input_channels(pretrained.model_config)
    if channels != RGB:
        model.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        code += (
            f"\nmodel.conv1 = torch.nn.Conv2d({channels}, 64, 7, stride=2, padding=3, bias=False)"
        )
    return _export("torchvision", model, code, pretrained, folder)


def export_timm(pretrained: Pretrained, folder: Path) -> Export:
    """Write ``timm.pth`` and ``timm.safetensors``.

    Raises:
        ConfigError: timm lacks the trunk's architecture.
    """
    import timm

    model_config = pretrained.model_config
    arguments: dict[str, Any] = {"num_classes": 0}
    if is_timm(model_config) and model_config.INPUT_TYPE == "rgb":
        settings = TimmSettings.of(model_config)
        name, arguments = settings.name, settings.arguments()
    else:
        name = resnet_name(model_config, "timm", timm.is_model)
        if input_channels(model_config) != RGB:
            arguments["in_chans"] = input_channels(model_config)
    given = "".join(f", {key}={value!r}" for key, value in arguments.items())
    code = f'model = timm.create_model("{name}"{given})'
    return _export("timm", timm.create_model(name, **arguments), code, pretrained, folder)


def resnet_name(model_config: Any, library: str, is_known: Callable[[str], bool]) -> str:
    """A library's name of a trunk's architecture.

    Args:
        model_config: VISSL's ``config.MODEL``.
        is_known: whether the library has a model of a name.

    Raises:
        ConfigError: it has none of this architecture.
    """
    name = ""
    if is_plain_resnet(model_config) and model_config.TRUNK.RESNETS.WIDTH_MULTIPLIER == 1:
        resnet = model_config.TRUNK.RESNETS
        name = NAMES.get((resnet.DEPTH, resnet.GROUPS, resnet.WIDTH_PER_GROUP), "")
    if not is_known(name):
        raise unknown_architecture(library, model_config)
    return name


def unknown_architecture(library: str, model_config: Any) -> ConfigError:
    """The error for a trunk that a library has no model for."""
    return ConfigError(
        f"{library} has no model of the architecture of {describe(model_config)}; "
        "the formats torchscript and onnx take any trunk"
    )


def is_plain_resnet(model_config: Any) -> bool:
    """Whether a trunk is a ResNe(X)t as its paper has it, of any depth and width, for RGB."""
    trunk = model_config.TRUNK
    return (
        trunk.NAME == "resnet"
        and model_config.INPUT_TYPE == "rgb"
        and trunk.RESNETS.NORM == "BatchNorm"
        and trunk.RESNETS.LAYER4_STRIDE == 2
    )


def _export(
    library: str, model: nn.Module, code: str, pretrained: Pretrained, folder: Path
) -> Export:
    weights = {
        name[len(PREFIX) :]: tensor for name, tensor in pretrained.trunk.state_dict().items()
    }
    read = write_and_read(weights, folder, library, pretrained.sigma)

    @torch.no_grad()
    def features(state: dict[str, Tensor], images: Tensor) -> Tensor:
        model.load_state_dict(state)
        return model.eval()(high_pass(images, pretrained.sigma))

    return Export(
        readers={file: partial(features, state) for file, state in read.items()},
        loading=LOADING.format(library=library, build=code, sigma=pretrained.sigma),
    )
