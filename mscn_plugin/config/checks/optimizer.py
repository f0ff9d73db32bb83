"""Checks of the optimizer, of its learning rates and of their schedules."""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from classy_vision.optim import OPTIMIZER_REGISTRY
from classy_vision.optim.param_scheduler import (
    PARAM_SCHEDULER_REGISTRY,
    ClassyParamScheduler,
    UpdateInterval,
    build_param_scheduler,
)

from mscn_plugin.allowed import (
    ABOVE_ZERO_TO_ONE,
    BELOW_ONE,
    POSITIVE,
    Allowed,
    at_least,
    either,
    list_of,
    one_of,
    whole,
)
from mscn_plugin.checkpoints.sigma import input_sigma
from mscn_plugin.config.checks.build import build, parameters_of
from mscn_plugin.config.checks.evaluation import is_evaluation
from mscn_plugin.config.checks.keys import vissl_defaults
from mscn_plugin.errors import ConfigError, suggestion
from mscn_plugin.models.timm_trunk import is_timm
from mscn_plugin.schema import is_pretraining
from mscn_plugin.types import Config, is_number, is_whole

_SCHEDULED = ("lr", "lr_head", "weight_decay", "weight_decay_head")
"""What VISSL changes along a schedule."""
_RULES: dict[str, Allowed] = {
    "momentum": BELOW_ONE,
    "weight_decay": at_least(0),
    "eta": POSITIVE,
    "eps": POSITIVE,
    "alpha": BELOW_ONE,
    "betas": list_of(BELOW_ONE, (2,)),
}
_SCHEDULE_RULES: dict[str, Allowed] = {
    "start_value": at_least(0),
    "end_value": at_least(0),
    "value": at_least(0),
    "values": list_of(at_least(0)),
    "milestones": either(
        Allowed("empty", lambda value: value == []), list_of(whole(1), ordered=True)
    ),
    "lengths": list_of(ABOVE_ZERO_TO_ONE),
    "update_interval": one_of("step", "epoch"),
}


SCHEDULER = "mscn_warmup_cosine"
"""The registered name of :class:`~mscn_plugin.training.lr_schedule.WarmupCosineScheduler`."""


def complete(cfg: Config) -> None:
    """Fit the schedules to the run, and check rates, schedules and optimizer.

    Raises:
        ConfigError: see :func:`mscn_plugin.config.checks.build.build`; or names the rate that would
            be replaced.
    """
    _check_rates(cfg)
    _fit_schedules(cfg)
    _check_optimizer(cfg)
    _warn_of_convnext(cfg)


def _check_optimizer(cfg: Config) -> None:
    """Build the optimizer with its schedules, on one parameter.

    Raises:
        ConfigError: see :func:`mscn_plugin.config.checks.build.build`.
    """
    settings = cfg.OPTIMIZER
    # Classy Vision requires the type float, and people write 0.
    if is_whole(settings.momentum):
        settings.momentum = float(settings.momentum)
    schedules = _check_schedules(settings)
    if settings.use_zero or "fsdp" in settings.name:
        return  # they need the other processes
    if "lr" in settings:
        raise ConfigError(
            f"config.OPTIMIZER.lr is {settings.lr!r}, which VISSL does not read: the learning rate "
            "is config.OPTIMIZER.param_schedulers.lr"
        )
    part = OPTIMIZER_REGISTRY[settings.name]
    of_vissl = vissl_defaults()["OPTIMIZER"].keys() - {"momentum", "betas"}

    def make(section: Any) -> Any:
        optimizer = part.from_config(section)
        parameter = torch.nn.Parameter(torch.zeros(1))
        optimizer.set_param_groups([{"params": [parameter], "lr": schedules["lr"]}])
        return optimizer

    siblings = OPTIMIZER_REGISTRY.values()
    rules = _RULES
    build("config.OPTIMIZER", settings.name, make, settings, part, of_vissl, rules, siblings)
    if settings.nesterov and "nesterov" not in parameters_of(part):
        raise ConfigError(
            f"config.OPTIMIZER.nesterov is True, which {settings.name} does not read; it must be "
            "False"
        )


def _warn_of_convnext(cfg: Config) -> None:
    """Warn where ConvNeXt would collapse: behind the filter an empty patch is 0.

    Layer normalization multiplies its gradient by 1 / sqrt(eps), a thousand. With SGD the bias of
    ConvNeXt's stem reached 100,000 in ten steps of the quickstart, which drowns any picture.
    """
    optimizer = str(cfg.OPTIMIZER.name)
    if is_evaluation(cfg) or not is_timm(cfg.MODEL) or not optimizer.startswith(("sgd", "lars")):
        return
    name = str((cfg.MODEL.TRUNK.get("TIMM") or {}).get("NAME"))
    if name.startswith("convnext") and input_sigma(cfg, "TRAIN"):
        logging.warning(
            f"config.OPTIMIZER.name is {optimizer}, with which {name} collapses behind the "
            "high-pass filter: its first layer normalization multiplies the gradients of empty "
            "patches; adamw learns: +config/mscn/optimizer=adamw, or config=mscn/convnext_tiny"
        )


_SCALED = {
    "constant": "value",
    "inverse_sqrt": "start_value",
    "linear": "end_value",
    "multistep": "values",
    "step": "values",
    "step_with_fixed_gamma": "base_value",
}
"""Of schedules, the key in whose place VISSL's ``auto_lr_scaling`` puts its own rate; of every
schedule with "cosine" in its name it is ``start_value``."""


def _check_rates(cfg: Config) -> None:
    """Check that the rates of the schedules are the user's, and that VISSL can scale them.

    VISSL fills the keys of a schedule with its defaults, and scales without looking at the key.

    Raises:
        ConfigError: names the key that would be replaced, or that was not given.
    """
    settings = cfg.OPTIMIZER
    if cfg.MODEL.FEATURE_EVAL_SETTINGS.EXTRACT_TRUNK_FEATURES_ONLY:
        return  # nothing is trained, and the rates are VISSL's defaults
    # Configs of VISSL have the scaled rate of some other batch there.
    exact = is_pretraining(cfg) or is_evaluation(cfg)
    for name, schedule in _used_schedules(settings).items():
        if not isinstance(schedule, dict):
            continue
        path = f"config.OPTIMIZER.param_schedulers.{name}"
        scaling = schedule.get("auto_lr_scaling") or {}
        _check_defaults(path, schedule, settings.num_epochs)
        if scaling.get("auto_scale"):
            _check_scaling(path, schedule, scaling, exact)


def _check_scaling(
    path: str, schedule: dict[str, Any], scaling: dict[str, Any], exact: bool
) -> None:
    off = f"{path.partition('.schedulers[')[0]}.auto_lr_scaling.auto_scale=False"
    for factor in ("base_value", "base_lr_batch_size"):
        if not POSITIVE.holds(scaling.get(factor)):
            raise ConfigError(
                f"{path}.auto_lr_scaling.{factor} is {scaling.get(factor)!r}; it must be above 0: "
                "the learning rate is given for a batch"
            )
    name = str(schedule.get("name"))
    if name == "composite":
        for index, inner in enumerate(schedule.get("schedulers") or []):
            if isinstance(inner, dict):
                _check_scaling(f"{path}.schedulers[{index}]", inner, scaling, False)
        return
    key = "start_value" if "cosine" in name else _SCALED.get(name, "")
    if not key and name in PARAM_SCHEDULER_REGISTRY:
        raise ConfigError(
            f"{path}.name is {name!r}, which auto_lr_scaling cannot scale: add {off} and give the "
            "rate itself"
        )
    given = schedule.get(key)
    values: list[Any] = given if isinstance(given, list) else [given]
    if not values or not all(map(is_number, values)):
        return  # reported when the schedule is built
    first, base = values[0], scaling["base_value"]
    if exact and first != base:
        raise ConfigError(
            f"{path}.{key} is {given}, but auto_lr_scaling takes its own base_value, {base}: set "
            f"both to the same rate{', the first' if len(values) > 1 else ''}, or {off}"
        )
    if first <= 0 and ("cosine" in name or key == "values"):
        raise ConfigError(f"{path}.{key} is {given}; it must be above 0 to be scaled, or set {off}")
    ratio = values[1] / first if len(values) > 1 else 1
    scaled = [first * ratio**step for step in range(len(values))]
    if not all(math.isclose(*pair, rel_tol=1e-3) for pair in zip(values, scaled)):
        raise ConfigError(
            f"{path}.{key} is {given}; auto_lr_scaling keeps the first two and continues by their "
            f"ratio, to {scaled[-1]:g}: set them so, or {off}"
        )


def _check_defaults(path: str, schedule: dict[str, Any], num_epochs: int) -> None:
    """Refuse steps that are VISSL's defaults and not what the rest of the configuration says."""
    defaults = vissl_defaults()["OPTIMIZER"]["param_schedulers"]["lr"]
    if schedule.get("name") not in ("multistep", "step"):
        return
    values, start = schedule.get("values"), schedule.get("start_value")
    if values == defaults["values"] and start != values[0]:
        raise ConfigError(
            f"{path}.values is {values}, VISSL's default, and start_value, which "
            f"{schedule['name']} does not read, {start}: give values and milestones (if these are "
            f"meant, {path}.start_value={values[0]})"
        )
    steps = schedule.get("milestones")
    multistep = schedule["name"] == "multistep"
    if multistep and steps == defaults["milestones"] and num_epochs <= steps[0]:
        raise ConfigError(
            f"{path}.milestones is {steps}, VISSL's default, and config.OPTIMIZER.num_epochs "
            f"{num_epochs}, which reaches none of them: give values and milestones"
        )


def _check_schedules(settings: Any) -> dict[str, Any]:
    path, epochs = "config.OPTIMIZER.param_schedulers", settings.num_epochs
    for key in settings.param_schedulers:
        if key not in _SCHEDULED:
            raise ConfigError(
                f"{path}.{key} is a schedule that VISSL does not read; it must be one of "
                f"{', '.join(_SCHEDULED)}"
            )
    schedules = {
        key: _check_schedule(f"{path}.{key}", section, epochs)
        for key, section in _used_schedules(settings).items()
    }
    for key in {"lr", "lr_head"} & schedules.keys():
        _check_first_epoch(f"{path}.{key}", schedules[key])
    return schedules


def _check_first_epoch(path: str, schedule: ClassyParamScheduler) -> None:
    """Refuse a warm-up from 0 by epochs, whose first epoch would change no weight."""
    if schedule.update_interval == UpdateInterval.EPOCH and schedule(0.0) == 0 < schedule(0.5):
        raise ConfigError(
            f"{path}.update_interval is 'epoch' and the rate at the start 0, so that the whole "
            f"first epoch would change no weight: it must be 'step', or the start above 0 "
            f"({SCHEDULER}: warmup_start_value, or warmup_epochs=0)"
        )


def _used_schedules(settings: Any) -> dict[str, Any]:
    """The schedules of ``OPTIMIZER`` by what they change.

    VISSL puts the trunk's in the place of the heads', where those have none of their own.
    """
    own = settings.head_optimizer_params
    unused = {"lr_head": not own.use_different_lr, "weight_decay_head": not own.use_different_wd}
    return {k: v for k, v in settings.param_schedulers.items() if not unused.get(k)}


def _check_schedule(path: str, section: Any, num_epochs: int) -> Any:
    if not isinstance(section, dict) or section.get("name") not in PARAM_SCHEDULER_REGISTRY:
        name = section.get("name") if isinstance(section, dict) else section
        known = suggestion(str(name), PARAM_SCHEDULER_REGISTRY)
        raise ConfigError(f"{path}.name is {name!r}, which is not registered; {known}")
    if section["name"] == "composite":
        for index, inner in enumerate(section.get("schedulers") or []):
            _check_schedule(f"{path}.schedulers[{index}]", inner, num_epochs)
    name = section["name"]
    section = {**section, "num_epochs": num_epochs}
    part = PARAM_SCHEDULER_REGISTRY[name]
    rules, siblings = _SCHEDULE_RULES, PARAM_SCHEDULER_REGISTRY.values()
    of_schedules = {key for sibling in siblings for key in parameters_of(sibling)}
    defaults = vissl_defaults()["OPTIMIZER"]["param_schedulers"]["lr"]
    others = {"name", "num_epochs", *(defaults.keys() - of_schedules)}
    if name in ("multistep", "step"):
        others.add("start_value")  # by which :func:`_check_defaults` knows what is meant
    schedule = build(path, name, build_param_scheduler, section, part, others, rules, siblings)
    rates = [schedule(where) for where in (0.0, 0.5, 0.9999)]  # training never comes nearer to 1
    if not all(math.isfinite(rate) and rate >= 0 for rate in rates):
        raise ConfigError(
            f"{path} is {dict(section)!r}, which gives {rates}; it must be at least 0"
        )
    return schedule


def _fit_schedules(cfg: Config) -> None:
    """Fit schedules to a run of fewer epochs than their phases: a shorter warm-up, fewer steps.

    A warm-up as long as the run becomes a tenth of the run, as 10 epochs are in one of 100 (not
    stated in the paper). Of VISSL's steps those stay that the run reaches.
    """
    num_epochs = cfg.OPTIMIZER.num_epochs
    for name, schedule in _used_schedules(cfg.OPTIMIZER).items():
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
