"""A ResNet-18 for small images and small machines, as a VISSL trunk.

VISSL's own ResNet starts at depth 50 with a stem for 224 pixels. This one has basic blocks, any
width, and a 3x3 stem without max-pooling, or the ImageNet stem; its parts have torchvision's names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet
from vissl.models.model_helpers import (
    Flatten,
    get_trunk_forward_outputs,
    transform_model_input_data_type,
)
from vissl.models.trunks import register_model_trunk

from mscn_plugin.errors import suggestion
from mscn_plugin.models.input_channels import input_channels
from mscn_plugin.types import Config

BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


@register_model_trunk("small_resnet")
class SmallResNet(nn.Module):
    """ResNet of basic blocks with a small-image stem.

    Its settings are the section ``MODEL.TRUNK.SMALL_RESNET``:

    - ``DEPTH``: 10, 18 or 34; default 18.
    - ``WIDTH``: channels of the first stage, at least 1; the features have 8 times as many.
      Default 64, torchvision's.
    - ``STEM_KERNEL``: side of the stem's kernels in pixels, 3 or 7; default 3. 7 is the side of the
      kernels of the paper's ResNet-50 (Figure 2). The configurations do not name this key: it takes
      ``+config.MODEL.TRUNK.SMALL_RESNET.STEM_KERNEL=7``.
    - ``STEM_STRIDE``: stride of the stem, 1 or 2; default 1.
    - ``STEM_POOL``: True puts a 3x3 max-pooling of stride 2 after the stem, as in the ImageNet
      stem; default False. With a stem stride of 2 it makes a step four times cheaper.

    Args:
        model_config: VISSL's ``config.MODEL``.
        model_name: the registered name; VISSL passes it to every trunk.

    Raises:
        ValueError: a setting is unknown or outside of its range.
    """

    def __init__(self, model_config: Config, model_name: str) -> None:
        super().__init__()
        self.model_config = model_config
        self.input_type = model_config.get("INPUT_TYPE", "rgb")
        settings = trunk_settings(model_config.TRUNK.get("SMALL_RESNET") or {})
        depth, width, stem_stride, stem_pool, stem_kernel = settings
        resnet = ResNet(BasicBlock, list(BLOCKS[depth]))
        resnet.inplanes = width
        stages = {
            f"layer{stage + 1}": resnet._make_layer(
                BasicBlock, width * 2**stage, num_blocks, stride=1 if stage == 0 else 2
            )
            for stage, num_blocks in enumerate(BLOCKS[depth])
        }
        self._feature_blocks = nn.ModuleDict(
            {
                "conv1": nn.Conv2d(
                    1 if self.input_type == "lab" else input_channels(model_config),
                    width,
                    stem_kernel,
                    stride=stem_stride,
                    padding=stem_kernel // 2,
                    bias=False,
                ),
                "bn1": nn.BatchNorm2d(width),
                "conv1_relu": nn.ReLU(inplace=True),
                "maxpool": nn.MaxPool2d(3, 2, padding=1) if stem_pool else nn.Identity(),
                **stages,
                "avgpool": nn.AdaptiveAvgPool2d((1, 1)),
                "flatten": Flatten(1),
            }
        )
        self.feat_eval_mapping = {
            "conv1": "conv1_relu",
            "res1": "maxpool",
            "res2": "layer1",
            "res3": "layer2",
            "res4": "layer3",
            "res5": "layer4",
            "res5avg": "avgpool",
            "flatten": "flatten",
        }
        # As torchvision initializes its ResNets; the blocks above are new or were made after it.
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(
        self, x: torch.Tensor, out_feat_keys: list[str] | None = None
    ) -> list[torch.Tensor]:
        """Features of images ``[B, C, H, W]`` at the named layers; else ``[B, 8 * WIDTH]``.

        The channels of images in RGB are taken as ``MODEL.INPUT_TYPE`` says.
        """
        checkpointing = self.model_config.ACTIVATION_CHECKPOINTING
        features: list[torch.Tensor] = get_trunk_forward_outputs(
            feat=transform_model_input_data_type(x, self.input_type),
            out_feat_keys=out_feat_keys or [],
            feature_blocks=self._feature_blocks,
            feature_mapping=self.feat_eval_mapping,
            use_checkpointing=checkpointing.USE_ACTIVATION_CHECKPOINTING,
            checkpointing_splits=checkpointing.NUM_ACTIVATION_CHECKPOINTING_SPLITS,
        )
        return features


def trunk_settings(section: Mapping[str, Any]) -> tuple[int, int, int, bool, int]:
    """Depth, width, stem stride, stem pooling and stem kernel of a ``SMALL_RESNET`` section.

    Raises:
        ValueError: a setting is unknown or outside of its range; the message starts with it.
    """
    defaults = {"DEPTH": 18, "WIDTH": 64, "STEM_STRIDE": 1, "STEM_POOL": False, "STEM_KERNEL": 3}
    allowed = {
        "DEPTH": tuple(BLOCKS),
        "WIDTH": range(1, 4097),
        "STEM_STRIDE": (1, 2),
        "STEM_POOL": (False, True),
        "STEM_KERNEL": (3, 7),
    }
    for key, value in section.items():
        if key not in allowed:
            raise ValueError(f"{key} is not a setting of small_resnet; {suggestion(key, allowed)}")
        if isinstance(value, bool) != (key == "STEM_POOL") or value not in allowed[key]:
            choices = "from 1 to 4096" if key == "WIDTH" else f"one of {list(allowed[key])}"
            raise ValueError(f"{key} is {value!r}; it must be {choices}")
    settings = {**defaults, **section}
    depth, width, stem_stride, stem_pool, stem_kernel = (settings[key] for key in defaults)
    return depth, width, stem_stride, stem_pool, stem_kernel
