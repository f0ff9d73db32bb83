"""The first line of ``stdout.json``, by which VISSL's scheduler knows a run, and the last ones."""

from __future__ import annotations

from classy_vision.generic.distributed_util import is_primary
from vissl.hooks.log_hooks import LogLossLrEtaHook
from vissl.utils.io import save_file

from mscn_plugin.training.hooks.base import MSCNHook
from mscn_plugin.types import Task


class RunLengthHook(MSCNHook):
    """Writes the number of iterations where VISSL's scheduler looks for it.

    The scheduler wants it in the first line; VISSL's own hook logs iteration 0 before the line
    that has it, so that the scheduler stops at every run.
    """

    def on_start(self, task: Task) -> None:
        if task.iteration == 0 and not task.test_only and is_primary():
            line = {"ep": 0, "iter": 0, "max_iterations": task.max_iteration}
            save_file(line, f"{task.checkpoint_folder}/stdout.json", verbose=False)

    def on_end(self, task: Task) -> None:
        """A summary may follow in the same process."""
        flush_losses(task)


def flush_losses(task: Task) -> None:
    """Write the lines of ``stdout.json`` that VISSL's hook keeps until its process exits."""
    for hook in task.hooks:
        if isinstance(hook, LogLossLrEtaHook) and hook.json_stdout_logger is not None:
            hook.json_stdout_logger.flush()
