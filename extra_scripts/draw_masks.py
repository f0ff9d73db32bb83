"""Draw the method's steps on one picture (Figures 3 and 4 of the paper).

    python extra_scripts/draw_masks.py --image photo.jpg --output masks.png

Without ``--image`` it takes a photograph that ships with scikit-image. Writes PNG and PDF.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from PIL import Image
from torchvision.transforms import functional as F

from mscn_plugin.evaluation.run_folder import user_path
from mscn_plugin.files import save_figure
from mscn_plugin.masking import MaskDistribution, fill, high_pass

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
    except (OSError, ValueError) as error:
        sys.exit(f"draw_masks: {error}")


def draw(options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    crop = F.center_crop(F.resize(load(options.image), options.size), [options.size] * 2)
    image = F.normalize(F.to_tensor(crop), MEAN, STD)[None]
    filtered = high_pass(image, options.sigma)

    def masked(focal: float, channelwise: float, noise: float) -> torch.Tensor:
        masks = MaskDistribution(
            ratio=options.ratio,
            cell_size=options.cell_size,
            focal_probability=focal,
            channelwise_probability=channelwise,
            noise_std=noise,
        )
        return fill(filtered, masks.draw(1, image.shape[-2:]))

    scale = float(filtered.abs().flatten().kthvalue(int(0.99 * filtered.numel())).values)
    panels = {
        "image": F.to_tensor(crop),
        f"high-pass, σ = {options.sigma:g}": filtered,
        "grid mask": masked(0, 0, 0),
        "focal mask": masked(1, 0, 0),
        "grid mask, noise": masked(0, 0, 0.3),
        "channel-wise, noise": masked(0, 1, 0.3),
    }
    figure, axes = plt.subplots(1, len(panels), figsize=(2.1 * len(panels), 2.4))
    for axis, (title, pixels) in zip(axes, panels.items()):
        if title != "image":
            pixels = 0.5 + pixels[0] / (2 * scale)
        axis.imshow(pixels.clamp(0, 1).permute(1, 2, 0).numpy())
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    figure.tight_layout()
    save_figure(figure, options.output, ".png", ".pdf")
    for suffix in (".png", ".pdf"):
        print(options.output.with_suffix(suffix).resolve())


def load(path: Path) -> Image.Image:
    if path is not None:
        return Image.open(path).convert("RGB")
    from skimage import data

    return Image.fromarray(data.chelsea())


if __name__ == "__main__":
    main()
