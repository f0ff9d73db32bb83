"""Check that loaders have the shared memory that their batches need."""

from __future__ import annotations

import contextlib

from mscn_plugin.config.checks.mscn import crop_size
from mscn_plugin.data.shared_memory import check_shared_memory
from mscn_plugin.masking.per_branch import NUM_BRANCHES, masks_per_branch
from mscn_plugin.transforms.collate import COLLATOR, num_masks_of
from mscn_plugin.transforms.on_device import split_pipeline
from mscn_plugin.types import Config


def check_loader_memory(cfg: Config) -> None:
    """Check that the batches which workers have ready fit into this machine's shared memory.

    Raises:
        ConfigError: they do not, and the run would end or wait for ever within its first batches.
    """
    train, size = cfg.DATA.TRAIN, crop_size(cfg.DATA.TRAIN.TRANSFORMS)
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
