"""Write a report of a pre-training run: one HTML file that any browser opens offline.

    python extra_scripts/write_report.py runs/mscn_quickstart

Settings, training curves, masked views, first-layer kernels, online accuracies, and the training
images that the trunk takes for most similar to a few validation images. The features for the last
are computed on the CPU; the file holds all of its pictures, some of the images among them.
"""

from __future__ import annotations

import argparse
import sys

from mscn_plugin.training.signals import end_on_signals

if __name__ == "__main__":
    end_on_signals()  # first: the imports below take seconds

import mscn_plugin
from mscn_plugin.checkpoints.run_folder import user_path
from mscn_plugin.errors import print_errors_plainly
from mscn_plugin.report.neighbors import MAX_TRAIN_IMAGES
from mscn_plugin.report.page import write_report


def main() -> None:
    print_errors_plainly()
    arguments = parse_arguments()
    mscn_plugin.register()
    try:
        page = write_report(
            arguments.run, arguments.output, arguments.data, max_images=arguments.max_images
        )
    except OSError as error:
        sys.exit(f"write_report: {error}")
    print(page.resolve())


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "run", type=user_path, help="the run's checkpoint folder, or a checkpoint of it"
    )
    parser.add_argument(
        "--output", type=user_path, help="default: report.html beside the checkpoint"
    )
    parser.add_argument(
        "--data",
        help="images for the neighbours, as config.MSCN.DATA takes them; default: the run's",
    )
    parser.add_argument(
        "--max-images",
        type=int,
        default=MAX_TRAIN_IMAGES,
        help="training images to search for neighbours (default: %(default)s)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
