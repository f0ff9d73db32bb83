"""The multimask collator (section 4.5, Figure 5): K masked versions of each of two views.

Drawing the masks and applying them are two steps. In a loader's worker one follows the other; with
:mod:`mscn_plugin.views.on_device` the worker draws and the training device applies.

Shape shorthand: B images, V = 2 branches, K0 and K1 masks, C, H, W channels, height, width.
"""

from __future__ import annotations

from typing import Any, Dict, List

import torch
from vissl.data.collators import register_collator

from mscn_plugin.masking import fill
from mscn_plugin.views.branches import mask_distributions, masks_per_branch

NUM_BRANCHES = 2
_PER_VIEW = ("label", "data_valid", "data_idx")


@register_collator("mscn_multimask_collator")
def mscn_multimask_collator(
    batch: List[Dict[str, Any]],
    num_masks: Any = 2,
    split_branches: bool = False,
    **settings: Any,
) -> Dict[str, Any]:
    """Mask the two views of each image K times.

    The views must be tensors of one size, already augmented, normalised and high-pass filtered
    (``MSCNHighPass``); each mask is drawn afresh for each image.

    Args:
        batch: B samples of VISSL, ``sample["data"]`` the two views ``[C, H, W]`` of an image.
        num_masks: K, or ``[K0, K1]``. The number is not stated in the paper; 2 doubles the
            number of views, K = 1 turns multimasks off.
        split_branches: False gives one tensor, so that both branches share the trunk's batch
            statistics, as in SimCLR; True gives a list with one tensor per branch, which with
            ``MODEL.SINGLE_PASS_EVERY_CROP: True`` passes the trunk branch by branch, as in
            Barlow Twins. Not stated in the paper.
        settings: see :class:`~mscn_plugin.masking.MaskDistribution`; each one value for both
            branches or a list of two.

    Returns:
        VISSL's batch. ``data`` is ``[(K0 + K1) * B, C, H, W]`` in the order branch 0 mask 0 (all
        images), branch 0 mask 1, ..., branch 1 mask 0, ...; ``label``, ``data_valid`` and
        ``data_idx`` follow the same order.

    Raises:
        ValueError: a setting is wrong, the images do not have two views, or cells or boxes are
            larger than the images.
    """
    return apply_masks(mscn_mask_drawing_collator(batch, num_masks, **settings), split_branches)


@register_collator("mscn_mask_drawing_collator")
def mscn_mask_drawing_collator(
    batch: List[Dict[str, Any]], num_masks: Any = 2, **settings: Any
) -> Dict[str, Any]:
    """The first step of :func:`mscn_multimask_collator`: unmasked views and drawn masks.

    Returns:
        A batch without repetitions: ``data`` the views ``[V, B, C, H, W]`` of any dtype, ``masks``
        a list with the :class:`~mscn_plugin.masking.MaskDraw` of each branch (``K * B`` masks,
        mask 0 of all images first), ``label``, ``data_valid`` and ``data_idx`` ``[V, B]``. Its
        size in bytes does not grow with K but for the draws, some 300 bytes each.

    Raises:
        ValueError: as :func:`mscn_multimask_collator`.
    """
    settings.pop("split_branches", None)
    counts = masks_per_branch(num_masks, NUM_BRANCHES)
    distributions = mask_distributions(NUM_BRANCHES, settings)
    views = torch.stack([torch.stack(images) for images in zip(*map(_views_of, batch))])
    channels, *size = views.shape[2:]
    collated: Dict[str, Any] = {
        key: torch.as_tensor([[sample[key][v] for sample in batch] for v in range(NUM_BRANCHES)])
        for key in _PER_VIEW
    }
    collated["data"] = views
    collated["masks"] = [
        masks.draw(count * len(batch), size, channels)
        for count, masks in zip(counts, distributions)
    ]
    return collated


def apply_masks(batch: Dict[str, Any], split_branches: bool = False) -> Dict[str, Any]:
    """The second step of :func:`mscn_multimask_collator`, on the device of ``batch["data"]``."""
    num_images = batch["data"].shape[1]
    counts = [len(masks) // num_images for masks in batch["masks"]]
    branches = [fill(views, masks) for views, masks in zip(batch["data"], batch["masks"])]
    masked: Dict[str, List[Any]] = {
        key: [torch.cat([column.repeat(k) for column, k in zip(batch[key], counts)])]
        for key in _PER_VIEW
    }
    masked["data"] = [branches if split_branches else torch.cat(branches)]
    return masked


def _views_of(sample: Dict[str, Any]) -> List[torch.Tensor]:
    views = sample["data"]
    if len(views) != NUM_BRANCHES:
        raise ValueError(
            f"mscn_multimask_collator got {len(views)} views of an image; it needs two: "
            "ImgReplicatePil with num_times: 2"
        )
    return views
