"""Checks of splits and classes, of evaluations and of the online one, before any training."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from mscn_plugin.data.image_folder import Contents, shared_place
from mscn_plugin.data.sources import SOURCES, difference_of_classes
from mscn_plugin.data.train_subset import read_list
from mscn_plugin.errors import ConfigError
from mscn_plugin.schema import is_pretraining
from mscn_plugin.types import Config

CROSS_ENTROPY = "cross_entropy_multiple_output_single_target"


def is_evaluation(cfg: Config) -> bool:
    """Whether a configuration evaluates a trunk on labels, frozen or fine-tuned."""
    return bool(cfg.MODEL.FEATURE_EVAL_SETTINGS.EVAL_MODE_ON) or cfg.LOSS.name == CROSS_ENTROPY


def evaluates_online(cfg: Config) -> bool:
    """Whether a pre-training evaluates its trunk during training, where its images have labels."""
    return is_pretraining(cfg) and bool(cfg.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS)


def makes_lists(cfg: Config) -> bool:
    """Whether the training images are of one source, of whose images lists can be made."""
    names = list(cfg.DATA.TRAIN.DATA_SOURCES)
    return len(names) == 1 and names[0] in SOURCES and SOURCES[names[0]].lists


def check_classes(cfg: Config, folders: dict[str, list[Contents]]) -> None:
    """Check the splits' classes against each other and the heads'; null takes their number.

    A label is the place of its class among the classes: where the splits' classes differ, one
    number would mean two classes, and every accuracy would be wrong.

    Args:
        folders: of each split.

    Raises:
        ConfigError: a split is missing, the splits' classes differ, or a head has another number.
    """
    data, evaluation = cfg.DATA, is_evaluation(cfg)
    online = bool(cfg.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS)
    if not evaluation and not (online and data.TRAIN.LABEL_SOURCES and data.TEST.LABEL_SOURCES):
        return
    if evaluation and not data.TEST.DATA_SOURCES and not makes_lists(cfg):
        raise ConfigError(
            "config.DATA.TEST.DATA_PATHS is empty, and config.DATA.TRAIN is not a folder from "
            "which an evaluation could hold out images"
        )
    _check_apart(cfg, folders)
    remedy = "" if evaluation else "; or add config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0"
    check_same_classes(cfg, folders, remedy)
    if cfg.LOSS.name != CROSS_ENTROPY:
        return
    where, classes = _labels(data.TRAIN, folders["TRAIN"])
    number = len(classes) if isinstance(classes, list) else None
    for index, dims in _outputs(cfg.MODEL):
        path = f"config.MODEL.HEAD.PARAMS[{index}][1].dims[-1]"
        if dims[-1] is None and number is None:
            raise ConfigError(
                f"{path} is null, which takes the number of classes of the training folder, and "
                "config.DATA.TRAIN names none; give the number"
            )
        if number is not None and dims[-1] not in (None, number):
            raise ConfigError(
                f"{path} is {dims[-1]}, but {where} has {number} classes; it must be "
                f"null, which takes the folder's number, or {number}"
            )
        dims[-1] = dims[-1] if number is None else number
        _check_topk(cfg, dims[-1])


def _check_apart(cfg: Config, folders: dict[str, list[Contents]]) -> None:
    """Raise ConfigError if the validation images are training images, also by a link."""
    data = cfg.DATA
    train = {os.path.realpath(path) for path in data.TRAIN.DATA_PATHS}
    shared = [path for path in data.TEST.DATA_PATHS if os.path.realpath(path) in train]
    pairs = itertools.product(folders["TRAIN"], folders["TEST"])
    shared += [place for pair in pairs if (place := shared_place(*pair)) is not None]
    if shared:
        raise ConfigError(
            f"config.DATA.TEST.DATA_PATHS is {list(data.TEST.DATA_PATHS)}, and {shared[0]!r} is in "
            f"config.DATA.TRAIN.DATA_PATHS, {list(data.TRAIN.DATA_PATHS)}, too: accuracies would "
            "be those of training images; it must name others"
        )


def _labels(split: Any, folders: list[Contents]) -> tuple[str, list[str] | int | None]:
    """Where a split's labels are, and its classes' names, or the largest number among them."""
    source = split.LABEL_SOURCES[0] if split.LABEL_SOURCES else None
    if source in SOURCES and folders:
        return folders[0].folder, folders[0].classes
    file = split.LABEL_PATHS[0] if source == "disk_filelist" and split.LABEL_PATHS else None
    if not isinstance(file, str):
        return "", None
    entries = read_list(file)
    if entries.ndim != 1:
        return "", None
    if np.issubdtype(entries.dtype, np.integer):
        return file, int(entries.max())
    return file, sorted(set(entries.tolist()))


def check_same_classes(cfg: Config, folders: dict[str, list[Contents]], remedy: str = "") -> None:
    """Check that a label means the same class in both splits, as far as their labels say it.

    Args:
        folders: of each split.
        remedy: the end of the error message.

    Raises:
        ConfigError: the classes' names differ, or a numbered label has no name.
    """
    labels = {split: _labels(cfg.DATA[split], folders[split]) for split in ("TRAIN", "TEST")}
    (where, train), (test_where, test) = labels["TRAIN"], labels["TEST"]
    if isinstance(train, list) and isinstance(test, list):
        different = difference_of_classes(train, where, test, test_where)
        if different is not None:
            raise ConfigError(
                f"config.DATA.TRAIN has {len(train)} classes in {where} and config.DATA.TEST "
                f"{len(test)} in {test_where}: they must have the same, and {different}{remedy}"
            )
    for numbered, named in (("TRAIN", "TEST"), ("TEST", "TRAIN")):
        (file, largest), (folder, names) = labels[numbered], labels[named]
        if isinstance(largest, int) and isinstance(names, list) and largest >= len(names):
            raise ConfigError(
                f"config.DATA.{numbered}.LABEL_PATHS names {file!r}, which has the label "
                f"{largest}, but config.DATA.{named} has {len(names)} classes in {folder}: labels "
                f"must be below that{remedy}"
            )


def _outputs(model: Any) -> Iterator[Any]:
    """Index and ``dims`` of the heads that classify: one of each layer, or the last of a chain."""
    heads = model.HEAD.PARAMS
    layers = len(model.FEATURE_EVAL_SETTINGS.LINEAR_EVAL_FEAT_POOL_OPS_MAP)
    for index, head in enumerate(heads):
        module: list[Any] = head[-1] if isinstance(head[0], list) else head
        if (layers == len(heads) or index == len(heads) - 1) and "dims" in module[1]:
            yield index, module[1]["dims"]


def _check_topk(cfg: Config, number: int) -> None:
    meter = cfg.METERS.get("accuracy_list_meter") or {}
    topk = list(meter.get("topk_values") or [])
    if cfg.METERS.name == "accuracy_list_meter" and topk and max(topk) > number:
        raise ConfigError(
            f"config.METERS.accuracy_list_meter.topk_values is {topk}; it must be at most the "
            f"number of classes, {number}: [1]"
        )
