"""Silences warnings about VISSL's age, which its users cannot act on.

By message and module, so that the same warning elsewhere is still shown. In every process, since
each spawned rank and, in every epoch, each loader worker would repeat the warnings.
"""

from __future__ import annotations

import logging
import warnings

_OUTDATED = (
    (r"pkg_resources is deprecated", r"vissl\.utils\.misc"),
    (r"The 'torchvision\.transforms\._(functional|transforms)_video' module", r"torchvision\..*"),
    (r"`torch\.jit\.script` is (deprecated|not supported)", r"torch\.jit\..*"),
    (r"\s*The version_base parameter is not specified", r"vissl\.utils\.hydra_config"),
    (r"`broadcast_buffers` is deprecated", r"classy_vision\.generic\.distributed_util"),
    # Of depthwise convolutions, in every process: nothing that a user can change.
    (r"Grad strides do not match bucket view strides", r"torch\.autograd\.graph"),
    (r"'pin_memory' argument is set as true but no accelerator", r"torch\.utils\.data\.dataloader"),
)


def quiet_warnings() -> None:
    """Add the filters to Python's warnings, and to what PyTorch logs on a machine without a GPU."""
    for message, module in _OUTDATED:
        warnings.filterwarnings("ignore", message=message, module=module)
    logging.getLogger("torch.utils.cpp_extension").addFilter(_not_about_cuda)


def _not_about_cuda(record: logging.LogRecord) -> bool:
    return "No CUDA runtime is found" not in record.getMessage()
