"""The paper's masking in plain PyTorch: filter, sample, apply. Imports neither VISSL nor Hydra."""

from mscn_plugin.masking.apply import apply_masks
from mscn_plugin.masking.distribution import MaskDistribution
from mscn_plugin.masking.high_pass import check_sigma, high_pass
from mscn_plugin.masking.parameters import MaskParameters
from mscn_plugin.masking.views import MaskedViews

MaskDraw, fill = MaskParameters, apply_masks
"""Their earlier names."""

__all__ = [
    "MaskDistribution",
    "MaskDraw",
    "MaskParameters",
    "MaskedViews",
    "apply_masks",
    "check_sigma",
    "fill",
    "high_pass",
]
