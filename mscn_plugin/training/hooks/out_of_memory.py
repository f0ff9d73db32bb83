"""What to change where a step of the training finds no memory on a GPU."""

from __future__ import annotations

import sys

import torch

from mscn_plugin.config.checks.gpu_memory import advice, batch_in_words
from mscn_plugin.errors import RunError
from mscn_plugin.training.hooks.base import MSCNHook
from mscn_plugin.types import Task


class OutOfMemoryHook(MSCNHook):
    """Says what needs less memory, where a step of the training finds none."""

    def on_exception(self, task: Task) -> None:
        error = sys.exc_info()[1]
        if task.train and isinstance(error, torch.cuda.OutOfMemoryError):
            raise RunError(
                f"the GPU has no memory left for iteration {task.iteration}: "
                f"{batch_in_words(task.config)}: {advice(task.config)}"
            ) from error
