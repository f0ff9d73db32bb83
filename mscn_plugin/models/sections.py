"""Where a trunk's settings stand in a configuration, and what it calls its layers."""

from __future__ import annotations

from mscn_plugin.models.high_pass_trunk import PREFIX

_SECTIONS = {
    "resnet": ("RESNETS",),
    "regnet": ("REGNET",),
    "regnet_v2": ("REGNET",),
    "regnet_fsdp": ("REGNET",),
    "efficientnet": ("EFFICIENT_NETS",),
    "vision_transformer": ("VISION_TRANSFORMERS",),
    "convit": ("CONVIT", "VISION_TRANSFORMERS"),
}
"""Of trunks whose section is not their name in capitals."""

_REGNET = {"res5avg": "avgpool"}
_LAYERS = {
    "regnet": _REGNET,
    "regnet_v2": _REGNET,
    "regnet_fsdp": _REGNET,
    "efficientnet": {"res5": "conv_final", "res5avg": "avgpool"},
}
"""Of trunks that have other names for layers of VISSL's ResNet."""


def plain_name(name: object) -> str:
    """``MODEL.TRUNK.NAME`` without the prefix of a filter inside of the trunk."""
    return str(name).removeprefix(PREFIX)


def sections_of(name: object) -> tuple[str, ...]:
    """The sections of ``MODEL.TRUNK`` that the trunk of this name reads."""
    plain = plain_name(name)
    return _SECTIONS.get(plain, (plain.upper(),))


def layer_of(name: object, layer: str) -> str:
    """What the trunk of this name calls a layer of VISSL's ResNet, such as ``res5avg``."""
    return _LAYERS.get(plain_name(name), {}).get(layer, layer)
