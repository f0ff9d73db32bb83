"""VISSL transforms: the high-pass filter and the masks, one by one.

Both work on tensors: in a config they stand after ``ToTensor`` and ``Normalize``. They serve any
VISSL config, evaluation pipelines with one image among them; the full multimask method uses
``MSCNHighPass`` and leaves the masks to
:func:`mscn_plugin.transforms.collate.mscn_multimask_collator`.
"""

from __future__ import annotations

from typing import Any

from classy_vision.dataset.transforms import register_transform
from classy_vision.dataset.transforms.classy_transform import ClassyTransform
from torch import Tensor
from vissl.data.ssl_transforms import ssl_transforms_wrapper

from mscn_plugin.masking import apply_masks, check_sigma, high_pass
from mscn_plugin.masking.per_branch import is_one_value, mask_distributions

SIGMA = 5.0
"""Of ``MSCNHighPass`` where a configuration gives none, in pixels: the paper's at 224."""


def settings_of(config: dict[str, Any]) -> dict[str, Any]:
    """A transform's settings without the keys that belong to VISSL's wrapper."""
    return {k: v for k, v in config.items() if k not in ("name", "indices", "transform_type")}


class FromSettings:
    """Builds a transform from its configuration: the keys are the arguments."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**settings_of(config))


@register_transform("MSCNHighPass")
class MSCNHighPass(FromSettings, ClassyTransform):
    """High-pass filter of one image ``[C, H, W]``: ``x - G_sigma * x`` (section 4.3, A.2).

    Args:
        sigma: standard deviation of the Gaussian in pixels, 0 (no filter) or from 0.25. The paper
            has 5 for crops of 224 px (section 4.3), the same in pre-training and evaluation
            (supplement B, "High-pass Sigma"; A.2, A.3). Of detection it says nothing.
    """

    def __init__(self, sigma: float = SIGMA) -> None:
        self.sigma = check_sigma(sigma)

    def __call__(self, image: Tensor) -> Tensor:
        return high_pass(_require_tensor("MSCNHighPass", image), self.sigma)


@register_transform("MSCNMask")
class MSCNMask(FromSettings, ClassyTransform):
    """One random mask for each view, with noise in it (sections 4.3 and 4.4).

    VISSL hands over the list of an image's views, so that every setting of
    :class:`~mscn_plugin.masking.MaskDistribution` may be one value for all views or a list with
    one value per view. A single tensor is masked by itself.
    """

    def __init__(self, **settings: object) -> None:
        self.settings = settings
        lengths = [
            len(value)
            for name, value in settings.items()
            if isinstance(value, (list, tuple)) and not is_one_value(name, value)
        ]
        mask_distributions(max(lengths, default=1), settings)

    def __call__(self, views: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
        if not isinstance(views, (list, tuple)):
            return self([views])[0]
        masked = []
        for image, masks in zip(views, mask_distributions(len(views), self.settings)):
            channels, *size = _require_tensor("MSCNMask", image).shape
            masked.append(apply_masks(image[None], masks.sample(1, size, channels))[0])
        return masked


def _require_tensor(name: str, image: object) -> Tensor:
    if isinstance(image, Tensor) and image.dim() == 3:
        return image
    what = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
    raise TypeError(f"{name} needs a tensor [C, H, W], got {what}: place it after ToTensor")


# VISSL gives a transform the list of all views only if its name is in this list.
if "MSCNMask" not in ssl_transforms_wrapper._TRANSFORMS_WITH_GROUPING:
    ssl_transforms_wrapper._TRANSFORMS_WITH_GROUPING.append("MSCNMask")
