"""Checks of splits and classes, of evaluations and of the online one. Before any training."""

from __future__ import annotations

from typing import Any, Iterator, List

from mscn_plugin.data.train_subset import class_names
from mscn_plugin.errors import ConfigError

CROSS_ENTROPY = "cross_entropy_multiple_output_single_target"


def is_evaluation(cfg: Any) -> bool:
    """Whether a configuration evaluates a trunk on labels, frozen or fine-tuned."""
    return bool(cfg.MODEL.FEATURE_EVAL_SETTINGS.EVAL_MODE_ON) or cfg.LOSS.name == CROSS_ENTROPY


def check_classes(cfg: Any) -> None:
    """Check folders' classes against each other and the heads'; null takes the folder's number.

    A label is the place of its class among the sub-folders: where the splits' classes differ, one
    number would mean two classes, and every accuracy would be wrong.

    Raises:
        ConfigError: a split is missing, the splits' classes differ, or a head has another number.
    """
    data, evaluation = cfg.DATA, is_evaluation(cfg)
    online = bool(cfg.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS)
    if not evaluation and not (online and data.TRAIN.LABEL_SOURCES and data.TEST.LABEL_SOURCES):
        return
    if evaluation and not data.TEST.DATA_SOURCES:
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
        lacking = next(folders[split] for split in folders if odd not in classes[split])
        remedy = "; or add config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0"
        raise ConfigError(
            f"config.DATA.TRAIN has {len(classes['TRAIN'])} classes in {folders['TRAIN']} and "
            f"config.DATA.TEST {len(classes['TEST'])} in {folders['TEST']}: they must have the "
            f"same, and {lacking} has no {odd!r}{'' if evaluation else remedy}"
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
