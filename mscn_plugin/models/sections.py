"""Where a trunk's settings stand in a configuration."""

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


def plain_name(name: object) -> str:
    """``MODEL.TRUNK.NAME`` without the prefix of a filter inside of the trunk."""
    return str(name).removeprefix(PREFIX)


def sections_of(name: object) -> tuple[str, ...]:
    """The sections of ``MODEL.TRUNK`` that the trunk of this name reads."""
    plain = plain_name(name)
    return _SECTIONS.get(plain, (plain.upper(),))
