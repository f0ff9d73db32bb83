"""Application of masks to images: ``x' = M * x + (1 - M) * z`` (section 4.2).

Shape shorthand: N samples, C colour channels, H, W height and width in pixels.
"""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor

from mscn_plugin.masking.draw import MaskDraw


def fill(
    images: Tensor,
    draw: MaskDraw,
    generator: Optional[torch.Generator] = None,
    noise: Optional[Tensor] = None,
) -> Tensor:
    """Mask a batch and fill what is hidden with Gaussian noise.

    The noise z is independent for every pixel and channel, with mean 0, the value that stands
    for "no information" after the high-pass filter, and the draw's standard deviation. Its
    granularity is not stated in the paper: Figure 4 shows noise per pixel.

    Args:
        images: ``[N, C, H, W]``, floating point, normalised and (in MSCN) high-pass filtered.
        draw: the masks of the N samples; it is moved to the images' device.
        generator: source of the noise, on the images' device; the global one if None.
        noise: ``[N, C, H, W]`` of standard normal numbers to use in place of a fresh draw, to
            replay a batch exactly.

    Returns:
        The masked images, a new tensor of the same shape, dtype and device. Pixels outside of
        the mask are copied bit for bit.

    Raises:
        ValueError: images and draw do not have the same N, C, H and W.
    """
    expected = (len(draw), draw.dropped_cells.shape[1], *draw.size)
    if tuple(images.shape) != expected:
        raise ValueError(f"images have shape {tuple(images.shape)}; the draw is for {expected}")
    draw = draw.to(images.device)
    if noise is None and not draw.noise_std.any():
        return images.masked_fill(~draw.keep(), 0)
    if noise is None:
        noise = torch.empty_like(images, dtype=torch.float32).normal_(generator=generator)
    filling = (noise * draw.noise_std[:, None, None, None]).to(images.dtype)
    return torch.where(draw.keep(), images, filling)
