"""An object's box by ridge regression on the last spatial map of a frozen trunk.

What masks are good for may show where a place matters, and not a class alone. The paper's dense
task is detection (Table 4, :mod:`mscn_plugin.detection`), which takes GPUs and days; this one takes
a minute on a CPU, and is not in the paper.

Shape shorthand: N images to learn from, M images to predict, F features.
"""

from __future__ import annotations

import copy
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from vissl.engines.engine_registry import register_engine
from vissl.utils.misc import merge_features

from mscn_plugin.checkpoints.sigma import TRANSFORM
from mscn_plugin.data.box_lists import (
    FILES,
    Box,
    Images,
    boxes_of_images,
    find_boxes,
    read_boxes,
)
from mscn_plugin.data.readable_images import ImageFiles, ReadableImagesDataset
from mscn_plugin.data.sources import find_splits
from mscn_plugin.errors import ConfigError
from mscn_plugin.evaluation.baselines import UNTRAINED, BesideUntrained, with_untrained
from mscn_plugin.evaluation.definitions import BOXES, FROZEN
from mscn_plugin.evaluation.frozen_features import (
    FrozenFeaturesEngine,
    Versions,
    as_they_are,
    extract_features,
)
from mscn_plugin.transforms.stated import resized
from mscn_plugin.types import Config, Task

ENGINE = "mscn_boxes"
FOLDS = 5
LEAST = 2 * FOLDS
"""So many images with a box there must be."""
MAX_IMAGES = 10_000
"""Validation images, at most: those of Tiny ImageNet; above that a fixed random part."""
PENALTIES = tuple(10.0**power for power in range(-2, 7))
"""Of ridge regression on standardized features, of which one is chosen."""
RESAMPLES = 1000
_LEFT_IN_PLACE = ("ToTensor", "Normalize", TRANSFORM)


class Objects(NamedTuple):
    """Where the objects of a data set's images are, after resizing and cropping.

    Attributes:
        file: the list of boxes.
        named: the same from the data set's folder on, or by its name alone where it is
            elsewhere: results read the same on every machine.
        names: of all images, by which folds are chosen: paths from the images' common folder.
        boxes: left, top, right, bottom in fractions of the crop, from 0 to 1, ``[N, 4]``; NaN
            where an image has none.
        left_out: number of images without a usable box, by the reason.
    """

    file: Path
    named: str
    names: list[str]
    boxes: np.ndarray
    left_out: dict[str, int]


@register_engine(ENGINE)
class BoxesEngine(FrozenFeaturesEngine):
    """Evaluates the trunk, the untrained trunk and the mean box on the boxes of ``MSCN.BOXES``.

    ``test_frozen_features`` has the mean intersection over union in percent of each,
    ``frozen_features.json`` also the intervals, the images and the penalties.
    """

    objects: Objects

    def prepare(self, cfg: Config) -> tuple[Config, Versions]:
        cfg = copy.deepcopy(cfg)
        cfg.TEST_ONLY = True  # regression learns from validation images, which have the boxes
        if len(ReadableImagesDataset(cfg, "TEST")) > MAX_IMAGES:
            cfg.DATA.TEST.DATA_LIMIT = MAX_IMAGES
        self.objects = objects_of(cfg)
        return cfg, as_they_are

    def extract(self, task: Task, layers: list[str], folder: Path, versions: Versions) -> None:
        task.base_model = BesideUntrained(task)
        extract_features(task, with_untrained(layers), folder, versions)

    def evaluate(
        self, cfg: Config, layers: list[str], folder: str, device: Any
    ) -> dict[str, dict[str, Any]]:
        numbers: dict[str, dict[str, float]] = {}
        details: dict[str, dict[str, Any]] = {}
        for layer in layers:
            details[layer] = measured(self.objects, folder, layer)
            for name, result in details[layer]["mean_iou"].items():
                numbers.setdefault(name, {})[layer] = result["percent"]
        return {FROZEN: {BOXES: numbers}, BOXES: details}


def objects_of(cfg: Config) -> Objects:
    """The boxes of ``MSCN.BOXES`` for the images of ``DATA.TEST``.

    Raises:
        ConfigError: the list or a line of it cannot be used, there are too few boxes, or a
            transform would move them in a way that is not known.
    """
    images = ReadableImagesDataset(cfg, "TEST")
    source = images.data_objs[0]
    if not isinstance(source, ImageFiles):
        raise ConfigError(
            f"config.DATA.TEST.DATA_SOURCES is {list(cfg.DATA.TEST.DATA_SOURCES)}, whose images "
            f"have no names that a list of boxes could have; {ENGINE} needs files"
        )
    file, paths = _file_of(cfg), images.paths()
    known, listed = Images(paths), read_boxes(file)
    unnamed = [box for box in listed if not known.named(box.name)]
    others = ReadableImagesDataset(cfg, "TRAIN").paths() if unnamed else []
    by_place = boxes_of_images(file, listed, known, others)
    boxes, left_out = np.full((len(images), 4), np.nan), Counter[str]()
    for index in range(len(images)):
        size = images.size_of(index)
        if size is not None:  # what cannot be read is counted when the features are there
            found = _found(by_place.get(images.place(index)), size, file, cfg.DATA.TEST.TRANSFORMS)
            if isinstance(found, str):
                left_out[found] += 1
            else:
                boxes[index] = found
    usable = int(np.isfinite(boxes).all(axis=1).sum())
    if usable < LEAST:
        raise ConfigError(
            f"{file} has a box, of some area and not cropped away, for {usable} of {len(images)} "
            f"validation images; it must have one for at least {LEAST}"
        )
    common = os.path.commonpath([os.path.dirname(path) for path in paths])
    names = [os.path.relpath(paths[images.place(index)], common) for index in range(len(images))]
    return Objects(file, _named(file, cfg.MSCN.DATA), names, boxes, dict(left_out))


def _found(
    box: Box | None, size: tuple[int, int], file: Path, transforms: Sequence[dict[str, Any]]
) -> np.ndarray | str:
    """The box of an image by :func:`on_crop`, or why it has none that can be used."""
    if box is None:
        return "without a box"
    corners = np.array(box.corners)
    if (corners < 0).any() or (corners.reshape(2, 2) > size).any():
        raise ConfigError(
            f"{file}, line {box.line}: the box {corners.tolist()} of {box.name!r} must lie in the "
            f"picture, of {size[0]} x {size[1]} pixels"
        )
    if (corners[:2] == corners[2:]).any():
        return "with a box without area"
    seen = on_crop(corners, size, transforms)
    return "with a box that was cropped away" if (seen[:2] == seen[2:]).any() else seen


def _file_of(cfg: Config) -> Path:
    """The list that ``MSCN.BOXES`` names, or the one beside the images of ``MSCN.DATA``."""
    if cfg.MSCN.BOXES:
        return Path(cfg.MSCN.BOXES).expanduser()
    data = str(cfg.MSCN.DATA)
    found = find_boxes(find_splits(data, "config.MSCN.DATA", cfg.MSCN.CHANNELS)) if data else None
    if found is None:
        raise ConfigError(
            f"config.MSCN.BOXES is '', and there is no {', '.join(FILES)} in or beside the "
            "validation folder; it must be a list of boxes"
        )
    return found


def _named(file: Path, data: object) -> str:
    folder = Path(str(data or "")).expanduser().absolute()
    inside = bool(data) and file.absolute().is_relative_to(folder)
    return str(file.absolute().relative_to(folder.parent)) if inside else file.name


def on_crop(
    corners: np.ndarray, size: tuple[int, int], transforms: Sequence[dict[str, Any]]
) -> np.ndarray:
    """A box in the image that the trunk sees.

    Args:
        corners: left, top, right, bottom in pixels of the picture, ``[4]``.
        size: width and height of the picture.
        transforms: ``DATA.TEST.TRANSFORMS``, which may resize and crop in the middle.

    Returns:
        The same in fractions of width and height, from 0 to 1: of what is outside nothing is
        left, and a box without area where all of it does.

    Raises:
        ConfigError: another transform, which might move the box.
    """
    box = corners.reshape(2, 2).astype(np.float64)  # two corners, x and y of each
    now = np.array(size)
    for index, transform in enumerate(transforms):
        name, settings = transform["name"], set(transform) - {"name", "size"}
        if name == "Resize" and settings <= {"interpolation", "antialias"}:
            before, now = now, np.array(resized(now.tolist(), transform["size"]))
            box = box * (now / before)
        elif name == "CenterCrop" and not settings:
            height, width = _two(transform["size"])
            crop = np.array([width, height])
            # torchvision's rounding: pixels that a smaller picture lacks are zeros around it.
            start = np.where(crop > now, -((crop - now) // 2), np.round((now - crop) / 2))
            box, now = box - start, crop
        elif name not in _LEFT_IN_PLACE:
            raise ConfigError(
                f"config.DATA.TEST.TRANSFORMS[{index}] is {dict(transform)}, which may move boxes; "
                f"for {ENGINE} it must be one of Resize, CenterCrop, {', '.join(_LEFT_IN_PLACE)}"
            )
    fractions: np.ndarray = (box / now).clip(0, 1).ravel()
    return fractions


def _two(size: Any) -> tuple[int, int]:
    """Height and width of a crop."""
    sides = list(size) if isinstance(size, Sequence) else [size]
    return sides[0], sides[-1]


def measured(objects: Objects, folder: str, layer: str) -> dict[str, Any]:
    """What the features of one layer tell about the boxes.

    Args:
        folder: of the features that :meth:`BoxesEngine.extract` wrote.

    Returns:
        ``mean_iou``, by what predicts the box: ``percent``, a 95% ``interval`` of it, and the
        ``penalties`` chosen for each fold, of ``trunk``, ``untrained`` and ``mean_box``. Beside it
        the list (``file``), the number of ``images``, and those that were ``left_out``.
    """
    results: dict[str, Any] = {}
    for name, prefix in (("trunk", ""), ("untrained", UNTRAINED)):
        merged = merge_features(folder, "test", f"{prefix}{layer}")
        used = np.isfinite(objects.boxes[merged["inds"]]).all(axis=1)
        features = merged["features"][used].reshape(used.sum(), -1)
        indices = merged["inds"][used]
        boxes, folds = objects.boxes[indices], folds_of([objects.names[i] for i in indices])
        predicted, penalties = cross_validated(features, boxes, folds)
        results[name] = {**_mean_iou(predicted, boxes), "penalties": penalties}
    unreadable = len(objects.names) - len(merged["inds"])
    results["mean_box"] = _mean_iou(mean_boxes(boxes, folds), boxes)
    return {
        "mean_iou": results,
        "images": len(boxes),
        "left_out": {**objects.left_out, **({"unreadable": unreadable} if unreadable else {})},
        "file": objects.named,
    }


def folds_of(names: Sequence[str]) -> np.ndarray:
    """The fold of each image, int ``[N]``: dealt out in the order of a hash of the names.

    It depends on nothing else: the same images are split the same for every run.
    """
    digests = [hashlib.sha256(os.fsencode(name)).digest() for name in names]
    folds = np.empty(len(names), dtype=np.int64)
    folds[sorted(range(len(names)), key=digests.__getitem__)] = np.arange(len(names)) % FOLDS
    return folds


def cross_validated(
    features: np.ndarray, boxes: np.ndarray, folds: np.ndarray
) -> tuple[np.ndarray, list[float]]:
    """Boxes ``[N, 4]`` of each image by ridge regression on the other folds, and its penalties.

    The penalty of a fold is the one of :data:`PENALTIES` with the best mean IoU on the next fold,
    learned from the other three; with it all four are learned from.

    Args:
        features: ``[N, F]``.
        boxes: ``[N, 4]``, in fractions of the image.
        folds: of each image, from 0 to ``FOLDS - 1``, ``[N]``.
    """
    predicted, penalties = np.empty_like(boxes), []
    for fold in range(FOLDS):
        held_out, chooses = folds == fold, folds == (fold + 1) % FOLDS
        learned = ~(held_out | chooses)
        candidates = ridge(features[learned], boxes[learned], features[chooses], PENALTIES)
        scores = [overlap(candidate, boxes[chooses]).mean() for candidate in candidates]
        penalty = PENALTIES[int(np.argmax(scores))]
        rest = features[~held_out], boxes[~held_out]
        (predicted[held_out],) = ridge(*rest, features[held_out], [penalty])
        penalties.append(penalty)
    return predicted, penalties


def ridge(
    features: np.ndarray, boxes: np.ndarray, queries: np.ndarray, penalties: Sequence[float]
) -> list[np.ndarray]:
    """Boxes ``[M, 4]`` of queries for each penalty, by ridge regression in float64.

    Features are standardized by those that are learned from; the intercept has no penalty. Where
    there are more features than images the N equations of the dual problem are solved.

    Args:
        features: to learn from, ``[N, F]``.
        boxes: theirs, ``[N, 4]``, in fractions of the image.
        queries: ``[M, F]``.

    Returns:
        Boxes within the image, from 0 to 1.
    """
    constant = features.min(axis=0) == features.max(axis=0)
    mean = features.mean(axis=0, dtype=np.float64)
    std = np.where(constant, 1.0, features.std(axis=0, dtype=np.float64))
    x, asked = ((part - mean) / std for part in (features, queries))
    mean_box = boxes.mean(axis=0)
    if x.shape[1] > len(x):
        gram, right, left = x @ x.T, boxes - mean_box, asked @ x.T
    else:
        gram, right, left = x.T @ x, x.T @ (boxes - mean_box), asked
    identity = np.eye(len(gram))
    return [
        (mean_box + left @ np.linalg.solve(gram + penalty * identity, right)).clip(0, 1)
        for penalty in penalties
    ]


def mean_boxes(boxes: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """For each image the mean box of the other folds, ``[N, 4]``: it knows nothing of the image."""
    means = np.array([boxes[folds != fold].mean(axis=0) for fold in range(FOLDS)])
    return means[folds]


def overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of two boxes of each image ``[N, 4]``, from 0 to 1, ``[N]``.

    0 where a predicted box has no area, or its left border right of the right one.
    """
    sides = np.minimum(boxes[:, 2:], others[:, 2:]) - np.maximum(boxes[:, :2], others[:, :2])
    shared = sides.clip(min=0).prod(axis=1)
    areas = [(b[:, 2:] - b[:, :2]).clip(min=0).prod(axis=1) for b in (boxes, others)]
    union = areas[0] + areas[1] - shared
    found: np.ndarray = shared / np.maximum(union, np.finfo(np.float64).tiny)
    return found


def _mean_iou(predicted: np.ndarray, boxes: np.ndarray) -> dict[str, Any]:
    overlaps = 100 * overlap(predicted, boxes)
    return {"percent": float(overlaps.mean()), "interval": interval(overlaps)}


def interval(values: np.ndarray) -> list[float]:
    """A 95% interval of the mean: percentiles of :data:`RESAMPLES` bootstrap means, of seed 0."""
    random, number = np.random.RandomState(0), len(values)
    means = [values[random.randint(number, size=number)].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return [float(low), float(high)]
