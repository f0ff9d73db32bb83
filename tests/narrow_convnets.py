"""ConvNets of timm that are narrow enough for tests."""

from __future__ import annotations

NARROW = {
    "convnext_tiny": {"depths": [1, 1, 2, 1], "dims": [8, 16, 24, 32]},
    "convnextv2_tiny": {"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]},
    "regnety_002": {"w0": 8, "wa": 12.0, "wm": 2.0, "depth": 5, "group_size": 8},
    "regnetz_005": {"w0": 8, "wa": 12.0, "wm": 2.0, "depth": 5, "group_size": 8},
    "efficientnetv2_s": {"channel_multiplier": 0.125, "depth_multiplier": 0.1},
    "resnet26d": {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_width": 4},
    "dm_nfnet_f0": {
        "depths": [1, 1, 1, 1],
        "channels": [32, 32, 64, 64],
        "group_size": 16,
        "stem_chs": 16,
        "num_features": 64,
    },
}
"""One ConvNet of each family, made narrow by its own arguments."""
