"""The worker's half of augmentations on the device: views as they are, and sampled parameters.

:class:`MSCNSampleAugmentations` stands for a run of VISSL's transforms. It draws what they would
draw, in their order, so that a seed gives the same augmentations, and the same masks after them,
wherever they are applied.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from classy_vision.dataset.transforms import register_transform
from classy_vision.dataset.transforms.classy_transform import ClassyTransform
from PIL import Image
from torch import Tensor
from vissl.data.ssl_transforms import ssl_transforms_wrapper

from mscn_plugin.data.decoding import SAMPLED_CROPS, EncodedImage, as_tensor
from mscn_plugin.transforms.augmentations import (
    Augmentation,
    ColorJitter,
    Crop,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Solarize,
    rand,
    single,
)
from mscn_plugin.transforms.transforms import FromSettings

SAMPLED = "MSCNSampleAugmentations"
_PER_VIEW = "ImgPilMultiCropRandomApply"
"""VISSL's transform with a probability for each view, around others."""


def _color_jitter(strength: float = 1.0, p: float = 0.8) -> ColorJitter:
    """SimCLR's, as VISSL states it."""
    return ColorJitter(0.8 * strength, 0.8 * strength, 0.8 * strength, 0.2 * strength, p)


def _color_distortion(strength: float = 1.0) -> tuple[Augmentation, ...]:
    return _color_jitter(strength), Grayscale(0.2)


_BLUR = (lambda **s: (GaussianBlur(**s),), ("p", "radius_min", "radius_max"))
_DISTORTION = (_color_distortion, ("strength",))
_KNOWN: dict[str, tuple[Callable[..., tuple[Augmentation, ...]], tuple[str, ...]]] = {
    "RandomHorizontalFlip": (lambda **s: (HorizontalFlip(**s),), ("p",)),
    "RandomGrayscale": (lambda **s: (Grayscale(**s),), ("p",)),
    "ColorJitter": (
        lambda **s: (ColorJitter(**{k: _as_range(v) for k, v in s.items()}),),
        ("brightness", "contrast", "saturation", "hue"),
    ),
    "ImgPilColorDistortion": _DISTORTION,
    "MSCNColorDistortion": _DISTORTION,
    "ImgPilRandomColorJitter": (lambda **s: (_color_jitter(**s),), ("strength", "p")),
    "ImgPilGaussianBlur": _BLUR,
    "MSCNGaussianBlur": _BLUR,
    "ImgPilRandomSolarize": (lambda **s: (Solarize(**s),), ("p",)),
}
"""Transforms that can be sampled: the augmentations that one is, and the keys that it reads."""


def _as_range(value: Any) -> Any:
    return tuple(value) if isinstance(value, Sequence) else value


@dataclasses.dataclass(frozen=True)
class Step:
    """One transform of a list.

    Attributes:
        augmentations: what it does to a view.
        probabilities: for each view that of doing it at all, or None.
    """

    augmentations: tuple[Augmentation, ...]
    probabilities: tuple[float, ...] | None = None


def is_known(transform: Mapping[str, Any]) -> bool:
    """Whether a transform of a configuration can be sampled."""
    if transform["name"] == _PER_VIEW:
        return all(inner["name"] in _KNOWN for inner in transform.get("transforms", ()))
    return transform["name"] in _KNOWN and "transform_type" not in transform


def steps_of(transforms: Sequence[Mapping[str, Any]]) -> list[Step]:
    """The steps of transforms of a configuration, all of which :func:`is_known`."""
    steps = []
    for transform in transforms:
        if transform["name"] == _PER_VIEW:
            inner = steps_of(transform["transforms"])
            parts = tuple(part for step in inner for part in step.augmentations)
            steps.append(Step(parts, tuple(transform["prob"])))
        else:
            build, keys = _KNOWN[transform["name"]]
            parts = build(**{key: transform[key] for key in keys if key in transform})
            steps.append(Step(parts))
    return steps


class SampledView(NamedTuple):
    """A view without its augmentations.

    Attributes:
        pixels: uint8 ``[C, H, W]``; where the crop is still to come, the whole picture, which the
            views of an image share.
        parameters: those of all augmentations, one after the other.
        size: height and width of the view in the end.
    """

    pixels: Tensor
    parameters: list[float]
    size: tuple[int, int]


@register_transform(SAMPLED)
class MSCNSampleAugmentations(FromSettings, ClassyTransform):
    """Sample augmentations for the views of an image; :func:`.augmentations.augment` applies them.

    Args:
        transforms: as in ``TRANSFORMS``, all of which :func:`is_known`.
    """

    def __init__(self, transforms: Sequence[Mapping[str, Any]]) -> None:
        self.steps = steps_of(transforms)

    def __call__(self, views: Sequence[Image.Image | Tensor]) -> list[SampledView]:
        drawn: list[list[float]] = [[] for _ in views]
        self.draw(drawn)
        pixels = map(_pixels, views)
        return [SampledView(p, n, (p.shape[1], p.shape[2])) for p, n in zip(pixels, drawn)]

    def draw(self, drawn: Sequence[list[float]]) -> None:
        """Append to the list of each view what each augmentation draws for it."""
        # VISSL, too, takes all views through a transform before the next one.
        for step in self.steps:
            for index, parameters in enumerate(drawn):
                chances = step.probabilities
                applied = chances is None or not single(chances[index]) < rand()
                for part in step.augmentations:
                    parameters += part.sample() if applied else part.neutral


@register_transform(SAMPLED_CROPS)
class MSCNSampleCrops(FromSettings, ClassyTransform):
    """Sample crops of a file that is not yet decoded, and augmentations of the crops.

    Args:
        crop: settings of torchvision's ``RandomResizedCrop``.
        transforms: as for :class:`MSCNSampleAugmentations`; may be none.
        num_times: number of views.

    Raises:
        UnreadableImageError: the file cannot be decoded.
    """

    def __init__(
        self, crop: Mapping[str, Any], transforms: Sequence[Mapping[str, Any]], num_times: int = 2
    ) -> None:
        self.num_times, self.crop = num_times, Crop.of(crop)
        self.augmentations = MSCNSampleAugmentations(transforms)

    def __call__(self, image: Image.Image | EncodedImage) -> list[SampledView]:
        file = image if isinstance(image, EncodedImage) else EncodedImage(image)
        pixels = file.pixels()
        drawn = [list(self.crop.sample(*pixels.shape[1:])) for _ in range(self.num_times)]
        self.augmentations.draw(drawn)
        return [SampledView(pixels, numbers, self.crop.size) for numbers in drawn]


def _pixels(view: Image.Image | Tensor) -> Tensor:
    if isinstance(view, Tensor):
        return view
    return as_tensor(view.convert("RGB"))


# VISSL gives a transform the list of all views, or spreads what it returns over the views, only if
# its name is in one of these lists.
for _name, _list in (
    (SAMPLED, ssl_transforms_wrapper._TRANSFORMS_WITH_GROUPING),
    (SAMPLED_CROPS, ssl_transforms_wrapper._TRANSFORMS_WITH_COPIES),
):
    if _name not in _list:
        _list.append(_name)
