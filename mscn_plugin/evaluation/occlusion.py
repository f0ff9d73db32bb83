"""Accuracy of frozen features on images of which a growing share is hidden.

The classifiers learn from whole images, once; validation images are hidden in part, behind the
high-pass filter or in the picture in front of it. The paper does not measure this. What is hidden
depends on an image's place in the data set and on nothing of the run.

Shape shorthand: B images, C color channels, H, W height and width in pixels.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
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
from mscn_plugin.masking import MaskDistribution, MaskParameters, high_pass
from mscn_plugin.masking.kinds import CellSize, check_cell_fits
from mscn_plugin.models.classifiers import fit_probe, probe_score
from mscn_plugin.models.high_pass_trunk import PREFIX
from mscn_plugin.types import Config

ENGINE = "mscn_occlusion"
SHARES = (0.0, 0.15, 0.3, 0.5, 0.7)
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
    cfg.MODEL.TRUNK.NAME = cfg.MODEL.TRUNK.NAME.removeprefix(PREFIX)
    return cfg


def versions(
    split: str, images: Tensor, indices: list[int], sigma: float, cell_size: CellSize
) -> Iterator[tuple[str, Tensor]]:
    """Filtered images, whole, and those of the validation split also with a part hidden.

    Args:
        split: ``"train"`` or ``"test"``.
        images: ``[B, C, H, W]``, normalized, not filtered.
        indices: of the images in their data set.
        sigma: of the filter in pixels; 0: behind the filter is the picture.
        cell_size: in pixels, one number or height and width.
    """
    clean = high_pass(images, sigma)
    yield split, clean
    if split == "train":
        return
    noise = torch.stack(
        [torch.randn(images.shape[1:], generator=_generator(i, 1)) for i in indices]
    )
    noise = noise.to(images)
    for share in SHARES[1:]:
        hidden = {
            shape: hidden_pixels(shape, share, cell_size, indices, images.shape[1:]).to(
                images.device
            )
            for shape in {condition.shape for condition in CONDITIONS.values()}
        }
        for name, condition in CONDITIONS.items():
            occluded = torch.where(
                hidden[condition.shape],
                noise * condition.noise_std,
                clean if condition.filtered else images,
            )
            yield (
                version_name(name, share),
                occluded if condition.filtered else high_pass(occluded, sigma),
            )


def hidden_pixels(
    shape: str, share: float, cell_size: CellSize, indices: Sequence[int], size: Sequence[int]
) -> Tensor:
    """Which pixels of the images with these indices are hidden: always the same.

    The cells that are hidden at one share are hidden at every larger one, whatever hides them.

    Args:
        share: above 0, below 1.
        shape: ``cells``, the method's own grid with a share of its cells dropped; ``channels``,
            the same independently for each channel, so that as many values are hidden; ``box``,
            one that covers the share of the image, at a random place.
        size: (C, H, W).

    Returns:
        bool ``[B, C, H, W]``.
    """
    is_box = shape == "box"  # what a focal mask would keep
    distribution = MaskDistribution(
        ratio=1 - share if is_box else share,
        cell_size=cell_size,
        focal_probability=float(is_box),
        channelwise_probability=float(shape == "channels"),
    )
    channels, *sides = size
    masks = MaskParameters.cat(
        [distribution.sample(1, sides, channels, _generator(index, 0)) for index in indices]
    )
    return masks.keep() if is_box else masks.hidden()


def _generator(index: int, stream: int) -> torch.Generator:
    """The source of an image's masks (stream 0) or noise (1)."""
    return torch.Generator().manual_seed(2 * index + stream)


def version_name(condition: str, share: float) -> str:
    """Under which name the features are written."""
    return f"{condition}-{round(100 * share)}"


def area(shares: Sequence[float], accuracies: Sequence[float]) -> float:
    """Mean accuracy over the shares, by the trapezoid rule: of the unit of the accuracies."""
    total = 0.0
    for step, share in enumerate(shares[1:]):
        total += (share - shares[step]) * (accuracies[step] + accuracies[step + 1]) / 2
    return total / (shares[-1] - shares[0])
