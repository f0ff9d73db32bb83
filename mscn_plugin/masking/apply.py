"""Application of masks to images: ``x' = M * x + (1 - M) * z`` (section 4.2).

Shape shorthand: N images, K masks of each, C color channels, H, W height and width in pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mscn_plugin.masking.parameters import MaskParameters

CPU_CHUNK = 400_000
"""Numbers that a CPU masks at a time, two views of 224 pixels. Measured best of one to 16 views."""


def apply_masks(
    images: Tensor,
    masks: MaskParameters,
    generator: torch.Generator | None = None,
    noise: Tensor | None = None,
) -> Tensor:
    """Mask a batch, with Gaussian noise in the place of what is hidden.

    The noise z is independent for every pixel and channel, with mean 0, the value that stands
    for "no information" after the high-pass filter, and the masks' standard deviation. Its
    granularity is not stated in the paper ("Gaussian noise", Figure 4).

    Args:
        images: ``[N, C, H, W]``, floating point, normalized and (in MSCN) high-pass filtered.
        masks: K * N masks, mask 0 of all images first; they are moved to the images' device.
        generator: source of the noise, on the images' device; the global one if None.
        noise: ``[K * N, C, H, W]`` of standard normal numbers to use in place of new ones, to
            replay a batch exactly.

    Returns:
        The masked images ``[K * N, C, H, W]`` in the order of the masks, a new tensor of the same
        dtype and device. Pixels outside of the mask are copied bit for bit.

    Raises:
        TypeError: the images are not floating point.
        ValueError: images, noise and masks do not fit each other in shape, or N does not divide
            the number of masks.
    """
    expected = _checked_shape(images, masks)
    if noise is not None and tuple(noise.shape) != (len(masks), *expected):
        raise ValueError(
            f"noise has shape {tuple(noise.shape)}; the masks need {(len(masks), *expected)}"
        )
    num_masks, remainder = divmod(len(masks), len(images)) if len(images) else (1, len(masks))
    if remainder:
        raise ValueError(f"there are {len(masks)} masks, not a multiple of {len(images)} images")
    masks = masks.to(images.device)
    if noise is None and images.device.type == "cpu":
        masked = images.new_empty(num_masks, *images.shape)
        _mask_into(masked, images, masks, generator)
        return masked.flatten(0, 1)
    hidden = masks.hidden()
    std = masks.noise_std[:, None, None, None]
    if noise is None:
        # For every pixel: counting the hidden ones would make the host wait for an accelerator.
        scaled = torch.empty(hidden.shape, device=images.device).normal_(generator=generator)
        scaled *= std
    else:
        scaled = noise * std
    by_mask = (num_masks, len(images), *expected)
    scaled = scaled.to(images.dtype).view(by_mask)
    return torch.where(hidden.view(by_mask), scaled, images).flatten(0, 1)


def _checked_shape(images: Tensor, masks: MaskParameters) -> tuple[int, int, int]:
    """The masks' shape ``[C, H, W]``, or an error if the images cannot take them."""
    if not images.is_floating_point():
        raise TypeError(
            f"masks need floating-point images, got {images.dtype}, in which noise would round to 0"
        )
    expected = (masks.channels, *masks.size)
    if images.dim() != 4 or tuple(images.shape[1:]) != expected:
        raise ValueError(
            f"images have shape {tuple(images.shape)}; the masks are for a batch of images of "
            f"shape {expected}"
        )
    return expected


def _mask_into(
    masked: Tensor, images: Tensor, masks: MaskParameters, generator: torch.Generator | None
) -> None:
    """Write the masked images where they are wanted, on a CPU: one pass for each mask.

    Args:
        masked: takes them, ``[K, N, C, H, W]``, each mask's part contiguous.
        images, masks, generator: as in :func:`apply_masks`.
    """
    hidden, counts = masks.hidden(), masks.num_hidden().tolist()
    # A normal number costs more than all else: only those that are seen.
    values = torch.empty(sum(counts), dtype=torch.float32).normal_(generator=generator)
    of_samples = zip(hidden, values.split(counts), masks.noise_std.tolist())
    for place, (where, noise, std) in enumerate(of_samples):
        mask, image = divmod(place, len(images))
        out = masked[mask, image]
        out.copy_(images[image])
        noise = noise.mul_(std).to(images.dtype)
        if out.requires_grad or out.dtype == torch.bfloat16:  # which NumPy does not know
            out.masked_scatter_(where, noise)
        else:  # a quarter of PyTorch's time: NumPy goes from run to run
            out.numpy()[where.numpy()] = noise.numpy()


def apply_in_chunks(
    images: Tensor,
    masks: MaskParameters,
    masked: Tensor,
    prepare: Callable[[Tensor], Tensor],
    prepared: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> None:
    """:func:`apply_masks` to images that are prepared before, as many at a time as are quick.

    An accelerator takes all images at once; a CPU takes what its cache holds.

    Args:
        images: ``[N, C, H, W]`` of any dtype.
        masks: K * N masks, mask 0 of all images first.
        masked: takes the masked images, ``[K, N, C, H, W]`` on the same device.
        prepare: what comes before the masks: from ``[n, C, H, W]`` to floating-point images.
        prepared: takes the prepared images, ``[N, C, H, W]``, where they are wanted.
        generator: as in :func:`apply_masks`.

    Raises:
        TypeError: the prepared images are not floating point.
        ValueError: the prepared images and the masks do not fit each other in shape.
    """
    num_images = len(images)
    chunk = max(1, num_images)
    if images.device.type == "cpu":
        chunk = max(1, CPU_CHUNK // (masks.channels * masks.size[0] * masks.size[1]))
    order = torch.arange(len(masks), device=images.device).view(-1, max(1, num_images))
    for first in range(0, num_images, chunk):
        part = slice(first, first + chunk)
        ready = prepare(images[part])
        _checked_shape(ready, masks)
        if prepared is not None:
            prepared[part] = ready
        of_part = masks[order[:, part].flatten()]
        if images.device.type == "cpu":
            _mask_into(masked[:, part], ready, of_part, generator)
        else:
            masked[:, part] = apply_masks(ready, of_part, generator).view_as(masked[:, part])
