"""Which evaluations a checkpoint gets, and the overrides that fit VISSL's configurations to it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from mscn_plugin.checkpoints.io import (
    CheckpointError,
    load_checkpoint,
    training_config,
    trunk_weights,
)
from mscn_plugin.checkpoints.run_folder import checkpoint_of
from mscn_plugin.checkpoints.sigma import TRANSFORM, pretraining_sigma, resolve_sigma
from mscn_plugin.config.composed import composed
from mscn_plugin.config.hydra_overrides import hydra_override

METER = "test_accuracy_list_meter"
FROZEN = "test_frozen_features"
CHECKPOINT_DIGEST = "checkpoint_sha256"
"""Key beside :data:`FROZEN` in :data:`FROZEN_LOG`: of the file whose features they are."""
FROZEN_LOG = "frozen_features.json"
"""The lines of ``metrics.json`` again, each with its checkpoint: VISSL's scheduler of benchmarks
compares whatever it finds in ``metrics.json`` as numbers."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One page of ``mscn/benchmark`` and the numbers that it gives.

    Attributes:
        page: its name, and the evaluation's.
        dataset: the data set that it is about: ``--data <dataset>=<folder>``.
        metrics: title of each number, and the keys that lead to it in a line of ``metrics.json``.
    """

    page: str
    dataset: str
    metrics: Mapping[str, Tuple[str, ...]]


def _accuracy(page: str, dataset: str, title: str) -> Evaluation:
    return Evaluation(page, dataset, {title: (METER, "top_1")})


_KNN: Dict[str, Tuple[str, ...]] = {"kNN, top-1": (FROZEN, "knn", "top_1")}
SUITES = {
    "quick": (
        Evaluation(
            "quick_frozen",
            "data",
            {**_KNN, "SVM, mAP": (FROZEN, "svm", "mAP"), "SVM, top-1": (FROZEN, "svm", "top_1")},
        ),
        _accuracy("quick_10percent", "data", "fine-tuned with 10% of labels, top-1"),
        _accuracy("quick_linear", "data", "linear probe, top-1"),
    ),
    "paper": (
        Evaluation("imagenet1k_nearest_neighbor", "imagenet1k", _KNN),
        _accuracy("imagenet1k_1percent", "imagenet1k", "fine-tuned with 1% of labels, top-1"),
        _accuracy("imagenet1k_10percent", "imagenet1k", "fine-tuned with 10% of labels, top-1"),
        _accuracy("imagenet1k_linear", "imagenet1k", "linear probe, top-1"),
        _accuracy("places205_linear", "places205", "Places-205, linear, top-1"),
        _accuracy("inaturalist18_linear", "inaturalist18", "iNaturalist 2018, linear, top-1"),
    ),
}
"""In order of their length, the shortest first."""

_SECTIONS = {
    "resnet": "RESNETS",
    "regnet": "REGNET",
    "efficientnet": "EFFICIENT_NETS",
    "small_resnet": "SMALL_RESNET",
}
_CROPS = ("RandomResizedCrop", "ImgPilToMultiCrop")


@dataclasses.dataclass(frozen=True)
class Run:
    """What a pre-training run leaves that its evaluations depend on.

    Attributes:
        folder: where the checkpoint was looked for.
        checkpoint: the file; links are resolved.
        config: the run's configuration, or None where it does not lie beside the file.
        sigma: of its high-pass filter in pixels, 0 without one.
        crop: side of its views in pixels, or None where that is not known.
    """

    folder: Path
    checkpoint: Path
    config: Optional[Dict[str, Any]]
    sigma: float
    crop: Optional[int]

    @classmethod
    def of(cls, path: Path, sigma: Optional[float] = None) -> Run:
        """Read a checkpoint, or the newest one of the folder that ``path`` names.

        Args:
            sigma: of pre-training, where neither checkpoint nor configuration say it.

        Raises:
            CheckpointError: it is no checkpoint, or says another sigma or none.
        """
        folder = (path if path.is_dir() else path.parent).absolute()
        path = checkpoint_of(path)
        checkpoint = load_checkpoint(path)
        trunk_weights(checkpoint, path)
        config = training_config(path)
        try:
            stated = pretraining_sigma(checkpoint, config)
            transforms = config["DATA"]["TRAIN"]["TRANSFORMS"] if config else []
            crop = next((t["size"] for t in transforms if t["name"] in _CROPS), None)
            run = cls(folder, path, config, 0.0, crop if isinstance(crop, int) else None)
            _ = run.loss, run.data, _trunk_overrides(config, {})  # as far as evaluations need it
        except (AttributeError, KeyError, TypeError) as error:
            source = path.parent / "train_config.yaml"
            raise CheckpointError(f"{source} is no configuration of VISSL ({error!r})") from None
        return dataclasses.replace(run, sigma=resolve_sigma(path, stated, sigma))

    @property
    def loss(self) -> Optional[str]:
        """Name of the pre-training's loss."""
        return self.config["LOSS"]["name"] if self.config else None

    @property
    def data(self) -> str:
        """The folder that the run was pre-trained on, as ``config.MSCN.DATA`` named it."""
        return (self.config or {}).get("MSCN", {}).get("DATA") or ""

    def overrides(self, page: str) -> List[str]:
        """Overrides that give ``mscn/benchmark/<page>`` the run's trunk, crop and filter."""
        settings = composed(f"mscn/benchmark/{page}")
        overrides = [
            hydra_override("config.MODEL.WEIGHTS_INIT.PARAMS_FILE", self.checkpoint),
            hydra_override("config.MSCN.PRETRAINING_SIGMA", self.sigma),
        ]
        pixel_range = ((self.config or {}).get("MSCN") or {}).get("PIXEL_RANGE")
        if pixel_range is not None:
            overrides.append(hydra_override("config.MSCN.PIXEL_RANGE", pixel_range))
        overrides += _trunk_overrides(self.config, settings["MODEL"]["TRUNK"])
        for split in ("TRAIN", "TEST"):
            transforms = [
                _fitted(transform, self.crop, self.sigma)
                for transform in settings["DATA"][split]["TRANSFORMS"]
                if transform["name"] != TRANSFORM or self.sigma
            ]
            if transforms != settings["DATA"][split]["TRANSFORMS"]:
                overrides.append(hydra_override(f"config.DATA.{split}.TRANSFORMS", transforms))
        return overrides


def _fitted(transform: Dict[str, Any], crop: Optional[int], sigma: float) -> Dict[str, Any]:
    """A transform of A.2 at the run's scale: 256 / 224 of the crop, cut to the crop."""
    if transform["name"] == TRANSFORM:
        return {**transform, "sigma": sigma}
    if crop and "size" in transform:
        return {**transform, "size": crop if transform["name"] != "Resize" else round(crop * 8 / 7)}
    return transform


def _trunk_overrides(config: Optional[Dict[str, Any]], known: Dict[str, Any]) -> List[str]:
    if config is None:
        return []
    trunk = config["MODEL"]["TRUNK"]
    section = _SECTIONS.get(trunk["NAME"], "")
    overrides = [hydra_override("config.MODEL.TRUNK.NAME", trunk["NAME"])]
    for key, value in sorted((trunk.get(section) or {}).items()):
        path = f"{'' if key in known.get(section, {}) else '+'}config.MODEL.TRUNK.{section}.{key}"
        overrides.append(hydra_override(path, value))
    return overrides
