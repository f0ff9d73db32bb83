"""Checks of VISSL's own keys, which VISSL itself would trip over in its workers or not at all."""

from __future__ import annotations

import difflib
import functools
import operator
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Tuple

import torch
import vissl.losses
import vissl.optimizers  # noqa: F401
from classy_vision.dataset.transforms import TRANSFORM_REGISTRY
from classy_vision.losses import LOSS_REGISTRY
from classy_vision.optim import OPTIMIZER_REGISTRY
from classy_vision.optim.param_scheduler import PARAM_SCHEDULER_REGISTRY
from classy_vision.tasks import TASK_REGISTRY
from torch.nn.modules import loss as torch_losses
from torchvision import transforms as torchvision_transforms
from vissl.data.collators import COLLATOR_REGISTRY
from vissl.models.heads import MODEL_HEADS_REGISTRY
from vissl.trainer.train_steps import TRAIN_STEP_REGISTRY
from vissl.utils.misc import is_apex_available

from mscn_plugin.errors import ConfigError, suggestion

_WHOLE_NUMBERS = {  # smallest allowed value
    "SEED_VALUE": 0,
    "LOG_FREQUENCY": 1,
    "OPTIMIZER.num_epochs": 1,
    "DATA.NUM_DATALOADER_WORKERS": 0,
    "DISTRIBUTED.NUM_NODES": 1,
    "DISTRIBUTED.NUM_PROC_PER_NODE": 1,
    "CHECKPOINT.CHECKPOINT_FREQUENCY": 1,
    "CHECKPOINT.CHECKPOINT_ITER_FREQUENCY": -1,
    "CHECKPOINT.LATEST_CHECKPOINT_RESUME_FILE_NUM": 1,
}
_NUMBERS: Dict[str, Tuple[Callable[[Any], bool], str]] = {
    "OPTIMIZER.momentum": (lambda value: 0 <= value < 1, "at least 0 and below 1"),
    "OPTIMIZER.weight_decay": (lambda value: 0 <= value < float("inf"), "at least 0"),
}
_COLLATORS = (*COLLATOR_REGISTRY, "default_collate")
_NAMES = {
    "TRAINER.TASK_NAME": TASK_REGISTRY,
    "TRAINER.TRAIN_STEP_NAME": TRAIN_STEP_REGISTRY,
    "OPTIMIZER.name": OPTIMIZER_REGISTRY,
    "OPTIMIZER.param_schedulers.lr.name": PARAM_SCHEDULER_REGISTRY,
    "DATA.TRAIN.COLLATE_FUNCTION": _COLLATORS,
    "DATA.TEST.COLLATE_FUNCTION": _COLLATORS,
}
_TEXTS = ("CHECKPOINT.DIR", "DISTRIBUTED.RUN_ID", "DISTRIBUTED.INIT_METHOD", "MODEL.TRUNK.NAME")
_CHOICES = {"MACHINE.DEVICE": ("cpu", "gpu"), "CHECKPOINT.BACKEND": ("disk",)}


def check_vissl_keys(cfg: Any) -> None:
    """Check names against VISSL's registries and numbers against their ranges.

    Raises:
        ConfigError: a name is not registered, a value is out of its range, or two do not fit.
    """
    for key, smallest in _WHOLE_NUMBERS.items():
        value = _value(cfg, key)
        if not isinstance(value, int) or isinstance(value, bool) or value < smallest:
            _refuse(key, value, f"a whole number of at least {smallest}")
    for key, (allowed, description) in _NUMBERS.items():
        value = _value(cfg, key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not allowed(value):
            _refuse(key, value, f"a number, {description}")
    for key, options in _CHOICES.items():
        if _value(cfg, key) not in options:
            _refuse(key, _value(cfg, key), " or ".join(options))
    for key, registry in _NAMES.items():
        if _value(cfg, key) not in registry:
            _refuse_name(key, _value(cfg, key), registry)
    if cfg.LOSS.name not in LOSS_REGISTRY and not hasattr(torch_losses, str(cfg.LOSS.name)):
        _refuse_name("LOSS.name", cfg.LOSS.name, LOSS_REGISTRY)
    for path, name in _transform_names(cfg):
        if name not in TRANSFORM_REGISTRY and not _of_torchvision(name):
            _refuse_name(path, name, [*TRANSFORM_REGISTRY, *dir(torchvision_transforms)])
    for index, head in enumerate(cfg.MODEL.HEAD.PARAMS):
        chain = head if isinstance(head, list) and head and isinstance(head[0], list) else [head]
        for part in chain:
            if not isinstance(part, list) or len(part) != 2 or not isinstance(part[1], dict):
                _refuse(f"MODEL.HEAD.PARAMS[{index}]", part, "a list of a name and its settings")
            if part[0] not in MODEL_HEADS_REGISTRY:
                _refuse_name(f"MODEL.HEAD.PARAMS[{index}][0]", part[0], MODEL_HEADS_REGISTRY)
    _check_together(cfg)
    _check_folder(cfg.CHECKPOINT.DIR)


def _check_together(cfg: Any) -> None:
    if cfg.OPTIMIZER.use_larc and not is_apex_available():
        raise ConfigError(
            "config.OPTIMIZER.use_larc is True, which needs apex; without it set False, and "
            "config.OPTIMIZER.name=lars for large batches"
        )
    if cfg.MODEL.AMP_PARAMS.USE_AMP and cfg.MACHINE.DEVICE == "cpu":
        raise ConfigError(
            "config.MODEL.AMP_PARAMS.USE_AMP is True with config.MACHINE.DEVICE cpu; VISSL's mixed "
            "precision is CUDA's: it must be False"
        )
    schedule = cfg.OPTIMIZER.param_schedulers.lr
    scaling = schedule.get("auto_lr_scaling") or {}
    for key in ("base_value", "base_lr_batch_size"):
        value = scaling.get(key)
        if scaling.get("auto_scale") and (not isinstance(value, (int, float)) or not value > 0):
            path = f"OPTIMIZER.param_schedulers.lr.auto_lr_scaling.{key}"
            _refuse(path, value, "above 0: the learning rate is given for a batch")
    rate, base = schedule.get("start_value"), scaling.get("base_value")
    if schedule.name == "mscn_warmup_cosine" and scaling.get("auto_scale") and rate != base:
        raise ConfigError(
            f"config.OPTIMIZER.param_schedulers.lr.start_value is {rate}, but auto_lr_scaling "
            f"takes its own base_value, {base}: set both to the same, or "
            "config.OPTIMIZER.param_schedulers.lr.auto_lr_scaling.auto_scale=False"
        )
    if cfg.TRAINER.TASK_NAME == "mscn_task" and not cfg.MODEL.HEAD.PARAMS:
        raise ConfigError("config.MODEL.HEAD.PARAMS is []; mscn_task needs at least one head")
    if cfg.TRAINER.TASK_NAME == "mscn_task" and cfg.DATA.TRAIN.ENABLE_QUEUE_DATASET:
        raise ConfigError(
            "config.DATA.TRAIN.ENABLE_QUEUE_DATASET is True, which fills gaps with whatever was "
            "read before; it must be False: mscn_task takes the next image"
        )


def check_shape(cfg: Any) -> None:
    """Check all keys against VISSL's defaults: what kind of value each is, and how it is spelt.

    Keys that VISSL does not have may be a loss's, a trunk's or the user's own; they are refused
    where they look like a misspelt one.

    Raises:
        ConfigError: names the first key that is neither.
    """
    _check_shape("", cfg, {**vissl_defaults(), "MSCN": {}})
    for key in _TEXTS:
        if not isinstance(_value(cfg, key), str):
            _refuse(key, _value(cfg, key), "text")


def _check_shape(path: str, section: Any, defaults: Dict[str, Any]) -> None:
    for key, value in section.items():
        if key not in defaults:
            # Sections of one's own are rare, keys of one's own are not.
            cutoff = 0.85 if path else 0.6
            near = difflib.get_close_matches(str(key), defaults, n=1, cutoff=cutoff)
            if near:
                names = f"config.{path}{key} is not a key of VISSL; did you mean config.{path}"
                raise ConfigError(f"{names}{near[0]}?")
            continue
        if key == "COLLATE_FUNCTION_PARAMS" and value is None:
            continue  # no parameters, as VISSL's own pages say it
        if isinstance(value, torch.dtype):
            continue  # VISSL has been here before, and made it of a text
        kind = next(k for k in _KINDS if isinstance(defaults[key], k[0]))
        if not isinstance(value, kind[1]) or (isinstance(value, bool) and bool not in kind[1]):
            _refuse(f"{path}{key}", value, kind[2])
        if isinstance(defaults[key], dict):
            _check_shape(f"{path}{key}.", value, defaults[key])


_ANY = (object, bool)
_KINDS: Tuple[Tuple[Any, Tuple[Any, ...], str], ...] = (
    (dict, (dict,), "a section"),
    (bool, (bool,), "True or False"),
    ((int, float), (int, float), "a number"),
    (list, (list,), "a list"),
    (str, (str, type(None)), "text"),  # null as in VISSL's own pages
    (object, _ANY, ""),
)
"""Of a default: its type, what a value may be in its place, and how that is called."""


def meant_by(key: str) -> str:
    """``; did you mean ...?`` for a dotted key that VISSL does not have, or nothing."""
    section: Any = {"config": vissl_defaults()}
    path = []
    for name in key.split("."):
        if not isinstance(section, dict):
            return ""
        near = difflib.get_close_matches(name, section, n=1)
        if not near:
            return ""
        path.append(near[0])
        section = section[near[0]]
    return f"; did you mean {'.'.join(path)}?" if ".".join(path) != key else ""


@functools.lru_cache(maxsize=None)
def vissl_defaults() -> Dict[str, Any]:
    """The ``config`` part of VISSL's ``defaults.yaml``."""
    import vissl.config
    from omegaconf import OmegaConf

    # As Hydra reads it: to PyYAML 1e-5 is text.
    file = Path(vissl.config.__file__).with_name("defaults.yaml")
    return OmegaConf.to_container(OmegaConf.load(str(file)).config)  # type: ignore[return-value]


def _check_folder(name: str) -> None:
    folder = Path(name)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        _refuse("CHECKPOINT.DIR", name, f"a folder, and {str(existing)!r} is a file")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError:
        _refuse("CHECKPOINT.DIR", name, f"writable, and {str(existing)!r} is not")


def _transform_names(cfg: Any) -> Iterator[Tuple[str, str]]:
    for split in ("TRAIN", "TEST"):
        for index, transform in enumerate(cfg.DATA[split].TRANSFORMS):
            yield f"DATA.{split}.TRANSFORMS[{index}].name", str(transform.get("name"))


def _of_torchvision(name: str) -> bool:
    """Whether Classy Vision would find the transform there, in snake case, too."""
    names = (name, name.title().replace("_", ""))
    return any(hasattr(torchvision_transforms, n) for n in names) or name.endswith("Video")


def _value(cfg: Any, key: str) -> Any:
    return functools.reduce(operator.getitem, key.split("."), cfg)


def _refuse(key: str, value: Any, wanted: str) -> None:
    raise ConfigError(f"config.{key} is {value!r}; it must be {wanted}")


def _refuse_name(key: str, name: Any, known: Any) -> None:
    meant = suggestion(str(name), known)
    raise ConfigError(f"config.{key} is {name!r}, which is not registered; {meant}")
