"""The InfoNCE loss as a VISSL loss: config, normalisation, gathering over ranks."""

from __future__ import annotations

from typing import Any, Dict, List

import torch
from classy_vision.generic.distributed_util import get_rank
from classy_vision.losses import ClassyLoss, register_loss
from torch import Tensor
from torch.nn import functional as F
from vissl.utils.distributed_utils import gather_from_all

from mscn_plugin.losses.info_nce import NEGATIVES, info_nce
from mscn_plugin.views.branches import masks_per_branch, split_by_branch


@register_loss("mscn_info_nce_loss")
class MSCNInfoNCELoss(ClassyLoss):
    """SimCLR's InfoNCE loss over the cross-branch pairs of masked views (section 4.5, A.1).

    Takes the projector's output ``[(K0 + K1) * B, D]`` in the order of
    :func:`~mscn_plugin.views.collator.mscn_multimask_collator`: branch 0 mask 0 (all images),
    branch 0 mask 1, ..., branch 1 mask 0, .... It normalises the embeddings, gathers them with
    their gradient over all ranks, and computes in float32 with autocast off. The mean of the
    ranks' losses, which DistributedDataParallel differentiates, is the loss of one process with
    the whole batch.

    Args:
        temperature: divides the cosine similarities, above 0; the paper's is 0.2 (A.1).
        num_masks: K, or ``[K0, K1]``; the collator's value.
        negatives: ``"pair"`` or ``"all"``, see :func:`~mscn_plugin.losses.info_nce.info_nce`.

    Raises:
        ValueError: a value is outside of its range; the message starts with its name.
    """

    def __init__(
        self, temperature: float = 0.2, num_masks: Any = 2, negatives: str = "pair"
    ) -> None:
        super().__init__()
        is_number = isinstance(temperature, (int, float)) and not isinstance(temperature, bool)
        if not is_number or not 0 < temperature < float("inf"):
            raise ValueError(f"temperature is {temperature!r}; it must be above 0 and finite")
        if negatives not in NEGATIVES:
            raise ValueError(f"negatives is {negatives!r}; it must be one of {list(NEGATIVES)}")
        self.temperature = float(temperature)
        self.num_masks = masks_per_branch(num_masks)
        self.negatives = negatives

    @classmethod
    def from_config(cls, config: Dict[str, Any]) -> MSCNInfoNCELoss:
        return cls(**{key: value for key, value in config.items() if key != "name"})

    def forward(self, output: Tensor, target: Any = None) -> Tensor:
        """Return the scalar loss of ``output``, the embeddings; ``target`` is not used.

        Raises:
            ValueError: the number of embeddings is not a multiple of K0 + K1.
        """
        if isinstance(output, (list, tuple)):
            (output,) = output
        with torch.autocast(output.device.type, enabled=False):
            embeddings = F.normalize(output.float(), dim=1)
            local = self._split(embeddings)
            gathered = self._gather(embeddings)
            first = get_rank() * len(local[0][0])
            return info_nce(local, gathered, first, self.temperature, self.negatives)

    def _gather(self, embeddings: Tensor) -> List[List[Tensor]]:
        """The embeddings of all ranks, split by branch and mask, ranks in order within each."""
        everyone = gather_from_all(embeddings)
        ranks = [self._split(part) for part in everyone.split(len(embeddings))]
        return [[torch.cat(masks) for masks in zip(*branch)] for branch in zip(*ranks)]

    def _split(self, embeddings: Tensor) -> List[List[Tensor]]:
        return split_by_branch("mscn_info_nce_loss", embeddings, self.num_masks)

    def extra_repr(self) -> str:
        return (
            f"temperature={self.temperature}, num_masks={self.num_masks}, "
            f"negatives={self.negatives!r}"
        )
