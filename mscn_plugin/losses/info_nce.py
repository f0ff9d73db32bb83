"""InfoNCE over several masks per branch (section 4.5, Figure 5; A.1).

An embedding of branch 0 has its positives in branch 1, never in another mask of its own view.
With one mask per branch this is SimCLR's loss.

Shape shorthand: B images on this rank, N images on all ranks, K0 and K1 masks, D embedding size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mscn_plugin.allowed import POSITIVE
from mscn_plugin.losses.branches import check_shapes, gather_by_branch, split_by_branch
from mscn_plugin.losses.registry import EmbeddingLoss, get_rank, register_loss
from mscn_plugin.masking.per_branch import NumMasks, masks_per_branch

NEGATIVES = ("pair", "all")


def info_nce(
    local: list[list[Tensor]],
    gathered: list[list[Tensor]],
    first: int,
    temperature: float,
    negatives: str = "pair",
) -> Tensor:
    """InfoNCE loss of this rank's embeddings, averaged over cross-branch pairs of masks.

    Every term compares an anchor with its positive, the embedding of the same image under a mask
    of the other branch, and with negatives, embeddings of other images:

    - ``"pair"``: the off-the-shelf two-view loss applied to each of the K0 * K1 pairs of masks,
      the negatives taken from that pair's own two sets, ``2 (N - 1)`` of them. The literal
      reading of Figure 5.
    - ``"all"``: every pair takes its negatives from all sets, ``(K0 + K1) (N - 1)`` of them.

    The paper does not state which; the two agree at K = 1.

    Args:
        local: for each of the two branches a list of its masks' embeddings ``[B, D]``,
            L2-normalized, float32.
        gathered: the same with the images of all ranks, ``[N, D]``, image ``first + b`` being
            this rank's image b. Gradients flow through it where it is part of the graph.
        first: index of this rank's first image among the gathered ones.
        temperature: divides the cosine similarities, above 0. The paper uses 0.2 (A.1).
        negatives: ``"pair"`` or ``"all"``.

    Returns:
        The loss, a scalar: the mean over this rank's ``2 * B * K0 * K1`` terms.

    Raises:
        ValueError: there is only one image, so there are no negatives, or shapes differ.
    """
    check_shapes(*local)
    check_shapes(*gathered)
    num_images = len(gathered[0][0])
    if num_images < 2:
        raise ValueError("InfoNCE needs at least 2 images over all ranks to have negatives")

    def log_sum_other_images(anchors: Tensor, embeddings: Tensor) -> Tensor:
        """``[K, B]`` of anchors ``[K, B, D]`` and one set ``[N, D]``, or one for each mask."""
        logits = anchors @ embeddings.mT
        logits.diagonal(first, 1, 2).fill_(float("-inf"))
        return logits.logsumexp(dim=2)

    terms = []
    for branch, other in ((0, 1), (1, 0)):
        # All masks of a branch in one product: many small ones keep a GPU waiting. Divided here,
        # [K, B, D], and not the many logits.
        anchors = torch.stack(local[branch]) / temperature
        own = gathered[branch] if negatives == "all" else [torch.stack(gathered[branch])]
        same_branch = [log_sum_other_images(anchors, embeddings) for embeddings in own]
        cross_branch = [log_sum_other_images(anchors, embeddings) for embeddings in gathered[other]]
        for positives, of_pair in zip(local[other], cross_branch):
            positive = (anchors * positives).sum(dim=2)
            others = cross_branch if negatives == "all" else [of_pair]
            denominator = torch.stack([positive, *same_branch, *others]).logsumexp(dim=0)
            terms.append(denominator - positive)
    return torch.cat(terms).mean()


class MSCNLoss(nn.Module):
    """SimCLR's InfoNCE loss over the cross-branch pairs of masked views (section 4.5, A.1).

    Plain PyTorch, on one process or on several. It normalizes the embeddings, gathers them with
    their gradient over all ranks, and computes in float32 with autocast off. The mean of the
    ranks' losses, which DistributedDataParallel differentiates, is the loss of one process with
    the whole batch.

    Args:
        temperature: divides the cosine similarities, above 0; the paper's is 0.2 (A.1).
        negatives: ``"pair"`` or ``"all"``, see :func:`info_nce`.

    Raises:
        ValueError: a value is outside of its range; the message starts with its name.
    """

    def __init__(self, temperature: float = 0.2, negatives: str = "pair") -> None:
        super().__init__()
        POSITIVE.check("temperature", temperature)
        if negatives not in NEGATIVES:
            raise ValueError(f"negatives is {negatives!r}; it must be one of {list(NEGATIVES)}")
        self.temperature = float(temperature)
        self.negatives = negatives

    def forward(self, branch_0: Sequence[Tensor], branch_1: Sequence[Tensor]) -> Tensor:
        """Return the scalar loss, the mean over this rank's images and pairs of masks.

        Args:
            branch_0: the embeddings ``[B, D]`` of each mask of branch 0, as a list or as
                ``[K0, B, D]``, of any length.
            branch_1: the same of branch 1, K1 masks of the same images.

        Raises:
            ValueError: the shapes differ, so that they are not of the same images.
        """
        check_shapes(branch_0, branch_1)
        counts = [len(branch_0), len(branch_1)]
        return self.of_embeddings(torch.cat([*branch_0, *branch_1]), counts)

    def of_embeddings(self, embeddings: Tensor, num_masks: Sequence[int]) -> Tensor:
        """The loss of ``[(K0 + K1) * B, D]``: branch 0 mask 0 (all images), branch 0 mask 1, ...

        Raises:
            ValueError: the number of embeddings is not a multiple of K0 + K1.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = F.normalize(embeddings.float(), dim=1)
            local = split_by_branch(embeddings, num_masks)
            gathered = gather_by_branch(embeddings, num_masks)
            first = get_rank() * len(local[0][0])
            return info_nce(local, gathered, first, self.temperature, self.negatives)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, negatives={self.negatives!r}"


@register_loss("mscn_info_nce_loss")
class MSCNInfoNCELoss(EmbeddingLoss):
    """:class:`MSCNLoss` as a loss of VISSL.

    Args:
        temperature: as :class:`MSCNLoss`.
        num_masks: K, or ``[K0, K1]``; the collator's value.
        negatives: as :class:`MSCNLoss`.

    Raises:
        ValueError: a value is outside of its range; the message starts with its name.
    """

    def __init__(
        self, temperature: float = 0.2, num_masks: NumMasks = 2, negatives: str = "pair"
    ) -> None:
        super().__init__()
        self.of_branches = MSCNLoss(temperature, negatives)
        self.num_masks = masks_per_branch(num_masks)

    def of_embeddings(self, embeddings: Tensor) -> Tensor:
        return self.of_branches.of_embeddings(embeddings, self.num_masks)

    def extra_repr(self) -> str:
        return f"num_masks={self.num_masks}"
