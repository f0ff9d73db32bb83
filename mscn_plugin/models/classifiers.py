"""Classifiers on features of a frozen trunk: nearest neighbors, logistic regression, SVMs.

Shape shorthand: N training images, M validation images, F features, C classes, k neighbors.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from mscn_plugin.errors import ConfigError
from mscn_plugin.types import Config

Labeled = tuple[np.ndarray, np.ndarray]
"""Features ``[N, F]`` and labels: classes ``[N]``, or for SVMs of several labels ``[N, C]``."""

EVALUATIONS = ("knn", "svm", "logistic_regression", "few_labels")
"""Names of the evaluations, as ``MSCN.FROZEN_EVALUATIONS`` knows them."""
_PROBE_ITERATIONS = 200
_CHUNK = 1024  # validation images at a time: 5 GB of similarities to ImageNet's training images


def knn_accuracy(
    train: Labeled,
    val: Labeled,
    num_neighbors: int,
    temperature: float | None,
    normalize: bool = True,
    topk: Sequence[int] = (1,),
    device: str | torch.device = "cpu",
) -> dict[int, float]:
    """Accuracy in percent of the k nearest training images, as VISSL's nearest-neighbor benchmark.

    A neighbor with similarity s votes for its class with weight ``exp(s / temperature)``.

    Args:
        num_neighbors: k; all N training images where there are fewer.
        temperature: above 0; None gives every neighbor the same vote.
        normalize: cosine similarity; else the dot product.
        topk: the accuracies to return: the class is among the that many classes with most votes.
        device: where the similarities are computed.

    Returns:
        Accuracy for each of ``topk``; 100 where there are no more than that many classes.
    """
    x, y = (torch.as_tensor(part, device=device) for part in train)
    queries, truth = (torch.as_tensor(part, device=device) for part in val)
    x, queries = x.float(), queries.float()
    if normalize:
        x, queries = F.normalize(x, dim=1), F.normalize(queries, dim=1)
    k, num_classes = min(num_neighbors, len(x)), int(max(y.max(), truth.max())) + 1
    hits = dict.fromkeys(topk, 0)
    for images, correct in zip(queries.split(_CHUNK), truth.split(_CHUNK)):
        similarities, neighbors = (images @ x.T).topk(k, dim=1)
        if temperature is None:
            weights = torch.ones_like(similarities)
        else:
            # Relative to the nearest, so that the exponential stays in range.
            weights = ((similarities - similarities[:, :1]) / temperature).exp()
        votes = weights.new_zeros(len(images), num_classes)
        votes.scatter_add_(1, y[neighbors], weights)
        ranked = votes.argsort(dim=1, descending=True, stable=True)
        for top in topk:
            hits[top] += int((ranked[:, :top] == correct[:, None]).sum())
    return {top: 100 * count / len(truth) for top, count in hits.items()}


def probe_accuracy(train: Labeled, val: Labeled) -> float:
    """Accuracy in percent of :func:`fit_probe`'s classifier on the validation images."""
    probe = fit_probe(train)
    log_unconverged([probe])
    return probe_score(probe, val)


def fit_probe(train: Labeled) -> Any:
    """A logistic regression on standardized features, of scikit-learn.

    A stand-in for the paper's linear probe (A.2), which trains on augmented crops for 100 epochs:
    the same kind of classifier, fitted to features computed once. Whether the fit has converged
    is for :func:`log_unconverged` to say.
    """
    # scikit-learn takes a second to import, which every start and every loader worker would pay.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_PROBE_ITERATIONS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return probe.fit(*train)


def log_unconverged(probes: Sequence[Any]) -> None:
    """Log in one line, if so, that some of :func:`fit_probe`'s ``probes`` have not converged."""
    stopped = sum(int(probe[-1].n_iter_.max()) >= _PROBE_ITERATIONS for probe in probes)
    if stopped:
        logging.info(
            f"linear probe: {stopped} of {len(probes)} fits ended after {_PROBE_ITERATIONS} "
            "iterations, before they converged"
        )


def probe_score(probe: Any, val: Labeled) -> float:
    """Accuracy in percent of what :func:`fit_probe` returned."""
    return 100 * float(probe.score(*val))


def svm_average_precision(train: Labeled, val: Labeled, settings: Config) -> dict[str, float]:
    """Mean average precision in percent of one-against-all linear SVMs, VISSL's VOC07 protocol.

    For each class a cost is chosen by cross-validated average precision on the training images;
    the SVM with that cost is fitted to all of them. Average precision is VISSL's (VOC's area under
    the interpolated curve).

    Args:
        train: labels ``[N]`` are classes; ``[N, C]`` are VISSL's 1 (present), 0 (absent), -1
            (not evaluated; absent in training).
        settings: VISSL's section ``config.SVM``. ``cls_list`` are the classes that the mean is
            over; empty: all of them.

    Returns:
        ``mAP``, and for classes ``[N]`` without a ``cls_list`` also ``top_1``: accuracy of the
        largest decision value. Classes with too few images to cross-validate, or without a
        validation image, are left out: mAP is over the others, ``top_1`` over the others' images,
        and the log says how many. Empty where there are no others.

    Raises:
        ConfigError: ``cls_list`` names a class that there is not.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import LinearSVC
    from vissl.utils.svm_utils.evaluate import get_precision_recall

    (x, y), (queries, truth) = train, val
    if settings["normalize"]:
        x, queries = (f / (np.linalg.norm(f, axis=1, keepdims=True) + 1e-5) for f in (x, queries))
    num_classes = y.shape[1] if y.ndim == 2 else int(max(y.max(), truth.max())) + 1
    asked = [int(label) for label in settings["cls_list"]] or list(range(num_classes))
    if not all(0 <= label < num_classes for label in asked):
        raise ConfigError(
            f"config.SVM.cls_list is {asked}; it must list classes from 0 to {num_classes - 1}"
        )
    targets, truths = (
        labels if labels.ndim == 2 else np.eye(num_classes)[labels] for labels in (y, truth)
    )
    svm = LinearSVC(
        class_weight={1: 2, -1: 1},
        random_state=0,  # coordinate descent shuffles: the same features give the same number
        **{key: settings[key] for key in ("penalty", "loss", "dual", "max_iter")},
    )
    folds = settings["cross_val_folds"]
    search = GridSearchCV(svm, {"C": costs(settings)}, scoring="average_precision", cv=folds)
    precisions: dict[int, float] = {}
    decisions = np.full((len(queries), num_classes), -np.inf)
    fitted = stopped = 0
    for label in asked:
        positive = targets[:, label] == 1
        if not folds <= positive.sum() <= len(positive) - folds:
            continue  # too few images of the class, or of any other, to cross-validate
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            search.fit(x, np.where(positive, 1, -1))
        stopped += int(np.max(search.best_estimator_.n_iter_)) >= settings["max_iter"]
        fitted += 1
        decisions[:, label] = search.decision_function(queries)
        judged = truths[:, label] != -1
        signs = np.where(truths[judged, label] == 1, 1, -1)
        if (signs == 1).any():  # else there is nothing to recall
            precisions[label] = float(get_precision_recall(signs, decisions[judged, label])[-1])
    if stopped:
        logging.info(
            f"SVM: the fits of {stopped} of {fitted} classes ended after "
            f"{settings['max_iter']} iterations (config.SVM.max_iter), before they converged"
        )
    too_few = (
        "fewer training images, with it or without, than config.SVM.cross_val_folds, "
        f"{folds}, or no validation image"
    )
    if not precisions:
        logging.warning(f"SVM: no number, since each of the {len(asked)} classes has {too_few}")
        return {}
    has_top_1 = y.ndim == 1 and not settings["cls_list"]
    if len(precisions) < len(asked):
        also = ", and top-1 over the images of these" if has_top_1 else ""
        logging.warning(
            f"SVM: mAP is the mean over {len(precisions)} of {len(asked)} classes{also}: each of "
            f"the others has {too_few}"
        )
    result = {"mAP": 100 * float(np.mean(list(precisions.values())))}
    if has_top_1:
        measured = np.isin(truth, list(precisions))
        result["top_1"] = 100 * float((decisions.argmax(axis=1) == truth)[measured].mean())
    return result


def costs(settings: Config) -> Sequence[float]:
    """The costs that VISSL's section ``config.SVM.costs`` states."""
    section = settings["costs"]
    powers = range(*section["power_range"]) if section["base"] > 0 else ()
    return [*section["costs_list"], *(section["base"] ** power for power in powers)]
