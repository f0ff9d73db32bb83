"""The paper's masking in plain PyTorch: filter, draw, fill. Imports neither VISSL nor Hydra."""

from mscn_plugin.masking.apply import fill
from mscn_plugin.masking.distribution import MaskDistribution, MaskDraw
from mscn_plugin.masking.high_pass import check_sigma, high_pass

__all__ = ["MaskDistribution", "MaskDraw", "check_sigma", "fill", "high_pass"]
