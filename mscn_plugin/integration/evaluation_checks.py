"""Checks of an evaluation: the checkpoint, its filter, the classes. Before any training."""

from __future__ import annotations

import logging
from typing import Any, Dict, Iterator, List, Optional

import torch
from vissl.models.trunks import MODEL_TRUNKS_REGISTRY

from mscn_plugin.data.train_subset import class_names
from mscn_plugin.errors import ConfigError, print_config_errors_plainly, suggestion, with_path
from mscn_plugin.evaluation.checkpoint import (
    CheckpointError,
    load_checkpoint,
    training_config,
    trunk_weights,
)
from mscn_plugin.evaluation.input_filter import TRANSFORM, input_sigma, pretraining_sigma
from mscn_plugin.models.high_pass_trunk import trunk_sigma
from mscn_plugin.models.trunk_features import trunk_shapes

FILE_KEY = "config.MODEL.WEIGHTS_INIT.PARAMS_FILE"
CROSS_ENTROPY = "cross_entropy_multiple_output_single_target"
# On these PyTorch versions VISSL itself unpickles whatever the file holds.
_VISSL_UNPICKLES = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6)


def is_evaluation(cfg: Any) -> bool:
    """Whether a configuration evaluates a trunk on labels, frozen or fine-tuned."""
    return bool(cfg.MODEL.FEATURE_EVAL_SETTINGS.EVAL_MODE_ON) or cfg.LOSS.name == CROSS_ENTROPY


def check_checkpoint(cfg: Any) -> None:
    """Check that the weights fit the trunk and that their filter stands before it.

    Fills in the sigma of a ``high_pass_...`` trunk where the configuration leaves it to the
    checkpoint.

    Raises:
        ConfigError: no readable checkpoint of VISSL, another trunk, another sigma.
    """
    weights, name = cfg.MODEL.WEIGHTS_INIT, str(cfg.MODEL.TRUNK.NAME)
    if name not in MODEL_TRUNKS_REGISTRY:
        known = suggestion(name, MODEL_TRUNKS_REGISTRY)
        raise ConfigError(f"config.MODEL.TRUNK.NAME is {name!r}, which is not a trunk; {known}")
    sigma_is_open = with_path("config.MODEL.TRUNK", trunk_sigma, cfg.MODEL.TRUNK) is None
    if not weights.PARAMS_FILE:
        if sigma_is_open:
            raise ConfigError(
                f"config.MODEL.TRUNK.NAME is {name}, whose sigma is the "
                f"checkpoint's: set {FILE_KEY}=<checkpoint>, or +config.MODEL.TRUNK.HIGH_PASS.SIGMA"
            )
        if cfg.MODEL.FEATURE_EVAL_SETTINGS.EVAL_MODE_ON:
            raise ConfigError(f"{FILE_KEY} is empty; it must be the checkpoint to evaluate")
        return
    checkpoint: Dict[str, Any] = {}
    if weights.STATE_DICT_KEY_NAME == "classy_state_dict":
        try:
            checkpoint = load_checkpoint(weights.PARAMS_FILE, trusted=_VISSL_UNPICKLES)
            tensors = trunk_weights(checkpoint, weights.PARAMS_FILE)
        except CheckpointError as error:
            raise ConfigError(f"{FILE_KEY}: {error}") from None
    sigma = stated_sigma(cfg, checkpoint)
    if sigma_is_open:
        if sigma is None:
            raise ConfigError(
                f"{FILE_KEY} is {weights.PARAMS_FILE!r}, which does not say its sigma: add "
                "+config.MODEL.TRUNK.HIGH_PASS.SIGMA=<pixels>"
            )
        cfg.MODEL.TRUNK["HIGH_PASS"] = type(cfg)({"SIGMA": sigma})
    if is_evaluation(cfg):
        check_sigma(cfg, sigma)
    if checkpoint:
        _check_names(cfg, tensors)


def refuse_unfiltered(cfg: Any) -> None:
    """Refuse a checkpoint of masked pre-training in an evaluation that knows nothing of MSCN.

    Raises:
        ConfigError: it was pre-trained behind a filter, and the configuration has none.
    """
    weights = cfg.MODEL.WEIGHTS_INIT
    if weights.STATE_DICT_KEY_NAME != "classy_state_dict" or not is_evaluation(cfg):
        return
    try:
        sigma = pretraining_sigma(load_checkpoint(weights.PARAMS_FILE, trusted=_VISSL_UNPICKLES))
    except CheckpointError:
        return  # VISSL's to complain about
    if sigma:
        print_config_errors_plainly()
        raise ConfigError(
            f"{FILE_KEY} is {weights.PARAMS_FILE!r}, which was pre-trained behind a high-pass "
            f"filter with sigma {sigma:g}, and this evaluation has none: add "
            f"config.MODEL.TRUNK.NAME=high_pass_{cfg.MODEL.TRUNK.NAME} (or, to do it all the same, "
            "+config.MSCN.PRETRAINING_SIGMA=0)"
        )


def stated_sigma(cfg: Any, checkpoint: Dict[str, Any]) -> Optional[float]:
    """Pre-training's sigma: the configuration's word, the checkpoint's, or that of its run."""
    stated = cfg.MSCN.PRETRAINING_SIGMA
    if stated is not None:
        return float(stated)
    return pretraining_sigma(checkpoint, training_config(cfg.MODEL.WEIGHTS_INIT.PARAMS_FILE))


def check_sigma(cfg: Any, sigma: Optional[float]) -> None:
    """Check that the images of both splits pass pre-training's filter (Table 9, A.2).

    Raises:
        ConfigError: they pass another one, or none.
    """
    for split in ("TRAIN", "TEST"):
        used = input_sigma(cfg, split)
        if sigma is None:
            logging.warning(
                f"{FILE_KEY} does not say the sigma of its pre-training; {split} is filtered with "
                f"{used:g}"
            )
        elif abs(used - sigma) > 1e-6:
            raise ConfigError(
                f"config.DATA.{split}.TRANSFORMS filter with sigma {used:g}, but the checkpoint "
                f"{cfg.MODEL.WEIGHTS_INIT.PARAMS_FILE} was pre-trained with {sigma:g}: it must be "
                f"the same ({TRANSFORM} behind Normalize, or without it a "
                f"config.MODEL.TRUNK.NAME=high_pass_<trunk>)"
            )


def _check_names(cfg: Any, tensors: Dict[str, Any]) -> None:
    name = cfg.MODEL.TRUNK.NAME
    if "fsdp" in name:
        return
    counters = "num_batches_tracked"
    shapes = trunk_shapes(cfg.MODEL)
    expected = {key: shape for key, shape in shapes.items() if not key.endswith(counters)}
    file = cfg.MODEL.WEIGHTS_INIT.PARAMS_FILE
    for key, shape in expected.items():
        found = tuple(tensors[key].shape) if key in tensors else None
        if found != shape:
            has = "has no" if found is None else f"has shape {list(found)} of"
            raise ConfigError(
                f"{FILE_KEY} is {file!r}, which {has} {key}, of which the trunk {name} needs shape "
                f"{list(shape)}: config.MODEL.TRUNK must be pre-training's"
            )
    extra = [k for k in tensors if k not in expected and not k.endswith(counters)]
    if extra:
        raise ConfigError(
            f"{FILE_KEY} is {file!r}, which has {len(extra)} tensors more than the trunk {name} "
            f"({extra[0]}, ...): config.MODEL.TRUNK must be pre-training's"
        )


def check_classes(cfg: Any) -> None:
    """Check folders' classes against each other and the heads'; null takes the folder's number.

    Raises:
        ConfigError: a split is missing, the splits' classes differ, or a head has another number.
    """
    if not is_evaluation(cfg):
        return
    data = cfg.DATA
    if not data.TEST.DATA_SOURCES:
        key = "config.MSCN.DATA" if cfg.MSCN.DATA else "config.DATA.TEST.DATA_PATHS"
        raise ConfigError(
            f"{key} is {str(cfg.MSCN.DATA or '')!r}, which has no val/ or test/ beside train/; an "
            "evaluation needs one"
        )
    folders = {
        split: data[split].DATA_PATHS[0]
        for split in ("TRAIN", "TEST")
        if list(data[split].DATA_SOURCES) == ["disk_folder"] and data[split].DATA_PATHS
    }
    classes = {split: class_names(folder) for split, folder in folders.items()}
    if len(classes) == 2 and classes["TRAIN"] != classes["TEST"]:
        odd = sorted(set(classes["TRAIN"]) ^ set(classes["TEST"]))[0]
        raise ConfigError(
            f"config.DATA.TRAIN has {len(classes['TRAIN'])} classes in {folders['TRAIN']} and "
            f"config.DATA.TEST {len(classes['TEST'])} in {folders['TEST']}: one of them has no "
            f"{odd!r}, and they must have the same"
        )
    if cfg.LOSS.name != CROSS_ENTROPY:
        return
    number = len(classes["TRAIN"]) if "TRAIN" in classes else None
    for index, dims in _outputs(cfg.MODEL):
        path = f"config.MODEL.HEAD.PARAMS[{index}][1].dims[-1]"
        if dims[-1] is None and number is None:
            raise ConfigError(
                f"{path} is null, which asks the training folder for its classes, and "
                "config.DATA.TRAIN has no folder; give the number"
            )
        if number is not None and dims[-1] not in (None, number):
            raise ConfigError(
                f"{path} is {dims[-1]}, but {folders['TRAIN']} has {number} classes; it must be "
                f"null, which takes the folder's number, or {number}"
            )
        dims[-1] = dims[-1] if number is None else number
        _check_topk(cfg, dims[-1])


def _outputs(model: Any) -> Iterator[Any]:
    """Index and ``dims`` of the heads that classify: one of each layer, or the last of a chain."""
    heads = model.HEAD.PARAMS
    layers = len(model.FEATURE_EVAL_SETTINGS.LINEAR_EVAL_FEAT_POOL_OPS_MAP)
    for index, head in enumerate(heads):
        module: List[Any] = head[-1] if isinstance(head[0], list) else head
        if (layers == len(heads) or index == len(heads) - 1) and "dims" in module[1]:
            yield index, module[1]["dims"]


def _check_topk(cfg: Any, number: int) -> None:
    meter = cfg.METERS.get("accuracy_list_meter") or {}
    topk = list(meter.get("topk_values") or [])
    if cfg.METERS.name == "accuracy_list_meter" and topk and max(topk) > number:
        raise ConfigError(
            f"config.METERS.accuracy_list_meter.topk_values is {topk}; it must be at most the "
            f"number of classes, {number}: [1]"
        )
