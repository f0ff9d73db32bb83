"""Draw what a detector finds on pictures.

Takes the folder of a run of mscn detect or of VISSL's detection tool, or weights in it. The exit
status is 1 if a picture could not be read.

examples:
    mscn draw detections runs/mscn_simclr/detection_voc photo.jpg --output drawn
    mscn draw detections runs/mscn_simclr/detection_voc photos/ --output drawn
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mscn_plugin.errors import ConfigError, RunError
from mscn_plugin.files import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run_folder", metavar="run", type=user_path, help="the detector's folder, with config.yaml"
    )
    parser.add_argument("images", type=user_path, nargs="+", help="pictures, or folders of them")
    parser.add_argument("--output", type=user_path, default=Path("detections"), help="folder")
    parser.add_argument("--threshold", type=float, default=0.5, help="smallest score, 0 to 1")
    parser.add_argument("--weights", type=user_path, help="default: the run's model_final.pth")


def run(options: argparse.Namespace) -> None:
    from mscn_plugin.detection.drawing import draw, drawings, final_weights
    from mscn_plugin.detection.launch import require_detectron2

    require_detectron2()
    if not 0 <= options.threshold <= 1:
        raise ConfigError(f"--threshold is {options.threshold}; it must be from 0 to 1")
    folder, weights = options.run_folder, options.weights
    if folder.is_file():
        folder, weights = folder.parent, weights or folder
    if not (folder / "config.yaml").is_file():
        raise ConfigError(f"{folder / 'config.yaml'} is not a file")
    weights = weights or final_weights(folder)
    if not weights.is_file():
        raise ConfigError(f"{weights} is not a file")
    targets = drawings(options.images, options.output)
    unreadable = draw(folder, weights, options.threshold, targets)
    if unreadable:
        names = ", ".join(map(str, unreadable))
        raise RunError(f"{len(unreadable)} of {len(targets)} could not be read: {names}")
