"""Accuracy of frozen features on images of which a growing share is hidden.

The classifiers learn from whole images, once; validation images are hidden in part
(:mod:`.occluded_images`). The paper does not measure this.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from vissl.engines.engine_registry import register_engine

from mscn_plugin.checkpoints.sigma import TRANSFORM, input_sigma
from mscn_plugin.data.readable_images import ReadableImagesDataset
from mscn_plugin.errors import ConfigError
from mscn_plugin.evaluation.baselines import (
    UNTRAINED,
    BesideUntrained,
    histograms,
    with_untrained,
)
from mscn_plugin.evaluation.definitions import CONDITIONS, CURVES, FROZEN, area
from mscn_plugin.evaluation.frozen_features import (
    FrozenFeaturesEngine,
    Versions,
    extract_features,
    labeled,
    nearest_neighbors,
)
from mscn_plugin.evaluation.occluded_images import SHARES, Shown, version_name, versions
from mscn_plugin.masking.kinds import check_cell_fits
from mscn_plugin.models.classifiers import fit_probe, log_unconverged, probe_score
from mscn_plugin.models.sections import plain_name
from mscn_plugin.types import Config, Task

ENGINE = "mscn_occlusion"
_CELLS_OF_A_SIDE = 7  # 224 / 32 (Table 6)
_HISTOGRAM = "color_histogram"  # as a layer, and among the baselines


@register_engine(ENGINE)
class OcclusionEngine(FrozenFeaturesEngine):
    """Evaluates kNN and linear probe under each of :data:`CONDITIONS`, ``config.MSCN.OCCLUSION_*``.

    ``test_frozen_features`` has for both classifiers the accuracy on whole images (``clean``) and
    the areas under the curves, ``frozen_features.json`` the curves as well, and those of the
    untrained trunk on the same input and, where the picture itself is hidden, of its histogram;
    beside them the shares and the number of validation ``images``.
    """

    def prepare(self, cfg: Config) -> tuple[Config, Versions]:
        sigma = input_sigma(cfg, "TEST")
        cfg = without_filter(cfg)
        images = ReadableImagesDataset(cfg, "TEST")
        size = images[0]["data"][0].shape[1:]
        cell_size = cfg.MSCN.OCCLUSION_CELL_SIZE or max(1, round(min(size) / _CELLS_OF_A_SIDE))
        try:
            check_cell_fits("config.MSCN.OCCLUSION_CELL_SIZE", cell_size, size)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if len(images) > cfg.MSCN.OCCLUSION_IMAGES:
            cfg.DATA.TEST.DATA_LIMIT = cfg.MSCN.OCCLUSION_IMAGES
        return cfg, functools.partial(versions, sigma=sigma, cell_size=cell_size)

    def extract(self, task: Task, layers: list[str], folder: Path, versions: Versions) -> None:
        task.base_model = _BesideBaselines(task)
        extract_features(task, [*with_untrained(layers), _HISTOGRAM], folder, versions)

    def evaluate(
        self, cfg: Config, layers: list[str], folder: str, device: Any
    ) -> dict[str, dict[str, Any]]:
        in_the_picture = [name for name, c in CONDITIONS.items() if not c.filtered]
        histogram = curves_of(cfg, folder, _HISTOGRAM, in_the_picture, device)
        results: dict[str, Any] = {FROZEN: {}, CURVES: {}}
        for layer in layers:
            curves, untrained = (
                curves_of(cfg, folder, name, list(CONDITIONS), device)
                for name in (layer, UNTRAINED + layer)
            )
            beside = {"untrained": untrained, _HISTOGRAM: histogram}
            images = len(labeled(folder, "test", layer)[1])
            about = {"shares": list(SHARES), "images": images}
            results[CURVES][layer] = {**about, **curves, **beside}
            for name, by_condition in curves.items():
                numbers = results[FROZEN].setdefault(name, {})
                for condition, accuracies in by_condition.items():
                    numbers.setdefault("clean", {})[layer] = accuracies[0]
                    numbers.setdefault(condition, {})[layer] = area(SHARES, accuracies)
        return results


class _BesideBaselines(nn.Module):
    """The outputs of trunk and untrained trunk, and histograms where they are of the same input."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.trunks, self.cfg = BesideUntrained(task), task.config

    def forward(self, shown: Shown) -> list[Tensor]:
        features = self.trunks(shown.seen)
        if shown.picture is not None:
            features.append(histograms(shown.picture, self.cfg))
        return features


def curves_of(
    cfg: Config, folder: str, layer: str, conditions: Sequence[str], device: Any
) -> dict[str, dict[str, list[float]]]:
    """Accuracies in percent at :data:`SHARES`, by classifier and condition, of one layer."""
    train = labeled(folder, "train", layer)
    probe = fit_probe(train)
    log_unconverged([probe])

    def accuracies(version: str) -> dict[str, float]:
        val = labeled(folder, version, layer)
        knn = nearest_neighbors(cfg, train, val, device)[1]
        return {"knn": knn, "linear_probe": probe_score(probe, val)}

    clean = accuracies("test")
    curves: dict[str, dict[str, list[float]]] = {name: {} for name in clean}
    for condition in conditions:
        hidden = [accuracies(version_name(condition, share)) for share in SHARES[1:]]
        for name, by_condition in curves.items():
            by_condition[condition] = [point[name] for point in (clean, *hidden)]
    return curves


def without_filter(cfg: Config) -> Config:
    """A copy of the configuration whose images reach the trunk unfiltered.

    Raises:
        ConfigError: something else comes after the filter, and would come before it.
    """
    cfg = copy.deepcopy(cfg)
    for split in ("TRAIN", "TEST"):
        transforms = cfg.DATA[split].TRANSFORMS
        places = [i for i, transform in enumerate(transforms) if transform["name"] == TRANSFORM]
        if places and places[0] != len(transforms) - 1:
            raise ConfigError(
                f"config.DATA.{split}.TRANSFORMS[{places[0]}] is {TRANSFORM}; for the engine "
                f"{ENGINE} it must be the last one"
            )
        cfg.DATA[split].TRANSFORMS = transforms[: len(transforms) - len(places)]
    cfg.MODEL.TRUNK.NAME = plain_name(cfg.MODEL.TRUNK.NAME)
    return cfg
