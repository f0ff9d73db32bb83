"""What has to be done before VISSL's tools load a plugin, when they compose a configuration.

PyTorch calls :func:`prepare_vissl` at the end of its own import (2.5 and later, by the entry point
``torch.backends``), which VISSL's tools begin with. Until then nothing of this package is there.
"""

import multiprocessing
import sys


def prepare_vissl() -> None:
    """Prepare a process that is importing VISSL; does nothing in any other.

    - A benchmark-suite scheduler that is restarted collects results without composing anything.
    - A run of MSCN that is asked to end during its imports ends as it does later.
    """
    if "vissl" not in sys.modules:
        return
    from mscn_plugin.vissl import compat

    compat.restore_collections_alias()
    if asks_for_mscn(sys.argv) and multiprocessing.parent_process() is None:
        from mscn_plugin.training.signals import interruption

        interruption.listen()


def asks_for_mscn(arguments: list[str]) -> bool:
    """Whether a command line of VISSL's tools names a configuration of this package."""
    return any(argument.startswith("config=mscn/") for argument in arguments)
