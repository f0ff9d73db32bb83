"""A picture of what the network sees: the first batch's images beside their masked views."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from classy_vision.generic.distributed_util import is_primary
from torch import Tensor

from mscn_plugin.checkpoints.sigma import input_sigma
from mscn_plugin.config.checks.mscn import REPLICATING
from mscn_plugin.data.arrays import shown_channels
from mscn_plugin.files import save_figure
from mscn_plugin.masking import MaskDistribution
from mscn_plugin.masking.per_branch import NUM_BRANCHES
from mscn_plugin.training.contact_sheet import (
    Group,
    contact_sheet,
    fitted,
    pixels_of,
    stretched,
)
from mscn_plugin.training.hooks.base import MSCNHook, distributions_of, masks_of
from mscn_plugin.training.hooks.tracking import add_picture
from mscn_plugin.transforms.collate import COLLATOR, num_views_of
from mscn_plugin.transforms.stated import CROPS
from mscn_plugin.types import Config, Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE_NAME = "masked_views.png"
_COPYING = (*REPLICATING, "ImgPilToMultiCrop")
_CROPS = CROPS.keys() - {"CenterCrop"}
"""Transforms that choose a crop at random."""


def sheet_of_views(
    views: Tensor, num_masks: list[int], originals: Sequence[Any], masked: bool, caption: str = ""
) -> Figure:
    """Draw views with one image per row and one view (branch and mask) per column.

    Args:
        views: ``[V * B, 3, H, W]`` in view-major order, of any range; the contrast of each image's
            views is stretched by branch.
        num_masks: how many of the V columns are each branch's.
        originals: pictures of the first images, one per row, each a Pillow image or None.
        masked: whether the views are masked ones.
    """
    views = views.detach().float().cpu()
    rows = views.view(sum(num_masks), -1, *views.shape[1:])[:, : len(originals)].transpose(0, 1)
    tiles = [[t for branch in row.split(num_masks) for t in stretched(branch)] for row in rows]
    groups = [
        Group(f"branch {branch}", [f"mask {mask}" if masked else "" for mask in range(count)])
        for branch, count in enumerate(num_masks)
    ]
    if any(original is not None for original in originals):
        height, width = tiles[0][0].shape[:2]
        groups.insert(0, Group("image", [""]))
        for row, original in zip(tiles, originals):
            empty = np.full((height, width, 3), 255, np.uint8)
            row.insert(0, empty if original is None else fitted(original, height, width))
    return contact_sheet(tiles, groups, caption)


class MaskedViewsPictureHook(MSCNHook):
    """Writes ``masked_views.png`` to the checkpoint folder, and to tracking, at the start."""

    def on_forward(self, task: Task) -> None:
        num_images = task.config.MSCN.PICTURE_IMAGES
        if not (task.train and task.iteration == 0 and num_images and is_primary()):
            return
        sample = task.last_batch.sample
        views = sample["input"]
        if "data_momentum" in sample:  # MoCo's second branch
            views = [views, *sample["data_momentum"]]
        if isinstance(views, (list, tuple)):
            if len({view.shape[1:] for view in views}) > 1:
                return
            views = torch.cat(list(views))
        num_masks = masks_of(task)
        if views.dim() != 4 or len(views) % sum(num_masks):
            return
        views = views[:, shown_channels(views.shape[1], task.config.MSCN.PICTURE_CHANNELS)]
        count = min(num_images, len(views) // sum(num_masks))
        indices = torch.as_tensor(sample["data_idx"][0]).flatten()[:count].tolist()
        originals = [task.datasets["train"].original(index) for index in indices]
        masked = task.config.DATA.TRAIN.COLLATE_FUNCTION == COLLATOR
        figure = sheet_of_views(views, num_masks, originals, masked, caption_of(task.config))
        path = f"{task.checkpoint_folder}/{FILE_NAME}"
        save_figure(figure, Path(path), dpi="figure")
        logging.info(f"picture of the masked views: {path}")
        add_picture(task, "masked_views", pixels_of(figure))


def caption_of(config: Config) -> str:
    """What the views are, for readers who see them for the first time."""
    sigma = input_sigma(config, "TRAIN")
    parts = [f"Each row is one image{_about_crops(config)}."]
    if sigma:
        parts.append(
            f"The high-pass filter (sigma {sigma:g} pixels) leaves edges, and gray where there are "
            "none."
        )
    if config.DATA.TRAIN.COLLATE_FUNCTION == COLLATOR:
        parts += _about_masks(config)
        parts.append("The loss makes the views of an image similar across the branches.")
    channels = config.MSCN.CHANNELS
    if channels is not None:
        shown = shown_channels(channels, config.MSCN.PICTURE_CHANNELS)
        gray = len(set(shown)) == 1
        named = f"channel {shown[0]}" if gray else f"channels {shown[0]}, {shown[1]} and {shown[2]}"
        parts.append(f"Of {channels} channels, counted from 0, {named} can be seen.")
    return " ".join([*parts, "Contrast is stretched."])


def _about_crops(config: Config) -> str:
    """Who sees which crop: views are copies of what comes before the transform that makes them."""
    names = [transform["name"] for transform in config.DATA.TRAIN.TRANSFORMS]
    copies = next((i for i, name in enumerate(names) if name in _COPYING), len(names))
    if any(name in _CROPS for name in names[copies:]):
        own = (
            "each view is" if num_views_of(config.DATA.TRAIN) > NUM_BRANCHES else "each branch sees"
        )
        return f", of which {own} a crop of its own"
    return ", of which both branches see the same crop" if _CROPS & set(names) else ""


def _about_masks(config: Config) -> list[str]:
    masks = [of_branch for of_branch in distributions_of(config) if _hides(of_branch)]
    if not masks:
        return []
    noisy = [d.noise_std > 0 for d in masks]
    what = "noise" if all(noisy) else "gray or noise" if any(noisy) else "gray"
    colors = "colors" if config.MSCN.CHANNELS is None else "channels"
    shares = [d.channelwise_probability for d in masks]
    where = f"in all {colors} at once or in each by itself"
    if not any(shares):
        where = f"in all {colors} at once"
    elif min(shares) == 1:
        where = f"in each of the {colors} by itself"
    return [f"Masks put {what} over parts of the views, {where}."]


def _hides(masks: MaskDistribution) -> bool:
    """Whether anything is hidden: by the ratio, or by boxes or bands of given sizes."""
    bands = masks.row_band_size or masks.column_band_size
    return bool(
        masks.ratio
        or (masks.focal_probability and masks.focal_size)
        or (masks.band_probability and bands)
    )
