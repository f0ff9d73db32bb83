"""VISSL's feature extraction, nearest neighbors and SVMs, on a CPU as well as on GPUs.

VISSL's own tools for these assert a GPU. With ``engine_name=mscn_frozen_features`` its launcher
runs them wherever it can train, from one process to many, locally or on SLURM, for any
configuration that states how to extract features: VISSL's benchmark configs among them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from classy_vision.generic.distributed_util import barrier, is_primary
from vissl.engines.engine_registry import Engine, register_engine
from vissl.models.model_helpers import get_trunk_output_feature_names
from vissl.trainer.trainer_main import SelfSupervisionTrainer
from vissl.utils.env import get_machine_local_and_dist_rank, set_env_vars
from vissl.utils.io import save_file
from vissl.utils.logger import setup_logging, shutdown_logging
from vissl.utils.misc import merge_features, set_seeds, setup_multiprocessing_method

from mscn_plugin.data.readable_images import UNREADABLE
from mscn_plugin.data.train_subset import share_of_each_class
from mscn_plugin.evaluation.definitions import CHECKPOINT_DIGEST, FEW_LABELS, FROZEN, FROZEN_LOG
from mscn_plugin.files import file_digest
from mscn_plugin.models.classifiers import (
    Labeled,
    fit_probe,
    knn_accuracy,
    log_unconverged,
    probe_accuracy,
    probe_score,
    svm_average_precision,
)
from mscn_plugin.training.ranks import Ranks
from mscn_plugin.types import Config, Task

ENGINE = "mscn_frozen_features"


DRAWS = 5
"""Of the labels; what a single drawing of 1% gives is a matter of luck."""

Versions = Callable[[str, torch.Tensor, list[int]], Iterable[tuple[str, Any]]]
"""From a split, a batch of its images ``[B, C, H, W]`` and their indices to those whose features
are wanted: the name under which they are written, and what the task's model takes of them."""


@register_engine(ENGINE)
class FrozenFeaturesEngine(Engine):
    """Extracts the features of both splits and evaluates them as ``MSCN.FROZEN_EVALUATIONS`` says.

    Model, data and files of features are VISSL's; k, temperature, normalization and the SVMs'
    costs are those of ``config.NEAREST_NEIGHBOR`` and ``config.SVM``. Results go to the log and, as
    VISSL's meters do, to ``metrics.json`` in the checkpoint folder, under ``test_frozen_features``;
    beside it ``frozen_features.json`` says of which checkpoint they are.
    """

    def run_engine(
        self,
        cfg: Config,
        dist_run_id: str,
        checkpoint_path: str,
        checkpoint_folder: str,
        local_rank: int = 0,
        node_id: int = 0,
        hook_generator: Any = None,
    ) -> None:
        set_env_vars(local_rank, node_id, cfg)
        rank = int(os.environ["RANK"])
        setup_logging(__name__, output_dir=checkpoint_folder, rank=rank)
        setup_multiprocessing_method(cfg.MULTI_PROCESSING_METHOD)
        set_seeds(cfg, rank)
        if cfg.MACHINE.DEVICE == "gpu":
            torch.cuda.set_device(get_machine_local_and_dist_rank()[0])
        cfg, versions = self.prepare(cfg)
        task = SelfSupervisionTrainer(cfg, dist_run_id).task
        task.prepare_extraction(pin_memory=cfg.DATA.PIN_MEMORY)
        layers = get_trunk_output_feature_names(cfg.MODEL) or ["heads"]
        folder = cfg.EXTRACT_FEATURES.OUTPUT_DIR or checkpoint_folder
        ranks = Ranks()
        self.extract(task, layers, Path(folder), versions)
        if is_primary():
            results = self.evaluate(cfg, layers, folder, task.device)
            logging.info(f"Rank: 0, name: {FROZEN}, value: {results[FROZEN]}")
            line: dict[str, Any] = {"iteration": 0, "phase_idx": 0, "train_phase_idx": 0}
            line[FROZEN] = results[FROZEN]
            save_file(line, f"{checkpoint_folder}/metrics.json", append_to_json=True)
            weights = Path(cfg.MODEL.WEIGHTS_INIT.PARAMS_FILE)
            if weights.is_file():
                line = {**line, **results, CHECKPOINT_DIGEST: file_digest(weights)}
                save_file(line, f"{checkpoint_folder}/{FROZEN_LOG}", append_to_json=True)
        ranks.wait()
        shutdown_logging()

    def prepare(self, cfg: Config) -> tuple[Config, Versions]:
        """The configuration whose images are loaded, and what is made of them on the device."""
        return cfg, as_they_are

    def extract(self, task: Task, layers: list[str], folder: Path, versions: Versions) -> None:
        """Write the features that are evaluated."""
        extract_features(task, layers, folder, versions)

    def evaluate(
        self, cfg: Config, layers: list[str], folder: str, device: Any
    ) -> dict[str, dict[str, Any]]:
        """What was measured on the features in ``folder``, below :data:`FROZEN`."""
        return {FROZEN: evaluate_features(cfg, layers, folder, device)}


def as_they_are(
    split: str, images: torch.Tensor, indices: list[int]
) -> Iterator[tuple[str, torch.Tensor]]:
    """The images that the loader gives, by their split."""
    yield split, images


def extract_features(
    task: Task, layers: list[str], folder: Path, versions: Versions = as_they_are
) -> None:
    """Write the features of all splits in VISSL's format; each rank writes those of its images.

    Args:
        task: a task after ``prepare_extraction``.
        layers: names of the layers, in the order in which the model returns them; it may return
            fewer for some versions.
        folder: where VISSL's ``merge_features`` finds them; one that all ranks share.
        versions: of the images, those whose features are written.
    """
    if is_primary():
        for stale in folder.glob("rank*_chunk*.npy"):  # of a run with more ranks, perhaps
            stale.unlink()
    barrier()
    model = task.base_model.eval()
    rank = int(os.environ["RANK"])
    for split, loader in task.dataloaders.items():
        logging.info(f"extracting features of {split}: {len(loader)} batches")
        indices, targets = [], []
        outputs: dict[str, list[list[np.ndarray]]] = {}
        for sample in loader:
            images = torch.cat(sample["data"]).to(task.device, non_blocking=True)
            # VISSL's loader has moved the whole sample to the GPU, these as well.
            places = torch.cat(sample["data_idx"]).cpu().numpy()
            labels = torch.cat(sample["label"]).cpu().numpy()
            # What stands in for an unreadable image is counted once, in its own place.
            readable = torch.cat(sample["data_valid"]).cpu().numpy() != UNREADABLE
            for name, version in versions(split, images, places.tolist()):
                with torch.no_grad():
                    features = [part.float().cpu().numpy() for part in flatten(model(version))]
                outputs.setdefault(name, []).append([part[readable] for part in features])
            indices.append(places[readable])
            targets.append(labels.reshape(len(labels), -1)[readable])
        for name, batches in outputs.items():
            for layer, parts in zip(layers, zip(*batches)):
                path = f"{folder}/rank{rank}_chunk0_{name}_{layer}"
                save_file(np.concatenate(parts), f"{path}_features.npy")
                save_file(np.concatenate(targets), f"{path}_targets.npy")
                save_file(np.concatenate(indices), f"{path}_inds.npy")
    barrier()


def flatten(outputs: Any) -> list[torch.Tensor]:
    """The tensors of a model's output, which is a list of them or of lists of them."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [tensor for output in outputs for tensor in flatten(output)]


def evaluate_features(cfg: Config, layers: list[str], folder: str, device: Any) -> dict[str, Any]:
    """Run ``MSCN.FROZEN_EVALUATIONS`` on the features in ``folder``.

    Returns:
        In percent, by evaluation, metric and layer, the order of VISSL's meters.
    """
    results: dict[str, Any] = {}
    for layer in layers:
        train, val = (labeled(folder, split, layer) for split in ("train", "test"))
        for name in cfg.MSCN.FROZEN_EVALUATIONS:
            for metric, value in evaluate(name, cfg, train, val, device).items():
                results.setdefault(name, {}).setdefault(metric, {})[layer] = value
    return results


def evaluate(name: str, cfg: Config, train: Labeled, val: Labeled, device: Any) -> dict[str, float]:
    """One of ``MSCN.FROZEN_EVALUATIONS`` on one layer's features: its metrics in percent."""
    if name == "svm":
        return svm_average_precision(train, val, cfg.SVM)
    if name == "logistic_regression":
        return {"top_1": probe_accuracy(train, val)}
    if name == "few_labels":
        return few_labels(cfg, train, val, device)
    neighbors = cfg.NEAREST_NEIGHBOR.TOPK
    if neighbors > len(train[0]):
        logging.warning(
            f"config.NEAREST_NEIGHBOR.TOPK is {neighbors}: kNN takes all {len(train[0])} training "
            "images for neighbors"
        )
    accuracies = nearest_neighbors(cfg, train, val, device)
    return {f"top_{top}": value for top, value in accuracies.items()}


def nearest_neighbors(cfg: Config, train: Labeled, val: Labeled, device: Any) -> dict[int, float]:
    """Top-1 and top-5 accuracy in percent of kNN by ``config.NEAREST_NEIGHBOR``."""
    settings = cfg.NEAREST_NEIGHBOR
    neighbors, temperature = settings.TOPK, settings.SIGMA
    return knn_accuracy(train, val, neighbors, temperature, settings.L2_NORM_FEATS, (1, 5), device)


def few_labels(cfg: Config, train: Labeled, val: Labeled, device: Any) -> dict[str, float]:
    """kNN and linear probe in percent with :data:`FEW_LABELS` of the training labels.

    Returns:
        ``knn_1percent``, ``linear_probe_1percent`` and so on: means over :data:`DRAWS` draws of a
        share of each class, whose seeds are 0, 1, ...: the same labels for every trunk.
    """
    accuracies: dict[str, list[float]] = {}
    probes = []
    for percent in FEW_LABELS:
        for seed in range(DRAWS):
            kept = share_of_each_class(train[1], percent / 100, seed)
            few = train[0][kept], train[1][kept]
            probes.append(fit_probe(few))
            for name, accuracy in (
                ("knn", nearest_neighbors(cfg, few, val, device)[1]),
                ("linear_probe", probe_score(probes[-1], val)),
            ):
                accuracies.setdefault(f"{name}_{percent}percent", []).append(accuracy)
    log_unconverged(probes)
    return {name: float(np.mean(values)) for name, values in accuracies.items()}


def labeled(folder: str, split: str, layer: str) -> Labeled:
    """Features ``[N, F]``, labels ``[N]`` or ``[N, C]``: what :func:`extract_features` wrote."""
    merged = merge_features(folder, split, layer)
    features, targets = merged["features"], merged["targets"]
    return features.reshape(len(features), -1), targets[:, 0] if targets.shape[1] == 1 else targets
