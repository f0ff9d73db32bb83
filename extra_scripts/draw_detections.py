"""Draw what a detector finds on pictures.

    python extra_scripts/draw_detections.py runs/mscn_simclr/detection_voc photo.jpg --output drawn

Takes the folder of a run of ``extra_scripts/detect.py`` or of VISSL's detection tool.
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from mscn_plugin.detection.environment import MODULE
from mscn_plugin.detection.launch import TOOL, require_detectron2
from mscn_plugin.detection.reading import load_weights, read_class_names, read_config
from mscn_plugin.errors import ConfigError
from mscn_plugin.evaluation.run_folder import user_path
from mscn_plugin.files import replacing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=user_path, help="the detector's folder, with config.yaml")
    parser.add_argument("images", type=user_path, nargs="+")
    parser.add_argument("--output", type=user_path, default=Path("detections"), help="folder")
    parser.add_argument("--threshold", type=float, default=0.5, help="smallest score, 0 to 1")
    parser.add_argument("--weights", type=user_path, help="default: the run's model_final.pth")
    options = parser.parse_args()
    options.weights = options.weights or options.run / "model_final.pth"
    try:
        require_detectron2()
        for file in (options.run / "config.yaml", options.weights, *options.images):
            if not file.is_file():
                raise ConfigError(f"{file} is not a file")
        draw(options)
    except ConfigError as error:
        sys.exit(f"draw_detections: {error}")


def draw(options: argparse.Namespace) -> None:
    os.environ["DETECTRON2_ENV_MODULE"] = MODULE
    from detectron2.data.detection_utils import read_image
    from detectron2.engine import DefaultPredictor
    from detectron2.utils.visualizer import Visualizer

    config = configuration(options)
    predictor = DefaultPredictor(config)
    load_weights(predictor.model, options.weights)
    metadata = class_names(options.run, config)
    options.output.mkdir(parents=True, exist_ok=True)
    for file in options.images:
        try:
            # The predictor takes BGR, whatever the model's own format.
            image = read_image(str(file), "BGR")
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            print(f"{file} is left out: {error}", file=sys.stderr)
            continue
        found = predictor(image)["instances"].to("cpu")
        drawn = Visualizer(image[:, :, ::-1], metadata).draw_instance_predictions(found)
        path = options.output / f"{file.stem}.png"
        with replacing(path) as staged:
            drawn.save(str(staged))
        print(f"{path}: {len(found)} objects")


def configuration(options: argparse.Namespace) -> Any:
    config = read_config(options.run / "config.yaml")
    runpy.run_path(str(TOOL))  # registers the head with the extra normalisation
    config.MODEL.ROI_HEADS.SCORE_THRESH_TEST = options.threshold
    if not torch.cuda.is_available():
        config.MODEL.DEVICE = "cpu"
    return config


def class_names(run: Path, config: Any) -> Any:
    """detectron2's metadata; of data of the user's own as ``detect.py`` left the names."""
    from detectron2.data import MetadataCatalog

    metadata = MetadataCatalog.get(next(iter(config.DATASETS.TEST), "a detector without data"))
    file = run / "classes.json"
    if file.is_file() and not hasattr(metadata, "thing_classes"):
        metadata.set(thing_classes=read_class_names(file))
    return metadata


if __name__ == "__main__":
    main()
