"""The high-pass filter of the paper (section 4.3): ``x - G_sigma * x``.

Pre-training, evaluation, detection and export all call :func:`high_pass`; there is no other
filter in the package. With it the value 0 means "no information", so that the edges of a mask
are invisible to a convolution.

Shape shorthand: H, W height and width in pixels.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

TRUNCATE = 4.0
"""Half-width of the Gaussian in standard deviations; SciPy's default."""


def high_pass(images: Tensor, sigma: float) -> Tensor:
    """Subtract from each image its own Gaussian blur.

    The blur is separable, is cut at 4 sigma and mirrors the image at its borders (the border
    pixel is not repeated), like ``scipy.ndimage.gaussian_filter(x, sigma, mode="mirror")``
    on the two last dimensions. Images smaller than the kernel are mirrored as often as needed.
    The border rule is not stated in the paper: mirroring adds no edge of its own.

    Because the filter is linear and removes constants, ``high_pass((x - mean) / std)`` equals
    ``high_pass(x) / std``: it may stand on either side of a normalisation.

    Args:
        images: ``[..., H, W]``, floating point, any scale. float16 and bfloat16 are filtered
            in float32, and autocast is off inside: the difference of two nearly equal numbers
            does not survive half precision.
        sigma: standard deviation of the Gaussian in pixels, at least 0. 0 returns the images
            unchanged (no filter, the paper's unmasked baseline).

    Returns:
        A tensor of the same shape, dtype and device.

    Raises:
        TypeError: the images are not floating point.
        ValueError: sigma is negative or not finite, or there are fewer than two dimensions.

    Paper: section 4.3 (sigma = 5 at 224 pixels), Table 9, A.2.
    """
    if not images.is_floating_point():
        raise TypeError(f"high_pass needs floating-point images, got {images.dtype}")
    if images.dim() < 2:
        raise ValueError(f"high_pass needs images of shape [..., H, W], got {tuple(images.shape)}")
    sigma = check_sigma(sigma)
    if sigma == 0:
        return images
    with torch.autocast(images.device.type, enabled=False):
        x = images.float()
        height, width = x.shape[-2:]
        low = _blur_matrix(height, sigma, x.device) @ x @ _blur_matrix(width, sigma, x.device).T
        return (x - low).to(images.dtype)


def check_sigma(sigma: float) -> float:
    """Return ``sigma`` as a float, or raise ValueError if it cannot be a blur's width."""
    if isinstance(sigma, bool) or not isinstance(sigma, (int, float)):
        raise ValueError(f"sigma is {sigma!r}; it must be a number of pixels")
    if not 0 <= sigma < float("inf"):
        raise ValueError(f"sigma is {sigma}; it must be at least 0 pixels and finite")
    return float(sigma)


@functools.lru_cache(maxsize=64)
def _blur_matrix(size: int, sigma: float, device: torch.device) -> Tensor:
    """The blur of one axis as a matrix ``[size, size]``: row i holds the weights of pixel i.

    Mirroring folds the kernel's tails back into the image, which a matrix expresses exactly
    whatever the ratio of kernel to image.
    """
    radius = int(TRUNCATE * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    weights /= weights.sum()
    sources = _mirror(torch.arange(size)[:, None] + offsets.long()[None, :], size)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    matrix.scatter_add_(1, sources, weights.expand(size, -1).contiguous())
    return matrix.float().to(device)


def _mirror(index: Tensor, size: int) -> Tensor:
    """Fold indices outside of [0, size) back into it, mirroring about the border pixels."""
    if size == 1:
        return torch.zeros_like(index)
    period = 2 * (size - 1)
    index = index.remainder(period)
    return torch.where(index < size, index, period - index)
