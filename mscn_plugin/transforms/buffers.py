"""Memory of batches on a CPU, used again as soon as nothing else uses it.

The masked views of a batch are a hundred megabytes and more, which are returned to the system and
requested again at each step, page by page: that takes twice the time of writing them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

KEPT = 2
"""Batches that are kept: VISSL holds the last one while it asks for the next."""


class ReusedBuffers:
    """Makes tensors as ``torch.empty`` does, in the memory of earlier ones that are gone.

    A tensor is gone when PyTorch counts no other user of its memory: not a view, not a graph that
    autograd may still go back through, not a NumPy array. Memory that another process reads is
    never used again.
    """

    def __init__(self) -> None:
        self._kept: list[torch.UntypedStorage] = []

    def empty(self, size: Sequence[int], device: str | torch.device = "cpu") -> Tensor:
        """A float32 tensor of ``size``, which is to be overwritten."""
        if torch.device(device).type != "cpu":  # PyTorch keeps the memory of accelerators itself
            return torch.empty(size, device=device)
        num_bytes = 4 * math.prod(size)
        for storage in self._kept:
            if storage.nbytes() == num_bytes and _is_unused(storage):
                return torch.empty(0).set_(storage).view(size)
        made = torch.empty(size)
        self._kept = [*self._kept, made.untyped_storage()][-KEPT:]
        return made


def _is_unused(storage: torch.UntypedStorage) -> bool:
    """Whether nothing but the Python object ``storage`` uses this memory."""
    return not storage.is_shared() and torch._C._storage_Use_Count(storage._cdata) == 1
