"""The multimask collator (section 4.5, Figure 5): K masked versions of each of two views.

Shape shorthand: B images, V = 2 branches, K0 and K1 masks, C, H, W channels, height, width.
"""

from __future__ import annotations

from typing import Any, Dict, List

import torch
from vissl.data.collators import register_collator

from mscn_plugin.masking import fill
from mscn_plugin.views.branches import mask_distributions, masks_per_branch

NUM_BRANCHES = 2


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
    counts = masks_per_branch(num_masks, NUM_BRANCHES)
    distributions = mask_distributions(NUM_BRANCHES, settings)
    branches = []
    for branch, (count, masks) in enumerate(zip(counts, distributions)):
        views = torch.stack([_views_of(sample)[branch] for sample in batch])
        repeated = views.repeat(count, 1, 1, 1)
        draw = masks.draw(len(repeated), views.shape[-2:], views.shape[1])
        branches.append(fill(repeated, draw))
    order = [branch for branch, count in enumerate(counts) for _ in range(count)]
    collated: Dict[str, List[Any]] = {
        key: [torch.stack([torch.as_tensor(s[key][branch]) for branch in order for s in batch])]
        for key in ("label", "data_valid", "data_idx")
    }
    collated["data"] = [branches if split_branches else torch.cat(branches)]
    return collated


def _views_of(sample: Dict[str, Any]) -> List[torch.Tensor]:
    views = sample["data"]
    if len(views) != NUM_BRANCHES:
        raise ValueError(
            f"mscn_multimask_collator got {len(views)} views of an image; it needs two: "
            "ImgReplicatePil with num_times: 2"
        )
    return views
