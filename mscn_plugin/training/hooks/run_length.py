"""The first line of ``stdout.json``, by which VISSL's benchmark-suite scheduler knows a run."""

from __future__ import annotations

from classy_vision.generic.distributed_util import is_primary
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
