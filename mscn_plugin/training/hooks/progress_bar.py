"""A progress bar with the time left, where somebody can see it."""

from __future__ import annotations

import sys
from typing import Any

from classy_vision.generic.distributed_util import is_primary
from tqdm import tqdm

from mscn_plugin.training.hooks.base import MSCNHook
from mscn_plugin.types import Task


class ProgressBarHook(MSCNHook):
    """Shows iterations, time left, loss and learning rate on rank 0's standard error.

    ``MSCN.PROGRESS_BAR`` is True, False, or "auto": only where standard error is a terminal.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bar: Any | None = None

    def on_start(self, task: Task) -> None:
        wanted = task.config.MSCN.PROGRESS_BAR
        if wanted == "auto":
            wanted = sys.stderr.isatty()
        if wanted and is_primary():
            self.bar = tqdm(
                total=task.max_iteration,
                initial=task.iteration,
                desc="pre-training",
                unit="it",
                file=sys.stderr,
                dynamic_ncols=True,
            )

    def on_step(self, task: Task) -> None:
        if self.bar is not None and task.train:
            rate = task.optimizer.options_view.lr
            rate = rate[0] if isinstance(rate, list) else rate
            loss = task.losses[-1] / len(task.last_batch.target)  # as VISSL has fetched it
            self.bar.set_postfix(loss=f"{loss:.3f}", lr=f"{rate:.3g}", refresh=False)
            self.bar.update()

    def on_end(self, task: Task) -> None:
        if self.bar is not None:
            self.bar.close()
