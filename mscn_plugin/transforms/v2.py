"""Filter and masks as transforms of ``torchvision.transforms.v2``, for pipelines of one's own.

Both come after ``v2.ToDtype(torch.float32, scale=True)`` and ``v2.Normalize`` and take images
``[..., C, H, W]``, as tensors or as ``tv_tensors.Image``. Labels, boxes and all else pass through.
They need neither VISSL nor Classy Vision.
"""

from __future__ import annotations

from typing import Any

import PIL.Image
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from mscn_plugin.masking import (
    MaskDistribution,
    MaskParameters,
    apply_masks,
    check_sigma,
    high_pass,
)


class _OfImageTensors(v2.Transform):
    """A transform of images that are tensors; subclasses have ``make_params`` and ``transform``."""

    # Parameters are images, too, and what stands for one where a program is traced.
    _transformed_types = (
        tv_tensors.Image,
        lambda part: isinstance(part, Tensor) and not isinstance(part, tv_tensors.TVTensor),
    )

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        if any(isinstance(part, PIL.Image.Image) for part in flat_inputs):
            name = type(self).__name__
            raise TypeError(f"{name} needs a tensor [..., C, H, W]: place it after v2.Normalize")

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """What all images of one call share."""
        return {}

    # The names of both methods before torchvision 0.21.
    def _check_inputs(self, flat_inputs: list[Any]) -> None:
        self.check_inputs(flat_inputs)

    def _get_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return self.make_params(flat_inputs)

    def _transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        transformed: Tensor = self.transform(inpt, params)
        return transformed


class HighPass(_OfImageTensors):
    """High-pass filter ``x - G_sigma * x`` (section 4.3).

    Args:
        sigma: standard deviation of the Gaussian in pixels, 0 (no filter) or from 0.25; the paper's
            is 5 for crops of 224 pixels.
    """

    def __init__(self, sigma: float = 5.0) -> None:
        super().__init__()
        self.sigma = check_sigma(sigma)

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """The filtered images, of the same shape and type."""
        return _like(high_pass(_plain(inpt), self.sigma), inpt)


class RandomMask(_OfImageTensors):
    """One random mask for each image, with noise in the place of what it hides (4.3 and 4.4).

    The images of one call share the masks, as they share the parameters of torchvision's own
    transforms, and have noise of their own: call the pipeline once for each view of an image.

    Args:
        settings: those of :class:`~mscn_plugin.masking.MaskDistribution`.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.masks = MaskDistribution(**settings)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Masks for the images of the first tensor, by the name ``masks``."""
        if not flat_inputs:
            return {}
        *batch, channels, height, width = flat_inputs[0].shape
        return {"masks": self.masks.sample(torch.Size(batch).numel(), (height, width), channels)}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """The masked images, of the same shape and type."""
        masks: MaskParameters = params["masks"]
        images = _plain(inpt)
        return _like(apply_masks(images.reshape(-1, *images.shape[-3:]), masks), inpt)

    def extra_repr(self) -> str:
        return str(self.masks)


def _plain(images: Tensor) -> Tensor:
    """Images of ``tv_tensors`` as a tensor; a tensor of any other class as it is."""
    return images.as_subclass(Tensor) if isinstance(images, tv_tensors.TVTensor) else images


def _like(images: Tensor, original: Tensor) -> Tensor:
    """``images`` with the shape of ``original``, and of ``tv_tensors`` if that is."""
    images = images.view(original.shape)
    if isinstance(original, tv_tensors.TVTensor):
        images = tv_tensors.wrap(images, like=original)
    return images
