"""From a configuration as it was written to a complete one, checked on the way."""

from __future__ import annotations

import itertools
import os
import zlib
from collections.abc import Callable
from typing import Any

from mscn_plugin.config import arrays, data, projector_input
from mscn_plugin.config.checks import (
    checkpoint,
    heads,
    keys,
    loss,
    machine,
    mscn,
    optimizer,
    tracking,
    transforms,
    trunk,
    vissl,
)
from mscn_plugin.config.hydra_overrides import PATH_KEYS
from mscn_plugin.masking.per_branch import NUM_BRANCHES
from mscn_plugin.schema import complete_settings, is_pretraining
from mscn_plugin.transforms.collate import COLLATOR, masks_of_branches, num_masks_of, num_views_of
from mscn_plugin.types import Config, section_like, value_at

Step = Callable[[Any], None]
"""Infers something of a configuration, or checks it: completed in place, or ConfigError."""


def prepare_config(cfg: Config) -> data.ImageLists:
    """Fill in what MSCN infers and check the rest: :data:`STEPS`, then the images.

    Args:
        cfg: the ``config`` part of a VISSL configuration, as an AttrDict; completed in place.

    Returns:
        The images that are to be read from lists, which are not written yet.

    Raises:
        ConfigError: the configuration cannot run here; says what to change.
    """
    for step in STEPS:
        step(cfg)
    return data.find_images(cfg)


def infer_collator_parameters(cfg: Config) -> None:
    """Take null, the command line's way to have no parameters, for no parameters."""
    if cfg.DATA.TRAIN.COLLATE_FUNCTION_PARAMS is None:
        cfg.DATA.TRAIN.COLLATE_FUNCTION_PARAMS = section_like(cfg, {})


def infer_checkpoint_folder(cfg: Config) -> None:
    """Make the folder's path absolute, and leave the search for the newest checkpoint to ours."""
    # VISSL links its newest checkpoint by the path it was given; a relative one would dangle.
    cfg.CHECKPOINT.DIR = os.path.abspath(cfg.CHECKPOINT.DIR)
    if is_pretraining(cfg):
        cfg.CHECKPOINT.USE_SYMLINK_CHECKPOINT_FOR_RESUME = False


def infer_sync_bn_group(cfg: Config) -> None:
    """Under ``torchrun`` give VISSL's "within each node" the ranks of a node, not of its own one.

    There each rank is a node of VISSL's, whose group would be the rank alone.
    """
    sync_bn = cfg.MODEL.SYNC_BN_CONFIG
    within_node = sync_bn.CONVERT_BN_TO_SYNC_BN and sync_bn.GROUP_SIZE == -1
    if within_node and "TORCHELASTIC_RUN_ID" in os.environ:
        sync_bn.GROUP_SIZE = int(os.environ["LOCAL_WORLD_SIZE"])


_PORT = 40050
"""VISSL's default for all jobs: two on one node would collide."""


def infer_slurm(cfg: Config) -> None:
    """Give a job the run's name, folder and port in place of VISSL's defaults, and no idle GPU."""
    slurm = cfg.SLURM
    if not slurm.USE_SLURM:
        return
    if slurm.LOG_FOLDER == ".":
        slurm.LOG_FOLDER = cfg.CHECKPOINT.DIR
    if slurm.NAME == "vissl":
        slurm.NAME = os.path.basename(cfg.CHECKPOINT.DIR) or slurm.NAME
    if slurm.PORT_ID == _PORT:
        # Systems give ports above 32767 to any program that requests one.
        slurm.PORT_ID = 20000 + zlib.crc32(cfg.CHECKPOINT.DIR.encode()) % 12000
    if cfg.MACHINE.DEVICE == "cpu":  # VISSL requests one per process
        slurm.ADDITIONAL_PARAMETERS.setdefault("gpus_per_node", 0)


def expand_paths(cfg: Config) -> None:
    """Replace a leading ``~`` by the home folder in every path, and remove a slash at its end."""
    for path in PATH_KEYS:
        holder, _, key = path.rpartition(".")
        section, value = value_at(cfg, holder), value_at(cfg, path)
        if isinstance(value, list):
            section[key] = [_expanded(e) if isinstance(e, str) else e for e in value]
        elif isinstance(value, str):
            section[key] = _expanded(value)


def _expanded(path: str) -> str:
    return os.path.expanduser(path).rstrip("/") or path


def infer_num_masks(cfg: Config) -> None:
    """Give the loss the collator's number of masks where the loss has none (null)."""
    if cfg.LOSS.name not in loss.LOSSES:
        return
    if cfg.LOSS.get(cfg.LOSS.name) is None:  # VISSL wants a section of every loss
        cfg.LOSS[cfg.LOSS.name] = section_like(cfg, {})
    section = cfg.LOSS[cfg.LOSS.name]
    if section.get("num_masks") is None:
        section["num_masks"] = num_masks_of(cfg.DATA.TRAIN)


def infer_unmasked_views(cfg: Config) -> None:
    """Let the collator keep the unmasked views where BYOL's target looks at them."""
    byol, train = cfg.LOSS.get("byol_loss") or {}, cfg.DATA.TRAIN
    wanted = cfg.LOSS.name == "byol_loss" and byol.get("target_input") == "unmasked"
    if wanted and train.COLLATE_FUNCTION == COLLATOR:
        train.COLLATE_FUNCTION_PARAMS["unmasked_views"] = True


def infer_num_views(cfg: Config) -> None:
    """Make a view for each mask where the collator wants it (``view_per_mask``).

    Probabilities by branch become those of the branch's views.
    """
    train = cfg.DATA.TRAIN
    if train.COLLATE_FUNCTION != COLLATOR:
        return
    num_views, counts = num_views_of(train), masks_of_branches(train)
    for transform in train.TRANSFORMS:
        if transform["name"] in mscn.REPLICATING:
            transform["num_times"] = num_views
        if len(transform.get("prob", ())) == NUM_BRANCHES < num_views:
            by_view = [[p] * count for p, count in zip(transform["prob"], counts)]
            transform["prob"] = [*itertools.chain(*by_view)]


STEPS: tuple[Step, ...] = (
    keys.check,
    complete_settings,
    infer_collator_parameters,
    infer_num_masks,
    infer_unmasked_views,
    expand_paths,
    infer_checkpoint_folder,
    infer_sync_bn_group,
    infer_slurm,
    vissl.check,
    arrays.infer_and_check,
    optimizer.complete,
    transforms.check,
    heads.check,
    trunk.check,
    checkpoint.check,
    mscn.check,
    infer_num_views,
    loss.check,
    transforms.check_collators,
    projector_input.infer_and_check,
    machine.check,
    tracking.check,
)
"""In this order: a step may rely on what those before it have completed or checked."""
