"""The moments at which a loss's target network is built, asked and moved."""

from __future__ import annotations

from typing import Any

from mscn_plugin.losses.byol_loss import BYOLLoss
from mscn_plugin.training.hook import MSCNHook


class TargetNetworkHook(MSCNHook):
    """Runs the target network of ``byol_loss``; with every other loss it does nothing."""

    def on_start(self, task: Any) -> None:
        """Build the target: the model has its weights, restored ones included."""
        if isinstance(task.loss, BYOLLoss):
            task.loss.build_target(task.base_model)
            if task.config.MSCN.COMPILE_TRUNK:
                task.loss.target.trunk.compile()

    def on_phase_start(self, task: Any) -> None:
        if isinstance(task.loss, BYOLLoss):
            task.loss.train(task.train)

    def on_forward(self, task: Any) -> None:
        """Project the batch, inside of the step's autocast."""
        if isinstance(task.loss, BYOLLoss):
            sample = task.last_batch.sample
            masked = task.loss.target_input == "masked"
            task.loss.project(sample["input"] if masked else sample["unmasked_views"][0])

    def on_update(self, task: Any) -> None:
        """Move the target: VISSL counts the iteration up only after this hook."""
        if isinstance(task.loss, BYOLLoss):
            task.loss.update_target(task.base_model, task.iteration, task.max_iteration)
