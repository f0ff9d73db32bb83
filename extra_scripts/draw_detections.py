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

import vissl

from mscn_plugin.detection.environment import MODULE
from mscn_plugin.detection.launch import require_detectron2
from mscn_plugin.errors import ConfigError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="the detector's folder, with config.yaml")
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, default=Path("detections"), help="folder")
    parser.add_argument("--threshold", type=float, default=0.5, help="smallest score, 0 to 1")
    parser.add_argument("--weights", type=Path, help="default: the run's model_final.pth")
    options = parser.parse_args()
    try:
        require_detectron2()
        for file in (options.run / "config.yaml", *options.images):
            if not file.is_file():
                raise ConfigError(f"{file} is not a file")
    except ConfigError as error:
        sys.exit(f"draw_detections: {error}")
    options.output.mkdir(parents=True, exist_ok=True)
    draw(options)


def draw(options: argparse.Namespace) -> None:
    os.environ["DETECTRON2_ENV_MODULE"] = MODULE
    from detectron2.data import MetadataCatalog
    from detectron2.data.detection_utils import read_image
    from detectron2.engine import DefaultPredictor
    from detectron2.utils.visualizer import Visualizer

    config = configuration(options)
    predictor = DefaultPredictor(config)
    metadata = MetadataCatalog.get(config.DATASETS.TEST[0])
    for file in options.images:
        image = read_image(
            str(file), "BGR"
        )  # what the predictor takes, whatever the model's format
        found = predictor(image)["instances"].to("cpu")
        drawn = Visualizer(image[:, :, ::-1], metadata).draw_instance_predictions(found)
        path = options.output / f"{file.stem}.png"
        drawn.save(str(path))
        print(f"{path}: {len(found)} objects")


def configuration(options: argparse.Namespace) -> Any:
    import torch
    from detectron2.config import get_cfg

    # VISSL's tool holds the head with the extra normalisation that its pages name.
    runpy.run_path(str(Path(vissl.__file__).parents[1] / "tools" / "object_detection_benchmark.py"))
    config = get_cfg()
    config.merge_from_file(str(options.run / "config.yaml"))
    config.MODEL.WEIGHTS = str(options.weights or options.run / "model_final.pth")
    config.MODEL.ROI_HEADS.SCORE_THRESH_TEST = options.threshold
    if not torch.cuda.is_available():
        config.MODEL.DEVICE = "cpu"
    return config


if __name__ == "__main__":
    main()
