"""From a checkpoint to a run of VISSL's detection tool, and what came out of it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import vissl
from torch import Tensor

from mscn_plugin.checkpoints.io import (
    load_checkpoint,
    save_checkpoint,
    trunk_weights,
)
from mscn_plugin.checkpoints.run_folder import json_lines
from mscn_plugin.config.folder import config_folder
from mscn_plugin.detection.config import check_format, filter_sigma
from mscn_plugin.detection.custom_data import VARIABLE, DetectionData
from mscn_plugin.detection.environment import MODULE, RESUME_VARIABLE
from mscn_plugin.detection.published_data import check_published
from mscn_plugin.errors import ConfigError
from mscn_plugin.export.detectron2_weights import (
    check_trunk,
    detectron2_weights,
    in_raw_pixels,
)
from mscn_plugin.export.preprocessing import statistics_of
from mscn_plugin.export.pretrained import model_config_of
from mscn_plugin.types import Config, value_at

TOOL = Path(vissl.__file__).parents[1] / "tools" / "object_detection_benchmark.py"
"""VISSL's tool, by its path: detectron2 may have a package ``tools`` of its own."""
NUM_TENSORS = 265
"""Of a ResNet-50 without its classifier and without the counters of batch normalization."""
SHAPES = {"stem.conv1.weight": (64, 3, 7, 7), "res5.2.conv3.weight": (2048, 512, 1, 1)}
"""Of its first and last convolutions."""
CONFIGS = {"voc": "voc0712_faster_rcnn_c4_24k", "coco": "coco_mask_rcnn_c4_1x"}
METRICS = ("bbox/AP", "bbox/AP50", "bbox/AP75", "segm/AP", "segm/AP50", "segm/AP75")
"""detectron2's names of them."""
INSTALL = (
    "detectron2 is not installed: pip install --no-build-isolation "
    "'git+https://github.com/facebookresearch/detectron2.git' (it is compiled, some minutes)"
)
_OWN_KEYS = {
    "MODEL.MSCN.SIGMA": "it is pre-training's; --sigma gives it if the checkpoint does not",
    "MODEL.WEIGHTS": "it is the converted checkpoint",
    "OUTPUT_DIR": "--output sets it",
}
_DATA_KEYS = {
    "DATASETS.TRAIN": "--data sets it",
    "DATASETS.TEST": "--data sets it",
    "MODEL.ROI_HEADS.NUM_CLASSES": "it is the number of the data's classes",
}
NUM_CHECKPOINTS = 10
"""Of a run, if ``SOLVER.CHECKPOINT_PERIOD`` is not set: so much of it a kill may cost."""
CONVERTED_DATA = "converted_data"
"""In the output: data of the user's own as detectron2 reads them."""


class Detection(NamedTuple):
    """One run of VISSL's detection tool.

    Attributes:
        config: name of a file in ``configs/detection``.
        options: detectron2's keys and values in turn, which change the config.
        environment: variables for the tool and for all processes that it starts.
        data_digest: of what is trained and evaluated on.
        data: of the user's own, or None.
    """

    config: str
    options: list[str]
    environment: dict[str, str]
    data_digest: str
    data: DetectionData | None = None

    @property
    def config_file(self) -> str:
        """The config's path."""
        return str(config_folder() / "detection" / f"{self.config}.yaml")

    @property
    def classes(self) -> list[str] | None:
        """Names of the user's own classes, or None."""
        return self.data.classes if self.data else None

    def check(self, num_gpus: int) -> Any:
        """The configuration; ConfigError where detectron2 would not take config and options.

        Names the environment module to this process, which must not have imported detectron2 yet.
        """
        os.environ["DETECTRON2_ENV_MODULE"] = MODULE
        from detectron2.config import get_cfg

        cfg = get_cfg()
        try:
            cfg.merge_from_file(self.config_file)
            cfg.merge_from_list(self.options)
        except (AssertionError, KeyError, ValueError) as error:
            raise ConfigError(f"--overrides: {error.args[0]}") from None
        filter_sigma(cfg.MODEL.MSCN.SIGMA)
        check_format(cfg.INPUT.FORMAT)
        if "SOLVER.CHECKPOINT_PERIOD" not in self.options:
            # detectron2's own, 5000, is none at all in a short run.
            cfg.SOLVER.CHECKPOINT_PERIOD = max(1, cfg.SOLVER.MAX_ITER // NUM_CHECKPOINTS)
        for key, value in (
            ("SOLVER.MAX_ITER", cfg.SOLVER.MAX_ITER),
            ("SOLVER.IMS_PER_BATCH", cfg.SOLVER.IMS_PER_BATCH),
            ("SOLVER.CHECKPOINT_PERIOD", cfg.SOLVER.CHECKPOINT_PERIOD),
        ):
            if value < 1:
                raise ConfigError(f"--overrides: {key} is {value}; it must be at least 1")
        if cfg.SOLVER.IMS_PER_BATCH % max(num_gpus, 1):
            raise ConfigError(
                f"SOLVER.IMS_PER_BATCH is {cfg.SOLVER.IMS_PER_BATCH}; it must be a multiple of "
                f"the {num_gpus} GPUs (--num-gpus)"
            )
        if self.data and cfg.MODEL.MASK_ON and not self.data.has_masks:
            raise ConfigError(
                "MODEL.MASK_ON is True, but not every object of --data has a mask; it must be False"
            )
        return cfg

    def command(self, python: str, num_gpus: int, cfg: Config) -> list[str]:
        """The command line of VISSL's unmodified tool, which resumes where it can.

        Args:
            cfg: what :meth:`check` returned.
        """
        arguments = ["--config-file", self.config_file, "--num-gpus", str(num_gpus), "--resume"]
        added = ["SOLVER.CHECKPOINT_PERIOD", str(cfg.SOLVER.CHECKPOINT_PERIOD)]
        added += [] if num_gpus else ["MODEL.DEVICE", "cpu"]
        # detectron2's own port is the same for all runs of a user, so that two would meet at it.
        arguments += ["--dist-url", "auto"] if num_gpus > 1 else []
        return [python, str(TOOL), *arguments, *self.options, *added]


def require_detectron2() -> None:
    """Raise ConfigError, with how to install it, where detectron2 is missing."""
    if importlib.util.find_spec("detectron2") is None:
        raise ConfigError(INSTALL)


def check_run(config: dict[str, Any] | None) -> None:
    """Raise ConfigError where detectron2 has not a run's trunk, or does not read its images."""
    if config is not None:
        check_trunk(model_config_of(config), value_at(config, "MSCN.CHANNELS"))


def convert(checkpoint: Path, output: Path) -> int:
    """Write a checkpoint's ResNet-50 as detectron2 loads it, like VISSL's own converter.

    Of a BYOL checkpoint it is the online network; ``mscn target`` gives the
    target network.

    Returns:
        The number of tensors.

    Raises:
        ConfigError: see :func:`detector_weights`.
    """
    weights = detector_weights(checkpoint)
    output.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint({"model": weights, "matching_heuristics": True}, output)
    return len(weights)


def detector_weights(checkpoint: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint's ResNet-50 by detectron2's names.

    Raises:
        ConfigError: no checkpoint of VISSL, or another trunk.
    """
    weights = detectron2_weights(trunk_weights(load_checkpoint(checkpoint), checkpoint))
    shapes = {name: weights[name].shape for name in SHAPES if name in weights}
    if len(weights) != NUM_TENSORS or shapes != SHAPES:
        found = ", ".join(f"{name} of {list(shape)}" for name, shape in shapes.items())
        raise ConfigError(
            f"{checkpoint} has a trunk of {len(weights)} tensors ({found or 'not a ResNet'}); the "
            f"detectors of configs/detection take a ResNet-50, which has {NUM_TENSORS} (for RGB, "
            "of 2048 features)"
        )
    return weights


def detection(
    dataset: str,
    weights: Path,
    sigma: float,
    output: Path,
    data: Path | None = None,
    overrides: Sequence[str] = (),
    run_config: dict[str, Any] | None = None,
) -> Detection:
    """What to run for a data set.

    Args:
        dataset: ``voc``, ``coco`` or ``custom``.
        weights: what :func:`convert` wrote.
        sigma: pre-training's, in pixels.
        output: where detectron2 writes.
        data: of ``voc`` and ``coco`` the folder that holds VOC2007/ and VOC2012/, or coco/; without
            it, detectron2's ``DETECTRON2_DATASETS``. Of ``custom`` the data themselves.
        overrides: detectron2's keys and values of the user's own, after all others.
        run_config: of the pre-training run, whose pixels the detector sees; None: it is not known.

    Raises:
        ConfigError: data are missing or broken, with all that is; or the overrides change what
            the other arguments set.
    """
    own = {**_OWN_KEYS, **(_DATA_KEYS if dataset == "custom" else {})}
    for key, reason in own.items():
        if key in overrides:
            raise ConfigError(f"{key} cannot be overridden; {reason}")
    joined = next((text for text in overrides[::2] if "=" in text), None)
    if joined or len(overrides) % 2:
        raise ConfigError(f"--overrides takes KEY VALUE pairs, not {joined or overrides[-1]!r}")
    environment = {"DETECTRON2_ENV_MODULE": MODULE, RESUME_VARIABLE: "1"}
    settings: dict[str, Any] = {
        "MODEL.WEIGHTS": weights,
        "MODEL.MSCN.SIGMA": sigma,
        "OUTPUT_DIR": output,
        "SEED": 0,  # detectron2's own is a random one
        **_pixels(run_config),
    }
    if dataset == "custom":
        if data is None:
            raise ConfigError("--dataset custom needs --data <folder>")
        custom = DetectionData.read(data)
        root = custom.folder
        if output == root or root in output.parents:
            raise ConfigError(f"--output, {output}, is in --data; it must be another folder")
        environment[VARIABLE] = str(output / CONVERTED_DATA)
        for key, name in zip(("DATASETS.TRAIN", "DATASETS.TEST"), custom.dataset_names.values()):
            settings[key] = (name,)
        settings["MODEL.ROI_HEADS.NUM_CLASSES"] = len(custom.classes)
        if custom.layout == "coco":
            settings["MODEL.MASK_ON"] = custom.has_masks
        if custom.has_run_lengths:
            settings["INPUT.MASK_FORMAT"] = "bitmask"
        config, digest = CONFIGS[custom.layout], custom.digest()
    else:
        custom = None
        root = data or Path(os.environ.get("DETECTRON2_DATASETS", "datasets"))
        digest = check_published(dataset, root)
        environment["DETECTRON2_DATASETS"] = str(root)
        config = CONFIGS[dataset]
    pairs = [text for key, value in settings.items() for text in (key, str(value))]
    return Detection(config, [*pairs, *overrides], environment, digest, custom)


def _pixels(config: dict[str, Any] | None) -> dict[str, list[float]]:
    """detectron2's keys for a run's mean and std, where they are known."""
    pairs = zip(("MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD"), statistics_of(config) or ())
    return {key: in_raw_pixels(values) for key, values in pairs}


def results(output: Path, num_iterations: int) -> dict[str, float]:
    """The evaluation after the last iteration, in percent, by name of the metric.

    Empty where there is none: an earlier iteration's is not the run's.
    """
    lines = json_lines(output / "metrics.json")
    last = num_iterations - 1
    done = [line for line in lines if "bbox/AP" in line and line.get("iteration", -1) >= last]
    return {name: done[-1][name] for name in METRICS if name in done[-1]} if done else {}
