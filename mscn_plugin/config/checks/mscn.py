"""Checks of MSCN's parts: each failure is one error message with the key and what is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mscn_plugin.checkpoints.sigma import input_sigma
from mscn_plugin.config.checks.evaluation import evaluates_online, is_evaluation
from mscn_plugin.config.checks.loss import LOSSES
from mscn_plugin.errors import ConfigError, check_known, with_path
from mscn_plugin.masking.per_branch import (
    MASK_SETTINGS,
    NUM_BRANCHES,
    mask_distributions,
    masks_per_branch,
)
from mscn_plugin.models.high_pass_trunk import PREFIX, trunk_sigma
from mscn_plugin.models.sections import plain_name
from mscn_plugin.models.small_resnet import trunk_settings
from mscn_plugin.schema import is_pretraining
from mscn_plugin.transforms.collate import COLLATOR, LAYOUT_SETTINGS, BatchLayout, num_views_of
from mscn_plugin.transforms.loader_pipeline import loader_config
from mscn_plugin.transforms.on_device import COLLATORS
from mscn_plugin.transforms.stated import crop_size, normalization_in_words, spellings
from mscn_plugin.types import Config

REPLICATING = ("ImgReplicatePil", "MSCNRandomResizedCrops")
_RGB_ALONE = ("convit", "efficientnet", "vision_transformer", "xcit")
"""VISSL's trunks that take images in RGB whatever ``MODEL.INPUT_TYPE`` is."""


def uses_mscn(cfg: Config) -> bool:
    """Whether any part of a configuration is MSCN's; all others are left alone."""
    return "MSCN" in cfg or has_parts_of_mscn(cfg)


def has_parts_of_mscn(cfg: Config) -> bool:
    """Whether task, loss, collator, trunk or a transform is MSCN's."""
    return (
        is_pretraining(cfg)
        or cfg.LOSS.name in LOSSES
        or cfg.DATA.TRAIN.COLLATE_FUNCTION == COLLATOR
        or str(cfg.MODEL.TRUNK.NAME).startswith(PREFIX)
        or any("MSCN" in str(transform) for transform in _transforms(cfg))
    )


def _check_small_resnet(cfg: Config) -> None:
    if cfg.MODEL.TRUNK.NAME in ("small_resnet", f"{PREFIX}small_resnet"):
        section = cfg.MODEL.TRUNK.get("SMALL_RESNET") or {}
        with_path("config.MODEL.TRUNK.SMALL_RESNET", trunk_settings, section)


def _check_input_type(cfg: Config) -> None:
    name, given = plain_name(cfg.MODEL.TRUNK.NAME), cfg.MODEL.INPUT_TYPE
    if name in _RGB_ALONE and given != "rgb":
        raise ConfigError(
            f"config.MODEL.INPUT_TYPE is {given}, which the trunk {name} ignores; it must be rgb"
        )


def _check_sigmas(cfg: Config) -> None:
    """Check the filter against the crop, and in pre-training against the online evaluation's."""
    size, sigma = crop_size(cfg.DATA.TRAIN.TRANSFORMS), input_sigma(cfg, "TRAIN")
    if size and 4 * sigma > min(size):
        raise ConfigError(
            f"config.DATA.TRAIN filters with sigma {sigma:g}, whose kernel of 4 sigma to each side "
            f"does not fit the crop of {min(size)} pixels: it must be at most {min(size) / 4:g}"
        )
    evaluated = evaluates_online(cfg) and cfg.DATA.TEST.TRANSFORMS
    if evaluated and sigma != input_sigma(cfg, "TEST"):
        raise ConfigError(
            f"config.DATA.TEST.TRANSFORMS filter with sigma {input_sigma(cfg, 'TEST'):g}, and "
            f"config.DATA.TRAIN.TRANSFORMS with {sigma:g}: an evaluation's must be pre-training's"
        )


def _check_crops(cfg: Config) -> None:
    """Check that crops add no black border."""
    for split in ("TRAIN", "TEST"):
        resized: list[Any] = []
        for index, transform in enumerate(cfg.DATA[split].TRANSFORMS):
            names, size = spellings(transform), transform.get("size")
            sides = list(size) if isinstance(size, (list, tuple)) else [size]
            if "Resize" in names:
                resized = sides  # one number is the shorter side's, and all that both surely have
            crops = resized and {"CenterCrop", "RandomCrop"} & {*names}
            if crops and (sides[0] > resized[0] or sides[-1] > resized[-1]):
                raise ConfigError(
                    f"config.DATA.{split}.TRANSFORMS[{index}].size is {size}, larger than the "
                    f"{' x '.join(map(str, resized))} pixels to which Resize brings a picture: "
                    "the rest would be black; it must be at most that"
                )


_ORDER = ("Normalize", "MSCNHighPass", "MSCNMask")


def _check_order(cfg: Config) -> None:
    """Check that images are normalized, then filtered, then masked (4.3, 4.6), by whatever part.

    After the filter, a mean would move the 0 of the filtered image, which is what masks fill in;
    after a mask, the filter would keep the mask's edges.
    """
    for split in ("TRAIN", "TEST"):
        before: list[str] = []
        for index, transform in enumerate(cfg.DATA[split].TRANSFORMS):
            name = next((name for name in spellings(transform) if name in _ORDER), None)
            mean = transform.get("mean")
            leaves_zeros = not any(mean) if isinstance(mean, (list, tuple)) else mean == 0
            if name is None or leaves_zeros or transform.get("sigma") == 0:
                continue
            later = next((n for n in before if _ORDER.index(n) > _ORDER.index(name)), None)
            if later:
                raise ConfigError(
                    f"config.DATA.{split}.TRANSFORMS[{index}] is {name}, after {later}; it must "
                    "come before it: images are normalized, then filtered, then masked"
                )
            before.append(name)
        collator = split == "TRAIN" and cfg.DATA.TRAIN.COLLATE_FUNCTION == COLLATOR
        masks = COLLATOR if collator else "MSCNMask" if "MSCNMask" in before else None
        name = cfg.MODEL.TRUNK.NAME
        if masks and trunk_sigma(cfg.MODEL.TRUNK):
            raise ConfigError(
                f"config.MODEL.TRUNK.NAME is {name}, whose filter comes after the masks of {masks} "
                f"in config.DATA.{split}; it must be {plain_name(name)}, and MSCNHighPass one of "
                f"config.DATA.{split}.TRANSFORMS"
            )


def _check_normalization(cfg: Config) -> None:
    """Check that a trunk is evaluated on images that are normalized as those it learns from."""
    train, test = cfg.DATA.TRAIN.TRANSFORMS, cfg.DATA.TEST.TRANSFORMS
    if not (train and test) or not (evaluates_online(cfg) or is_evaluation(cfg)):
        return
    trained, tested = normalization_in_words(train), normalization_in_words(test)
    if trained != tested:
        raise ConfigError(
            f"config.DATA.TEST.TRANSFORMS {tested}, and config.DATA.TRAIN.TRANSFORMS {trained}: "
            "they must do the same"
        )


def _check_collator(cfg: Config) -> None:
    train = cfg.DATA.TRAIN
    if COLLATORS[COLLATOR] == train.COLLATE_FUNCTION:
        raise ConfigError(
            f"config.DATA.TRAIN.COLLATE_FUNCTION is {train.COLLATE_FUNCTION}, which MSCN itself "
            f"sets where it is needed; it must be {COLLATOR}"
        )
    if train.COLLATE_FUNCTION != COLLATOR:
        return
    path = "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS"
    settings = dict(train.COLLATE_FUNCTION_PARAMS)
    check_known(path, settings, ("num_masks", *LAYOUT_SETTINGS, *MASK_SETTINGS), COLLATOR)
    with_path(path, masks_per_branch, settings.pop("num_masks", 2))
    for key in LAYOUT_SETTINGS:
        value = settings.pop(key, False)
        if not isinstance(value, bool):
            raise ConfigError(f"{path}.{key} is {value!r}; it must be True or False")
    with_path(path, BatchLayout.of, train.COLLATE_FUNCTION_PARAMS)
    distributions = with_path(path, mask_distributions, NUM_BRANCHES, settings)
    size = crop_size(train.TRANSFORMS)
    for masks in distributions if size else []:
        with_path(path, masks.check_size, size)
    num_views = num_views_of(train)
    for index, transform in enumerate(train.TRANSFORMS):
        views = transform.get("num_times", NUM_BRANCHES)
        if transform.get("name") in REPLICATING and views not in (num_views, NUM_BRANCHES):
            raise ConfigError(
                f"config.DATA.TRAIN.TRANSFORMS[{index}].num_times is {views}; {COLLATOR} takes "
                f"{num_views} views of an image: it must be {num_views} (for more "
                "masks set num_masks)"
            )


def _transforms(cfg: Config) -> Iterator[Any]:
    """The transforms of both splits, of a configuration that is not checked yet."""
    for split in ("TRAIN", "TEST"):
        yield from cfg.DATA[split].TRANSFORMS or ()


def _check_loader(cfg: Config) -> None:
    if is_pretraining(cfg):
        loader_config(cfg)


_RULES = (
    _check_small_resnet,
    _check_input_type,
    _check_sigmas,
    _check_crops,
    _check_order,
    _check_normalization,
    _check_collator,
    _check_loader,
)


def check(cfg: Config) -> None:
    """Check filter, masks, collator and trunk, by themselves and against each other.

    Raises:
        ConfigError: a key has a value that it cannot have; the message names both.
    """
    for rule in _RULES:
        rule(cfg)
