"""Dropout and stochastic depth of networks that are copies of another, and are not trained."""

from __future__ import annotations

from torch import nn
from torchvision.ops import StochasticDepth

_RATES = ("drop_prob", "drop_connect_rate")
"""Of stochastic depth: in timm, VISSL and Classy Vision, and in VISSL's EfficientNets."""
_DROPOUTS = (
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    *(nn.AlphaDropout, nn.FeatureAlphaDropout, StochasticDepth),
)


def without_dropout(network: nn.Module) -> None:
    """Let ``network`` drop nothing, in training mode too, in which its batches are normalized.

    For a target or a teacher, which would else ask for randomly dropped features. Not stated in
    the paper: the ResNets of BYOL have nothing to drop, and DINO's own teacher drops no paths.
    """
    for module in network.modules():
        if isinstance(module, _DROPOUTS):
            module.p = 0.0
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
        for rate in _RATES:
            if getattr(module, rate, None):
                setattr(module, rate, 0.0)
