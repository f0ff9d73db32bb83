"""Dropout and stochastic depth of networks that are copies of another, and are not trained."""

from __future__ import annotations

from torch import nn
from torchvision.ops import StochasticDepth

_RATES = ("drop_prob", "drop_connect_rate")
"""Of stochastic depth: in timm, VISSL and Classy Vision, and in VISSL's EfficientNets."""
_FEATURE_RATE = "drop_rate"  # in timm, of the functional dropout
_DROPOUTS = (
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    *(nn.AlphaDropout, nn.FeatureAlphaDropout),
)


def without_dropout(network: nn.Module) -> None:
    """Let ``network`` drop nothing, in training mode too, in which its batches are normalized.

    For a target or a teacher, which would otherwise give randomly dropped features. Not stated in
    the paper: the ResNets of BYOL have nothing to drop, and DINO's own teacher drops no paths.
    """
    without_dropped_features(network)
    for module in network.modules():
        if isinstance(module, StochasticDepth):
            module.p = 0.0
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
        for rate in _RATES:
            if getattr(module, rate, None):
                setattr(module, rate, 0.0)


def without_dropped_features(network: nn.Module) -> None:
    """Let ``network`` drop no features; its stochastic depth stays."""
    for module in network.modules():
        if isinstance(module, _DROPOUTS):
            module.p = 0.0
        if isinstance(getattr(module, _FEATURE_RATE, None), float):
            setattr(module, _FEATURE_RATE, 0.0)
