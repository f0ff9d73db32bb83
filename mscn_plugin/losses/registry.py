"""The losses of this package, and what VISSL and Classy Vision give them where they are installed.

A new loss is a module of this folder with a class under ``@register_loss("its_name")``. With VISSL
it is registered there, too, and gathers embeddings as VISSL's own losses do; without VISSL
it is a module of plain PyTorch.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["ClassyLoss", "EmbeddingLoss", "gather_from_all", "get_rank", "losses", "register_loss"]

Loss = TypeVar("Loss", bound=type[Any])
_LOSSES: dict[str, type[Any]] = {}

try:
    from classy_vision.generic.distributed_util import get_rank
    from classy_vision.losses import ClassyLoss
    from classy_vision.losses import register_loss as _register_with_vissl
    from vissl.utils.distributed_utils import gather_from_all
except ImportError:
    ClassyLoss = nn.Module

    def _register_with_vissl(name: str) -> Callable[[Loss], Loss]:
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


class EmbeddingLoss(ClassyLoss):
    """How VISSL builds and calls a loss of the embeddings of all masked views.

    Attributes:
        num_masks: ``[K0, K1]``.
    """

    num_masks: list[int]

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> EmbeddingLoss:
        return cls(**{key: value for key, value in config.items() if key != "name"})

    def forward(self, output: Tensor, target: object = None) -> Tensor:
        """Return the scalar loss of ``output``, the embeddings; ``target`` is not used.

        Computed in float32 with autocast off.

        Args:
            output: ``[(K0 + K1) * B, D]`` in the order of
                :func:`~mscn_plugin.transforms.collate.mscn_multimask_collator`: branch 0 mask 0
                (all images), branch 0 mask 1, ..., branch 1 mask 0, ....

        Raises:
            ValueError: the number of embeddings is not a multiple of K0 + K1.
        """
        if isinstance(output, (list, tuple)):
            (output,) = output
        with torch.autocast(output.device.type, enabled=False):
            return self.of_embeddings(output.float())

    def of_embeddings(self, embeddings: Tensor) -> Tensor:
        """The loss of ``[(K0 + K1) * B, D]``, float32."""
        raise NotImplementedError


def register_loss(name: str) -> Callable[[Loss], Loss]:
    """Register a loss that takes several masks per branch under ``LOSS.name``.

    Its class has ``num_masks`` among its settings, the section of its name, and as an attribute
    ``[K0, K1]``.
    """

    def register(loss: Loss) -> Loss:
        _LOSSES[name] = loss
        registered: Loss = _register_with_vissl(name)(loss)
        return registered

    return register


@functools.cache
def losses() -> dict[str, type[Any]]:
    """The losses of this package's modules, by their registered names."""
    package = importlib.import_module("mscn_plugin.losses")
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
    return _LOSSES
