"""Builds every part that a configuration names once, in the launching process.

VISSL builds transforms, collators, heads, optimizer and schedules in its workers. Most of them read
the keys that they know and say nothing of the others, and few check what they read. Here each part
is built from its section by its own code; the keys that this code asks for are those that it knows,
VISSL's parts and a user's alike.
"""

from __future__ import annotations

import copy
import inspect
import logging
import math
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from classy_vision.dataset.transforms import TRANSFORM_REGISTRY, build_transform
from classy_vision.optim import OPTIMIZER_REGISTRY
from classy_vision.optim.param_scheduler import PARAM_SCHEDULER_REGISTRY, build_param_scheduler
from torchvision import transforms as torchvision_transforms
from vissl.data.collators import COLLATOR_REGISTRY
from vissl.models.heads import MODEL_HEADS_REGISTRY

from mscn_plugin.config.checks.evaluation import is_evaluation
from mscn_plugin.config.checks.vissl import vissl_defaults
from mscn_plugin.errors import ConfigError, suggestion
from mscn_plugin.types import Config, is_number, is_whole

Rule = tuple[Callable[[Any], bool], str]
"""Whether a value is right, and what it must be in words."""

_WRAPPER_KEYS = ("name", "indices", "transform_type")
"""Keys of a transform that VISSL's wrapper reads."""
_NO_KEYS = ("name", "self", "batch", "model_config", "num_updates")
"""Arguments of parts that do not come from their sections."""
_SCHEDULED = ("lr", "lr_head", "weight_decay", "weight_decay_head")
"""What VISSL changes along a schedule."""
_UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")


def _at_least(smallest: float) -> Rule:
    return lambda value: is_number(value) and value >= smallest, f"a number of at least {smallest}"


def _whole(smallest: int) -> Rule:
    return lambda v: is_whole(v) and v >= smallest, f"a whole number of at least {smallest}"


def _list_of(rule: Rule, lengths: Iterable[int] = (), ordered: bool = False) -> Rule:
    """A list whose entries keep ``rule``, of one of ``lengths`` (none: any above 0)."""
    lengths = tuple(lengths)

    def right(value: Any) -> bool:
        return (
            isinstance(value, (list, tuple))
            and bool(len(value) in lengths if lengths else value)
            and all(map(rule[0], value))
            and (not ordered or list(value) == sorted(value))
        )

    count = f"of {' or '.join(map(str, lengths))} " if lengths else ""
    return right, f"a list {count}with entries that are each {rule[1]}" + (
        ", the smaller first" if ordered else ""
    )


def _or(one: Rule, other: Rule) -> Rule:
    return lambda value: one[0](value) or other[0](value), f"{one[1]}, or {other[1]}"


_FRACTION: Rule = (lambda v: is_number(v) and 0 <= v <= 1, "a number from 0 to 1")
_POSITIVE: Rule = (lambda v: is_number(v) and v > 0, "a number above 0")
_BELOW_ONE: Rule = (lambda v: is_number(v) and 0 <= v < 1, "a number of at least 0 and below 1")
_PART_OF_IMAGE: Rule = (lambda v: is_number(v) and 0 < v <= 1, "a number above 0, at most 1")
_SIZES = _list_of(_whole(1))

_TRANSFORM_RULES: dict[str, Rule] = {
    "p": _or(_FRACTION, _list_of(_FRACTION)),
    "prob": _or(_FRACTION, _list_of(_FRACTION)),
    "strength": _at_least(0),
    "radius_min": _at_least(0),
    "radius_max": _at_least(0),
    "size": _or(_whole(1), _list_of(_whole(1), (1, 2))),
    "num_times": _whole(1),
    "total_num_crops": _whole(1),
    "num_crops": _SIZES,
    "size_crops": _SIZES,
    "interpolation": (lambda v: is_whole(v) and 0 <= v <= 5, "a whole number from 0 to 5"),
    "value": (lambda v: v is not None, "given"),  # RandomErasing says what it may be
    # In units of the range from 0 to 1 that ToTensor gives.
    "mean": _list_of(_FRACTION, (1, 3)),
    "std": _list_of((lambda v: is_number(v) and 0 < v <= 1, "above 0 and at most 1"), (1, 3)),
}
"""Of keys of transforms that the transforms themselves do not check, or in the workers alone."""

_CROP_RULES = {
    "scale": _list_of(_PART_OF_IMAGE, (2,), ordered=True),
    "ratio": _list_of(_POSITIVE, (2,), ordered=True),
}
_RESIZED_CROPS = ("RandomResizedCrop", "MSCNRandomResizedCrops")

_HEAD_RULES: dict[str, Rule] = {
    key: _whole(1) for key in ("in_channels", "in_plane", "hidden_dim", "num_classes", "num_towers")
}
_HEAD_RULES["num_clusters"] = _SIZES

_OPTIMIZER_RULES: dict[str, Rule] = {
    "momentum": _BELOW_ONE,
    "weight_decay": _at_least(0),
    "eta": _POSITIVE,
    "eps": _POSITIVE,
    "alpha": _BELOW_ONE,
    "betas": _list_of(_BELOW_ONE, (2,)),
}

_SCHEDULE_RULES: dict[str, Rule] = {
    "start_value": _at_least(0),
    "end_value": _at_least(0),
    "value": _at_least(0),
    "values": _list_of(_at_least(0)),
    "milestones": _or((lambda v: v == [], "empty"), _list_of(_whole(1), ordered=True)),
    "lengths": _list_of(_PART_OF_IMAGE),
    "update_interval": (lambda v: v in ("step", "epoch"), "step or epoch"),
}


class Asked(dict[str, Any]):
    """A section of a configuration that notes for which keys it is asked.

    Attributes:
        names: the keys so far. Whoever goes through all keys has asked for those that are there.
    """

    def __init__(self, section: Mapping[str, Any]) -> None:
        super().__init__(section)
        self.names: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.names.add(key)
        return super().__getitem__(key)

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__") or key not in self:
            raise AttributeError(key)
        return self[key]

    def __contains__(self, key: Any) -> bool:
        self.names.add(key)
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.names.add(key)
        return super().get(key, default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        self.names.add(key)
        return super().setdefault(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        self.names.add(key)
        return super().pop(key, *default)

    def __iter__(self) -> Any:
        self.names.update(super().keys())
        return super().__iter__()

    def keys(self) -> Any:
        self.names.update(super().keys())
        return super().keys()

    def items(self) -> Any:
        self.names.update(super().keys())
        return super().items()

    def __copy__(self) -> Asked:
        twin = Asked(dict(super().items()))
        twin.names = self.names
        return twin

    copy = __copy__


def build(
    path: str,
    name: str,
    make: Callable[[Any], Any],
    section: Mapping[str, Any],
    part: Any,
    others: Iterable[str] = (),
    rules: Mapping[str, Rule] = {},
    siblings: Iterable[Any] = (),
) -> Any:
    """Build a part from a copy of its section.

    Args:
        path: the section's key.
        name: of the part, as messages call it.
        make: builds the part from the section.
        part: the class or function whose signature says more of the values, or None.
        others: keys of the section that somebody else reads, too.
        rules: what the values of some keys must be, where the part reads them.
        siblings: parts that may stand in its place. Their keys stay behind where a name alone is
            overridden, which is said and no error.

    Raises:
        ConfigError: an unknown key, a wrong value, or whatever ``make`` raises.
    """
    parameters, asked = _parameters(part), Asked(copy.deepcopy(dict(section)))
    error: Exception | None = None
    built = None
    try:
        built = make(asked)
    except Exception as raised:
        error = raised
    unexpected = _UNEXPECTED.search(str(error))
    unknown = [unexpected[1]] if unexpected and unexpected[1] in section else []
    if unknown:  # an error names one of them
        unknown += [key for key in section if key not in {*parameters, *others, *unknown}]
    if error is None:
        unknown = [key for key in section if key not in asked.names and key not in others]
    of_siblings = {key for sibling in siblings for key in _parameters(sibling)}
    for key in unknown:
        if error is None and key in of_siblings:
            logging.warning(f"{path}.{key} has no effect: {name} does not read it")
            continue
        known = {*parameters, *(asked.names if error is None else ())} - {*unknown, *_NO_KEYS}
        meant = suggestion(key, known) if known else "it has none"
        raise ConfigError(
            f"{path}.{key} is not a key of {name}; {meant} ({_way_out(path, unknown)})"
        )
    if _begins_with_a_key(error, section):
        raise ConfigError(f"{path}.{error}") from error
    for key, value in section.items():
        if key in asked.names or (key in parameters and key not in others):
            _check_value(f"{path}.{key}", value, rules.get(key), parameters.get(key))
    if error is not None:
        read = {key: value for key, value in section.items() if key in asked.names}
        raise refusal(path, read, name, error) from error
    return built


def _way_out(path: str, keys: list[str]) -> str:
    """What takes keys out of a section of the config, with which Hydra merges what is given."""
    dotted = re.sub(r"\[(\d+)\]", r".\1", path)
    if path.endswith("COLLATE_FUNCTION_PARAMS") and len(keys) > 1:
        return f"{path}=null takes all out, which {{}} does not"
    them = "it" if len(keys) == 1 else "them"
    way = f"{' '.join(f'~{dotted}.{key}' for key in keys)} takes {them} out"
    in_list = re.match(r"(.*?)\[\d+\]", path)
    if in_list is None:
        return way
    return f"{way}; to replace an entry give the whole list, {in_list[1]}=[...]"


def _begins_with_a_key(error: Exception | None, section: Mapping[str, Any]) -> bool:
    """Whether the words of an error are those of a part of ours, which name the key first."""
    return isinstance(error, ValueError) and str(error).split(" ")[0] in section


def refusal(path: str, value: Any, name: str, error: Exception) -> ConfigError:
    """The error for a value that ``name`` does not take, with its own words as the reason."""
    if isinstance(error, ConfigError):
        return error
    text = " ".join(str(error).split())
    if not isinstance(error, (AssertionError, ValueError)) or not text:
        text = f"{type(error).__name__}: {text}"
    return ConfigError(f"{path} is {value!r}, which {name} does not take: {text[:300]}")


def _parameters(part: Any) -> dict[str, inspect.Parameter]:
    """The arguments of a class or function by name, their annotations as types."""
    if part is None:
        return {}
    try:
        parameters = inspect.signature(part).parameters
    except (TypeError, ValueError):  # of C
        return {}
    try:
        hints = typing.get_type_hints(part.__init__ if inspect.isclass(part) else part)
    except Exception:  # an annotation that names what is not there
        hints = {}
    return {
        name: parameter.replace(annotation=hints.get(name, parameter.empty))
        for name, parameter in parameters.items()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }


def _check_value(
    path: str, value: Any, rule: Rule | None, parameter: inspect.Parameter | None
) -> None:
    if parameter is None and rule is None:
        return
    if value is None and parameter is not None:
        optional = type(None) in typing.get_args(parameter.annotation)
        if parameter.default is None or optional:
            return
    right, wanted = rule or _kind_of(parameter)
    if not right(value):
        raise ConfigError(f"{path} is {value!r}; it must be {wanted}")


_BOOL: Rule = (lambda v: isinstance(v, bool), "True or False")
_KINDS: dict[Any, Rule] = {
    bool: _BOOL,
    int: (is_whole, "a whole number"),
    float: (is_number, "a number"),
    str: (lambda v: isinstance(v, str), "text"),
}
_GIVEN: Rule = (lambda v: v is not None, "given, or left out for the default")


def _kind_of(parameter: Any) -> Rule:
    """What a signature says of a value: by the annotation, or else by the default."""
    if parameter.annotation in _KINDS:
        return _KINDS[parameter.annotation]
    if isinstance(parameter.default, bool):
        return _BOOL
    if isinstance(parameter.default, (int, float)):  # one, or one for each channel or side
        return lambda v: v is not None and not isinstance(v, (bool, str)), "a number"
    return _GIVEN


def _check_all_transforms(cfg: Config) -> None:
    """Build every transform of both splits.

    Raises:
        ConfigError: see :func:`build`.
    """
    for split in ("TRAIN", "TEST"):
        _check_transforms(f"config.DATA.{split}.TRANSFORMS", cfg.DATA[split].TRANSFORMS)


def _check_transforms(path: str, transforms: list[dict[str, Any]]) -> None:
    for index, section in enumerate(transforms):
        place, name = f"{path}[{index}]", section["name"]
        if section.get("transform_type") is not None:
            continue  # augly's, built in the dry run
        nested = section.get("transforms")
        if isinstance(nested, list):
            for inner in nested:
                if not isinstance(inner, dict) or "name" not in inner:
                    raise ConfigError(f"{place}.transforms has {inner!r}; it must name a transform")
            _check_transforms(f"{place}.transforms", nested)
        rules = {**_TRANSFORM_RULES, **(_CROP_RULES if name in _RESIZED_CROPS else {})}
        build(place, name, _make_transform, section, _transform(name), _WRAPPER_KEYS, rules)
        low, high = section.get("radius_min", 0.1), section.get("radius_max", 2.0)
        if "Blur" in name and low > high:
            raise ConfigError(f"{place}.radius_min is {low}; it must be at most radius_max, {high}")


def _make_transform(section: Asked) -> Any:
    """As Classy Vision does, which copies the section and would so ask for all of its keys."""
    registered = TRANSFORM_REGISTRY.get(section["name"])
    if registered is None:
        return build_transform(section)
    section.pop("name")
    return registered.from_config(section)


def _transform(name: str) -> Any:
    """The class of a transform, of VISSL's registry or of torchvision in its two spellings."""
    spelled = name if hasattr(torchvision_transforms, name) else name.title().replace("_", "")
    return TRANSFORM_REGISTRY.get(name) or getattr(torchvision_transforms, spelled, None)


def check_collators(cfg: Config) -> None:
    """Check the parameters of both collators against the functions that take them.

    Raises:
        ConfigError: see :func:`build`.
    """
    for split in ("TRAIN", "TEST"):
        data = cfg.DATA[split]
        collator = COLLATOR_REGISTRY.get(data.COLLATE_FUNCTION)
        if collator is not None:  # PyTorch's own, which VISSL hands no parameters
            path, settings = (
                f"config.DATA.{split}.COLLATE_FUNCTION_PARAMS",
                data.COLLATE_FUNCTION_PARAMS,
            )
            build(path, data.COLLATE_FUNCTION, _bound(collator, []), settings or {}, collator)


def _bound(part: Any, *first: Any) -> Callable[[Any], Any]:
    """What stands for a call of ``part`` that is not made: its arguments have to fit."""
    signature = inspect.signature(part)
    return lambda given: signature.bind(*first, **given)


def check_heads(cfg: Config) -> None:
    """Check the settings of every head against the class or function that takes them.

    ``dims`` may have null at its ends: what is before the first head and how many classes there
    are is inferred later.

    Raises:
        ConfigError: see :func:`build`.
    """
    for index, head in enumerate(cfg.MODEL.HEAD.PARAMS):
        nested = isinstance(head[0], list)
        for number, (name, settings) in enumerate(head if nested else [head]):
            place = f"[{index}][{number}]" if nested else f"[{index}]"
            path = f"config.MODEL.HEAD.PARAMS{place}[1]"
            part = MODEL_HEADS_REGISTRY[name]
            if "dims" in settings:
                _check_dims(f"{path}.dims", settings["dims"])
            if "fsdp" in name:
                if cfg.MACHINE.DEVICE == "cpu":
                    raise ConfigError(
                        f"config.MODEL.HEAD.PARAMS{place}[0] is {name!r}, which needs GPUs; "
                        "config.MACHINE.DEVICE is cpu"
                    )
                continue  # it needs the other processes
            build(path, name, _bound(part, cfg.MODEL), settings, part, rules=_HEAD_RULES)


def _check_dims(path: str, dims: Any) -> None:
    def right(position: int, size: Any) -> bool:
        at_an_end = position in (0, len(dims) - 1)
        return (is_whole(size) and size >= 1) or (size is None and at_an_end)

    whole = isinstance(dims, list) and len(dims) >= 2
    if not whole or not all(right(i, size) for i, size in enumerate(dims)):
        raise ConfigError(
            f"{path} is {dims!r}; it must be a list of at least two whole numbers above 0, input "
            "first (null at its ends: the trunk's features, the number of classes)"
        )


def check_optimizer(cfg: Config) -> None:
    """Build the optimizer with its schedules, on one parameter.

    Raises:
        ConfigError: see :func:`build`.
    """
    settings = cfg.OPTIMIZER
    # Classy Vision asks for a float by its type, and 0 is what people write.
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
    part, defaults = OPTIMIZER_REGISTRY[settings.name], vissl_defaults()["OPTIMIZER"]

    def make(section: Any) -> Any:
        optimizer = part.from_config(section)
        parameter = torch.nn.Parameter(torch.zeros(1))
        optimizer.set_param_groups([{"params": [parameter], "lr": schedules["lr"]}])
        return optimizer

    siblings = OPTIMIZER_REGISTRY.values()
    rules = _OPTIMIZER_RULES
    build("config.OPTIMIZER", settings.name, make, settings, part, defaults, rules, siblings)
    if settings.nesterov and "nesterov" not in _parameters(part):
        raise ConfigError(
            f"config.OPTIMIZER.nesterov is True, which {settings.name} does not read; it must be "
            "False"
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


def check_rates(cfg: Config) -> None:
    """Check that the rates of the schedules are the user's, and that VISSL can scale them.

    VISSL fills the keys of a schedule with its defaults, and scales without a look at the key.

    Raises:
        ConfigError: names the key that would be replaced, or that nobody has given.
    """
    settings = cfg.OPTIMIZER
    # Configs of VISSL have the scaled rate of some other batch there.
    exact = cfg.TRAINER.TASK_NAME == "mscn_task" or is_evaluation(cfg)
    for name, schedule in used_schedules(settings).items():
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
        if not _POSITIVE[0](scaling.get(factor)):
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
        return  # said when the schedule is built
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
            f"{path}.{key} is {given}; auto_lr_scaling keeps the first two and goes on by their "
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
    return {
        key: _check_schedule(f"{path}.{key}", section, epochs)
        for key, section in used_schedules(settings).items()
    }


def used_schedules(settings: Any) -> dict[str, Any]:
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
    others = {"name", "num_epochs", *vissl_defaults()["OPTIMIZER"]["param_schedulers"]["lr"]}
    section = {**section, "num_epochs": num_epochs}
    part = PARAM_SCHEDULER_REGISTRY[name]
    rules, siblings = _SCHEDULE_RULES, PARAM_SCHEDULER_REGISTRY.values()
    schedule = build(path, name, build_param_scheduler, section, part, others, rules, siblings)
    rates = [schedule(where) for where in (0.0, 0.5, 0.9999)]  # training never comes nearer to 1
    if not all(math.isfinite(rate) and rate >= 0 for rate in rates):
        raise ConfigError(
            f"{path} is {dict(section)!r}, which gives {rates}; it must be at least 0"
        )
    return schedule


RULES = (_check_all_transforms, check_heads, check_optimizer)
"""Of the parts that are built before a checkpoint is looked at."""
