"""VISSL's parameters that are frozen for the first iterations."""

from __future__ import annotations

from vissl.hooks.state_update_hooks import FreezeParametersHook

from mscn_plugin.training.hooks.base import counted_by_schedules
from mscn_plugin.types import Task


class FrozenParametersHook(FreezeParametersHook):
    """Takes the place of VISSL's hook: "1 epoch" has the current steps, after a resume as well."""

    def on_backward(self, task: Task) -> None:
        with counted_by_schedules(task):
            super().on_backward(task)
