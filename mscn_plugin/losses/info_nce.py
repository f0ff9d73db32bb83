"""InfoNCE over several masks per branch (section 4.5, Figure 5; A.1), in plain PyTorch.

An embedding of branch 0 has its positives in branch 1, never in another mask of its own view.
With one mask per branch this is SimCLR's loss.

Shape shorthand: B images on this rank, N images on all ranks, K0 and K1 masks, D embedding size.
"""

from __future__ import annotations

from typing import List

import torch
from torch import Tensor

NEGATIVES = ("pair", "all")


def info_nce(
    local: List[List[Tensor]],
    gathered: List[List[Tensor]],
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
            L2-normalised, float32.
        gathered: the same with the images of all ranks, ``[N, D]``, image ``first + b`` being
            this rank's image b. Gradients flow through it where it is part of the graph.
        first: index of this rank's first image among the gathered ones.
        temperature: divides the cosine similarities, above 0. The paper uses 0.2 (A.1).
        negatives: ``"pair"`` or ``"all"``.

    Returns:
        The loss, a scalar: the mean over this rank's ``2 * B * K0 * K1`` terms.

    Raises:
        ValueError: there is only one image, so there are no negatives.
    """
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
