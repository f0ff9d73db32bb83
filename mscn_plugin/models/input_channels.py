"""How many channels a trunk's images have: 3, or those of arrays (``config.MSCN.CHANNELS``).

``config.MODEL.TRUNK.INPUT.CHANNELS`` tells it to trunks, which see only the ``MODEL`` part of a
configuration. VISSL's ResNet, RegNet and EfficientNet know RGB; :data:`TRUNKS` are registered again
with a first convolution that fits.
"""

from __future__ import annotations

import copy

from torch import nn
from vissl.models.trunks import MODEL_TRUNKS_REGISTRY, get_model_trunk

from mscn_plugin.types import Config

RGB = 3
TRUNKS = ("resnet", "regnet", "efficientnet")
"""VISSL's trunks whose first convolution is replaced where the images are not RGB."""


def input_channels(model_config: Config) -> int:
    """Channels of the images of a trunk.

    Args:
        model_config: VISSL's ``config.MODEL``.
    """
    channels: int = (model_config.TRUNK.get("INPUT") or {}).get("CHANNELS", RGB)
    return channels


def with_input_channels(trunk: type[nn.Module]) -> type[nn.Module]:
    """A subclass of ``trunk``, a class of VISSL, that takes images of any number of channels.

    Of RGB images it is the class itself. Else its first convolution is a new one, with PyTorch's
    initialization, whose kernels shrink as channels are added: not in the paper, which has RGB.
    """

    class AnyChannels(trunk):  # type: ignore[valid-type, misc]
        def __init__(self, model_config: Config, model_name: str) -> None:
            # A copy: VISSL's EfficientNet takes keys out, from which another trunk may be built.
            super().__init__(copy.deepcopy(model_config), model_name)
            channels = input_channels(model_config)
            if channels != RGB:
                _replace_first_convolution(self, channels)

    AnyChannels.__name__, AnyChannels.__qualname__ = trunk.__name__, trunk.__qualname__
    AnyChannels.__module__, AnyChannels.__doc__ = trunk.__module__, trunk.__doc__
    return AnyChannels


def _replace_first_convolution(trunk: nn.Module, channels: int) -> None:
    name, old = next((n, m) for n, m in trunk.named_modules() if isinstance(m, nn.Conv2d))
    parent, _, last = name.rpartition(".")
    new = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    setattr(trunk.get_submodule(parent), last, new)


for _name in TRUNKS:
    MODEL_TRUNKS_REGISTRY[_name] = with_input_channels(get_model_trunk(_name))
