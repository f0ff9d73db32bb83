"""What VISSL and Classy Vision give a loss, and what stands in for it where they are not installed.

With them a loss is registered under its name and gathers embeddings as VISSL's own losses do;
without them it is a module of plain PyTorch.
"""

from __future__ import annotations

from typing import Any, Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["ClassyLoss", "gather_from_all", "get_rank", "register_loss"]

try:
    from classy_vision.generic.distributed_util import get_rank
    from classy_vision.losses import ClassyLoss, register_loss
    from vissl.utils.distributed_utils import gather_from_all
except ImportError:
    ClassyLoss = nn.Module

    def register_loss(name: str) -> Callable[[Any], Any]:
        """Register nothing: there is no registry."""
        return lambda loss: loss

    def get_rank() -> int:
        """The rank of this process; 0 where there is one process."""
        return dist.get_rank() if dist.is_initialized() else 0

    def gather_from_all(tensor: Tensor) -> Tensor:
        """``[B, ...]`` of each rank as ``[ranks * B, ...]``, with its gradient."""
        if not dist.is_initialized():
            return tensor
        from torch.distributed.nn.functional import all_gather

        return torch.cat(all_gather(tensor))
