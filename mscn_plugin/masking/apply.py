"""Application of masks to images: ``x' = M * x + (1 - M) * z`` (section 4.2).

Shape shorthand: N samples, C colour channels, H, W height and width in pixels.
"""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor

from mscn_plugin.masking.distribution import MaskDraw


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
        draw: K * N masks, mask 0 of all images first; it is moved to the images' device.
        generator: source of the noise, on the images' device; the global one if None.
        noise: ``[K * N, C, H, W]`` of standard normal numbers to use in place of a fresh draw, to
            replay a batch exactly.

    Returns:
        The masked images ``[K * N, C, H, W]`` in the order of the draw, a new tensor of the same
        dtype and device. Pixels outside of the mask are copied bit for bit.

    Raises:
        TypeError: the images are not floating point.
        ValueError: images, noise and draw do not fit each other in shape, or N does not divide
            the number of masks.
    """
    if not images.is_floating_point():
        raise TypeError(f"fill needs floating-point images, got {images.dtype}")
    expected = (draw.dropped_cells.shape[1], *draw.size)
    if images.dim() != 4 or tuple(images.shape[1:]) != expected:
        raise ValueError(
            f"images have shape {tuple(images.shape)}; the draw is for a batch of images of shape "
            f"{expected}"
        )
    if noise is not None and tuple(noise.shape) != (len(draw), *expected):
        raise ValueError(
            f"noise has shape {tuple(noise.shape)}; the draw needs {(len(draw), *expected)}"
        )
    num_masks, remainder = divmod(len(draw), len(images)) if len(images) else (1, len(draw))
    if remainder:
        raise ValueError(f"the draw has {len(draw)} masks, not a multiple of {len(images)} images")
    draw = draw.to(images.device)
    hidden = draw.hidden()
    if noise is None and images.device.type == "cpu":
        # A normal number costs more than all else: draw those that are seen.
        counts = draw.num_hidden()
        values = torch.empty(int(counts.sum()), dtype=torch.float32).normal_(generator=generator)
        values *= draw.noise_std.repeat_interleave(counts)
        repeated = images.repeat(num_masks, 1, 1, 1)
        return repeated.masked_scatter_(hidden, values.to(images.dtype))
    std = draw.noise_std[:, None, None, None]
    if noise is None:
        # For every pixel: counting the hidden ones would make the host wait for an accelerator.
        filling = torch.empty(hidden.shape, device=images.device).normal_(generator=generator)
        filling *= std
    else:
        filling = noise * std
    by_mask = (num_masks, len(images), *expected)
    filling = filling.to(images.dtype).view(by_mask)
    return torch.where(hidden.view(by_mask), filling, images).flatten(0, 1)
