"""The high-pass filter of the paper (section 4.3): ``x - G_sigma * x``.

Pre-training, evaluation, detection and export all call :func:`high_pass`; there is no other
filter in the package. With it the value 0 means "no information", so that the edges of a mask
are invisible to a convolution.

Shape shorthand: H, W height and width in pixels.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")

TRUNCATE = 4.0
"""Half-width of the Gaussian in standard deviations; SciPy's default."""

BLOCK = 56
"""Output pixels per block of the banded product; measured best of 28 to 224 at sigma 5."""


MIN_SIGMA = 0.25
"""The narrowest blur in pixels. A narrower one hardly differs from its image, of which then less
than a part in a thousand is left; below 0.125 the kernel has one tap, and nothing is."""


def high_pass(images: Tensor, sigma: float) -> Tensor:
    """Subtract from each image its own Gaussian blur.

    The blur is separable, is cut at 4 sigma and mirrors the image at its borders (the border
    pixel is not repeated), like ``scipy.ndimage.gaussian_filter(x, sigma, mode="mirror")``
    on the two last dimensions. Images smaller than the kernel are mirrored as often as needed.
    The border rule is not stated in the paper: mirroring adds no edge of its own.

    An axis is blurred by a few dense products, one per block of :data:`BLOCK` pixels with its
    halo: a banded matrix without most of its zeros. Time and memory are linear in the images.

    Because the filter is linear and removes constants, ``high_pass((x - mean) / std)`` equals
    ``high_pass(x) / std``: after a normalization, no mean is left. Before one, the mean would be
    subtracted from images that have none.

    Args:
        images: ``[..., H, W]``, floating point, any scale. Every type is filtered in float32,
            with autocast, TF32 and bfloat16 products off inside: the difference of two nearly
            equal numbers does not survive fewer digits.
        sigma: standard deviation of the Gaussian in pixels, at least :data:`MIN_SIGMA`, or 0,
            which returns the images unchanged (no filter, the paper's unmasked baseline).

    Returns:
        A tensor of the same shape, dtype and device.

    Raises:
        TypeError: the images are not floating point.
        ValueError: sigma cannot be a blur's width, or there are fewer than two dimensions.

    Paper: section 4.3 (sigma = 5 at 224 pixels), Table 9, and in evaluations A.2 and A.3.
    """
    if not images.is_floating_point():
        raise TypeError(f"high_pass needs floating-point images, got {images.dtype}")
    if images.dim() < 2:
        raise ValueError(f"high_pass needs images of shape [..., H, W], got {tuple(images.shape)}")
    sigma = check_sigma(sigma)
    if sigma == 0:
        return images
    if images.is_meta:  # on which autocast raises
        return torch.empty_like(images)
    height, width = images.shape[-2:]
    with torch.autocast(images.device.type, enabled=False), full_precision():
        x = images.float().reshape(-1, height, width)
        blurred = torch.cat(
            [b.weights @ x[:, b.begin : b.end] for b in _blocks(height, sigma, x.device)], dim=1
        ).view(-1, width)
        rows = x.reshape(-1, width)
        filtered = [
            torch.addmm(
                rows[:, b.first : b.last], blurred[:, b.begin : b.end], b.weights.T, alpha=-1
            )
            for b in _blocks(width, sigma, x.device)
        ]
        return torch.cat(filtered, dim=1).view(images.shape).to(images.dtype)


def check_sigma(sigma: float) -> float:
    """Return ``sigma`` as a float, or raise ValueError if it cannot be a blur's width."""
    if isinstance(sigma, bool) or not isinstance(sigma, (int, float)):
        raise ValueError(f"sigma is {sigma!r}; it must be a number of pixels")
    if not 0 <= sigma < float("inf"):
        raise ValueError(f"sigma is {sigma}; it must be at least 0 pixels and finite")
    if 0 < sigma < MIN_SIGMA:
        raise ValueError(
            f"sigma is {sigma}; it must be 0, for no filter, or at least {MIN_SIGMA} pixels: a "
            "narrower filter leaves nothing of an image"
        )
    return float(sigma)


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Float32 products with all their digits, whatever the process allows elsewhere."""
    if not hasattr(torch.backends, "fp32_precision"):  # PyTorch before 2.9
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(precision)
        return
    # Not the function above: it raises once a process has used the newer settings.
    backends: Any = torch.backends
    products = [backends.cuda.matmul, backends.mkldnn.matmul]
    before = [product.fp32_precision for product in products]
    for product in products:
        product.fp32_precision = "ieee"
    try:
        yield
    finally:
        for product, value in zip(products, before):
            product.fp32_precision = value


class _Block(NamedTuple):
    """Weights ``[last - first, end - begin]`` from pixels begin..end to the blurred first..last."""

    first: int
    last: int
    begin: int
    end: int
    weights: Tensor


def _kept(number: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """As ``functools.lru_cache``, but what is made while a program is traced is not kept.

    Tensors hold no numbers there, as in ``torch.export`` and in a ``FakeTensorMode``.
    """

    def decorate(make: Callable[P, T]) -> Callable[P, T]:
        kept: Any = functools.lru_cache(number)(make)

        @functools.wraps(make)
        def call(*arguments: P.args, **keywords: P.kwargs) -> T:
            traced = type(torch.empty(0)) is not Tensor
            result: T = (make if traced else kept)(*arguments, **keywords)
            return result

        return call

    return decorate


@_kept(64)
def _blocks(size: int, sigma: float, device: torch.device) -> list[_Block]:
    """The blur of one axis, cut into blocks of at most :data:`BLOCK` pixels of equal size."""
    halo = _radius(sigma)
    length = -(-size // -(-size // BLOCK))
    blocks = []
    for first in range(0, size, length):
        last = min(first + length, size)
        before, after = min(first, halo), min(size - last, halo)
        weights = _weights(before, last - first, after, sigma, device)
        blocks.append(_Block(first, last, first - before, last + after, weights))
    return blocks


@_kept(1024)
@torch.inference_mode(False)  # what is cached must serve training, too
def _weights(before: int, length: int, after: int, sigma: float, device: torch.device) -> Tensor:
    """Weights of a block of ``length`` pixels with so many pixels on either side of it.

    Images of all sizes share those of blocks that no border is near, and most others: detection
    meets a thousand sizes, and a copy to the device would wait for it each time.
    """
    matrix = _blur_matrix(before + length + after, sigma)
    return matrix[before : before + length].contiguous().to(device)


def _radius(sigma: float) -> int:
    return int(TRUNCATE * sigma + 0.5)


def _blur_matrix(size: int, sigma: float) -> Tensor:
    """The blur of one axis as a matrix ``[size, size]``: row i holds the weights of pixel i.

    Mirroring folds the kernel's tails back into the image, which a matrix expresses exactly
    whatever the ratio of kernel to image.
    """
    radius = _radius(sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    weights /= weights.sum()
    sources = _mirror(torch.arange(size)[:, None] + offsets.long()[None, :], size)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    matrix.scatter_add_(1, sources, weights.expand(size, -1).contiguous())
    return matrix.float()


def _mirror(index: Tensor, size: int) -> Tensor:
    """Fold indices outside of [0, size) back into it, mirroring about the border pixels."""
    if size == 1:
        return torch.zeros_like(index)
    period = 2 * (size - 1)
    index = index.remainder(period)
    return torch.where(index < size, index, period - index)
