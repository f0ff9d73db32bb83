"""The keys that MSCN adds to detectron2's configuration."""

from __future__ import annotations

from mscn_plugin.errors import ConfigError
from mscn_plugin.masking import check_sigma
from mscn_plugin.types import Config


def add_mscn_config(cfg: Config) -> None:
    """Add ``MODEL.MSCN`` with its defaults to a detectron2 configuration."""
    from detectron2.config import CfgNode

    cfg.MODEL.MSCN = CfgNode()
    # Sigma of the high-pass filter in front of MSCNGeneralizedRCNN, in pixels of the image as the
    # detector sees it. It must equal pre-training's: 5 in section 4.3. 0: no filter. That detection
    # filters at all is not stated in the paper (A.4 names none): chosen because the encoder has
    # seen nothing else.
    cfg.MODEL.MSCN.SIGMA = 5.0


def filter_sigma(sigma: float) -> float:
    """``MODEL.MSCN.SIGMA``; ConfigError if it is no width of a blur."""
    try:
        return check_sigma(sigma)
    except ValueError as error:
        raise ConfigError(f"MODEL.MSCN.{str(error).replace('sigma', 'SIGMA', 1)}") from None


def check_format(input_format: str) -> None:
    """Raise ConfigError if ``INPUT.FORMAT`` is not RGB."""
    if input_format != "RGB":
        raise ConfigError(
            f"INPUT.FORMAT is {input_format}; it must be RGB, in which VISSL pre-trains"
        )
