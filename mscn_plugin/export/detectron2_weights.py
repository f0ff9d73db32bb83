"""A ResNet's weights by detectron2's names, as VISSL's own converter writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mscn_plugin.checkpoints.io import SIGMA_KEY
from mscn_plugin.errors import ConfigError
from mscn_plugin.export.export import Export
from mscn_plugin.export.pretrained import COUNTER, Pretrained
from mscn_plugin.export.torchvision_timm import PREFIX, is_plain_resnet, unknown_architecture
from mscn_plugin.export.weight_files import write_and_read
from mscn_plugin.masking import high_pass

DEPTHS = (50, 101, 152)
"""Depths of the bottleneck ResNets that ``MODEL.RESNETS.DEPTH`` takes."""

LOADING = """\
```yaml
MODEL:
  WEIGHTS: detectron2.pth
  PIXEL_MEAN: {mean}
  PIXEL_STD: {std}
  RESNETS:
    DEPTH: {depth}
    NUM_GROUPS: {groups}
    WIDTH_PER_GROUP: {width_per_group}
    STEM_OUT_CHANNELS: {stem}
    RES2_OUT_CHANNELS: {res2}
    STRIDE_IN_1X1: False
INPUT:
  FORMAT: RGB
```

`detectron2.safetensors` holds the same tensors. They are for RGB, which is not detectron2's
default. The filter is not in them: the detector has to apply `high_pass` with sigma {sigma} to each
normalized image, before images are padded to a batch. The counters of batch normalization, which no
output depends on, are left out, as by VISSL's own converter."""


def export_detectron2(pretrained: Pretrained, folder: Path) -> Export:
    """Write ``detectron2.pth``, which its checkpointer takes, and ``detectron2.safetensors``.

    Raises:
        ConfigError: detectron2 lacks the trunk's architecture.
    """
    preprocessing = pretrained.preprocessing
    check_trunk(pretrained.model_config, preprocessing.channels)
    resnet = pretrained.model_config.TRUNK.RESNETS
    weights = detectron2_weights(pretrained.trunk.state_dict())
    wrapper = {
        "__author__": "mscn-plugin",
        "matching_heuristics": True,
        SIGMA_KEY: pretrained.sigma,
    }
    read = write_and_read(weights, folder, "detectron2", pretrained.sigma, wrapper)

    def features(weights: dict[str, Tensor], images: Tensor) -> Tensor:
        return resnet_features(weights, high_pass(images, pretrained.sigma), resnet.GROUPS)

    return Export(
        readers={file: partial(features, weights) for file, weights in read.items()},
        loading=LOADING.format(
            mean=in_raw_pixels(preprocessing.mean),
            std=in_raw_pixels(preprocessing.std),
            depth=resnet.DEPTH,
            groups=resnet.GROUPS,
            width_per_group=resnet.WIDTH_PER_GROUP * resnet.WIDTH_MULTIPLIER,
            stem=64 * resnet.WIDTH_MULTIPLIER,
            res2=256 * resnet.WIDTH_MULTIPLIER,
            sigma=pretrained.sigma,
        ),
    )


def check_trunk(model_config: Any, channels: int | None) -> None:
    """Check that detectron2 has a trunk's architecture.

    Args:
        model_config: VISSL's ``config.MODEL``.
        channels: of images that are arrays (``config.MSCN.CHANNELS``); None: they are pictures.

    Raises:
        ConfigError: it has not.
    """
    if channels is not None:
        raise ConfigError(
            "detectron2 reads pictures, and the trunk is of arrays (config.MSCN.CHANNELS "
            f"{channels}); the formats torchscript and onnx take any trunk"
        )
    if not is_plain_resnet(model_config) or model_config.TRUNK.RESNETS.DEPTH not in DEPTHS:
        raise unknown_architecture("detectron2", model_config)


def in_raw_pixels(values: Sequence[float]) -> list[float]:
    """Means or stds of pixels from 0 to 1 as ``PIXEL_MEAN`` and ``PIXEL_STD`` have them.

    detectron2 counts the channels by them: one value for all is none of its.
    """
    return [round(255 * value, 3) for value in (values if len(values) > 1 else [*values] * 3)]


def detectron2_weights(trunk: dict[str, Tensor]) -> dict[str, Tensor]:
    """VISSL's ResNet by detectron2's names, without the counters of batch normalization."""
    return {detectron2_name(k): v for k, v in trunk.items() if not k.endswith(COUNTER)}


def detectron2_name(name: str) -> str:
    """detectron2's name of a tensor of VISSL's ResNet: ``res2.0.conv1.norm.weight``."""
    name = re.sub(r"^(conv1|bn1)\.", r"stem.\1.", name[len(PREFIX) :])
    name = re.sub(r"^layer(\d)\.", lambda match: f"res{int(match[1]) + 1}.", name)
    name = name.replace("downsample.0.", "shortcut.").replace("downsample.1.", "shortcut.norm.")
    return re.sub(r"bn(\d)\.", r"conv\1.norm.", name)


@torch.no_grad()
def resnet_features(weights: dict[str, Tensor], images: Tensor, groups: int) -> Tensor:
    """What detectron2's ResNet, averaged over the image, makes of the weights by their names.

    Its arithmetic, so that an export can be checked where detectron2 is not installed.

    Args:
        weights: all of them have a part in it.
        images: ``[B, 3, H, W]``, float32, filtered.
        groups: of the middle convolution of a block.

    Returns:
        ``[B, F]``.

    Raises:
        ConfigError, KeyError: there are more or fewer weights than the network has.
    """
    unused = dict(weights)

    def convolution(x: Tensor, name: str, **options: Any) -> Tensor:
        x = F.conv2d(x, unused.pop(f"{name}.weight"), **options)
        parts = ("running_mean", "running_var", "weight", "bias")
        mean, variance, weight, bias = (unused.pop(f"{name}.norm.{part}") for part in parts)
        return F.batch_norm(x, mean, variance, weight, bias)

    x = F.relu(convolution(images, "stem.conv1", stride=2, padding=3))
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    for stage in (2, 3, 4, 5):
        block = 0
        while f"res{stage}.{block}.conv1.weight" in weights:
            name = f"res{stage}.{block}"
            stride = 2 if stage > 2 and block == 0 else 1
            y = F.relu(convolution(x, f"{name}.conv1"))
            y = F.relu(convolution(y, f"{name}.conv2", stride=stride, padding=1, groups=groups))
            y = convolution(y, f"{name}.conv3")
            x = F.relu(y + (x if block else convolution(x, f"{name}.shortcut", stride=stride)))
            block += 1
    if unused:
        raise ConfigError(f"detectron2's ResNet has no {next(iter(unused))}")
    return x.mean(dim=(2, 3))
