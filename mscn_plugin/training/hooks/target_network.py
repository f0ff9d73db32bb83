"""Builds a loss's target network, runs it and updates it, at the right steps."""

from __future__ import annotations

import logging

from mscn_plugin.models.dropout import without_dropout
from mscn_plugin.training.hooks.base import (
    MSCNHook,
    distributions_of,
    is_logging_step,
    steps_of_schedules,
)
from mscn_plugin.training.hooks.tracking import add_scalars
from mscn_plugin.types import Config, Task


class TargetNetworkHook(MSCNHook):
    """Runs the target network of a task whose loss is ``byol_loss``."""

    def on_start(self, task: Task) -> None:
        """Build the target: the model has its weights, restored ones included."""
        if branches_can_be_told_apart(task.config):
            logging.warning(
                "byol_loss with masks that differ between the branches, a common pass for "
                "both, and biases in the heads: the network may learn to tell the branches "
                "apart in place of the images; use_bias: False in MODEL.HEAD.PARAMS prevents "
                "it, as does a pass for each branch (COLLATE_FUNCTION_PARAMS.split_branches: "
                "True with MODEL.BASE_MODEL_NAME: mscn_branchwise_model)"
            )
        task.loss.build_target(task.base_model)
        without_dropout(task.loss.target)
        if task.config.MSCN.COMPILE_TRUNK:
            task.loss.target.trunk.compile()

    def on_phase_start(self, task: Task) -> None:
        task.loss.train(task.train)

    def on_forward(self, task: Task) -> None:
        """Project the batch, inside of the step's autocast."""
        sample = task.last_batch.sample
        masked = task.loss.target_input == "masked"
        task.loss.project(sample["input"] if masked else sample["unmasked_views"][0])

    def on_update(self, task: Task) -> None:
        """Move the target: VISSL counts the iteration up only after this hook."""
        momentum = task.loss.update_target(task.base_model, *steps_of_schedules(task))
        if is_logging_step(task):
            logging.info(f"target momentum: {momentum:.6f}")
            add_scalars(task, "BYOL", {"target_momentum": momentum}, task.iteration)


def branches_can_be_told_apart(config: Config) -> bool:
    """Whether BYOL may learn to encode the branch in place of the image.

    Seen where all three hold: the branches' masks differ, batch normalization sees both branches
    at once and keeps the difference, and biases let the projections have a mean of their own.
    """
    params = config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS or {}
    one, other = distributions_of(config)
    model = config.MODEL
    separate = params.get("split_branches") and model.BASE_MODEL_NAME == "mscn_branchwise_model"
    chains = [head if isinstance(head[0], list) else [head] for head in model.HEAD.PARAMS]
    heads = [head for chain in chains for head in chain]
    biases = any(name == "mlp" and settings.get("use_bias", True) for name, settings in heads)
    return one != other and not separate and biases
