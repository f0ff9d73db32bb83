"""The method's steps on one picture (Figures 3 and 4)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from PIL.Image import Image
from torchvision.transforms import functional as F

from mscn_plugin.errors import ConfigError
from mscn_plugin.files import save_figure
from mscn_plugin.masking import MaskDistribution, apply_masks, high_pass
from mscn_plugin.masking.kinds import CellSize
from mscn_plugin.training.contact_sheet import Group, contact_sheet, fitted, stretched

NOISE_STD = 0.3  # the larger one of the two branches'
MAX_SIZE = 4096  # pixels; eight views of this size take 2 GB
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def draw_masks(
    picture: Image, path: Path, size: int, sigma: float, cell_size: CellSize, ratio: float
) -> None:
    """Draw picture, filter, and each kind of mask with zeros and with noise, as PNG and PDF.

    Args:
        picture: in RGB, of any size.
        path: of the PNG; the PDF is written beside it.
        size: side of the crop in pixels.
        sigma: of the high-pass filter in pixels.
        cell_size: of the grid in pixels, one number or height and width.
        ratio: dropped fraction of the cells.

    Raises:
        ConfigError: one of them is out of its range.
    """
    if not 1 <= size <= MAX_SIZE:
        raise ConfigError(f"--size is {size}; it must be from 1 to {MAX_SIZE} pixels")
    crop = F.center_crop(F.resize(picture, size), [size] * 2)
    image = F.normalize(F.to_tensor(crop), MEAN, STD)[None]
    try:
        filtered = high_pass(image, sigma)
        masks = {
            name: MaskDistribution(
                ratio=ratio,
                cell_size=cell_size,
                focal_probability=float(name == "focal"),
                band_probability=float(name == "bands"),
                channelwise_probability=float(name == "channel-wise"),
                noise_std=0.0,
            ).sample(1, image.shape[-2:])
            for name in ("grid", "focal", "channel-wise", "bands")
        }
    except (RuntimeError, ValueError) as error:
        raise ConfigError(str(error)) from None
    views = [filtered, *(apply_masks(filtered, mask) for mask in masks.values())]
    noise_std = torch.tensor([NOISE_STD])
    views += [apply_masks(filtered, replace(mask, noise_std=noise_std)) for mask in masks.values()]
    filtered_tile, *masked = stretched(torch.cat(views))
    original = fitted(crop, *filtered_tile.shape[:2])
    groups = [
        Group("image", [f"below: high-pass, sigma = {sigma:g}"]),
        Group("masked", list(masks)),
    ]
    caption = "Hidden pixels above: zero, which is gray. Below: noise, as in training."
    rows = [[original, *masked[: len(masks)]], [filtered_tile, *masked[len(masks) :]]]
    figure = contact_sheet(rows, groups, caption)
    save_figure(figure, path, ".png", ".pdf", dpi="figure")
