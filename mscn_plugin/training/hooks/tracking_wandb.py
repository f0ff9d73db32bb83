"""Weights & Biases."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np

from mscn_plugin.training.hooks.tracking import (
    End,
    TrackingHook,
    plain_config,
    run_name,
    tracking_folder,
)
from mscn_plugin.training.signals import EXIT_CODE
from mscn_plugin.types import Task

FINISH_TIMEOUT = 30
"""Seconds for which the end of a run waits for the server; ``wandb sync`` sends the rest later."""
_EXIT_CODES: dict[End, int] = {"finished": 0, "interrupted": EXIT_CODE, "failed": 1}


class WandbHook(TrackingHook):
    """Writes to a run of Weights & Biases; its own environment variables choose account and mode.

    Curves are over ``iteration`` and ``epoch``, not over W&B's step, which cannot go back: a run
    that resumes from a checkpoint writes the steps after it again.
    """

    service = "wandb"
    run: Any

    def begin(self, task: Task, run_id: str | None) -> str:
        import wandb

        run_id = run_id or secrets.token_hex(8)
        folder = tracking_folder(task)
        if not task.config.MSCN.TRACKING_DIR and "WANDB_DIR" in os.environ:
            folder = Path(os.environ["WANDB_DIR"])
        folder.mkdir(parents=True, exist_ok=True)
        self.run = wandb.init(
            project=task.config.MSCN.TRACKING_PROJECT,
            name=run_name(task),
            dir=folder,
            id=run_id,
            resume="allow",
            reinit="create_new",
            config=plain_config(task),
            settings=wandb.Settings(console="off", finish_timeout=FINISH_TIMEOUT),
        )
        self.run.define_metric("*", step_metric="iteration")
        self.run.define_metric("Online/*", step_metric="epoch")
        return run_id

    def write(self, values: dict[str, float], axis: str, at: int) -> None:
        self.run.log({**values, axis: at})

    def write_picture(self, name: str, pixels: np.ndarray, iteration: int) -> None:
        import wandb

        self.run.log({name: wandb.Image(pixels), "iteration": iteration})

    def finish(self, end: End) -> None:
        if end == "interrupted":
            self.run.mark_preempting()
        self.run.finish(exit_code=_EXIT_CODES[end])
