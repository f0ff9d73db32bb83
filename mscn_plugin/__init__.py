"""Masked Siamese ConvNets (Jing, Zhu, LeCun 2022), for VISSL and for PyTorch alone.

Importing this package imports neither PyTorch nor VISSL. :func:`register` adds the MSCN
transforms, collator, loss, schedule, trunk and task to VISSL's registries; inside VISSL's own
tools it is called by itself, in the launching process and in every process that it starts.

``MaskedViews``, ``MSCNLoss``, ``RandomMask`` and ``HighPass`` are modules of plain PyTorch, which
are imported on first use and do not need VISSL.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from mscn_plugin.errors import ConfigError
from mscn_plugin.warning_filters import quiet_warnings

if TYPE_CHECKING:
    from mscn_plugin.losses.info_nce import MSCNLoss
    from mscn_plugin.masking.views import MaskedViews
    from mscn_plugin.transforms.v2 import HighPass, RandomMask

__version__ = "0.1.0"
__all__ = [
    "ConfigError",
    "HighPass",
    "MSCNLoss",
    "MaskedViews",
    "RandomMask",
    "__version__",
    "register",
]
_LAZY = {
    "HighPass": "mscn_plugin.transforms.v2",
    "MSCNLoss": "mscn_plugin.losses.info_nce",
    "MaskedViews": "mscn_plugin.masking.views",
    "RandomMask": "mscn_plugin.transforms.v2",
}

quiet_warnings()  # before anything of this package imports VISSL


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def register() -> None:
    """Add everything of MSCN to VISSL's registries; calling it again changes nothing.

    Notebooks and scripts that build VISSL objects themselves call it once. VISSL's tools need no
    call: composing a configuration with Hydra registers the plugin.

    Raises:
        ImportError: VISSL is not installed.
        ConfigError: the command line names a config of MSCN, and this VISSL lacks the names that
            the plugin hooks into.
    """
    from mscn_plugin.vissl.register import register_with_vissl

    register_with_vissl()
