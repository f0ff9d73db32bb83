"""VISSL's trunks behind the high-pass filter, for benchmarks whose transforms stay as they are.

``config.MODEL.TRUNK.NAME=high_pass_resnet`` is the one override that lets any VISSL benchmark run
on a checkpoint of MSCN: the trunk filters the images that it is given, as ``MSCNHighPass`` would
have done after ``Normalize``. Parameters and their names are those of the trunk without the
prefix.
"""

from __future__ import annotations

import torch
from vissl.models.trunks import get_model_trunk, register_model_trunk

import mscn_plugin.models.small_resnet  # registers a trunk that is wrapped below
import mscn_plugin.models.timm_trunk  # noqa: F401  another one
from mscn_plugin.masking import check_sigma, high_pass
from mscn_plugin.types import Config

PREFIX = "high_pass_"
TRUNKS = ("resnet", "regnet", "efficientnet", "small_resnet", "timm")


def trunk_sigma(trunk_config: Config) -> float | None:
    """Sigma of a trunk's own filter: ``MODEL.TRUNK.HIGH_PASS.SIGMA``.

    Returns:
        Pixels; 0 for a trunk without a filter, None where the key is missing or null, which takes
        the sigma of the checkpoint that is evaluated.

    Raises:
        ValueError: the value cannot be a blur's width; the message starts with the key.
    """
    if not str(trunk_config.NAME).startswith(PREFIX):
        return 0.0
    sigma = (trunk_config.get("HIGH_PASS") or {}).get("SIGMA")
    try:
        return None if sigma is None else check_sigma(sigma)
    except ValueError as error:
        raise ValueError(f"HIGH_PASS.{str(error).replace('sigma', 'SIGMA', 1)}") from None


def behind_high_pass(trunk: type[torch.nn.Module]) -> type[torch.nn.Module]:
    """A subclass of ``trunk``, a class of VISSL, that filters its input."""

    class HighPassTrunk(trunk):  # type: ignore[valid-type, misc]
        def __init__(self, model_config: Config, model_name: str) -> None:
            super().__init__(model_config, model_name)
            sigma = trunk_sigma(model_config.TRUNK)
            if sigma is None:
                raise ValueError(
                    "config.MODEL.TRUNK.HIGH_PASS.SIGMA is null, and no checkpoint states it; it "
                    "must be at least 0 pixels and finite: add "
                    "+config.MODEL.TRUNK.HIGH_PASS.SIGMA=<pixels>"
                )
            self.sigma = sigma

        def forward(
            self, x: torch.Tensor, out_feat_keys: list[str] | None = None
        ) -> list[torch.Tensor]:
            """Features of images ``[B, C, H, W]``, which are filtered first."""
            features: list[torch.Tensor] = super().forward(high_pass(x, self.sigma), out_feat_keys)
            return features

    HighPassTrunk.__name__ = HighPassTrunk.__qualname__ = f"HighPass{trunk.__name__}"
    return HighPassTrunk


for _name in TRUNKS:
    register_model_trunk(f"{PREFIX}{_name}")(behind_high_pass(get_model_trunk(_name)))
