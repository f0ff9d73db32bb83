"""A GPU whose memory is too small for the batch: what would fit, in place of a traceback."""

from __future__ import annotations

import sys
from typing import Any, Dict

import torch

from mscn_plugin.errors import RunError
from mscn_plugin.training.hook import MSCNHook, masks_of


class OutOfMemoryHook(MSCNHook):
    """Says which overlays need less memory, where a step of the training finds none."""

    def on_exception(self, task: Any) -> None:
        error = sys.exc_info()[1]
        if task.train and isinstance(error, torch.cuda.OutOfMemoryError):
            raise RunError(advice(task.config, sum(masks_of(task)), task.iteration)) from error


def advice(config: Any, num_masks: int, iteration: int) -> str:
    """What to change, the most effective first.

    Args:
        num_masks: K0 + K1, views of an image.
    """
    batch_size = config.DATA.TRAIN.BATCHSIZE_PER_REPLICA
    ways: Dict[str, bool] = {
        "+config/mscn/memory=amp halves it": not config.MODEL.AMP_PARAMS.USE_AMP,
        f"+config/mscn/memory=one_mask takes 2 views in place of {num_masks}": num_masks > 2,
        "+config/mscn/memory=activation_checkpointing computes the trunk's activations again": (
            not config.MODEL.ACTIVATION_CHECKPOINTING.USE_ACTIVATION_CHECKPOINTING
        ),
        "a smaller batch is the last resort, since it changes the training": True,
    }
    return (
        f"the GPU has too little memory for iteration {iteration}: "
        f"config.DATA.TRAIN.BATCHSIZE_PER_REPLICA is {batch_size}, with {num_masks} views of an "
        f"image {batch_size * num_masks} views. {'; '.join(w for w, open in ways.items() if open)}"
    )
