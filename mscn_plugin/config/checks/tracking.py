"""Whether the libraries of ``MSCN.TRACKING`` are installed."""

from __future__ import annotations

import importlib.util
import os

from mscn_plugin.errors import ConfigError
from mscn_plugin.schema import is_pretraining
from mscn_plugin.types import Config

_NEEDED = {"wandb": ("wandb",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}
"""Modules that each service needs, all of them where it writes to a file."""
_INSTALL = {"wandb": "wandb", "mlflow": "mlflow-skinny sqlalchemy alembic"}


def check(cfg: Config) -> None:
    """Check, without importing them, that the libraries of a run's services are there.

    Raises:
        ConfigError: one is not, with the line that installs it.
    """
    settings = cfg.MSCN
    if not is_pretraining(cfg):
        return
    server = os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http")
    for service in settings.TRACKING:
        needed = _NEEDED[service]
        if service == "mlflow" and server and not settings.TRACKING_DIR:
            needed = needed[:1]
        for module in needed:
            if not _is_installed(module):
                raise ConfigError(
                    f"config.MSCN.TRACKING is {list(settings.TRACKING)}, and {module} is not "
                    f"installed: pip install {_INSTALL[service]}"
                )


def _is_installed(module: str) -> bool:
    spec = importlib.util.find_spec(module)
    # A folder of W&B's own files, wandb/ in the working directory, is a module without an origin.
    return spec is not None and spec.origin is not None
