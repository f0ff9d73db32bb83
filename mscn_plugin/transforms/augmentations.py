"""The standard augmentations in two steps: a few numbers are sampled, then applied to a batch.

Sampling is cheap and is a loader's worker's; application is the same few operations for every
pixel and runs where the batch is trained on. Each class draws the same random numbers in the same
order as the transform of VISSL or torchvision that it stands for, so that a seed gives the same
flips, factors, orders and widths. The pixels are those of Pillow's 8-bit arithmetic to a few of
255 levels (:func:`augment`). Plain PyTorch: imports neither VISSL nor OpenCV.

Shape shorthand: N views, P parameters of a view, C = 3 color channels, H, W height and width.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torchvision import transforms

from mscn_plugin.masking.high_pass import full_precision

CHUNKS = {"cpu": 400_000}
"""Numbers that are augmented at a time: on a CPU what its cache holds, see ``masking.apply``."""
CHUNK = 20_000_000
"""The same elsewhere, 130 views of 224 pixels: enough for all cores, and little memory."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in Pillow's gray (ITU-R 601)."""


class DeviceStep(Protocol):
    """What is applied to a batch, with its settings.

    Attributes:
        neutral: P parameters of a view, for an augmentation those that leave it as it is.
    """

    @property
    def neutral(self) -> tuple[float, ...]: ...

    def apply(self, views: Tensor, parameters: Tensor) -> Tensor:
        """Apply it to uint8 ``[N, C, H, W]``, given float32 ``[N, P]`` on the same device."""


class Augmentation(DeviceStep, Protocol):
    """A step that keeps a view's size."""

    def sample(self) -> tuple[float, ...]:
        """Sample the P parameters of one view from the global generators."""


def augment(views: Tensor, parameters: Tensor, augmentations: Sequence[DeviceStep]) -> Tensor:
    """Apply augmentations to a batch, to each view with parameters of its own.

    A crop comes first, if there is one: of pictures ``[N, C, H, W]`` it makes views of its size.

    Between two augmentations a view has 8 bits per channel, as in the worker. Given the same
    parameters it is Pillow's for flip and solarization, within 1 level of it for gray, brightness,
    contrast and saturation, and within half a level in the mean for blur, whose intermediate
    results Pillow rounds. The hue is exact where Pillow's has 256 hues and saturations, 2 levels
    in the mean.

    Args:
        views: uint8 ``[N, C, H, W]``, on any device; with a crop, the pictures.
        parameters: float32 ``[N, sum of P]``, those of the first augmentation first.
        augmentations: in the order in which they are applied.

    Returns:
        uint8 ``[N, C, H, W]``, of the size of the crop if there is one; ``views`` stay as they are.

    Raises:
        TypeError: the views are not uint8.
    """
    if views.dtype != torch.uint8:
        raise TypeError(f"augment needs uint8 views, got {views.dtype}")
    sizes = [len(augmentation.neutral) for augmentation in augmentations]
    numbers = math.prod(views.shape[1:])
    chunk = max(1, CHUNKS.get(views.device.type, CHUNK) // max(1, numbers))
    augmented = []
    with torch.autocast(views.device.type, enabled=False), full_precision():
        for part, given in zip(views.split(chunk), parameters.split(chunk)):
            for augmentation, columns in zip(augmentations, given.split(sizes, dim=1)):
                part = augmentation.apply(part, columns)
            augmented.append(part)
    return torch.cat(augmented)


def rand() -> float:
    """``torch.rand(1)``; to compare a number takes a third of the time of comparing a tensor."""
    return torch.rand(1).item()


def single(probability: float) -> float:
    """In the precision in which PyTorch compares it with ``torch.rand(1)``."""
    return float(np.float32(probability))


def sample_box(
    height: int, width: int, scale: Sequence[float], ratio: Sequence[float]
) -> tuple[int, int, int, int]:
    """What torchvision's ``RandomResizedCrop.get_params`` draws, in half of its time.

    Args:
        height, width: of the picture in pixels.
        scale, ratio: as in :class:`Crop`.

    Returns:
        Top, left, height and width of the box in pixels.
    """
    log_ratio = _log(*ratio)
    for _ in range(_TRIES):
        area = height * width * torch.empty(1).uniform_(*scale).item()
        aspect = torch.empty(1).uniform_(*log_ratio).exp_().item()
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = (int(torch.randint(0, room + 1, (1,))) for room in (height - h, width - w))
            return top, left, h, w
    # The largest box of an allowed ratio, in the middle.
    aspect = min(max(width / height, min(ratio)), max(ratio))
    h, w = height, width
    if aspect > width / height:
        h = round(width / aspect)
    elif aspect < width / height:
        w = round(height * aspect)
    return (height - h) // 2, (width - w) // 2, h, w


_TRIES = 10
"""For a box that lies within the picture, torchvision's number."""


@functools.cache
def _log(*values: float) -> list[float]:
    """Logarithms in torchvision's precision."""
    logarithms: list[float] = torch.tensor(values).log().tolist()
    return logarithms


@dataclasses.dataclass(frozen=True)
class Crop:
    """torchvision's ``RandomResizedCrop``; P = 4: top, left, height and width of the box in pixels.

    Bilinear, with antialiasing: Pillow's to one level.

    Attributes:
        size: height and width of the views in pixels.
        scale: area of the box as a part of the picture's, from and to.
        ratio: width of the box over its height, from and to.
    """

    size: tuple[int, int]
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    neutral = (0.0, 0.0, 1.0, 1.0)  # its first pixel: a crop always takes place

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Crop:
        """The crop of torchvision's settings, whose size may be one number."""
        size = settings["size"]
        sides = size if isinstance(size, Sequence) else [size]
        ranges = {key: tuple(settings[key]) for key in ("scale", "ratio") if key in settings}
        return cls((sides[0], sides[-1]), **ranges)

    def sample(self, height: int, width: int) -> tuple[float, ...]:
        """Sample the box for one view of a picture of this size."""
        return tuple(map(float, sample_box(height, width, self.scale, self.ratio)))

    def apply(self, pictures: Tensor, boxes: Tensor) -> Tensor:
        """Views uint8 ``[N, C, *size]`` of pictures uint8 ``[N, C, H, W]``, boxes ``[N, 4]``."""
        tops, lefts, heights, widths = boxes[:, :, None, None].unbind(dim=1)
        rows = _resize_matrices(pictures.shape[-2], self.size[0], tops, heights)[:, None]
        columns = _resize_matrices(pictures.shape[-1], self.size[1], lefts, widths)[:, None]
        return _weighted(pictures, rows, columns)


@dataclasses.dataclass(frozen=True)
class HorizontalFlip:
    """torchvision's ``RandomHorizontalFlip``; P = 1: whether the view is flipped."""

    p: float = 0.5
    neutral = (0.0,)

    def sample(self) -> tuple[float, ...]:
        return (float(rand() < single(self.p)),)

    def apply(self, views: Tensor, parameters: Tensor) -> Tensor:
        return torch.where(_per_view(parameters[:, 0]) > 0, views.flip(-1), views)


@dataclasses.dataclass(frozen=True)
class Grayscale:
    """torchvision's ``RandomGrayscale``; P = 1: whether the view becomes gray."""

    p: float = 0.1
    neutral = (0.0,)

    def sample(self) -> tuple[float, ...]:
        return (float(rand() < single(self.p)),)

    def apply(self, views: Tensor, parameters: Tensor) -> Tensor:
        gray = _gray(views).round_().to(torch.uint8)
        return torch.where(_per_view(parameters[:, 0]) > 0, gray, views)


@dataclasses.dataclass(frozen=True)
class ColorJitter:
    """torchvision's ``ColorJitter``, by itself or in a ``RandomApply`` of probability ``p``.

    P = 8: factors of brightness, contrast and saturation, the shift of the hue as a part of the
    circle, and the place of each of the four in the order, 0 to 3.

    Attributes:
        brightness, contrast, saturation, hue: as in torchvision.
        p: probability of a jitter, for which ``RandomApply`` draws a number, 0 and 1 included;
            None: there is none.
    """

    brightness: float | tuple[float, float] = 0.0
    contrast: float | tuple[float, float] = 0.0
    saturation: float | tuple[float, float] = 0.0
    hue: float | tuple[float, float] = 0.0
    p: float | None = None
    neutral = (1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 2.0, 3.0)

    def __post_init__(self) -> None:
        settings = (self.brightness, self.contrast, self.saturation, self.hue)
        jitter = transforms.ColorJitter(*settings)
        ranges = jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue
        object.__setattr__(self, "_ranges", ranges)  # the class is frozen

    def sample(self) -> tuple[float, ...]:
        if self.p is not None and single(self.p) < rand():
            return self.neutral
        order, *factors = transforms.ColorJitter.get_params(*self._ranges)  # type: ignore[attr-defined]
        given = [n if f is None else f for f, n in zip(factors, self.neutral)]
        places = order.tolist()
        return (*given, *(float(places.index(which)) for which in range(4)))

    def apply(self, views: Tensor, parameters: Tensor) -> Tensor:
        """Adjustments before the hue's, the hue's, and those after it: each view's own order.

        A view takes part in each of the six blends, with the factor 1 where it has none.
        """
        factors, places = parameters[:, :4], parameters[:, 4:]
        of_hue = places[:, 3:]
        for place in range(3):
            views = _blend(views, factors, (places == place) & (places < of_hue))
        views = _shift_hue(views, factors[:, 3])
        for place in range(1, 4):
            views = _blend(views, factors, (places == place) & (places > of_hue))
        return views


@dataclasses.dataclass(frozen=True)
class GaussianBlur:
    """VISSL's ``ImgPilGaussianBlur``; P = 1: the standard deviation in pixels, 0 for no blur.

    Both blur three times by a box, as Pillow does; here the levels in between are not rounded.

    Attributes:
        p: probability of a blur.
        radius_min: smallest standard deviation in pixels, at least 0.
        radius_max: largest standard deviation in pixels.
    """

    p: float = 0.5
    radius_min: float = 0.1
    radius_max: float = 2.0
    neutral = (0.0,)

    def sample(self) -> tuple[float, ...]:
        # NumPy's and Python's generators, as in VISSL, which seeds both in every worker.
        if np.random.rand() > self.p:
            return self.neutral
        return (random.uniform(self.radius_min, self.radius_max),)

    def apply(self, views: Tensor, parameters: Tensor) -> Tensor:
        height, width = views.shape[-2:]
        rows = _blur_matrices(height, self.radius_max, parameters)[:, None]
        columns = rows
        if width != height:
            columns = _blur_matrices(width, self.radius_max, parameters)[:, None]
        return _weighted(views, rows, columns)


@dataclasses.dataclass(frozen=True)
class Solarize:
    """VISSL's ``ImgPilRandomSolarize``; P = 1: levels from this one on are inverted, 256: none."""

    p: float = 0.66
    neutral = (256.0,)

    def sample(self) -> tuple[float, ...]:
        if single(self.p) < rand():
            return self.neutral
        return (float(np.random.randint(0, 257)),)

    def apply(self, views: Tensor, parameters: Tensor) -> Tensor:
        return torch.where(views < _per_view(parameters[:, 0]), views, 255 - views)


def _per_view(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _gray(views: Tensor) -> Tensor:
    """Pillow's gray without its rounding: float32 ``[N, 1, H, W]``."""
    red, green, blue = (views[:, channel : channel + 1] for channel in range(3))
    return (LUMA[0] * red).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def _blend(views: Tensor, factors: Tensor, chosen: Tensor) -> Tensor:
    """Blend with black (brightness), the mean gray (contrast) or each pixel's gray (saturation).

    Args:
        views: uint8 ``[N, C, H, W]``.
        factors: those of brightness, contrast and saturation, ``[N, 3 or more]``.
        chosen: which of the three it is for each view, bool of the same shape; None: no change.
    """
    shares = torch.where(chosen, 1 - factors, 0)[:, :3]  # of what is blended in
    kept = _per_view(1 - shares.sum(dim=1))
    gray = _gray(views).round_()
    mean = gray.mean(dim=(1, 2, 3)).add_(0.5).floor_()
    # Pillow truncates. The thousandth is for whole numbers that float32 misses.
    added = gray.mul_(_per_view(shares[:, 2])).add_(_per_view(shares[:, 1] * mean + 1e-3))
    return (views * kept).add_(added).clamp_(0, 255.5).to(torch.uint8)


def _shift_hue(views: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue of uint8 ``[N, C, H, W]`` by ``shift`` ``[N]``, a part of the circle."""
    red, green, blue = views.float().unbind(dim=1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    # In sixths of the circle. Of gray, whose chroma is 0, any hue will do.
    sector = torch.where(
        value == red,
        green - blue,
        torch.where(value == green, blue - red, red - green),
    ).div_(chroma.clamp(min=1))
    sector += torch.where(value == red, 0.0, torch.where(value == green, 2.0, 4.0))
    sector += 6 * shift[:, None, None]
    turned = []
    for offset in (5.0, 3.0, 1.0):
        place = (sector + offset).remainder_(6)
        part = torch.minimum(place, 4 - place).clamp_(0, 1)
        turned.append((value - chroma * part).round_().to(torch.uint8))
    return torch.stack(turned, dim=1)


def _weighted(views: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Weighted sums of pixels: uint8 ``[N, C, H', W']`` of uint8 ``[N, C, H, W]``.

    Args:
        rows: weights float32 ``[N, 1, H', H]``.
        columns: weights float32 ``[N, 1, W', W]``.
    """
    sums = rows @ views.float() @ columns.transpose(-1, -2)
    return sums.round_().clamp_(0, 255).to(torch.uint8)


def _resize_matrices(pixels: int, size: int, start: Tensor, length: Tensor) -> Tensor:
    """Bilinear resizing of a part of one axis as matrices, with PyTorch's antialiasing.

    Args:
        pixels: of the axis.
        size: of what comes out.
        start: first pixel of the part, whole float32 ``[N, 1, 1]``.
        length: its pixels, at least 1, of the same shape.

    Returns:
        float32 ``[N, size, pixels]``: row i holds the weights of pixel i.
    """
    scale = length / size
    centers = (torch.arange(size, device=start.device)[:, None] + 0.5) * scale + start
    places = torch.arange(pixels, device=start.device) + 0.5
    weights = 1 - (places - centers).abs() / scale.clamp(min=1)
    weights = weights.where((places > start) & (places < start + length), 0).clamp_(min=0)
    return weights / weights.sum(dim=2, keepdim=True)


def _blur_matrices(size: int, largest: float, sigmas: Tensor) -> Tensor:
    """Pillow's blurs of one axis as matrices: three box blurs, each of which repeats the border.

    A box of variance ``sigma ** 2 / 3`` has 2 l + 1 whole pixels and two parts of one.

    Args:
        size: pixels of the axis.
        largest: the largest of all sigmas, which the host must know.
        sigmas: ``[N, 1]``.

    Returns:
        float32 ``[N, size, size]``: row i holds the weights of pixel i.
    """
    variance = sigmas.double() ** 2 / 3
    whole = ((torch.sqrt(12 * variance + 1) - 1) / 2).floor()
    part = (2 * whole + 1) * (whole * (whole + 1) / 3 - variance)
    part = part / (2 * (variance - (whole + 1) ** 2))
    reach = math.floor((math.sqrt(4 * largest**2 + 1) - 1) / 2) + 1
    offsets = torch.arange(-reach, reach + 1, device=sigmas.device)
    distance = offsets.abs()
    box = torch.where(distance <= whole, 1.0, torch.where(distance == whole + 1, part, 0.0))
    box = (box / (2 * (whole + part) + 1)).float()
    pixels = torch.arange(size, device=sigmas.device)
    sources = (pixels[:, None] + offsets).clamp_(0, size - 1).expand(len(sigmas), -1, -1)
    boxes = torch.zeros(len(sigmas), size, size, device=sigmas.device)
    boxes.scatter_add_(2, sources, box[:, None].expand_as(sources))
    return boxes @ boxes @ boxes
