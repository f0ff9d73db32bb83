"""Write a report of a pre-training run: one HTML file that any browser opens offline.

Settings, training curves, masked views, first-layer kernels, online accuracies, and the nearest
neighbors of a few validation images in feature space, among the training images. The features for
the last are computed on the CPU; the file holds all of its pictures, some of the images among them.

Of several runs it writes a comparison: accuracies in one table, curves in one plot each, and the
settings that differ.

examples:
    mscn report runs/mscn_quickstart
    mscn report runs/sigma_1 runs/sigma_2 runs/sigma_4
"""

from __future__ import annotations

import argparse

from mscn_plugin.files import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint",
        type=user_path,
        nargs="+",
        help="a run's checkpoint folder, or a checkpoint of it",
    )
    parser.add_argument(
        "--output",
        type=user_path,
        help="default: report.html beside the checkpoint, comparison.html beside the runs",
    )
    parser.add_argument(
        "--data",
        help="images for the neighbors, as config.MSCN.DATA takes them; default: the run's",
    )
    parser.add_argument(
        "--max-images",
        type=int,
        help="training images to search for neighbors (default: 2000)",
    )


def run(options: argparse.Namespace) -> None:
    import mscn_plugin
    from mscn_plugin.errors import ConfigError
    from mscn_plugin.report.comparison import write_comparison
    from mscn_plugin.report.page import write_report

    mscn_plugin.register()
    if len(options.checkpoint) == 1:
        (path,) = options.checkpoint
        page = write_report(path, options.output, options.data, max_images=options.max_images)
    elif options.data is None and options.max_images is None:
        page = write_comparison(options.checkpoint, options.output)
    else:
        raise ConfigError("--data and --max-images are for the report of one run")
    print(page.resolve())
