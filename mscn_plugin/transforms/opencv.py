"""The standard augmentations, faster: by OpenCV and PyTorch, and each file decoded once.

Each class stands for a part of VISSL's SimCLR pipeline and draws the same random numbers in the
same order, so that a seed gives the same crops, flips, factors and orders. The pixels are the same
to a few of 255 levels. ``MSCN.FAST_AUGMENTATIONS`` puts them in the place of VISSL's; they may
also be named in a configuration. Views are pictures of Pillow, or uint8 tensors ``[C, H, W]`` whose
memory is ``[H, W, C]``, which spares the copies between the two.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional
from classy_vision.dataset.transforms import register_transform
from classy_vision.dataset.transforms.classy_transform import ClassyTransform
from PIL import Image
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F
from vissl.data.ssl_transforms import ssl_transforms_wrapper

from mscn_plugin.data.decoding import EncodedImage, as_tensor
from mscn_plugin.transforms.augmentations import sample_box
from mscn_plugin.transforms.sampled_views import SAMPLED
from mscn_plugin.transforms.transforms import FromSettings

View = Image.Image | Tensor

CROPS = "MSCNRandomResizedCrops"
REPLACEMENTS = {
    "ImgPilColorDistortion": ("MSCNColorDistortion", ("strength",)),
    "ImgPilGaussianBlur": ("MSCNGaussianBlur", ("p", "radius_min", "radius_max")),
}
"""VISSL's transforms, those that take their places, and the keys that both know."""

TAKE_TENSORS = ("RandomHorizontalFlip", "MSCNColorDistortion", "MSCNGaussianBlur", SAMPLED)
"""Transforms that take a view as a tensor as well as a picture."""
_BY_PYTORCH = {InterpolationMode.BILINEAR: "bilinear", InterpolationMode.BICUBIC: "bicubic"}
"""Interpolations that PyTorch has for bytes, with Pillow's antialiasing, to one level."""


def with_fast_augmentations(pipeline: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A ``TRANSFORMS`` list with the faster parts where they can stand for VISSL's.

    ``ImgReplicatePil`` directly followed by ``RandomResizedCrop`` becomes one part, which must see
    the file before it is decoded and therefore only replaces them at the beginning.
    """
    fast = []
    for transform in pipeline:
        if transform["name"] in REPLACEMENTS:
            name, keys = REPLACEMENTS[transform["name"]]
            transform = {"name": name, **{k: v for k, v in transform.items() if k in keys}}
        fast.append(transform)
    if [t["name"] for t in fast[:2]] == ["ImgReplicatePil", "RandomResizedCrop"]:
        fast[:2] = [{**fast[0], **fast[1], "name": CROPS}]
    return fast


def with_tensors(pipeline: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A ``TRANSFORMS`` list that ends in bytes, with tensors from the crops on if all take them."""
    first, *others = pipeline
    kept = [transform for transform in others if transform["name"] != "PILToTensor"]
    if first["name"] == CROPS and all(transform["name"] in TAKE_TENSORS for transform in kept):
        return [{**first, "tensors": True}, *kept]
    return list(pipeline)


@functools.cache
def opencv() -> Any:
    """The module ``cv2``, single-threaded: a loader's workers are the parallelism.

    Raises:
        ImportError: OpenCV is not installed.
    """
    import cv2

    cv2.setNumThreads(0)
    return cv2


class FastColorJitter(transforms.ColorJitter):
    """torchvision's ``ColorJitter`` for RGB, computed by OpenCV."""

    def forward(self, image: View) -> View:
        if isinstance(image, Image.Image) and image.mode != "RGB":
            jittered: Image.Image = super().forward(image)
            return jittered
        order, *factors = self.get_params(self.brightness, self.contrast, self.saturation, self.hue)
        adjust = (_brightness, _contrast, _saturation, _hue)
        pixels = _array(image)
        for index in order.tolist():
            if factors[index] is not None:
                pixels = adjust[index](pixels, factors[index])
        return _like(pixels, image)


class FastGrayscale(transforms.RandomGrayscale):
    """torchvision's ``RandomGrayscale``, with Pillow's gray for tensors, too."""

    def forward(self, image: View) -> View:
        if isinstance(image, Image.Image):
            picture: Image.Image = super().forward(image)
            return picture
        if torch.rand(1) >= self.p:
            return image
        cv2 = opencv()
        gray = cv2.cvtColor(_array(image), cv2.COLOR_RGB2GRAY)
        return _like(cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB), image)


def _array(view: View) -> np.ndarray:
    """The view as ``[H, W, C]``; that of a tensor shares its memory."""
    return view.permute(1, 2, 0).numpy() if isinstance(view, Tensor) else np.asarray(view)


def _like(pixels: np.ndarray, view: View) -> View:
    """``pixels`` as a view of the kind that ``view`` is."""
    if isinstance(view, Tensor):
        return torch.from_numpy(pixels).permute(2, 0, 1)
    return Image.fromarray(pixels)


# Pillow truncates where it blends; OpenCV rounds, which a shift by one half makes the same. Half
# levels are rounded to even ones: they are shifted by a little less.
_TRUNCATE = -0.4999


def _brightness(pixels: np.ndarray, factor: float) -> np.ndarray:
    return _blend_with(0, pixels, factor)


def _contrast(pixels: np.ndarray, factor: float) -> np.ndarray:
    cv2 = opencv()
    mean = cv2.mean(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))[0]
    return _blend_with(int(mean + 0.5), pixels, factor)


def _blend_with(gray: int, pixels: np.ndarray, factor: float) -> np.ndarray:
    shift = gray * (1 - factor) + _TRUNCATE
    return np.asarray(opencv().addWeighted(pixels, factor, pixels, 0, shift))


def _saturation(pixels: np.ndarray, factor: float) -> np.ndarray:
    luma = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    matrix = np.full((3, 4), _TRUNCATE, dtype=np.float32)
    matrix[:, :3] = factor * np.eye(3, dtype=np.float32) + (1 - factor) * luma
    return np.asarray(opencv().transform(pixels, matrix))


def _hue(pixels: np.ndarray, factor: float) -> np.ndarray:
    cv2 = opencv()
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(factor * 256) % 256)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL))


@register_transform("MSCNColorDistortion")
class MSCNColorDistortion(FromSettings, ClassyTransform):
    """VISSL's ``ImgPilColorDistortion``, SimCLR's color jitter and grayscale (supplement A.1).

    Args:
        strength: factor of brightness, contrast and saturation (0.8) and of hue (0.2).
    """

    def __init__(self, strength: float = 1.0) -> None:
        opencv()
        jitter = FastColorJitter(0.8 * strength, 0.8 * strength, 0.8 * strength, 0.2 * strength)
        self.distort = transforms.Compose(
            [transforms.RandomApply([jitter], p=0.8), FastGrayscale(p=0.2)]
        )

    def __call__(self, image: View) -> View:
        distorted: View = self.distort(image)
        return distorted


@register_transform("MSCNGaussianBlur")
class MSCNGaussianBlur(FromSettings, ClassyTransform):
    """VISSL's ``ImgPilGaussianBlur`` with a Gaussian in place of Pillow's three box blurs.

    Args:
        p: probability of a blur.
        radius_min: smallest standard deviation in pixels, at least 0.
        radius_max: largest standard deviation in pixels.
    """

    def __init__(self, p: float = 0.5, radius_min: float = 0.1, radius_max: float = 2.0) -> None:
        opencv()
        self.p = p
        self.radius_min = radius_min
        self.radius_max = radius_max

    def __call__(self, image: View) -> View:
        # NumPy's and Python's generators, as in VISSL, which seeds both in every worker.
        if np.random.rand() > self.p:
            return image
        sigma = random.uniform(self.radius_min, self.radius_max)
        if sigma == 0:
            return image
        cv2 = opencv()
        blurred = cv2.GaussianBlur(_array(image), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        return _like(blurred, image)


@register_transform(CROPS)
class MSCNRandomResizedCrops(FromSettings, transforms.RandomResizedCrop):
    """``ImgReplicatePil`` and ``RandomResizedCrop`` in one, of a file that is not yet decoded.

    Crops are drawn from the size in the file's header. Where all of them are at least twice (four
    times, eight times) as large as what they are resized to, a JPEG is decoded at half (a
    quarter, an eighth) of its size, by its own cosine transform. Elsewhere the result is
    torchvision's of a picture, to one level.

    Of an array, float32 ``[C, H, W]``, crops are torchvision's, in the same units: interpolated
    with antialiasing and not rounded.

    Args:
        num_times: number of crops.
        tensors: whether crops of pictures are tensors; else they are pictures.
        settings: those of torchvision's ``RandomResizedCrop``.

    Raises:
        UnreadableImageError: the file cannot be decoded.
    """

    def __init__(self, num_times: int = 2, tensors: bool = False, **settings: object) -> None:
        super().__init__(**settings)
        self.num_times = num_times
        self.tensors = tensors

    def forward(self, image: Image.Image | EncodedImage | Tensor) -> list[View]:
        if isinstance(image, Tensor):
            return [self._crop_of_array(image) for _ in range(self.num_times)]
        file = image if isinstance(image, EncodedImage) else EncodedImage(image)
        width, height = file.size
        boxes = [sample_box(height, width, self.scale, self.ratio) for _ in range(self.num_times)]
        reduction = min(min(h // self.size[0], w // self.size[1]) for _, _, h, w in boxes)
        mode = _BY_PYTORCH.get(self.interpolation)
        if reduction < 2 and mode is not None:
            pixels = file.pixels()
            return [self._given(self._resized(pixels, box, mode)) for box in boxes]
        picture, scale = file.decode(reduction)
        return [self._given(self._crop(picture, box, scale)) for box in boxes]

    def _crop_of_array(self, image: Tensor) -> Tensor:
        crop: Tensor = super().forward(image)
        return crop

    def _given(self, view: View) -> View:
        if isinstance(view, Tensor):
            return view if self.tensors else Image.fromarray(_array(view))
        return as_tensor(view) if self.tensors else view

    def _resized(self, pixels: Tensor, box: Sequence[int], mode: str) -> Tensor:
        top, left, height, width = box
        region = pixels[None, :, top : top + height, left : left + width]
        resize = torch.nn.functional.interpolate
        return resize(region, self.size, mode=mode, antialias=True)[0]

    def _crop(self, image: Image.Image, box: Sequence[int], scale: float) -> Image.Image:
        if scale == 1:
            cropped: Image.Image = F.resized_crop(image, *box, self.size, self.interpolation)
            return cropped
        top, left, height, width = (scale * edge for edge in box)
        region = (left, top, left + width, top + height)
        mode = F.pil_modes_mapping[self.interpolation]
        return image.resize((self.size[1], self.size[0]), mode, box=region)


# VISSL spreads what a transform returns over the views only if its name is in this list.
if CROPS not in ssl_transforms_wrapper._TRANSFORMS_WITH_COPIES:
    ssl_transforms_wrapper._TRANSFORMS_WITH_COPIES.append(CROPS)
