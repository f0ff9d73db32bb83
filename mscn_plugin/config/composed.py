"""The package's configs as Hydra composes them."""

from __future__ import annotations

from typing import Any, Dict

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from mscn_plugin.config.folder import config_folder
from mscn_plugin.schema import defaults


def store_schema() -> None:
    """Give Hydra ``mscn/_schema``, from which the configs inherit: all keys of ``config.MSCN``.

    A key of a config can be overridden on the command line without ``+``.
    """
    ConfigStore.instance().store(
        name="_schema",
        node={"config": {"MSCN": defaults()}},
        group="config/mscn",
        package="_global_",
        provider="mscn-plugin",
    )


def composed(name: str, *overrides: str) -> Dict[str, Any]:
    """What ``config=<name>`` says, what it inherits included and VISSL's defaults not.

    Args:
        overrides: as on the command line, ``+config/mscn/machine=cpu`` for instance.
    """
    store_schema()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        cfg = compose(f"config/{name}", overrides=list(overrides))
    return OmegaConf.to_container(cfg.config)  # type: ignore[return-value]
