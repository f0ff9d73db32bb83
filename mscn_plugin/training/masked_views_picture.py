"""A picture of what the network sees: the first batch's masked views."""

from __future__ import annotations

import logging
from typing import Any

import torch
from classy_vision.generic.distributed_util import is_primary
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from mscn_plugin.files import replacing
from mscn_plugin.training.hook import MSCNHook, masks_of, tensorboard_writer

FILE_NAME = "masked_views.png"
MIN_TILE = 112


def grid_of_views(views: Tensor, num_views: int, num_images: int) -> Tensor:
    """Lay views out with one image per row and one view (branch and mask) per column.

    Args:
        views: ``[V * B, 3, H, W]`` in view-major order, of any range.
        num_views: V.
        num_images: rows, at most; fewer if B is smaller.

    Returns:
        ``[3, height, width]`` in [0, 1]: the value 0, "no information" after the high-pass
        filter, is mid-grey, and the 1% largest magnitudes of each row are clipped. Small views
        are magnified to at least ``MIN_TILE`` pixels.
    """
    views = views.detach().float().cpu()
    rows = views.view(num_views, -1, *views.shape[1:])[:, :num_images].transpose(0, 1)
    scale = rows.abs().flatten(1).quantile(0.99, dim=1).clamp(min=1e-6)
    pixels = (0.5 + rows / (2 * scale.view(-1, 1, 1, 1, 1))).clamp(0, 1)
    factor = max(1, -(-MIN_TILE // views.shape[-1]))
    for axis in (-1, -2):
        pixels = pixels.repeat_interleave(factor, dim=axis)
    return make_grid(pixels.flatten(0, 1), nrow=num_views, pad_value=1.0)


class MaskedViewsPictureHook(MSCNHook):
    """Writes ``masked_views.png`` to the checkpoint folder, and to TensorBoard, at the start."""

    def on_forward(self, task: Any) -> None:
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
        num_views = sum(masks_of(task))
        if views.dim() != 4 or views.shape[1] != 3 or len(views) % num_views:
            return
        grid = grid_of_views(views, num_views, num_images)
        path = f"{task.checkpoint_folder}/{FILE_NAME}"
        pixels = (grid * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        with replacing(path) as file:
            Image.fromarray(pixels).save(file)
        logging.info(f"picture of the masked views: {path}")
        writer = tensorboard_writer(task)
        if writer:
            writer.add_image("masked_views", grid, task.iteration)
