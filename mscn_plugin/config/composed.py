"""The package's configs as Hydra composes them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from omegaconf import DictConfig, OmegaConf

from mscn_plugin.schema import defaults


def store_schema() -> None:
    """Give Hydra ``mscn/_schema``, from which the configs inherit: all keys of ``config.MSCN``.

    A key of a config can be overridden on the command line without ``+``. Stored once for all of a
    process's compositions: Hydra hands out copies.
    """
    store = ConfigStore.instance()
    if store.get_type("config/mscn/_schema.yaml") is ObjectType.CONFIG:
        return
    store.store(
        name="_schema",
        node={"config": {"MSCN": defaults()}},
        group="config/mscn",
        package="_global_",
        provider="mscn-plugin",
    )


def compose(overrides: Sequence[str]) -> DictConfig:
    """What VISSL's tool composes of ``overrides``, nothing of it checked."""
    from vissl.utils.hydra_config import compose_hydra_configuration

    with warnings.catch_warnings():  # VISSL was written for an older Hydra: warnings
        warnings.simplefilter("ignore")
        cfg: DictConfig = compose_hydra_configuration(list(overrides))
    return cfg


def composed(name: str) -> dict[str, Any]:
    """The ``config`` part of ``config=<name>``, as VISSL's tool composes it."""
    return OmegaConf.to_container(compose([f"config={name}"]).config)  # type: ignore[return-value]
