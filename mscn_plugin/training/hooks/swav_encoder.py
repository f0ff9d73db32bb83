"""VISSL's SwAV with a momentum encoder, which is normalized as the model is and drops nothing."""

from __future__ import annotations

from classy_vision.generic.distributed_util import init_distributed_data_parallel_model
from vissl.hooks.swav_momentum_hooks import SwAVMomentumHook

from mscn_plugin.training.hooks.base import second_model
from mscn_plugin.types import Task


class SwAVEncoderHook(SwAVMomentumHook):
    """Takes the place of VISSL's hook, which converts the encoder to SyncBN: of GPUs alone."""

    def _build_momentum_network(self, task: Task) -> None:
        loss, encoder = task.loss, second_model(task)
        if loss.checkpoint is None:
            encoder.load_state_dict(task.base_model.state_dict())
        loss.momentum_encoder = init_distributed_data_parallel_model(encoder)  # names as VISSL's
        if loss.checkpoint is not None:
            loss.load_state_dict(loss.checkpoint)
            self._update_momentum_network(task)  # the checkpoint's is that of the step before
