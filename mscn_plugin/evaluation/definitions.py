"""Which evaluations there are, and where VISSL leaves their numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

METER = "test_accuracy_list_meter"
FROZEN = "test_frozen_features"
CHECKPOINT_DIGEST = "checkpoint_sha256"
"""Key beside :data:`FROZEN` in :data:`FROZEN_LOG`: of the file whose features they are."""
FROZEN_LOG = "frozen_features.json"
"""The lines of ``metrics.json`` again, each with its checkpoint: VISSL's scheduler of benchmarks
compares whatever it finds in ``metrics.json`` as numbers."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One config of ``mscn/benchmark`` and the numbers that it gives.

    Attributes:
        config: its name, and the evaluation's.
        dataset: the data set that it is about: ``--data <dataset>=<folder>``.
        metrics: title of each number, and the keys that lead to it in a line of ``metrics.json``.
    """

    config: str
    dataset: str
    metrics: Mapping[str, tuple[str, ...]]


def _accuracy(config: str, dataset: str, title: str) -> Evaluation:
    return Evaluation(config, dataset, {title: (METER, "top_1")})


_KNN: dict[str, tuple[str, ...]] = {"kNN, top-1": (FROZEN, "knn", "top_1")}
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
