"""Images of which a share is hidden, after the high-pass filter or in the picture before it.

What is hidden depends on an image's place in the data set and on nothing of the run.

Shape shorthand: B images, C color channels, H, W height and width in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mscn_plugin.evaluation.definitions import CONDITIONS
from mscn_plugin.masking import MaskDistribution, MaskParameters, high_pass
from mscn_plugin.masking.kinds import CellSize

SHARES = (0.0, 0.15, 0.3, 0.5, 0.7)


class Shown(NamedTuple):
    """Images as a trunk is given them.

    Attributes:
        seen: after the filter, ``[B, C, H, W]``.
        picture: before the filter; None where something was hidden after it.
    """

    seen: Tensor
    picture: Tensor | None


def versions(
    split: str, images: Tensor, indices: list[int], sigma: float, cell_size: CellSize
) -> Iterator[tuple[str, Shown]]:
    """Images, whole, and those of the validation split also with a part hidden.

    Args:
        split: ``"train"`` or ``"test"``.
        images: ``[B, C, H, W]``, normalized, not filtered.
        indices: of the images in their data set.
        sigma: of the filter in pixels; 0: after the filter is the picture.
        cell_size: in pixels, one number or height and width.
    """
    clean = high_pass(images, sigma)
    yield split, Shown(clean, images)
    if split == "train":
        return
    noise = torch.stack(
        [torch.randn(images.shape[1:], generator=_generator(i, 1)) for i in indices]
    )
    noise = noise.to(images)
    for share in SHARES[1:]:
        for name, occluded in hide(images, clean, noise, share, indices, cell_size):
            shown = (
                Shown(occluded, None)
                if CONDITIONS[name].filtered
                else Shown(high_pass(occluded, sigma), occluded)
            )
            yield version_name(name, share), shown


def hide(
    images: Tensor,
    filtered: Tensor,
    noise: Tensor,
    share: float,
    indices: Sequence[int],
    cell_size: CellSize,
) -> Iterator[tuple[str, Tensor]]:
    """Images with a share hidden under each of :data:`CONDITIONS`, by its name.

    Args:
        images, filtered: ``[B, C, H, W]``, before the filter and after it; a condition
            hides a part of the one or the other, and gives what it takes.
        noise: of their shape, of variance 1.
        share, indices, cell_size: as for :func:`hidden_pixels`.
    """
    hidden = {
        shape: hidden_pixels(shape, share, cell_size, indices, images.shape[1:]).to(images.device)
        for shape in {condition.shape for condition in CONDITIONS.values()}
    }
    for name, condition in CONDITIONS.items():
        seen = filtered if condition.filtered else images
        yield name, torch.where(hidden[condition.shape], noise * condition.noise_std, seen)


def hidden_pixels(
    shape: str, share: float, cell_size: CellSize, indices: Sequence[int], size: Sequence[int]
) -> Tensor:
    """Which pixels of the images with these indices are hidden: always the same.

    The cells that are hidden at one share are hidden at every larger one, whatever hides them.

    Args:
        share: above 0, below 1.
        shape: ``cells``, the method's own grid with a share of its cells dropped; ``channels``,
            the same independently for each channel, so that as many values are hidden; ``box``,
            one that covers the share of the image, at a random place.
        size: (C, H, W).

    Returns:
        bool ``[B, C, H, W]``.
    """
    is_box = shape == "box"  # what a focal mask would keep
    distribution = MaskDistribution(
        ratio=1 - share if is_box else share,
        cell_size=cell_size,
        focal_probability=float(is_box),
        channelwise_probability=float(shape == "channels"),
    )
    channels, *sides = size
    masks = MaskParameters.cat(
        [distribution.sample(1, sides, channels, _generator(index, 0)) for index in indices]
    )
    return masks.keep() if is_box else masks.hidden()


def _generator(index: int, stream: int) -> torch.Generator:
    """The source of an image's masks (stream 0) or noise (1)."""
    return torch.Generator().manual_seed(2 * index + stream)


def version_name(condition: str, share: float) -> str:
    """Under which name the features are written."""
    return f"{condition}-{round(100 * share)}"
