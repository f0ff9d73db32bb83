"""Checks all keys against VISSL's defaults: how each is spelled, what kind of value it has."""

from __future__ import annotations

import copy
import difflib
import functools
import itertools
import logging
import math
import re
from pathlib import Path
from typing import Any

import torch

from mscn_plugin.allowed import SOME_TEXT, refuse
from mscn_plugin.config.hydra_overrides import line_to_type, overridden_in
from mscn_plugin.errors import ConfigError, suggestion
from mscn_plugin.losses.registry import losses
from mscn_plugin.models.sections import sections_of
from mscn_plugin.types import Config, is_number, is_whole, value_at

_OPEN = re.compile(
    r"MSCN\.|LOSS\.\w+\.|OPTIMIZER\.|MODEL\.TRUNK\.\w+\.|METERS\.|MODEL\.AMP_PARAMS\.AMP_ARGS\.|"
    r"SLURM\.ADDITIONAL_PARAMETERS\.|DATA\.\w+\.COLLATE_FUNCTION_PARAMS\."
)
"""Sections whose other keys may be a loss's, an optimizer's, a trunk's; these check them."""
_OF_OLDER_CONFIGS = (
    *("MONITOR_PERF_STATS", "DATA.TRANSFORMS", "DISTRIBUTED.DISTR_ON", "LOSS.ignore_index"),
)
"""Keys that no longer exist and that configs of VISSL still have."""
_OF_ANY_TRUNK = ("HIGH_PASS", "INPUT")
"""Sections that stand beside that of a trunk."""
_OURS = {
    "LOSS": tuple(losses()),
    "MODEL.TRUNK": ("SMALL_RESNET", "TIMM", *_OF_ANY_TRUNK),
}
"""Sections of the package in those of VISSL."""
_NULLABLE = (
    *("COLLATE_FUNCTION_PARAMS", "EXPERIMENT_LOG_DIR"),  # in configs of VISSL
    *(name for names in _OURS.values() for name in names),  # defaults alone
)
_SET_BY_VISSL = ("MODEL._MODEL_INIT_SEED", "OPTIMIZER.base_optimizer")
_MAY_LACK = re.compile(
    r"(LOSS|METERS|MODEL\.TRUNK)\.\w+\.|(LOSS|MODEL\.TRUNK)\.(?!name$|NAME$)\w+$|MSCN$"
    r"|MODEL\.FSDP_CONFIG\."
)
"""Sections of which a run reads only one part, and one from which VISSL removes what it read."""
_ANY_SIGN = re.compile(r"LOSS\.|SVM\.")
_REAL = ("DROPOUT_RATE", "ATTENTION_DROPOUT_RATE", "DROP_PATH_RATE", "ETA", "MAX_NORM", "NORM_TYPE")
"""Keys whose default is a whole number and whose values need not be."""
_TEXTS = ("CHECKPOINT.DIR", "DISTRIBUTED.RUN_ID", "DISTRIBUTED.INIT_METHOD", "MODEL.TRUNK.NAME")
_ANY = (object, bool)
_KINDS: tuple[tuple[Any, tuple[Any, ...], str], ...] = (
    (dict, (dict,), "a section"),
    (bool, (bool,), "True or False"),
    ((int, float), (int, float), "a number"),
    (list, (list,), "a list"),
    (str, (str,), "text"),
    (object, _ANY, ""),
)
"""Of a default: its type, what a value may be in its place, and how that is called."""


def check(cfg: Config) -> None:
    """Check all keys against VISSL's defaults: what kind of value each is, and how it is spelled.

    Keys that VISSL does not have may be a loss's, a trunk's or the user's own; they are refused
    where they look like a misspelled one.

    Raises:
        ConfigError: names the first key that is neither.
    """
    defaults = _with_ours(vissl_defaults())
    _check_shape("", cfg, defaults)
    _check_finite("config", cfg)
    _check_transforms(cfg)
    for key in _TEXTS:
        SOME_TEXT.check(f"config.{key}", value_at(cfg, key))
    loss, trunk = cfg.LOSS.name, cfg.MODEL.TRUNK.NAME
    _warn_of_unread("LOSS", f"name is {loss}", [loss], defaults["LOSS"])
    own = [*sections_of(trunk), *_OF_ANY_TRUNK]
    _warn_of_unread("MODEL.TRUNK", f"NAME is {trunk}", own, defaults["MODEL"]["TRUNK"])


def _warn_of_unread(path: str, named: str, own: list[str], defaults: dict[str, Any]) -> None:
    """Warn of what the command line gives to a loss or trunk that the run does not have.

    Hydra takes it: the sections of all of them are among the defaults.

    Args:
        path: of the sections.
        named: what chooses among them.
        own: the sections that are read, the chosen one first.
        defaults: all sections, and other keys.
    """
    if own[0] not in defaults:
        return  # a user's own, which may read any
    others = [key for key, value in defaults.items() if isinstance(value, dict) and key not in own]
    for key in itertools.chain(*(overridden_in(f"{path}.{section}") for section in others)):
        logging.warning(
            f"{key} has no effect: config.{path}.{named}, whose section is config.{path}.{own[0]}"
        )


def _with_ours(defaults: dict[str, Any]) -> dict[str, Any]:
    """VISSL's defaults with the package's sections, of which other checks know the keys."""
    completed = copy.deepcopy(defaults)
    completed["MSCN"] = {}
    for path, names in _OURS.items():
        value_at(completed, path).update({name: {} for name in names})
    return completed


def _check_shape(path: str, section: Any, defaults: dict[str, Any]) -> None:
    for key in defaults:
        if key not in section and not _MAY_LACK.match(f"{path}{key}"):
            raise ConfigError(f"config.{path}{key} is missing, and VISSL reads it")
    for key, value in section.items():
        if key not in defaults:
            _check_unknown(path, key, value, defaults)
            continue
        if value is None and key in _NULLABLE:
            continue
        if isinstance(value, torch.dtype):
            continue  # VISSL has already made it from a string
        default = defaults[key]
        kind = next(k for k in _KINDS if isinstance(default, k[0]))
        if not isinstance(value, kind[1]) or (isinstance(value, bool) and bool not in kind[1]):
            refuse(
                f"config.{path}{key}",
                value,
                kind[2] + _as_text(f"config.{path}{key}", value, default),
            )
        if is_number(default) and not _ANY_SIGN.match(path):
            smallest = default if default < 0 else 0
            if isinstance(default, int) and key not in _REAL and not is_whole(value):
                refuse(f"config.{path}{key}", value, "a whole number")
            if value < smallest:
                refuse(f"config.{path}{key}", value, f"at least {smallest}")
        if isinstance(default, dict):
            _check_shape(f"{path}{key}.", value, default)


def _as_text(key: str, value: Any, default: Any) -> str:
    """How to type what Hydra has read as a number, True or False, where it must be text."""
    if not isinstance(default, str) or not isinstance(value, (int, float)):
        return ""
    return f": {line_to_type(key, str(value))}"


def _check_unknown(path: str, key: Any, value: Any, defaults: dict[str, Any]) -> None:
    """Refuse a key of its own in a section of VISSL's, and a name that is nearly one of VISSL's.

    A section of one's own may stand anywhere, with any keys.
    """
    name = f"{path}{key}"
    if name in _OF_OLDER_CONFIGS or name in _SET_BY_VISSL:
        return
    is_open = bool(_OPEN.match(path))
    # Top-level sections of one's own are rare; a loss's keys are like another's.
    cutoff = 0.6 if not path else 0.85 if is_open else 0.75
    near = difflib.get_close_matches(str(key), defaults, n=1, cutoff=cutoff)
    if near:
        names = f"config.{name} is not a key of VISSL; did you mean config.{path}"
        raise ConfigError(f"{names}{near[0]}?")
    if not isinstance(value, dict) and not is_open:
        raise ConfigError(
            f"config.{name} is not a key of VISSL; {suggestion(str(key), defaults)} (a key of your "
            "own needs a section of its own)"
        )


def _check_finite(path: str, value: Any) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_finite(f"{path}.{key}", inner)
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            _check_finite(f"{path}[{index}]", inner)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{path} is {value!r}; it must be a finite number")


def _check_transforms(cfg: Config) -> None:
    for split in ("TRAIN", "TEST"):
        for index, transform in enumerate(cfg.DATA[split].TRANSFORMS):
            if not isinstance(transform, dict) or not isinstance(transform.get("name"), str):
                key = f"config.DATA.{split}.TRANSFORMS[{index}]"
                refuse(key, transform, "a section with the transform's name and its settings")


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


@functools.cache
def vissl_defaults() -> dict[str, Any]:
    """The ``config`` part of VISSL's ``defaults.yaml``."""
    import vissl.config
    from omegaconf import OmegaConf

    # As Hydra reads it: to PyYAML 1e-5 is text.
    file = Path(vissl.config.__file__).with_name("defaults.yaml")
    return OmegaConf.to_container(OmegaConf.load(str(file)).config)  # type: ignore[return-value]
