"""detectron2's R-CNN behind the high-pass filter."""

from __future__ import annotations

from typing import Any

from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN
from detectron2.structures import ImageList
from torch import Tensor

from mscn_plugin.detection.config import check_format, filter_sigma
from mscn_plugin.masking import high_pass
from mscn_plugin.types import Config


@META_ARCH_REGISTRY.register()
class MSCNGeneralizedRCNN(GeneralizedRCNN):
    """``GeneralizedRCNN`` whose images pass pre-training's filter.

    That detection filters is not stated in the paper (A.4 does not mention it): chosen because the
    encoder has seen filtered images alone, and A.2 and A.3 filter in their evaluations.
    Each image is filtered by itself, normalized and before it is padded to the batch: a filter
    after the padding would see an edge that the image does not have, and another one in every
    batch. The filter has no parameters, so that checkpoints are those of ``GeneralizedRCNN``; with
    ``MODEL.MSCN.SIGMA: 0`` the model is that one, bit for bit.

    Args:
        sigma: in pixels, ``MODEL.MSCN.SIGMA``; all other arguments are ``GeneralizedRCNN``'s.

    Raises:
        ConfigError: ``sigma`` is no width of a blur; or it is not 0, and ``INPUT.FORMAT`` is not
            RGB, in which VISSL pre-trains.
    """

    @configurable
    def __init__(self, *, sigma: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.sigma = filter_sigma(sigma)
        if self.sigma:
            check_format(self.input_format)

    @classmethod
    def from_config(cls, cfg: Config) -> dict[str, Any]:
        return {**super().from_config(cfg), "sigma": cfg.MODEL.MSCN.SIGMA}

    def preprocess_image(self, batched_inputs: list[dict[str, Tensor]]) -> ImageList:
        """Normalize, filter, pad and batch images ``[3, H, W]``."""
        if not self.sigma:
            return super().preprocess_image(batched_inputs)
        images = [self._move_to_current_device(item["image"]) for item in batched_inputs]
        filtered = [
            high_pass((image - self.pixel_mean) / self.pixel_std, self.sigma) for image in images
        ]
        return ImageList.from_tensors(
            filtered,
            self.backbone.size_divisibility,
            padding_constraints=self.backbone.padding_constraints,
        )
