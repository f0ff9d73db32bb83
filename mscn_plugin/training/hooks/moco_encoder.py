"""VISSL's MoCo, with a key encoder that is normalized as the model is and drops nothing."""

from __future__ import annotations

import logging

import torch
from classy_vision.generic.distributed_util import is_distributed_training_run
from torch import nn
from vissl.hooks.moco_hooks import MoCoHook

from mscn_plugin.training.hooks.base import second_model
from mscn_plugin.types import Task


class MoCoEncoderHook(MoCoHook):
    """Takes the place of VISSL's hook, whose key encoder is never converted to SyncBN.

    Batches of keys are shuffled between the ranks wherever it holds no SyncBN, as on CPUs, on
    which VISSL converts none.
    """

    @torch.no_grad()
    def _build_moco_encoder(self, task: Task) -> None:
        loss = task.loss
        loss.moco_encoder = encoder = second_model(task).requires_grad_(False)
        if loss.checkpoint is None:
            for of_query, of_key in zip(task.base_model.parameters(), encoder.parameters()):
                of_key.copy_(of_query)
            loss.queue = loss.queue.to(task.device)
            if is_distributed_training_run():
                # As MoCo's code does: each rank draws its own, and a checkpoint holds one.
                torch.distributed.broadcast(loss.queue, src=0)
        else:
            loss.load_state_dict(loss.checkpoint)
            self._update_momentum_encoder(task)  # the checkpoint's is that of the step before
        self.shuffle_batch = not _is_synchronized(encoder)
        logging.info("MoCo shuffles its keys' batches between ranks: %s", self.shuffle_batch)


def _is_synchronized(model: nn.Module) -> bool:
    """Whether there is SyncBN in it: PyTorch's, timm's or apex's, which share a name alone."""
    return any("SyncBatchNorm" in type(module).__name__ for module in model.modules())
