"""VISSL's checkpoints, written completely, and on request before the process ends."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from classy_vision.generic.distributed_util import barrier, is_primary
from classy_vision.hooks import ClassyHook
from fairscale.nn.data_parallel import FullyShardedDataParallel
from vissl.hooks.log_hooks import LogLossMetricsCheckpointHook
from vissl.utils.checkpoint import is_checkpoint_phase

from mscn_plugin.checkpoints.complete import staged
from mscn_plugin.training.hooks.online_evaluation import OnlineEvaluationHook
from mscn_plugin.training.hooks.run_length import flush_losses
from mscn_plugin.training.hooks.tracking import end_services
from mscn_plugin.training.signals import interruption
from mscn_plugin.types import Task


class CheckpointHook(LogLossMetricsCheckpointHook):
    """Takes the place of VISSL's hook of the same purpose, whose files and names it keeps.

    :class:`~mscn_plugin.training.hooks.non_finite.NonFiniteHook` does what VISSL's does on NaN.
    """

    on_forward = ClassyHook._noop

    def __init__(self, world_size: int) -> None:
        super().__init__(world_size)
        self._before_evaluation: Path | None = None

    def on_phase_start(self, task: Task) -> None:
        """Give rates that change by epoch their values of the epoch's start, also within it."""
        interruption.end_if_asked()
        if task.train:
            interruption.unsaved = True
            task.optimizer.on_epoch(task.train_phase_idx / task.num_train_phases)

    def on_step(self, task: Task) -> None:
        super().on_step(task)
        if task.train and self._asked_to_end(task):
            self._checkpoint_model(task, 1, task.iteration, mode="iteration")
            barrier()
            logging.info(f"ended on request after iteration {task.iteration}")
            end_workers(task)
            end_services(task, "interrupted")
            task.ranks.wait()  # the launcher ends all ranks with the first that leaves
            interruption.unsaved = False
            interruption.end_if_asked()

    def on_phase_end(self, task: Task) -> None:
        """VISSL's checkpoint of an epoch; where a pause follows, also of an epoch without one.

        That is where the run is to end: before the next phase or evaluation, once the other hooks
        have written their lines. And before an evaluation: this may take longer than the grace
        period of the signal's sender, so that a signal in it ends the run at once. Of these
        checkpoints only the newest is kept.
        """
        super().on_phase_end(task)
        if task.train:
            epoch = task.train_phase_idx
            every, epochs = task.config.CHECKPOINT.CHECKPOINT_FREQUENCY, task.num_train_phases
            saved = is_checkpoint_phase(epoch, every, epoch, epochs, "phase")
            asked = self._asked_to_end(task)
            if not saved and (asked or _evaluation_follows(task)):
                self._checkpoint_model(task, 1, epoch)
                barrier()
                saved = True
                if not asked and is_primary():
                    self._keep_newest(Path(task.checkpoint_folder) / f"model_phase{epoch}.torch")
            interruption.unsaved = not saved

    def _keep_newest(self, before_evaluation: Path) -> None:
        # VISSL removes none. This one stays until the next evaluation: it may be being read.
        if self._before_evaluation is not None:
            self._before_evaluation.unlink(missing_ok=True)
        self._before_evaluation = before_evaluation

    def on_exception(self, task: Task) -> None:
        end_workers(task)

    def _asked_to_end(self, task: Task) -> bool:
        """Whether any rank has been asked: all have to write, and to end, at the same step."""
        asked = task.ranks.anyone_asked(interruption.signum or 0)
        if asked:
            interruption.signum = asked
        return bool(asked)

    def _checkpoint_model(self, task: Task, *args: Any, **kwargs: Any) -> None:
        flush_losses(task)  # a killed run resumes after them, and they would be missing
        if not is_primary() or isinstance(task.base_model, FullyShardedDataParallel):
            # Shards are written by all ranks, into the folder itself, by VISSL.
            super()._checkpoint_model(task, *args, **kwargs)
            return
        folder = task.checkpoint_folder
        with staged(Path(folder)) as staging:
            task.checkpoint_folder = str(staging)
            try:
                super()._checkpoint_model(task, *args, **kwargs)
            finally:
                task.checkpoint_folder = folder


def _evaluation_follows(task: Task) -> bool:
    hooks = (hook for hook in task.hooks if isinstance(hook, OnlineEvaluationHook))
    return any(hook.follows(task) for hook in hooks)


def end_workers(task: Task) -> None:
    """End the loaders' workers, which otherwise keep the process until their time is up.

    Workers end with the iterator that they serve; VISSL's loader for GPUs keeps one of its own.
    """
    task.data_iterator = None
    task.dataloaders = {}
