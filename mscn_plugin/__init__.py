"""Masked Siamese ConvNets (Jing, Zhu, LeCun 2022) for VISSL.

Importing this package imports neither PyTorch nor VISSL. :func:`register` adds the MSCN
transforms, collator, loss, schedule, trunk and task to VISSL's registries; inside VISSL's own
tools it is called by itself, in the launching process and in every process that it starts.
"""

from mscn_plugin.errors import ConfigError
from mscn_plugin.warning_filters import quiet_warnings

__version__ = "0.1.0"
__all__ = ["ConfigError", "__version__", "register"]

quiet_warnings()  # before anything of this package imports VISSL


def register() -> None:
    """Add everything of MSCN to VISSL's registries; calling it again changes nothing.

    Notebooks and scripts that build VISSL objects themselves call it once. VISSL's tools need no
    call: composing a configuration with Hydra registers the plugin.

    Raises:
        ImportError: VISSL is not installed.
        ConfigError: the command line asks for MSCN, and this VISSL has not the names that the
            plugin hooks into.
    """
    from mscn_plugin.vissl.register import register_with_vissl

    register_with_vissl()
