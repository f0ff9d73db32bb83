"""From a checkpoint to a run of VISSL's detection tool, and what came out of it."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import vissl

from mscn_plugin.detection.config import check_input
from mscn_plugin.detection.custom_data import VARIABLE, DetectionData
from mscn_plugin.detection.environment import MODULE
from mscn_plugin.errors import ConfigError
from mscn_plugin.evaluation.checkpoint import (
    CheckpointError,
    load_checkpoint,
    read_yaml,
    save_checkpoint,
    trunk_weights,
)
from mscn_plugin.evaluation.run_folder import json_lines
from mscn_plugin.export.detectron2_weights import detectron2_weights
from mscn_plugin.integration.config_folder import config_folder

TOOL = Path(vissl.__file__).parents[1] / "tools" / "object_detection_benchmark.py"
"""VISSL's tool, by its path: detectron2 may have a package ``tools`` of its own."""
NUM_TENSORS = 265
"""Of a ResNet-50 without its classifier and without the counters of batch normalisation."""
PAGES = {"voc": "voc0712_faster_rcnn_c4_24k", "coco": "coco_mask_rcnn_c4_1x"}
FILES = {
    "voc": (
        "VOC2007/ImageSets/Main/trainval.txt",
        "VOC2007/ImageSets/Main/test.txt",
        "VOC2012/ImageSets/Main/trainval.txt",
    ),
    "coco": (
        "coco/annotations/instances_train2017.json",
        "coco/annotations/instances_val2017.json",
    ),
}
"""What each data set's page reads first, in the folder that holds the data set."""
TABLE_4 = {
    "voc": {"supervised": (53.5, 81.3, 58.8), "MSCN": (57.5, 83.0, 64.4)},
    "coco": {
        "supervised": (38.2, 58.2, 41.2, 33.3, 54.7, 35.2),
        "MSCN": (39.1, 59.1, 42.1, 34.2, 55.7, 36.4),
    },
}
"""The paper's rows, by data set: AP, AP50, AP75 of boxes, then of masks."""
METRICS = ("bbox/AP", "bbox/AP50", "bbox/AP75", "segm/AP", "segm/AP50", "segm/AP75")
"""detectron2's names of them."""
INSTALL = (
    "detectron2 is not installed: pip install --no-build-isolation "
    "'git+https://github.com/facebookresearch/detectron2.git' (some minutes; README, Detection)"
)
_OWN_KEYS = {
    "MODEL.MSCN.SIGMA": "it is pre-training's; --sigma says it for checkpoints that do not",
    "MODEL.WEIGHTS": "it is the converted checkpoint",
    "OUTPUT_DIR": "--output says it",
}


class Detection(NamedTuple):
    """One run of VISSL's detection tool.

    Attributes:
        page: name of a file in ``configs/detection``.
        options: detectron2's keys and values in turn, which change the page.
        environment: variables for the tool and for all processes that it starts.
        classes: names of the user's own classes, or None.
    """

    page: str
    options: List[str]
    environment: Dict[str, str]
    classes: Optional[List[str]] = None

    @property
    def page_file(self) -> str:
        """The page's path."""
        return str(config_folder() / "detection" / f"{self.page}.yaml")

    def check(self) -> None:
        """Raise ConfigError where detectron2 would not take page and options.

        Names the environment module to this process, which must not have imported detectron2 yet;
        not the data, which would be read again.
        """
        os.environ["DETECTRON2_ENV_MODULE"] = MODULE
        from detectron2.config import get_cfg

        cfg = get_cfg()
        try:
            cfg.merge_from_file(self.page_file)
            cfg.merge_from_list(self.options)
        except (AssertionError, KeyError, ValueError) as error:
            raise ConfigError(f"--overrides: {error.args[0]}") from None
        check_input(cfg.MODEL.MSCN.SIGMA, cfg.INPUT.FORMAT)

    def command(self, python: str, num_gpus: int, resume: bool = False) -> List[str]:
        """The command line of VISSL's unmodified tool."""
        arguments = ["--config-file", self.page_file, "--num-gpus", str(num_gpus)]
        return [python, str(TOOL), *arguments, *(["--resume"] if resume else []), *self.options]


def require_detectron2() -> None:
    """Raise ConfigError, with how to install it, where detectron2 is missing."""
    if importlib.util.find_spec("detectron2") is None:
        raise ConfigError(INSTALL)


def convert(checkpoint: Path, output: Path) -> int:
    """Write a checkpoint's ResNet-50 as detectron2 loads it, like VISSL's own converter.

    Of a BYOL checkpoint it is the online network; ``extra_scripts/extract_target.py`` gives the
    target network.

    Returns:
        The number of tensors.

    Raises:
        ConfigError: no checkpoint of VISSL, or another trunk.
    """
    weights = detectron2_weights(trunk_weights(load_checkpoint(checkpoint), checkpoint))
    last = weights.get("res5.2.conv3.weight")
    if len(weights) != NUM_TENSORS or last is None or last.shape != (2048, 512, 1, 1):
        raise ConfigError(
            f"{checkpoint} has a trunk of {len(weights)} tensors; the detectors of "
            f"configs/detection take a ResNet-50, which has {NUM_TENSORS} (of 2048 features)"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint({"model": weights, "matching_heuristics": True}, output)
    return len(weights)


def detection(
    dataset: str,
    weights: Path,
    sigma: float,
    output: Path,
    data: Optional[Path] = None,
    overrides: Sequence[str] = (),
) -> Detection:
    """What to run for a data set.

    Args:
        dataset: ``voc``, ``coco`` or ``custom``.
        weights: what :func:`convert` wrote.
        sigma: pre-training's, in pixels.
        output: where detectron2 writes.
        data: of ``voc`` and ``coco`` the folder that holds VOC2007/ and VOC2012/, or coco/; without
            it, detectron2's ``DETECTRON2_DATASETS``. Of ``custom`` the data themselves.
        overrides: detectron2's keys and values of the user's own, behind all others.

    Raises:
        ConfigError: data are missing or broken, or the overrides change the filter.
    """
    for key, reason in _OWN_KEYS.items():
        if key in overrides:
            raise ConfigError(f"{key} cannot be overridden; {reason}")
    joined = next((text for text in overrides[::2] if "=" in text), None)
    if joined or len(overrides) % 2:
        raise ConfigError(f"--overrides takes KEY VALUE pairs, not {joined or overrides[-1]!r}")
    environment = {"DETECTRON2_ENV_MODULE": MODULE}
    settings: Dict[str, Any] = {
        "MODEL.WEIGHTS": weights,
        "MODEL.MSCN.SIGMA": sigma,
        "OUTPUT_DIR": output,
    }
    if dataset == "custom":
        if data is None:
            raise ConfigError("--dataset custom needs --data <folder>")
        custom = DetectionData.read(data)
        environment[VARIABLE] = str(data)
        for key, name in zip(("DATASETS.TRAIN", "DATASETS.TEST"), custom.dataset_names.values()):
            settings[key] = (name,)
        settings["MODEL.ROI_HEADS.NUM_CLASSES"] = len(custom.classes)
        if custom.layout == "coco":
            settings["MODEL.MASK_ON"] = custom.has_masks
        page, classes = PAGES[custom.layout], custom.classes
    else:
        root = data or Path(os.environ.get("DETECTRON2_DATASETS", "datasets"))
        for file in FILES[dataset]:
            if not (root / file).is_file():
                raise ConfigError(
                    f"--dataset {dataset} needs {file} in {root}: --data (or "
                    "DETECTRON2_DATASETS) must name the folder that holds it"
                )
        environment["DETECTRON2_DATASETS"] = str(root)
        page, classes = PAGES[dataset], None
    pairs = [text for key, value in settings.items() for text in (key, str(value))]
    return Detection(page, [*pairs, *overrides], environment, classes)


def results(output: Path) -> Dict[str, float]:
    """The evaluation after a run's last iteration, in percent, by name of the metric.

    Empty where there is none, whatever earlier iterations' say.
    """
    try:
        last = read_yaml(output / "config.yaml")["SOLVER"]["MAX_ITER"]
        lines: List[Dict[str, Any]] = json_lines(output / "metrics.json")
        done = [line for line in lines if "bbox/AP" in line and line["iteration"] >= last - 1]
    except (CheckpointError, KeyError, TypeError):
        return {}
    return {name: done[-1][name] for name in METRICS if name in done[-1]} if done else {}
