"""Checks of the model's heads."""

from __future__ import annotations

from typing import Any

from vissl.models.heads import MODEL_HEADS_REGISTRY

from mscn_plugin.allowed import Allowed, list_of, refuse, whole
from mscn_plugin.config.checks.build import build, call_of
from mscn_plugin.config.checks.vissl import refuse_name
from mscn_plugin.errors import ConfigError
from mscn_plugin.types import Config, is_whole

_RULES: dict[str, Allowed] = {
    key: whole(1) for key in ("in_channels", "in_plane", "hidden_dim", "num_classes", "num_towers")
}
_RULES["num_clusters"] = list_of(whole(1))


def check(cfg: Config) -> None:
    """Check the name of every head, and its settings against what takes them.

    ``dims`` may have null at its ends: what is before the first head and how many classes there
    are is inferred later.

    Raises:
        ConfigError: see :func:`mscn_plugin.config.checks.build.build`.
    """
    _check_names(cfg)
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
            build(path, name, call_of(part, cfg.MODEL), settings, part, rules=_RULES)


def _check_names(cfg: Config) -> None:
    """Check that each head is a registered name with its settings, or a chain of these."""
    for index, head in enumerate(cfg.MODEL.HEAD.PARAMS):
        chain = head if isinstance(head, list) and head and isinstance(head[0], list) else [head]
        for part in chain:
            if not isinstance(part, list) or len(part) != 2 or not isinstance(part[1], dict):
                refuse(
                    f"config.MODEL.HEAD.PARAMS[{index}]", part, "a list of a name and its settings"
                )
            if not isinstance(part[0], str) or part[0] not in MODEL_HEADS_REGISTRY:
                refuse_name(f"MODEL.HEAD.PARAMS[{index}][0]", part[0], MODEL_HEADS_REGISTRY)


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
