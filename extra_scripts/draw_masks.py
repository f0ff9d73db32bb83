"""Draw the method's steps on one picture (Figures 3 and 4 of the paper).

    python extra_scripts/draw_masks.py --image photo.jpg --output masks.png

Without ``--image`` it takes a photograph that ships with scikit-image. Writes PNG and PDF.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from mscn_plugin.training.signals import end_on_signals

if __name__ == "__main__":
    end_on_signals()  # first: the imports below take seconds

import torch
from PIL import Image
from torchvision.transforms import functional as F

from mscn_plugin.checkpoints.run_folder import user_path
from mscn_plugin.data.decoding import EncodedImage, UnreadableImageError
from mscn_plugin.files import save_figure
from mscn_plugin.masking import MaskDistribution, apply_masks, high_pass
from mscn_plugin.training.hooks.contact_sheet import Group, contact_sheet, fitted, stretched

NOISE_STD = 0.3  # the larger one of the two branches'
MAX_SIZE = 4096  # pixels; eight views of this size take 2 GB
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", type=user_path, help="any picture; default: a cat")
    parser.add_argument(
        "--output", type=user_path, default=Path("masks.png"), help="PNG; a PDF lies beside"
    )
    parser.add_argument("--size", type=int, default=224, help="side of the crop in pixels")
    parser.add_argument("--sigma", type=float, default=5.0, help="of the high-pass filter, pixels")
    parser.add_argument("--cell-size", type=int, default=32, help="of the grid, pixels")
    parser.add_argument("--ratio", type=float, default=0.3, help="dropped fraction of cells")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        draw(options)
    except (OSError, RuntimeError, ValueError, UnreadableImageError) as error:
        sys.exit(f"draw_masks: {error}")


def draw(options: argparse.Namespace) -> None:
    if not 1 <= options.size <= MAX_SIZE:
        raise ValueError(f"--size is {options.size}; it must be from 1 to {MAX_SIZE} pixels")
    torch.manual_seed(options.seed)
    crop = F.center_crop(F.resize(load(options.image), options.size), [options.size] * 2)
    image = F.normalize(F.to_tensor(crop), MEAN, STD)[None]
    filtered = high_pass(image, options.sigma)
    masks = {
        name: MaskDistribution(
            ratio=options.ratio,
            cell_size=options.cell_size,
            focal_probability=float(name == "focal"),
            channelwise_probability=float(name == "channel-wise"),
            noise_std=0.0,
        ).sample(1, image.shape[-2:])
        for name in ("grid", "focal", "channel-wise")
    }
    views = [filtered, *(apply_masks(filtered, mask) for mask in masks.values())]
    noise_std = torch.tensor([NOISE_STD])
    views += [apply_masks(filtered, replace(mask, noise_std=noise_std)) for mask in masks.values()]
    tiles = stretched(torch.cat(views))
    picture = fitted(crop, *tiles[0].shape[:2])
    filtered_tile, *zeros, grid, focal, channelwise = tiles
    groups = [
        Group("image", [f"below: high-pass, sigma = {options.sigma:g}"]),
        Group("masked", list(masks)),
    ]
    caption = "Hidden pixels above: zero, which is grey. Below: noise, as in training."
    figure = contact_sheet(
        [[picture, *zeros], [filtered_tile, grid, focal, channelwise]], groups, caption
    )
    save_figure(figure, options.output, ".png", ".pdf", dpi="figure")
    for suffix in (".png", ".pdf"):
        print(options.output.with_suffix(suffix).resolve())


def load(path: Path) -> Image.Image:
    if path is not None:
        file = EncodedImage(Image.open(path))
        picture = file.decode().picture
        if file.nearly_blank:
            print(f"draw_masks: {path} comes out nearly blank", file=sys.stderr)
        return picture
    from skimage import data

    return Image.fromarray(data.chelsea())


if __name__ == "__main__":
    main()
