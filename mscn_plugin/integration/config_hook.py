"""Completes and checks MSCN configurations before VISSL starts anything."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import operator
import os
import sys
import traceback
from pathlib import Path
from typing import Any, Optional, Sequence

from vissl.utils import hydra_config

from mscn_plugin.data.image_folder import contents
from mscn_plugin.errors import ConfigError, print_config_errors_plainly, sentence_of
from mscn_plugin.integration import (
    checkpoint_checks,
    config_checks,
    data_folders,
    dry_run,
    evaluation_checks,
    loss_checks,
    part_checks,
    projector_input,
    vissl_checks,
)
from mscn_plugin.integration.vissl_checks import is_number
from mscn_plugin.recovery import run_lock
from mscn_plugin.recovery.checkpoints import refuse_damaged, refuse_links
from mscn_plugin.recovery.recipe import refuse_another_recipe, refuse_other_images
from mscn_plugin.recovery.shared_memory import check_shared_memory
from mscn_plugin.training.settings import complete_settings
from mscn_plugin.training.warmup_cosine import SCHEDULER
from mscn_plugin.views.branches import masks_per_branch
from mscn_plugin.views.collator import COLLATOR, NUM_BRANCHES, num_masks_of
from mscn_plugin.views.on_device import split_pipeline

_vissl_infer_and_assert = hydra_config.infer_and_assert_hydra_config


def install() -> None:
    """Put :func:`infer_and_assert_hydra_config` in the place of VISSL's function of this name."""
    hydra_config.infer_and_assert_hydra_config = infer_and_assert_hydra_config


@functools.wraps(_vissl_infer_and_assert)
def infer_and_assert_hydra_config(cfg: Any, *more: Any, **options: Any) -> Any:
    """VISSL's, between the checks of a configuration that has a part of MSCN.

    Args:
        cfg: the ``config`` part, completed in place.
        more, options: what later VISSLs hand on beside it.

    Raises:
        ConfigError: the configuration cannot run here; nothing was written.
    """
    if not config_checks.uses_mscn(cfg):
        checkpoint_checks.refuse_unfiltered(cfg)
        return _vissl_infer_and_assert(cfg, *more, **options)  # later VISSLs hand an engine on
    print_config_errors_plainly()
    lists = prepare_config(cfg)
    try:
        inferred = _vissl_infer_and_assert(cfg, *more, **options)
    except Exception as error:
        # Half of VISSL's assertions have no words; the line says what was asserted.
        line = traceback.extract_tb(error.__traceback__)[-1].line or ""
        words = " ".join(str(error).split()) or line
        raise ConfigError(
            f"VISSL refuses this configuration: {type(error).__name__}: {words}"
        ) from error
    dry_run.check_first_batch(cfg)
    # Of what VISSL has completed, and before anything is written to the folder.
    folder = Path(cfg.CHECKPOINT.DIR)
    is_ours = cfg.TRAINER.TASK_NAME == "mscn_task"
    refuse_links(folder, staged=is_ours)
    refuse_damaged(cfg.CHECKPOINT, folder)
    if is_ours:
        refuse_another_recipe(cfg)
    if cfg.DISTRIBUTED.NUM_NODES == 1:  # else the lock may be that of the same run's first node
        run_lock.refuse_if_held(cfg.CHECKPOINT.DIR)
    data_folders.use_lists(cfg, lists)
    return inferred


def refusal(arguments: Sequence[str]) -> Optional[str]:
    """The sentence with which VISSL's tool refuses its arguments, or None if it takes them.

    Raises:
        Exception: what would end in a traceback.
    """
    own = sys.argv
    sys.argv = [own[0], *arguments]  # which some of the sentences quote
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            cfg = hydra_config.compose_hydra_configuration(list(arguments))
            hydra_config.convert_to_attrdict(cfg, dump_config=False)
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        return sentence
    finally:
        sys.argv = own
    return None


def prepare_config(cfg: Any) -> data_folders.ImageLists:
    """Fill in what MSCN infers and check the rest, in place.

    Args:
        cfg: the ``config`` part of a VISSL configuration, as an AttrDict.

    Returns:
        The images that are to be read from lists, which are not written yet.

    Raises:
        ConfigError: the configuration cannot run here; says what to change.
    """
    vissl_checks.check_shape(cfg)
    complete_settings(cfg)
    if cfg.DATA.TRAIN.COLLATE_FUNCTION_PARAMS is None:  # null on the command line: no parameters
        cfg.DATA.TRAIN.COLLATE_FUNCTION_PARAMS = type(cfg)({})
    infer_num_masks(cfg)
    infer_unmasked_views(cfg)
    expand_paths(cfg)
    # VISSL links its newest checkpoint by the path it was given; a relative one would dangle.
    cfg.CHECKPOINT.DIR = os.path.abspath(cfg.CHECKPOINT.DIR)
    if cfg.TRAINER.TASK_NAME == "mscn_task":  # whose search finds the newest that is whole
        cfg.CHECKPOINT.USE_SYMLINK_CHECKPOINT_FOR_RESUME = False
    vissl_checks.check_vissl_keys(cfg)
    part_checks.check_rates(cfg)
    fit_schedules(cfg)
    part_checks.check_transforms(cfg)
    part_checks.check_heads(cfg)
    part_checks.check_optimizer(cfg)
    checkpoint_checks.check_checkpoint(cfg)
    config_checks.check_parts(cfg)
    part_checks.check_collators(cfg)
    projector_input.infer_and_check(cfg)
    config_checks.check_run(cfg)
    check_loader_memory(cfg)
    folders = data_folders.resolve(cfg)
    evaluation_checks.check_classes(cfg, folders)
    return data_folders.choose_images(cfg, folders)


def check_images_again(cfg: Any) -> None:
    """Check in a SLURM job what has been checked at its submission: the images may have changed.

    Raises:
        ConfigError: they have, since the run of ``CHECKPOINT.DIR`` began.
    """
    data = cfg.DATA.TRAIN
    folders_alone = data.DATA_PATHS and set(data.DATA_SOURCES) == {"disk_folder"}
    if cfg.TRAINER.TASK_NAME == "mscn_task" and folders_alone:
        folders = {"TRAIN": list(map(contents, data.DATA_PATHS))}
        data_folders.take_stock(cfg, folders)
        refuse_other_images(cfg)


def check_loader_memory(cfg: Any) -> None:
    """Check that the batches which workers have ready fit into this machine's shared memory.

    Raises:
        ConfigError: they do not, and the run would end or wait for ever within its first batches.
    """
    train, size = cfg.DATA.TRAIN, config_checks.crop_size(cfg.DATA.TRAIN.TRANSFORMS)
    if cfg.SLURM.USE_SLURM:
        return
    height, width = size or (0, 0)
    views, bytes_per_value = 1, 4  # at least, whatever the collator
    if train.COLLATE_FUNCTION == COLLATOR:
        views = sum(masks_per_branch(num_masks_of(train)))
        with contextlib.suppress(ValueError):
            if cfg.MSCN.DEVICE_VIEWS is not False and split_pipeline(train):
                views, bytes_per_value = NUM_BRANCHES, 1
    check_shared_memory(
        train.BATCHSIZE_PER_REPLICA * views * 3 * height * width * bytes_per_value,
        cfg.DISTRIBUTED.NUM_PROC_PER_NODE,
        cfg.DATA.NUM_DATALOADER_WORKERS,
    )


_PATHS = (
    *("CHECKPOINT.DIR", "MODEL.WEIGHTS_INIT.PARAMS_FILE", "SLURM.LOG_FOLDER"),
    *("MSCN.DATA", "MSCN.TRAIN_SUBSET", "EXTRACT_FEATURES.OUTPUT_DIR"),
    *("HOOKS.TENSORBOARD_SETUP.LOG_DIR", "PROFILING.OUTPUT_FOLDER"),
    *(f"DATA.{split}.{key}_PATHS" for split in ("TRAIN", "TEST") for key in ("DATA", "LABEL")),
)
"""Keys that hold a path, or a list of paths."""


def expand_paths(cfg: Any) -> None:
    """Put the home folder in the place of a leading ``~`` in every path."""
    for path in _PATHS:
        *sections, key = path.split(".")
        section = functools.reduce(operator.getitem, sections, cfg)
        value = section[key]
        if isinstance(value, list):
            section[key] = [os.path.expanduser(e) if isinstance(e, str) else e for e in value]
        elif isinstance(value, str):
            section[key] = os.path.expanduser(value)


def fit_schedules(cfg: Any) -> None:
    """Fit schedules to a run of fewer epochs than their phases: a shorter warm-up, fewer steps.

    A warm-up as long as the run becomes a tenth of the run, as 10 epochs are in one of 100 (not
    stated in the paper). Of VISSL's steps those stay that the run reaches.
    """
    num_epochs = cfg.OPTIMIZER.num_epochs
    for name, schedule in part_checks.used_schedules(cfg.OPTIMIZER).items():
        if not isinstance(schedule, dict):
            continue
        path = f"config.OPTIMIZER.param_schedulers.{name}"
        warmup, steps = schedule.get("warmup_epochs", 10), schedule.get("milestones")
        if schedule.get("name") == SCHEDULER and is_number(warmup) and warmup >= num_epochs:
            schedule["warmup_epochs"] = num_epochs / 10
            logging.warning(
                f"{path}.warmup_epochs is {warmup} and config.OPTIMIZER.num_epochs {num_epochs}: "
                f"the warm-up is shortened to a tenth of the run, {num_epochs / 10:g} epochs"
            )
        if schedule.get("name") == "multistep" and isinstance(steps, list):
            reached = [step for step in steps if not is_number(step) or step < num_epochs]
            if reached != steps and isinstance(schedule.get("values"), list):
                schedule["milestones"] = reached
                schedule["values"] = schedule["values"][: len(reached) + 1]
                logging.warning(
                    f"{path}.milestones is {steps} and config.OPTIMIZER.num_epochs {num_epochs}: "
                    f"the run reaches {reached or 'none of them'}"
                )


def infer_num_masks(cfg: Any) -> None:
    """Give the loss the collator's number of masks where the loss has none (null)."""
    if cfg.LOSS.name not in loss_checks.LOSSES:
        return
    if cfg.LOSS.get(cfg.LOSS.name) is None:  # VISSL wants a section of every loss
        cfg.LOSS[cfg.LOSS.name] = type(cfg)({})
    loss = cfg.LOSS[cfg.LOSS.name]
    if loss.get("num_masks") is None:
        loss["num_masks"] = num_masks_of(cfg.DATA.TRAIN)


def infer_unmasked_views(cfg: Any) -> None:
    """Let the collator keep the unmasked views where BYOL's target looks at them."""
    loss, train = cfg.LOSS.get("byol_loss") or {}, cfg.DATA.TRAIN
    wanted = cfg.LOSS.name == "byol_loss" and loss.get("target_input") == "unmasked"
    if wanted and train.COLLATE_FUNCTION == COLLATOR:
        train.COLLATE_FUNCTION_PARAMS["unmasked_views"] = True
