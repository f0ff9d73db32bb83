"""Draw the method's steps on one picture (Figures 3 and 4 of the paper), as PNG and PDF.

Without --image it takes a photograph that ships with scikit-image.

examples:
    mscn draw masks --image photo.jpg --output masks.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mscn_plugin.errors import ConfigError
from mscn_plugin.files import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image", type=user_path, help="any picture; default: a cat")
    parser.add_argument(
        "--output", type=user_path, default=Path("masks.png"), help="PNG; a PDF is beside it"
    )
    parser.add_argument(
        "--size", type=int, default=224, help="side of the crop, px (default: %(default)s)"
    )
    parser.add_argument(
        "--sigma", type=float, default=5.0, help="of the filter, px (default: %(default)s)"
    )
    parser.add_argument(
        "--cell-size",
        type=int,
        nargs="+",
        default=[32],
        metavar="PIXELS",
        help="of the grid: one number, or height and width (default: 32)",
    )
    parser.add_argument(
        "--ratio",
        type=float,
        default=0.3,
        help="hidden fraction of the image, section 4's by default: %(default)s",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the masks (default: %(default)s)")


def run(options: argparse.Namespace) -> None:
    import torch
    from PIL import Image

    from mscn_plugin.data.decoding import EncodedImage, UnreadableImageError
    from mscn_plugin.files import figure_file
    from mscn_plugin.report.masks import draw_masks

    torch.manual_seed(options.seed)
    if options.image is None:
        from skimage import data

        picture = Image.fromarray(data.chelsea())
    else:
        try:
            file = EncodedImage(Image.open(options.image))
            picture = file.decode().picture
        except UnreadableImageError as error:
            raise ConfigError(str(error)) from None
        if file.nearly_blank:
            print(f"{options.program}: {options.image} comes out nearly blank", file=sys.stderr)
    cell_size = options.cell_size if len(options.cell_size) > 1 else options.cell_size[0]
    draw_masks(picture, options.output, options.size, options.sigma, cell_size, options.ratio)
    for suffix in (".png", ".pdf"):
        print(figure_file(options.output, suffix).resolve())
