"""Checks of a configuration's loss against the parts around it."""

from __future__ import annotations

import inspect
from typing import Any

from torch.nn.modules import loss as torch_losses

from mscn_plugin.allowed import FRACTION, POSITIVE, Allowed, list_of, one_of, whole
from mscn_plugin.errors import ConfigError, check_known, with_path
from mscn_plugin.losses.byol import BYOLLoss
from mscn_plugin.losses.registry import losses
from mscn_plugin.schema import is_pretraining
from mscn_plugin.transforms.collate import COLLATOR, masks_of_branches, num_masks_of, num_views_of
from mscn_plugin.types import Config

OTHER_COLLATORS = (
    "cutmixup_collator",
    "default_collate",
    "moco_collator",
    "multicrop_mixup_collator",
    "patch_and_image_collator",
    "siamese_collator",
    "targets_one_hot_default_collator",
)
"""VISSL's collators that do not give two views of each image."""
LOSSES = losses()
"""Losses that take several masks per branch."""
_COMMON_PASS = "multi_input_output_model"
ONE_MASK_LOSSES = (
    "barlow_twins_loss",
    "deepclusterv2_loss",
    "dino_loss",
    "moco_loss",
    "multicrop_simclr_info_nce_loss",
    "simclr_info_nce_loss",
    "swav_loss",
    "swav_momentum_loss",
)
"""VISSL's siamese losses. They see two views of an image, or take all of its views for equals."""
MULTICROP_LOSSES = (
    "deepclusterv2_loss",
    "dino_loss",
    "multicrop_simclr_info_nce_loss",
    "swav_loss",
    "swav_momentum_loss",
)
"""Those that take the views of multicrop_collator: a list of one tensor for each."""

_NO_VIEWS = (
    "bce_logits_multiple_output_single_target",
    "cross_entropy_multiple_output_single_target",
    "nce_loss_with_memory",
)
_GIVEN_EMBEDDING = ("barlow_twins_loss", "moco_loss", "simclr_info_nce_loss")
"""Losses of which VISSL does not infer the size of the embeddings."""
_RULES: dict[str, Allowed] = {
    **dict.fromkeys(
        (
            *("temperature", "student_temp", "teacher_temp_min", "teacher_temp_max"),
            *("epsilon", "lambda_", "scale_loss"),
        ),
        POSITIVE,
    ),
    **dict.fromkeys(("momentum", "ema_center"), FRACTION),
    **dict.fromkeys(
        ("queue_size", "num_iters", "kmeans_iters", "embedding_dim", "num_crops"), whole(1)
    ),
}
"""Of numbers in the sections of VISSL's siamese losses."""


def check(cfg: Config) -> None:
    """Check the loss, and whether collator, model and task give it what it needs.

    Raises:
        ConfigError: a wrong setting, or two parts disagree.
    """
    name, train = cfg.LOSS.name, cfg.DATA.TRAIN
    multimask = train.COLLATE_FUNCTION == COLLATOR
    _check_passes(cfg)
    collator = train.COLLATE_FUNCTION_PARAMS if multimask else {}
    views = masks_of_branches(train)
    collator_path = "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS"
    if name in ONE_MASK_LOSSES and views != [1, 1]:
        raise ConfigError(
            f"{collator_path}.num_masks is {num_masks_of(train)}, but {name} is VISSL's "
            f"and takes one mask per branch: it must be 1 ({', '.join(LOSSES)} take more)"
        )
    momentum_branch = collator.get("momentum_branch", False)
    known = name in LOSSES or name in ONE_MASK_LOSSES
    if multimask and known and momentum_branch != (name == "moco_loss"):
        raise ConfigError(
            f"{collator_path}.momentum_branch is {momentum_branch}; with {name} it must be "
            f"{name == 'moco_loss'}"
        )
    if multimask and name in MULTICROP_LOSSES and not collator.get("split_branches", False):
        raise ConfigError(
            f"{collator_path}.split_branches is False; with {name}, which takes a list of views, "
            "it must be True"
        )
    evaluated = cfg.MSCN.ONLINE_EVALUATION.NETWORK
    if evaluated == "target" and name != "byol_loss":
        raise ConfigError(
            f"config.MSCN.ONLINE_EVALUATION.NETWORK is target, which {name} does not have; it must "
            "be online"
        )
    if name != "byol_loss" and cfg.LOSS.get("byol_loss") is not None:
        raise ConfigError(
            f"config.LOSS.name is {name}, and config.LOSS.byol_loss is configured: a config of "
            "BYOL, with its predictor as the last of config.MODEL.HEAD.PARAMS. Start from a config "
            f"of {name}, or remove the section, ~config.LOSS.byol_loss, if these heads are meant"
        )
    if multimask and not known and (name in _NO_VIEWS or hasattr(torch_losses, name)):
        raise ConfigError(
            f"config.LOSS.name is {name}, which compares no views; with {COLLATOR} it must be one "
            f"of {', '.join((*LOSSES, *ONE_MASK_LOSSES))}"
        )
    if name in ONE_MASK_LOSSES:
        _check_vissl_loss(cfg)
    if name not in LOSSES:
        return
    path = f"config.LOSS.{name}"
    settings = {k: v for k, v in (cfg.LOSS.get(name) or {}).items() if k != "name"}
    part = LOSSES[name]
    check_known(path, settings, inspect.signature(part).parameters, part.__name__)
    loss = with_path(path, part, **settings)
    if loss.num_masks != views:
        raise ConfigError(
            f"{path}.num_masks is {settings['num_masks']}, but the collator makes {views}: leave "
            "the loss's key null to take the collator's value"
        )
    if name == "byol_loss":
        _check_byol(cfg, loss, multimask)


def _check_vissl_loss(cfg: Config) -> None:
    """Check numbers of VISSL's losses, which themselves check none of them."""
    name = cfg.LOSS.name
    section: dict[str, Any] = cfg.LOSS[name]
    path = f"config.LOSS.{name}"
    for key, value in section.items():
        if key in _RULES:
            _RULES[key].check(f"{path}.{key}", value)
    _check_crops(cfg, path, section)
    place, holder = path, section
    if "buffer_params" in section:
        place, holder = f"{path}.buffer_params", section["buffer_params"]
    own = holder.get("embedding_dim")
    heads = cfg.MODEL.HEAD.PARAMS
    while heads and isinstance(heads[-1], list) and isinstance(heads[-1][0], list):
        heads = heads[-1]  # a chain
    outputs = heads[-1][1].get("dims", [own])[-1] if heads else own
    if name in _GIVEN_EMBEDDING and own != outputs:
        raise ConfigError(
            f"{place}.embedding_dim is {own}, and the last of config.MODEL.HEAD.PARAMS has "
            f"{outputs} outputs; they must be the same"
        )


def _check_crops(cfg: Config, path: str, section: dict[str, Any]) -> None:
    """Check the numbers of crops, by which VISSL's losses tell the views of a batch apart."""
    crops = section.get("num_crops")
    if crops is None:
        return
    views = num_views_of(cfg.DATA.TRAIN)
    if cfg.DATA.TRAIN.COLLATE_FUNCTION == COLLATOR and crops != views:
        raise ConfigError(
            f"{path}.num_crops is {crops}; it must be {views}, as many as {COLLATOR} makes of an "
            "image"
        )
    keys = ("crops_for_assign", "crops_for_teacher")
    chosen: dict[str, Any] = {key: section[key] for key in keys if key in section}
    if "memory_params" in section:
        chosen["memory_params.crops_for_mb"] = section["memory_params"].get("crops_for_mb")
    for key, numbers in chosen.items():
        list_of(one_of(*range(crops))).check(f"{path}.{key}", numbers)
    # VISSL's teacher skips the pair of a view with itself by its place in this list.
    taught = list(chosen.get("crops_for_teacher", [0]))
    if taught != [*range(len(taught))]:
        raise ConfigError(
            f"{path}.crops_for_teacher is {taught}; it must be the first of the {crops} crops in "
            "their order, such as [0] or [0, 1]"
        )


def _check_passes(cfg: Config) -> None:
    """Check that branches which are handed over separately pass the network separately.

    VISSL's model puts images of one size together again, in the heads with any setting: BYOL's
    normalize by the branch.
    """
    train, model = cfg.DATA.TRAIN, cfg.MODEL
    split = (train.COLLATE_FUNCTION_PARAMS or {}).get("split_branches") is True
    split &= cfg.LOSS.name not in MULTICROP_LOSSES  # which need a list, and not passes
    apart = split or train.COLLATE_FUNCTION == "multicrop_collator"
    if model.BASE_MODEL_NAME != _COMMON_PASS or not apart:
        return
    together = "split_branches False" if split else "COLLATE_FUNCTION simclr_collator"
    wanted = f"mscn_branchwise_model, or with {together} the pass is a common one"
    if cfg.LOSS.name == "byol_loss" or (split and not model.SINGLE_PASS_EVERY_CROP):
        raise ConfigError(
            f"config.MODEL.BASE_MODEL_NAME is {_COMMON_PASS}, which joins the branches that "
            f"{train.COLLATE_FUNCTION} hands over separately; it must be {wanted}"
        )


def _check_byol(cfg: Config, loss: BYOLLoss, multimask: bool) -> None:
    if not is_pretraining(cfg):
        raise ConfigError(
            f"config.TRAINER.TASK_NAME is {cfg.TRAINER.TASK_NAME}; it must be mscn_task, which "
            "runs the target network of byol_loss"
        )
    if loss.target_input == "unmasked" and not multimask:
        raise ConfigError(
            "config.LOSS.byol_loss.target_input is unmasked, which needs masks: with "
            f"COLLATE_FUNCTION {cfg.DATA.TRAIN.COLLATE_FUNCTION} it must be masked"
        )
    collator = cfg.DATA.TRAIN.COLLATE_FUNCTION
    if collator in OTHER_COLLATORS:
        raise ConfigError(
            f"config.DATA.TRAIN.COLLATE_FUNCTION is {collator}; byol_loss compares two views of "
            f"each image and needs {COLLATOR}, or without masks simclr_collator or "
            "multicrop_collator"
        )
    heads = cfg.MODEL.HEAD.PARAMS
    names = [str(cfg.MODEL.TRUNK.NAME), *(str(head[0]) for head in heads)]
    if any("fsdp" in name for name in names):
        raise ConfigError(
            f"config.MODEL names {', '.join(names)}: byol_loss copies the model for its target "
            "and takes no FSDP trunk or head"
        )
    sizes = [head[1]["dims"][-1] for head in heads if head[0] == "mlp"]
    if len(heads) < 2 or (len(sizes) == len(heads) and sizes[-1] != sizes[-2]):
        raise ConfigError(
            f"config.MODEL.HEAD.PARAMS has {len(heads)} heads with outputs {sizes}; byol_loss "
            "needs at least two, the last of them the predictor, with the projector's output size"
        )
