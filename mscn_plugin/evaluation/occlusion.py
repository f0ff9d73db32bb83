"""Accuracy of frozen features on images of which a growing share is hidden.

The classifiers learn from whole images, once; validation images are hidden in part
(:mod:`.occluded_images`). The paper does not measure this.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from typing import Any

from vissl.engines.engine_registry import register_engine

from mscn_plugin.checkpoints.sigma import TRANSFORM, input_sigma
from mscn_plugin.data.readable_images import ReadableImagesDataset
from mscn_plugin.errors import ConfigError
from mscn_plugin.evaluation.definitions import CONDITIONS, CURVES, FROZEN
from mscn_plugin.evaluation.frozen_features import (
    FrozenFeaturesEngine,
    Versions,
    labeled,
    nearest_neighbors,
)
from mscn_plugin.evaluation.occluded_images import SHARES, version_name, versions
from mscn_plugin.masking.kinds import check_cell_fits
from mscn_plugin.models.classifiers import fit_probe, log_unconverged, probe_score
from mscn_plugin.models.sections import plain_name
from mscn_plugin.types import Config

ENGINE = "mscn_occlusion"
_CELLS_OF_A_SIDE = 7  # 224 / 32 (Table 6)


@register_engine(ENGINE)
class OcclusionEngine(FrozenFeaturesEngine):
    """Evaluates kNN and linear probe under each of :data:`CONDITIONS`, ``config.MSCN.OCCLUSION_*``.

    ``test_frozen_features`` has for both classifiers the accuracy on whole images (``clean``) and
    the areas under the curves, ``frozen_features.json`` the curves as well.
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

    def evaluate(
        self, cfg: Config, layers: list[str], folder: str, device: Any
    ) -> dict[str, dict[str, Any]]:
        results: dict[str, Any] = {FROZEN: {}, CURVES: {}}
        for layer in layers:
            curves = curves_of(cfg, folder, layer, device)
            results[CURVES][layer] = {"shares": list(SHARES), **curves}
            for name, by_condition in curves.items():
                numbers = results[FROZEN].setdefault(name, {})
                for condition, accuracies in by_condition.items():
                    numbers.setdefault("clean", {})[layer] = accuracies[0]
                    numbers.setdefault(condition, {})[layer] = area(SHARES, accuracies)
        return results


def curves_of(
    cfg: Config, folder: str, layer: str, device: Any
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
    for condition in CONDITIONS:
        hidden = [accuracies(version_name(condition, share)) for share in SHARES[1:]]
        for name, by_condition in curves.items():
            by_condition[condition] = [point[name] for point in (clean, *hidden)]
    return curves


def without_filter(cfg: Config) -> Config:
    """A copy of the configuration whose images reach the trunk unfiltered.

    Raises:
        ConfigError: something else comes behind the filter, and would come in front of it.
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


def area(shares: Sequence[float], accuracies: Sequence[float]) -> float:
    """Mean accuracy over the shares, by the trapezoid rule: of the unit of the accuracies."""
    total = 0.0
    for step, share in enumerate(shares[1:]):
        total += (share - shares[step]) * (accuracies[step] + accuracies[step + 1]) / 2
    return total / (shares[-1] - shares[0])
