"""Checks that this machine, and this batch, can run what a configuration asks for."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import Any

import torch

from mscn_plugin.config.checks.gpu_memory import check_gpu_memory
from mscn_plugin.config.hydra_overrides import is_overridden
from mscn_plugin.data.parallel import usable_cores
from mscn_plugin.data.shared_memory import check_shared_memory
from mscn_plugin.errors import ConfigError
from mscn_plugin.models.input_channels import input_channels
from mscn_plugin.schema import is_pretraining, num_processes
from mscn_plugin.transforms.collate import COLLATOR, masks_of_branches, num_views_of
from mscn_plugin.transforms.on_device import split_pipeline
from mscn_plugin.transforms.stated import crop_size
from mscn_plugin.types import Config


def _check_batch(cfg: Config) -> None:
    batch_size = cfg.DATA.TRAIN.BATCHSIZE_PER_REPLICA
    if not isinstance(batch_size, int) or batch_size < 2:
        raise ConfigError(
            f"config.DATA.TRAIN.BATCHSIZE_PER_REPLICA is {batch_size!r}; it must be a whole number "
            "of at least 2, since an image is compared with the others of its batch"
        )
    batch_size *= num_processes(cfg)
    if cfg.LOSS.name == "moco_loss" and cfg.LOSS.moco_loss.queue_size % batch_size:
        raise ConfigError(
            f"config.LOSS.moco_loss.queue_size is {cfg.LOSS.moco_loss.queue_size}; it must be a "
            f"multiple of the batch of all processes, {batch_size}"
        )


def refuse_without_slurm() -> None:
    """Refuse a job for SLURM where there is none: submitit would silently start it here.

    Raises:
        ConfigError: SLURM's programs are not on the ``PATH``.
    """
    if shutil.which("srun") is None:  # which submitit looks for
        raise ConfigError(
            "config.SLURM.USE_SLURM is True (--slurm), and there is no srun on the PATH: leave "
            "it out to run here, or submit from a machine with SLURM's programs"
        )


def _check_slurm(cfg: Config) -> None:
    if cfg.SLURM.USE_SLURM:
        refuse_without_slurm()


def _check_compiler(cfg: Config) -> None:
    if cfg.SLURM.USE_SLURM:
        return
    compiler = os.environ.get("CXX", "g++")
    if cfg.MSCN.COMPILE_TRUNK and cfg.MACHINE.DEVICE == "cpu" and not shutil.which(compiler):
        raise ConfigError(
            f"config.MSCN.COMPILE_TRUNK is True, which on a CPU needs a C++ compiler; there is no "
            f"{compiler} (CXX names another)"
        )


def _check_devices(cfg: Config) -> None:
    if cfg.SLURM.USE_SLURM:
        return
    distributed = cfg.DISTRIBUTED
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    overrides: dict[str, Any] = {}
    no_gpus = cfg.MACHINE.DEVICE == "gpu" and gpus == 0
    no_meeting_point = distributed.NUM_NODES > 1 and distributed.RUN_ID == "auto"
    if no_gpus:
        overrides["+config/mscn/machine"] = "cpu"
    else:
        if no_meeting_point:
            overrides["config.DISTRIBUTED.NUM_NODES"] = 1
        if cfg.MACHINE.DEVICE == "gpu" and gpus < distributed.NUM_PROC_PER_NODE:
            overrides["config.DISTRIBUTED.NUM_PROC_PER_NODE"] = gpus
    if not overrides:
        if cfg.MACHINE.DEVICE == "gpu" and is_pretraining(cfg):
            memory = min(torch.cuda.get_device_properties(i).total_memory for i in range(gpus))
            check_gpu_memory(cfg, crop_size(cfg.DATA.TRAIN.TRANSFORMS), memory)
        return
    cores = usable_cores()
    if cfg.DATA.NUM_DATALOADER_WORKERS * max(gpus, 1) > cores:  # each takes seconds to start
        overrides["config.DATA.NUM_DATALOADER_WORKERS"] = cores // max(gpus, 1)
    asked = f"{distributed.NUM_NODES} x {distributed.NUM_PROC_PER_NODE} {cfg.MACHINE.DEVICE}s"
    line = " ".join(f"{key}={value}" for key, value in overrides.items())
    data = "" if cfg.MSCN.DATA else " config.MSCN.DATA=<folder of images>"
    if no_gpus and is_overridden("MACHINE.DEVICE"):  # stronger than the overlay
        data += " without config.MACHINE.DEVICE=gpu"
    by_hand = ", or start it on every node with config.DISTRIBUTED.RUN_ID=<first node>:<port>"
    by_hand = by_hand if no_meeting_point else ""
    raise ConfigError(
        f"this configuration asks for {asked} (nodes x processes) and this machine has "
        f"{gpus or 'no'} GPU{'s' if gpus != 1 else ''}: add {line}{data} to run it here (and "
        "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=<n> to fit its memory), or submit it with "
        f"config.SLURM.USE_SLURM=true config.SLURM.PARTITION=<partition>{by_hand}"
    )


def _check_loader_memory(cfg: Config) -> None:
    """Batches that workers have ready must fit, or the run waits forever within its first ones."""
    train, size = cfg.DATA.TRAIN, crop_size(cfg.DATA.TRAIN.TRANSFORMS)
    if cfg.SLURM.USE_SLURM:
        return
    height, width = size or (0, 0)
    arrays = cfg.MSCN.CHANNELS is not None
    views, bytes_per_value = 1, 4  # at least, whatever the collator
    if train.COLLATE_FUNCTION == COLLATOR:
        views = sum(masks_of_branches(train))
        with contextlib.suppress(ValueError):
            if cfg.MSCN.DEVICE_VIEWS is not False and split_pipeline(train, arrays):
                views, bytes_per_value = num_views_of(train), 4 if arrays else 1
    check_shared_memory(
        train.BATCHSIZE_PER_REPLICA
        * views
        * input_channels(cfg.MODEL)
        * height
        * width
        * bytes_per_value,
        cfg.DISTRIBUTED.NUM_PROC_PER_NODE,
        cfg.DATA.NUM_DATALOADER_WORKERS,
    )


_RULES = (_check_batch, _check_slurm, _check_compiler, _check_devices, _check_loader_memory)


def check(cfg: Config) -> None:
    """Check that this machine, and this batch, can run what a configuration asks for.

    Raises:
        ConfigError: they cannot; names the overrides that this machine needs.
    """
    for rule in _RULES:
        rule(cfg)
