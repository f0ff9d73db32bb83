"""Checks of the checkpoint that a configuration starts from, and of its filter."""

from __future__ import annotations

import copy
import glob
import logging
import os
from pathlib import Path
from typing import Any

import torch
from vissl.models.trunks import MODEL_TRUNKS_REGISTRY

from mscn_plugin.checkpoints.io import (
    VISSL_UNPICKLES,
    CheckpointError,
    check_archive,
    load_checkpoint,
    training_config,
    trunk_weights,
)
from mscn_plugin.checkpoints.sigma import TRANSFORM, input_sigma, pretraining_sigma
from mscn_plugin.config.checks.evaluation import is_evaluation
from mscn_plugin.errors import ConfigError, suggestion, with_path
from mscn_plugin.models.high_pass_trunk import trunk_sigma
from mscn_plugin.models.sections import plain_name
from mscn_plugin.models.shapes import trunk_shapes
from mscn_plugin.transforms.stated import normalization_in_words
from mscn_plugin.types import Config, section_like, value_at

FILE_KEY = "config.MODEL.WEIGHTS_INIT.PARAMS_FILE"


def check(cfg: Config) -> None:
    """Check that the weights fit the trunk and that their filter stands before it.

    Fills in the sigma of a ``high_pass_...`` trunk where the configuration leaves it to the
    checkpoint.

    Raises:
        ConfigError: no readable checkpoint of VISSL, another trunk, sigma or normalization.
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
    weights.PARAMS_FILE = os.path.realpath(weights.PARAMS_FILE)  # a link's target may change
    checkpoint: dict[str, Any] = {}
    if weights.STATE_DICT_KEY_NAME == "classy_state_dict":
        try:
            checkpoint = load_checkpoint(weights.PARAMS_FILE, trusted=VISSL_UNPICKLES)
            tensors = trunk_weights(checkpoint, weights.PARAMS_FILE)
        except CheckpointError as error:
            raise ConfigError(
                f"{FILE_KEY}: {error} (for other weights set STATE_DICT_KEY_NAME and "
                "APPEND_PREFIX, too)"
            ) from None
        _check_names(cfg, tensors)
        _check_heads(cfg, checkpoint)
    elif os.path.isfile(weights.PARAMS_FILE):
        try:
            check_archive(Path(weights.PARAMS_FILE))
        except CheckpointError as error:
            raise ConfigError(f"{FILE_KEY}: {error}") from None
    config = training_config(weights.PARAMS_FILE, checkpoint)
    sigma = stated_sigma(cfg, checkpoint, config)
    if sigma_is_open:
        if sigma is None:
            raise ConfigError(
                f"{FILE_KEY} is {weights.PARAMS_FILE!r}, which does not state its sigma: add "
                "+config.MODEL.TRUNK.HIGH_PASS.SIGMA=<pixels>"
            )
        cfg.MODEL.TRUNK["HIGH_PASS"] = section_like(cfg, {"SIGMA": sigma})
    if is_evaluation(cfg):
        check_sigma(cfg, sigma)
        _check_normalization(cfg, config)
        _check_folder(cfg)


def refuse_unfiltered(cfg: Config) -> None:
    """Refuse a checkpoint of masked pre-training in an evaluation that knows nothing of MSCN.

    Raises:
        ConfigError: it was pre-trained behind a filter, and the configuration has none.
    """
    weights = cfg.MODEL.WEIGHTS_INIT
    if weights.STATE_DICT_KEY_NAME != "classy_state_dict" or not is_evaluation(cfg):
        return
    try:
        sigma = pretraining_sigma(load_checkpoint(weights.PARAMS_FILE, trusted=VISSL_UNPICKLES))
    except CheckpointError:
        return  # VISSL's to complain about
    if sigma:
        raise ConfigError(
            f"{FILE_KEY} is {weights.PARAMS_FILE!r}, which was pre-trained behind a high-pass "
            f"filter with sigma {sigma:g}, and this evaluation has none: add "
            f"config.MODEL.TRUNK.NAME=high_pass_{cfg.MODEL.TRUNK.NAME}"
        )


def stated_sigma(
    cfg: Config, checkpoint: dict[str, Any], config: dict[str, Any] | None
) -> float | None:
    """Pre-training's sigma in pixels, or None where it is not stated.

    Args:
        config: pre-training's, if it is known.

    Raises:
        ConfigError: ``MSCN.PRETRAINING_SIGMA`` is not what the checkpoint states.
    """
    file, stated = cfg.MODEL.WEIGHTS_INIT.PARAMS_FILE, cfg.MSCN.PRETRAINING_SIGMA
    sigma = pretraining_sigma(checkpoint, config)
    if None not in (stated, sigma) and stated != sigma:
        raise ConfigError(
            f"config.MSCN.PRETRAINING_SIGMA is {stated:g}, but {file} states {sigma:g}; it must be "
            "null"
        )
    return stated if sigma is None else sigma


def check_sigma(cfg: Config, sigma: float | None) -> None:
    """Check that the images of both splits pass pre-training's filter (supplement B; A.2, A.3).

    Raises:
        ConfigError: they pass another one, or none.
    """
    for split in ("TRAIN", "TEST"):
        used = input_sigma(cfg, split)
        if sigma is None:
            logging.warning(
                f"{FILE_KEY} does not state pre-training's sigma; {split} is filtered with {used:g}"
            )
        elif abs(used - sigma) > 1e-6:
            raise ConfigError(
                f"config.DATA.{split}.TRANSFORMS filter with sigma {used:g}, but the checkpoint "
                f"{cfg.MODEL.WEIGHTS_INIT.PARAMS_FILE} was pre-trained with {sigma:g}: "
                f"{_advice(cfg, sigma)}"
            )


def _check_normalization(cfg: Config, config: dict[str, Any] | None) -> None:
    """Check that the images of both splits are normalized as those of pre-training.

    Args:
        config: pre-training's, if it is known.
    """
    trained = value_at(config, "DATA.TRAIN.TRANSFORMS")
    for split in ("TRAIN", "TEST") if trained else ():
        transforms = cfg.DATA[split].TRANSFORMS
        used, wanted = map(normalization_in_words, (transforms, trained))
        if transforms and used != wanted:
            raise ConfigError(
                f"config.DATA.{split}.TRANSFORMS {used}, and those that the checkpoint "
                f"{cfg.MODEL.WEIGHTS_INIT.PARAMS_FILE} was pre-trained with {wanted}: they must do "
                "the same"
            )


def _advice(cfg: Config, sigma: float) -> str:
    """The overrides that set the filter to ``sigma``, or in words what to do."""
    overrides = [
        f"config.DATA.{split}.TRANSFORMS.{index}.sigma={sigma!r}"
        for split in ("TRAIN", "TEST")
        for index, transform in enumerate(cfg.DATA[split].TRANSFORMS)
        if transform.get("name") == TRANSFORM
    ]
    if len(overrides) == 2:
        return f"add {' '.join(overrides)}"
    if not sigma:
        return "remove the filter"
    return (
        f"put {TRANSFORM} after Normalize in both splits, or without it set "
        f"config.MODEL.TRUNK.NAME=high_pass_{plain_name(cfg.MODEL.TRUNK.NAME)}"
    )


def _check_names(cfg: Config, tensors: dict[str, Any]) -> None:
    name = cfg.MODEL.TRUNK.NAME
    if "fsdp" in name:
        return
    counters = "num_batches_tracked"
    plain = copy.deepcopy(cfg.MODEL)
    plain.TRUNK.NAME = plain_name(name)
    shapes = trunk_shapes(plain)
    expected = {key: shape for key, shape in shapes.items() if not key.endswith(counters)}
    file = cfg.MODEL.WEIGHTS_INIT.PARAMS_FILE
    missing = [key for key in expected if key not in tensors]
    extra = [key for key in tensors if key not in expected and not key.endswith(counters)]
    for what, keys in (("lacks", missing), ("has", extra)):
        if keys:
            raise ConfigError(
                f"{FILE_KEY} is {file!r}, which {what} {len(keys)} tensors that the trunk {name} "
                f"{'has' if keys is missing else 'lacks'}, such as {keys[0]}: the file must be "
                "complete, and config.MODEL.TRUNK pre-training's"
            )
    for key, shape in expected.items():
        if tuple(tensors[key].shape) != shape:
            raise ConfigError(
                f"{FILE_KEY} is {file!r}, whose {key} has shape {list(tensors[key].shape)}, where "
                f"the trunk {name} has {list(shape)}: config.MODEL.TRUNK must be pre-training's"
            )
        if not torch.isfinite(tensors[key]).all():
            raise ConfigError(f"{FILE_KEY} is {file!r}, whose {key} has values that are not finite")


def _check_heads(cfg: Config, checkpoint: dict[str, Any]) -> None:
    """Refuse a pretext head that VISSL would try to load into another."""
    settings, skipped = cfg.MODEL.FEATURE_EVAL_SETTINGS, cfg.MODEL.WEIGHTS_INIT.SKIP_LAYERS
    loads = is_evaluation(cfg) and (settings.EVAL_TRUNK_AND_HEAD or not settings.EVAL_MODE_ON)
    if not loads or any("heads" in layer for layer in skipped):
        return
    heads = checkpoint["classy_state_dict"]["base_model"]["model"].get("heads") or {}
    for index, head in enumerate(cfg.MODEL.HEAD.PARAMS):
        if head[0] != "mlp" or f"{index}.clf.0.weight" not in heads:
            continue
        first = tuple(heads[f"{index}.clf.0.weight"].shape)
        if first != (head[1]["dims"][1], head[1]["dims"][0]):
            raise ConfigError(
                f"config.MODEL.HEAD.PARAMS[{index}] is an mlp of {head[1]['dims']}, which VISSL "
                f"would load from the pretext head of the checkpoint, of shape {list(first)}: add "
                "config.MODEL.WEIGHTS_INIT.SKIP_LAYERS=[num_batches_tracked,heads]"
            )


def _check_folder(cfg: Config) -> None:
    """Refuse a folder with the results of another evaluation of frozen features.

    Those leave no checkpoints, which are compared with the complete configuration
    (:mod:`mscn_plugin.checkpoints.fingerprint`).
    """
    folder = cfg.CHECKPOINT.DIR
    measured, trained = (
        bool(glob.glob(os.path.join(glob.escape(folder), name)))
        for name in ("metrics.json", "model_*.torch")
    )
    if cfg.CHECKPOINT.OVERWRITE_EXISTING or trained or not measured:
        return
    there = training_config(os.path.join(folder, "checkpoint.torch"), follow=False)
    for path in ("MODEL.WEIGHTS_INIT.PARAMS_FILE", "MSCN.DATA"):
        before = value_at(there, path)
        if before is not None and before != value_at(cfg, path):
            raise ConfigError(
                f"config.CHECKPOINT.DIR is {folder!r}, which holds the evaluation of another "
                f"config.{path}, {before!r}: set another folder"
            )
