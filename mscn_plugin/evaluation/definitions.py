"""Which evaluations there are, and where VISSL leaves their numbers."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mscn_plugin.config.hydra_overrides import values_of
from mscn_plugin.types import is_number

METER = "test_accuracy_list_meter"
FROZEN = "test_frozen_features"
CHECKPOINT_DIGEST = "checkpoint_sha256"
"""Key beside :data:`FROZEN` in :data:`FROZEN_LOG`: of the file whose features they are."""
FROZEN_LOG = "frozen_features.json"
"""The lines of ``metrics.json`` again, each with its checkpoint: VISSL's scheduler of benchmarks
compares whatever it finds in ``metrics.json`` as numbers."""


CURVES = "occlusion"
"""Key of accuracies against the share that is hidden, by layer, in :data:`FROZEN_LOG`."""
BOXES = "boxes"
"""Key of what was measured on boxes, by layer, in :data:`FROZEN_LOG`."""
BOX_PREDICTORS = {"trunk": "trunk", "untrained": "untrained trunk", "mean_box": "mean box"}
"""What predicts boxes, by its key below :data:`BOXES`, in words."""
DETAILS = (CURVES, BOXES)
"""Keys of what an evaluation may measure in addition to its metrics."""
FEW_LABELS = (1, 10)
"""Percentages of the labels; the paper fine-tunes with 1% (section 5.1)."""
CLASSIFIERS = {"knn": "kNN", "linear_probe": "linear probe"}
BASELINES = {"untrained": "untrained trunk", "color_histogram": "color histogram"}
"""What else is measured on hidden images than the trunk, by its key below :data:`CURVES`."""


@dataclasses.dataclass(frozen=True)
class Condition:
    """What is hidden of an image, and by what.

    Attributes:
        title: in words.
        shape: ``cells``, ``channels`` or ``box``: :func:`.occluded_images.hidden_pixels`.
        noise_std: of what takes its place, in normalized units; 0: the data set's mean, which
            behind the filter is the value for "no information".
        filtered: behind the filter, or in the picture in front of it.
    """

    title: str
    shape: str
    noise_std: float = 0.0
    filtered: bool = True


CONDITIONS = {
    "cells-zeros": Condition("cells, zeros", "cells"),
    "cells-noise": Condition("cells, noise", "cells", 0.225),  # the masks' default
    "box-zeros": Condition("box, zeros", "box"),
    "channels-zeros": Condition("cells of each channel, zeros", "channels"),
    "picture-cells-gray": Condition("cells of the picture, gray", "cells", filtered=False),
    "picture-box-gray": Condition("box of the picture, gray", "box", filtered=False),
    # With the data set's own mean and standard deviation.
    "picture-box-noise": Condition("box of the picture, noise", "box", 1.0, filtered=False),
}


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One config of ``mscn/benchmark`` and the numbers that it gives.

    Attributes:
        config: its name, and the evaluation's.
        dataset: the data set that it is about: ``--data <dataset>=<folder>``.
        metrics: title of each number, and the keys that lead to it in a line of ``metrics.json``.
        takes_boxes: whether it needs a list of boxes beside the images.
        share: of the training images, which its config learns from: ``MSCN.TRAIN_SUBSET``.
    """

    config: str
    dataset: str
    metrics: Mapping[str, tuple[str, ...]]
    takes_boxes: bool = False
    share: float = 1.0

    def learns_from(self, subset: Any) -> bool:
        """Whether ``subset``, an override of ``MSCN.TRAIN_SUBSET`` or None, is its own share.

        SimCLR's lists are named after theirs, ``1percent.txt``; of others it is not known.
        """
        if isinstance(subset, str):
            listed = re.match(r"(\d+)percent\b", Path(subset).name)
            return listed is not None and int(listed[1]) / 100 == self.share
        return subset is None or subset == self.share

    def titled(self, subset: Any) -> Evaluation:
        """Itself, with titles that name ``subset`` in the place of its own share of the labels."""
        if self.learns_from(subset):
            return self
        words = f"labels of {Path(str(subset)).name}"
        if is_number(subset):
            words = f"{_percent(subset)} of labels"
        # Of all labels a title may state a part.
        own = "labels" if self.share == 1 else f"{_percent(self.share)} of labels"
        metrics = {title.replace(own, words): keys for title, keys in self.metrics.items()}
        return dataclasses.replace(self, metrics=metrics)


def _percent(share: float) -> str:
    return f"{100 * share:g}%"


def subset_in(overrides: Iterable[str]) -> Any:
    """What the last override of ``MSCN.TRAIN_SUBSET`` gives, or None."""
    given = [value for key, value in values_of(overrides) if key == "config.MSCN.TRAIN_SUBSET"]
    return given[-1] if given else None


def _accuracy(config: str, dataset: str, title: str) -> Evaluation:
    return Evaluation(config, dataset, {title: (METER, "top_1")})


def _fine_tuned(config: str, dataset: str, share: float) -> Evaluation:
    title = f"fine-tuned with {_percent(share)} of labels, top-1"
    return dataclasses.replace(_accuracy(config, dataset, title), share=share)


def area_title(classifier: str, condition: str) -> str:
    """Title of the area of a key of :data:`CLASSIFIERS` and one of :data:`CONDITIONS`."""
    return f"{CLASSIFIERS[classifier]}, area: {CONDITIONS[condition].title}"


def _areas() -> dict[str, tuple[str, ...]]:
    """Titles and keys of the areas of :mod:`mscn_plugin.evaluation.occlusion`."""
    return {
        area_title(key, name): (FROZEN, key, name) for key in CLASSIFIERS for name in CONDITIONS
    }


def area(shares: Sequence[float], accuracies: Sequence[float]) -> float:
    """Mean accuracy over the shares, by the trapezoid rule: of the unit of the accuracies."""
    total = 0.0
    for step, share in enumerate(shares[1:]):
        total += (share - shares[step]) * (accuracies[step] + accuracies[step + 1]) / 2
    return total / (shares[-1] - shares[0])


def baseline_areas(curves: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Areas of what was measured beside the trunk, by :data:`BASELINES` and the metric's title.

    Args:
        curves: of one layer, :data:`CURVES`; those of earlier versions have none.
    """
    return {
        title: {
            area_title(classifier, name): area(curves["shares"], accuracies)
            for classifier, by_condition in curves[key].items()
            for name, accuracies in by_condition.items()
        }
        for key, title in BASELINES.items()
        if key in curves
    }


_KNN: dict[str, tuple[str, ...]] = {"kNN, top-1": (FROZEN, "knn", "top_1")}
SUITES = {
    "quick": (
        Evaluation(
            "quick_frozen",
            "data",
            {**_KNN, "SVM, mAP": (FROZEN, "svm", "mAP"), "SVM, top-1": (FROZEN, "svm", "top_1")},
        ),
        Evaluation(
            "quick_few_labels",
            "data",
            {
                f"{title}, {percent}% of labels": (FROZEN, "few_labels", f"{key}_{percent}percent")
                for percent in FEW_LABELS
                for key, title in CLASSIFIERS.items()
            },
        ),
        Evaluation(
            "quick_boxes",
            "data",
            {
                f"boxes, mean IoU of the {title}": (FROZEN, BOXES, key)
                for key, title in BOX_PREDICTORS.items()
            },
            takes_boxes=True,
        ),
        Evaluation("quick_occlusion", "data", _areas()),
        _fine_tuned("quick_10percent", "data", 0.1),
        _accuracy("quick_linear", "data", "linear probe, top-1"),
    ),
    "paper": (
        Evaluation("imagenet1k_nearest_neighbor", "imagenet1k", _KNN),
        _fine_tuned("imagenet1k_1percent", "imagenet1k", 0.01),
        _fine_tuned("imagenet1k_10percent", "imagenet1k", 0.1),
        _accuracy("imagenet1k_linear", "imagenet1k", "linear probe, top-1"),
        _accuracy("places205_linear", "places205", "Places-205, linear, top-1"),
        _accuracy("inaturalist18_linear", "inaturalist18", "iNaturalist 2018, linear, top-1"),
    ),
}
"""In order of their length, the shortest first."""
