"""BYOL's loss over several masks per branch, and its target network (A.1), in plain PyTorch.

The online network predicts, from each masked view, what the target network makes of the masked
views of the other branch; the target follows the online network as an exponential moving average.

Shape shorthand: B images, K0 and K1 masks, D embedding size.
"""

from __future__ import annotations

import math
from typing import Iterable, List

import torch
from torch import Tensor
from torch.nn import functional as F


def byol(predictions: List[List[Tensor]], projections: List[List[Tensor]]) -> Tensor:
    """Regression loss ``2 - 2 cos``, summed over both directions, averaged over pairs of masks.

    Each prediction of a branch is compared with every projection of the *other* branch, never
    with another mask of its own view. The mean cosine over K0 * K1 pairs is the product of the
    two branches' mean vectors, so that the cost grows with K0 + K1.

    Args:
        predictions: for each of the two branches a list of its masks' predictions ``[B, D]`` by
            the online network, of any length.
        projections: the same of the target network; it may have another number of masks. No
            gradient flows through them.

    Returns:
        The loss, a scalar from 0 (same directions) to 8 (opposite ones): the mean over images.
    """
    online, target = (
        [torch.stack([F.normalize(mask, dim=1) for mask in branch]).mean(dim=0) for branch in side]
        for side in (predictions, projections)
    )
    cosines = [(online[b] * target[1 - b].detach()).sum(dim=1) for b in (0, 1)]
    return (4 - 2 * (cosines[0] + cosines[1])).mean()


def target_momentum(update: int, num_updates: int, base: float) -> float:
    """tau of one update: ``base`` at the first, 1 at the last, a cosine between (A.1).

    Args:
        update: number of the optimizer step that it follows, from 0 to ``num_updates - 1``.
        num_updates: optimizer steps of the run.
        base: tau at the start; 0.996 in the paper.
    """
    progress = update / max(num_updates - 1, 1)
    return 1 - (1 - base) * (math.cos(math.pi * progress) + 1) / 2


@torch.no_grad()
def follow(target: Iterable[Tensor], online: Iterable[Tensor], momentum: float) -> None:
    """Move ``target`` in place to ``momentum * target + (1 - momentum) * online``.

    As a step towards the online weights: towards the end of a run ``momentum`` rounds to 1 in
    float32, and a sum of two products, whose weights no longer add up to 1, would drift.
    """
    target = list(target)
    torch._foreach_add_(target, torch._foreach_sub(list(online), target), alpha=1 - momentum)
