"""Gradients that are clipped to the norm that the configuration states, also in mixed precision."""

from __future__ import annotations

from vissl.hooks.grad_clip_hooks import GradClipHook

from mscn_plugin.types import Task


class UnscaledGradClipHook(GradClipHook):
    """VISSL's hook of ``MODEL.GRAD_CLIP``; it clips gradients times the loss scale.

    A norm of 3 would be one of 3 / 65,536 then, and another whenever the scale changes.
    """

    def on_backward(self, task: Task) -> None:
        if task.amp_grad_scaler is not None:
            task.amp_grad_scaler.unscale_(task.optimizer)
        super().on_backward(task)
