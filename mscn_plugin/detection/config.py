"""The keys that MSCN adds to detectron2's configuration."""

from __future__ import annotations

from typing import Any


def add_mscn_config(cfg: Any) -> None:
    """Add ``MODEL.MSCN`` with its defaults to a detectron2 configuration."""
    from detectron2.config import CfgNode

    cfg.MODEL.MSCN = CfgNode()
    # Sigma of the high-pass filter in front of MSCNGeneralizedRCNN, in pixels of the image as the
    # detector sees it. It must equal pre-training's: 5 in the paper (Table 9). 0: no filter. That
    # detection filters at all is not stated in the paper (A.4): chosen because the encoder has seen
    # nothing else.
    cfg.MODEL.MSCN.SIGMA = 5.0
