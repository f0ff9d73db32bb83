"""A progress bar with the time left on a terminal, else a line per epoch."""

from __future__ import annotations

import sys
from typing import Any

from classy_vision.generic.distributed_util import is_primary
from tqdm import tqdm

from mscn_plugin.training.hooks.base import MSCNHook
from mscn_plugin.types import Task


class ProgressBarHook(MSCNHook):
    """Shows iterations, time left, loss and learning rate on rank 0's standard error.

    ``MSCN.PROGRESS_BAR`` is True, False, or "auto": a bar where standard error is a terminal, else
    a line after each epoch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bar: Any | None = None
        self.lines = False
        self.loss: float | None = None

    def on_start(self, task: Task) -> None:
        wanted = task.config.MSCN.PROGRESS_BAR
        if wanted == "auto":
            wanted = sys.stderr.isatty()
            self.lines = not wanted and is_primary()
        if wanted and is_primary():
            self.bar = tqdm(
                total=task.max_iteration,
                initial=task.iteration,
                desc="pre-training",
                unit="it",
                file=sys.stderr,
                dynamic_ncols=True,
            )

    def on_phase_start(self, task: Task) -> None:
        self.loss = None

    def on_step(self, task: Task) -> None:
        if not task.train or (self.bar is None and not self.lines):
            return
        loss = task.losses[-1] / len(task.last_batch.target)  # as VISSL has fetched it
        self.loss = loss
        if self.bar is not None:
            rate = task.optimizer.options_view.lr
            rate = rate[0] if isinstance(rate, list) else rate
            self.bar.set_postfix(loss=f"{loss:.3f}", lr=f"{rate:.3g}", refresh=False)
            self.bar.update()

    def on_phase_end(self, task: Task) -> None:
        if self.lines and task.train:
            epoch, epochs = task.train_phase_idx + 1, task.num_train_phases
            # Of an epoch whose steps were all done before a resume no loss is known.
            loss = "" if self.loss is None else f": loss {self.loss:.3f}"
            print(f"epoch {epoch} of {epochs}{loss}", file=sys.stderr, flush=True)

    def on_end(self, task: Task) -> None:
        if self.bar is not None:
            self.bar.close()
