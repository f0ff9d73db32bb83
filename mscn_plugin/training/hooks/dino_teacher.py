"""VISSL's DINO, with the teacher's batch normalization as the configuration has it."""

from __future__ import annotations

from vissl.hooks.dino_hooks import DINOHook

from mscn_plugin.training.hooks.base import counted_by_schedules, second_model
from mscn_plugin.types import Task


class DINOTeacherHook(DINOHook):
    """Takes the place of VISSL's hook, which converts the teacher to SyncBN: of GPUs alone."""

    def on_start(self, task: Task) -> None:
        """Normalize the prototypes of a new run; in a resumed one rounding would change them."""
        if task.loss.checkpoint is None:
            super().on_start(task)

    def on_forward(self, task: Task) -> None:
        """VISSL's, at the temperature of the schedule's step."""
        with counted_by_schedules(task):
            super().on_forward(task)

    def on_update(self, task: Task) -> None:
        """VISSL's, with the momentum of the schedule's step."""
        with counted_by_schedules(task):
            super().on_update(task)

    def _build_momentum_network(self, task: Task) -> None:
        task.config.MODEL.TRUNK.VISION_TRANSFORMERS.DROP_PATH_RATE = 0  # as VISSL's
        loss = task.loss
        loss.momentum_teacher = teacher = second_model(task).requires_grad_(False)
        if loss.checkpoint is None:
            teacher.load_state_dict(task.base_model.state_dict())
        else:
            loss.load_state_dict(loss.checkpoint)
