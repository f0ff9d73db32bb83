"""From a checkpoint to a run of VISSL's detection tool, and what came out of it."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

import torch
import vissl

from mscn_plugin.detection import custom_data
from mscn_plugin.detection.environment import MODULE
from mscn_plugin.errors import ConfigError
from mscn_plugin.evaluation.checkpoint import load_checkpoint, trunk_weights
from mscn_plugin.evaluation.run_folder import json_lines
from mscn_plugin.export.detectron2_weights import detectron2_name
from mscn_plugin.integration.config_folder import config_folder

NUM_TENSORS = 265
"""Of a ResNet-50 without its classifier and without the counters of batch normalisation."""
PAGES = {"voc": "voc0712_faster_rcnn_c4_24k", "coco": "coco_mask_rcnn_c4_1x"}
TABLE_4 = {
    "voc": {"Supervised": (53.5, 81.3, 58.8), "MSCN": (57.5, 83.0, 64.4)},
    "coco": {
        "Supervised": (38.2, 58.2, 41.2, 33.3, 54.7, 35.2),
        "MSCN": (39.1, 59.1, 42.1, 34.2, 55.7, 36.4),
    },
}
"""The paper's rows, by data set: AP, AP50, AP75 of boxes, and of masks."""
METRICS = ("bbox/AP", "bbox/AP50", "bbox/AP75", "segm/AP", "segm/AP50", "segm/AP75")
INSTALL = (
    "detectron2 is not installed: pip install --no-build-isolation "
    "'git+https://github.com/facebookresearch/detectron2.git' (some minutes; README, Detection)"
)


class Detection(NamedTuple):
    """One run of VISSL's detection tool.

    Attributes:
        page: name of a file in ``configs/detection``.
        options: detectron2's, behind the page: keys and values in turn.
        environment: variables for the tool and for all processes that it starts.
    """

    page: str
    options: List[str]
    environment: Dict[str, str]

    def command(self, python: str, num_gpus: int, resume: bool = False) -> List[str]:
        """The command line of VISSL's tool, by its path: detectron2 has a ``tools`` of its own."""
        tool = Path(vissl.__file__).parents[1] / "tools" / "object_detection_benchmark.py"
        page = config_folder() / "detection" / f"{self.page}.yaml"
        arguments = ["--config-file", str(page), "--num-gpus", str(num_gpus)]
        return [python, str(tool), *arguments, *(["--resume"] if resume else []), *self.options]


def require_detectron2() -> None:
    """Raise ConfigError, with how to install it, where detectron2 is missing."""
    if importlib.util.find_spec("detectron2") is None:
        raise ConfigError(INSTALL)


def convert(checkpoint: Path, output: Path) -> int:
    """Write a checkpoint's ResNet-50 as detectron2 loads it, like VISSL's own converter.

    Returns:
        The number of tensors.

    Raises:
        ConfigError: no checkpoint of VISSL, or another trunk.
    """
    tensors = trunk_weights(load_checkpoint(checkpoint), checkpoint)
    weights = {
        detectron2_name(name): tensor
        for name, tensor in tensors.items()
        if not name.endswith("num_batches_tracked")
    }
    if len(weights) != NUM_TENSORS or "res5.2.conv3.weight" not in weights:
        raise ConfigError(
            f"{checkpoint} has a trunk of {len(weights)} tensors; the detectors of configs/detection "
            f"take a ResNet-50, which has {NUM_TENSORS}"
        )
    staged = output.with_suffix(".tmp")
    torch.save({"model": weights, "matching_heuristics": True}, staged)
    os.replace(staged, output)
    return len(weights)


def detection(
    dataset: str, weights: Path, sigma: float, output: Path, data: Optional[Path]
) -> Detection:
    """What to run for a data set.

    Args:
        dataset: ``voc``, ``coco``, or ``custom``.
        weights: what :func:`convert` wrote.
        sigma: pre-training's, in pixels.
        output: where detectron2 writes.
        data: of ``voc`` and ``coco`` the folder that holds VOC2007/ and VOC2012/, or coco/, else
            detectron2's ``DETECTRON2_DATASETS``; of ``custom`` the data themselves.

    Raises:
        ConfigError: data are missing, or of no known layout.
    """
    environment = {"DETECTRON2_ENV_MODULE": MODULE}
    options = [
        "MODEL.WEIGHTS",
        str(weights),
        "MODEL.MSCN.SIGMA",
        str(sigma),
        "OUTPUT_DIR",
        str(output),
    ]
    if dataset == "custom":
        if data is None:
            raise ConfigError("--dataset custom needs --data <folder>")
        layout = custom_data.layout_of(data)
        train, val = custom_data.dataset_names(layout).values()
        classes = custom_data.class_names(data)
        environment[custom_data.VARIABLE] = str(data)
        options += ["DATASETS.TRAIN", f"('{train}',)", "DATASETS.TEST", f"('{val}',)"]
        options += ["MODEL.ROI_HEADS.NUM_CLASSES", str(len(classes))]
        if layout == "coco" and not has_masks(data):
            options += ["MODEL.MASK_ON", "False"]
        return Detection(PAGES[layout], options, environment)
    root = data or Path(os.environ.get("DETECTRON2_DATASETS", "datasets"))
    for folder in {"voc": ("VOC2007", "VOC2012"), "coco": ("coco",)}[dataset]:
        if not (root / folder).is_dir():
            raise ConfigError(
                f"--dataset {dataset} needs {folder}/ in {root}: --data (or DETECTRON2_DATASETS) must "
                "name the folder that holds it"
            )
    environment["DETECTRON2_DATASETS"] = str(root)
    return Detection(PAGES[dataset], options, environment)


def has_masks(folder: Path) -> bool:
    """Whether every object of a COCO-layout folder's training annotations has a mask."""
    objects = json.loads((folder / "annotations" / "train.json").read_text())["annotations"]
    return all(item.get("segmentation") for item in objects)


def results(output: Path) -> Dict[str, float]:
    """The last evaluation of a run, in percent, by name of the metric; empty where there is none."""
    lines: List[Dict[str, Any]] = json_lines(output / "metrics.json")
    done = [line for line in lines if "bbox/AP" in line]
    return {name: done[-1][name] for name in METRICS if name in done[-1]} if done else {}
