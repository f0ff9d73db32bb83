"""What MSCN's hooks share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from classy_vision.hooks import ClassyHook
from torch import nn

from mscn_plugin.masking import MaskDistribution
from mscn_plugin.masking.per_branch import (
    MASK_SETTINGS,
    NUM_BRANCHES,
    mask_distributions,
)
from mscn_plugin.models.dropout import without_dropout
from mscn_plugin.transforms.collate import masks_of_branches
from mscn_plugin.types import Config, Task


class MSCNHook(ClassyHook):
    """A hook that does nothing at any moment, for subclasses that use some of them."""

    on_start = ClassyHook._noop
    on_phase_start = ClassyHook._noop
    on_forward = ClassyHook._noop
    on_loss_and_meter = ClassyHook._noop
    on_backward = ClassyHook._noop
    on_update = ClassyHook._noop
    on_step = ClassyHook._noop
    on_phase_end = ClassyHook._noop
    on_end = ClassyHook._noop
    on_exception = ClassyHook._noop


def is_logging_step(task: Task) -> bool:
    """Whether hooks log this iteration: by LOG_FREQUENCY, and more often at the beginning.

    VISSL logs these, and the first one, too.
    """
    iteration = task.iteration
    return iteration % task.config.LOG_FREQUENCY == 0 or (iteration <= 100 and iteration % 5 == 0)


def steps_of_schedules(task: Task) -> tuple[int, int]:
    """Steps done and steps of the run, as if each epoch had the current number of steps.

    They are iterations, unless the steps per epoch changed at a resume.
    """
    return task.iteration - task.ahead, task.max_iteration - task.ahead


@contextlib.contextmanager
def counted_by_schedules(task: Task) -> Iterator[None]:
    """Let the task's iterations be :func:`steps_of_schedules`, for VISSL's own hooks."""
    iteration, ahead = task.iteration, task.ahead
    task.iteration, task.ahead = iteration - ahead, 0
    try:
        yield
    finally:
        task.iteration, task.ahead = iteration, ahead


def second_model(task: Task) -> nn.Module:
    """A second model like the task's, with its own weights, on its device, without dropout."""
    with torch.random.fork_rng(devices=[]):  # a resumed run samples like the unbroken one
        model: nn.Module = task._build_model()
    without_dropout(model)
    return model.to(task.device)


def distributions_of(config: Config) -> list[MaskDistribution]:
    """The masks of both branches that a configuration's collator samples."""
    given = config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS or {}
    settings = {key: value for key, value in given.items() if key in MASK_SETTINGS}
    return mask_distributions(NUM_BRANCHES, settings)


def masks_of(task: Task) -> list[int]:
    """``[K0, K1]`` of the task's batches; ``[1, 1]`` for VISSL's two-view collators."""
    return masks_of_branches(task.config.DATA.TRAIN)
