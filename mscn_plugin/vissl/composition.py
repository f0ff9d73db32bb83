"""What is done beside Hydra's composition of a configuration, from overrides to a result.

Nothing here is heavy: it is imported while Hydra starts.
"""

from __future__ import annotations

import functools
from typing import Any

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig

from mscn_plugin.errors import ConfigError
from mscn_plugin.schema import defaults
from mscn_plugin.vissl.command_line import is_base, list_of_configs

_hydras_load = ConfigLoaderImpl.load_configuration
_EARLIEST = (1, 3)


def install() -> None:
    """Put :func:`load_configuration` in the place of Hydra's."""
    ConfigLoaderImpl.load_configuration = load_configuration  # type: ignore[method-assign]


@functools.wraps(_hydras_load)
def load_configuration(
    self: Any, config_name: str | None, overrides: list[str], *more: Any, **options: Any
) -> DictConfig:
    """Hydra's, with checks of the configs that are named below ``mscn/``.

    ``+config.MSCN.KEY=...`` overrides a key that is there as it adds one that is not: configs of
    earlier versions had few of them.

    Raises:
        ConfigError: the name is that of a base, or the result is no configuration of MSCN.
    """
    asked = [name for name in map(_config_in, overrides) if name]
    for name in asked:
        if is_base(name):
            raise ConfigError(
                f"{name} is a base of other configs, not a config by itself. {list_of_configs()}"
            )
    version = tuple(int(number) for number in hydra.__version__.split(".")[:2])
    if asked and version < _EARLIEST:
        raise ConfigError(
            f"Hydra is {hydra.__version__}; config={asked[0]} needs hydra-core 1.3 or later, since "
            "earlier ones leave out what a config inherits"
        )
    forced = [f"+{o}" if o.startswith("+config.MSCN.") else o for o in overrides]
    cfg = _hydras_load(self, config_name, forced, *more, **options)
    for override in overrides:
        if override.startswith("config=mscn/"):
            _refuse_foreign(override, cfg)
    return cfg


def _config_in(override: str) -> str:
    """The name below ``mscn/`` in an override, ``mscn/machine/cpu`` for instance, or nothing."""
    key, _, value = override.lstrip("+").partition("=")
    group, _, folder = key.partition("/")
    name = f"{folder}/{value}".lstrip("/")
    return name if group == "config" and name.startswith("mscn/") else ""


def _refuse_foreign(override: str, cfg: DictConfig) -> None:
    """Refuse what would run VISSL's defaults under the name of a config of MSCN.

    Raises:
        ConfigError: the configuration inherits from none of ours and has no part of MSCN.
    """
    from mscn_plugin.config.checks.mscn import has_parts_of_mscn

    section = cfg.config.get("MSCN")
    inherits = isinstance(section, DictConfig) and defaults().keys() <= section.keys()
    if inherits or cfg.engine_name.startswith("mscn_") or has_parts_of_mscn(cfg.config):
        return
    raise ConfigError(
        f"{override} gives a configuration with nothing of MSCN: no mscn_task, and neither engine, "
        "collator, loss nor transform; let it inherit from a config of mscn-plugin "
        "(defaults: [/config/mscn/simclr, _self_]). " + list_of_configs()
    )
