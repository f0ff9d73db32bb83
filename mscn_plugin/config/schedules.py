"""Schedules of a run that is shorter than their phases."""

from __future__ import annotations

import logging

from mscn_plugin.config.checks.parts import used_schedules
from mscn_plugin.types import Config, is_number

SCHEDULER = "mscn_warmup_cosine"
"""The registered name of :class:`~mscn_plugin.training.lr_schedule.WarmupCosineScheduler`."""


def fit_schedules(cfg: Config) -> None:
    """Fit schedules to a run of fewer epochs than their phases: a shorter warm-up, fewer steps.

    A warm-up as long as the run becomes a tenth of the run, as 10 epochs are in one of 100 (not
    stated in the paper). Of VISSL's steps those stay that the run reaches.
    """
    num_epochs = cfg.OPTIMIZER.num_epochs
    for name, schedule in used_schedules(cfg.OPTIMIZER).items():
        if not isinstance(schedule, dict):
            continue
        path = f"config.OPTIMIZER.param_schedulers.{name}"
        warmup, steps = schedule.get("warmup_epochs", 10), schedule.get("milestones")
        if schedule.get("name") == SCHEDULER and is_number(warmup) and warmup >= num_epochs:
            schedule["warmup_epochs"] = num_epochs / 10
            logging.warning(
                f"{path}.warmup_epochs is {warmup} and config.OPTIMIZER.num_epochs {num_epochs}: "
                f"the warm-up is shortened to a tenth of the run, {num_epochs / 10:g} epochs"
            )
        if schedule.get("name") == "multistep" and isinstance(steps, list):
            reached = [step for step in steps if not is_number(step) or step < num_epochs]
            if reached != steps and isinstance(schedule.get("values"), list):
                schedule["milestones"] = reached
                schedule["values"] = schedule["values"][: len(reached) + 1]
                logging.warning(
                    f"{path}.milestones is {steps} and config.OPTIMIZER.num_epochs {num_epochs}: "
                    f"the run reaches {reached or 'none of them'}"
                )
