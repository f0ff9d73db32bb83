"""Learning-rate schedule: linear warm-up in epochs, then cosine decay (section 5, A.1)."""

from __future__ import annotations

import math
from typing import Any

from classy_vision.optim.param_scheduler import (
    ClassyParamScheduler,
    UpdateInterval,
    register_param_scheduler,
)

from mscn_plugin.config.checks.optimizer import SCHEDULER


@register_param_scheduler(SCHEDULER)
class WarmupCosineScheduler(ClassyParamScheduler):
    """Linear from ``warmup_start_value`` to ``start_value``, then cosine to ``end_value``.

    VISSL's own composition of a linear and a cosine schedule starts the warm-up at the rate of
    one node, silently drops the warm-up on a single node, and needs its lengths rewritten
    whenever the number of epochs changes. This schedule has its warm-up in epochs, and VISSL's
    ``auto_lr_scaling`` rescales ``start_value`` and ``end_value`` like those of any schedule with
    "cosine" in its name.

    Args:
        start_value: the rate at the end of the warm-up, the paper's "base learning rate" (4.8
            for SimCLR at a batch of 4096, A.1); above 0.
        num_epochs: epochs of the run; Classy Vision fills it in.
        end_value: the rate at the end; from 0 to ``start_value``. A.1 follows Barlow Twins'
            protocol, which ends at 0.001 of ``start_value``.
        warmup_epochs: epochs of warm-up, at least 0 and below ``num_epochs``; 10 in the paper.
        warmup_start_value: the rate of the first step; from 0 to ``start_value``, and not rescaled.
            Barlow Twins' is 0.
        update_interval: per step, or per epoch.

    Raises:
        ValueError: a value is outside of its range; the message starts with its name.
    """

    def __init__(
        self,
        start_value: float,
        num_epochs: int,
        end_value: float = 0.0,
        warmup_epochs: float = 10,
        warmup_start_value: float = 0.0,
        update_interval: UpdateInterval = UpdateInterval.STEP,
    ) -> None:
        super().__init__(update_interval=update_interval)
        given = {"start_value": start_value, "end_value": end_value}
        given.update(warmup_epochs=warmup_epochs, warmup_start_value=warmup_start_value)
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"{name} is {value!r}; it must be a number")
        if not start_value > 0:
            raise ValueError(f"start_value is {start_value}; the learning rate must be above 0")
        for name, value in (("end_value", end_value), ("warmup_start_value", warmup_start_value)):
            if not value >= 0:
                raise ValueError(f"{name} is {value}; it must be at least 0")
            if value > start_value:
                raise ValueError(
                    f"{name} is {value}; it must be at most start_value, {start_value}"
                )
        if not 0 <= warmup_epochs < num_epochs:
            raise ValueError(
                f"warmup_epochs is {warmup_epochs}; it must be at least 0 and below "
                f"num_epochs, {num_epochs}"
            )
        self.start_value = start_value
        self.end_value = end_value
        self.warmup_start_value = warmup_start_value
        self.warmup = warmup_epochs / num_epochs

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WarmupCosineScheduler:
        defaults = {"end_value": 0.0, "warmup_epochs": 10, "warmup_start_value": 0.0}
        return cls(
            start_value=config["start_value"],
            num_epochs=config["num_epochs"],
            update_interval=UpdateInterval.from_config(config, UpdateInterval.STEP),
            **{name: config.get(name, default) for name, default in defaults.items()},
        )

    def __call__(self, where: float) -> float:
        """Return the rate at ``where``, the fraction of the run that is done, in [0, 1)."""
        if where < self.warmup:
            progress = where / self.warmup
            return self.warmup_start_value + progress * (self.start_value - self.warmup_start_value)
        progress = (where - self.warmup) / (1 - self.warmup)
        amplitude = (self.start_value - self.end_value) / 2
        return self.end_value + amplitude * (1 + math.cos(math.pi * progress))
