"""VISSL configurations that the loader's and the step's benchmarks compare."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

FROM_SCRATCH = (
    "config.OPTIMIZER.num_epochs=1",
    "config.OPTIMIZER.param_schedulers.lr.warmup_epochs=0",
    "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
    "config.MSCN.PICTURE_IMAGES=0",
    "config.CHECKPOINT.CHECKPOINT_FREQUENCY=1000",
)

MASKED = "config=mscn/simclr"
VISSLS = [  # VISSL's task, dataset, transforms, collator and loss; nothing of MSCN's
    "config=mscn/simclr_unmasked",
    "config.TRAINER.TASK_NAME=self_supervision_task",
]


def masked(num_masks: int, *overrides: str) -> list[str]:
    """MSCN with K masks per view."""
    key = "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS.num_masks"
    return [MASKED, f"{key}={num_masks}", *overrides]


IN_WORKERS = "config.MSCN.DEVICE_VIEWS=False"
AS_IN_VISSL = "+config/mscn/speed=as_in_vissl"


def compose(overrides: list[str], images: Path, workers: int, batch: int, folder: Path) -> Any:
    """The checked ``config`` part of a VISSL configuration for one CPU process."""
    import mscn_plugin

    mscn_plugin.register()
    from vissl.utils import hydra_config

    os.chdir(folder)
    cfg = hydra_config.compose_hydra_configuration(
        [
            *overrides,
            *FROM_SCRATCH,
            "+config/mscn/machine=cpu",
            f"config.MSCN.DATA={images}",
            f"config.DATA.TRAIN.BATCHSIZE_PER_REPLICA={batch}",
            f"config.DATA.NUM_DATALOADER_WORKERS={workers}",
            f"config.CHECKPOINT.DIR={folder}/run",
        ]
    )
    return hydra_config.convert_to_attrdict(cfg, dump_config=False)[1]


def in_a_process_group() -> None:
    """The environment of a launched rank, for VISSL's trainer."""
    os.environ.update({"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"})


def with_views(config: Any, num_views: int) -> Any:
    """VISSL's SimCLR with more than two views, hence with its multicrop loss."""
    config.DATA.TRAIN.TRANSFORMS[0]["num_times"] = num_views
    batch = config.DATA.TRAIN.BATCHSIZE_PER_REPLICA
    if num_views > 2:
        config.LOSS.name = "multicrop_simclr_info_nce_loss"
        config.LOSS.multicrop_simclr_info_nce_loss.num_crops = num_views
        config.LOSS.multicrop_simclr_info_nce_loss.temperature = 0.2
        buffer: dict[str, Any] = config.LOSS.multicrop_simclr_info_nce_loss.buffer_params
        buffer["effective_batch_size"] = batch  # images; the two-view loss counts views
    else:
        config.LOSS.name = "simclr_info_nce_loss"
        config.LOSS.simclr_info_nce_loss.temperature = 0.2
        buffer = config.LOSS.simclr_info_nce_loss.buffer_params
        buffer["effective_batch_size"] = 2 * batch
    buffer["embedding_dim"] = 128
    buffer["world_size"] = 1
    return config
