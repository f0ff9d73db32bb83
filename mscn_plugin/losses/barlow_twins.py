"""Barlow Twins over several masks per branch (the paper's reference [51], section 4.1; Figure 5).

With one mask per branch this is VISSL's ``barlow_twins_loss``, which takes no more.

Shape shorthand: B images on this rank, N images on all ranks, K0 and K1 masks, D embedding size.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mscn_plugin.allowed import POSITIVE
from mscn_plugin.losses.branches import check_shapes, gather_by_branch
from mscn_plugin.losses.registry import EmbeddingLoss, register_loss
from mscn_plugin.masking.per_branch import NumMasks, masks_per_branch

_EPS = 1e-5  # VISSL's, and that of batch normalization in the code of Barlow Twins


def barlow_twins(gathered: list[list[Tensor]], lambda_: float, scale_loss: float) -> Tensor:
    """Barlow Twins' loss, averaged over the K0 * K1 cross-branch pairs of masks.

    Of a pair the dimensions are normalized over the images, and the ``[D, D]`` correlations of one
    set with the other are to be the identity: the sum of ``(C_ii - 1)^2``, and ``lambda_`` times
    that of ``C_ij^2``. As in VISSL the mean and the variance are of both sets together, where the
    code of Barlow Twins has those of each.

    The paper does not state how its masks enter this loss. A mean of the pairs' losses, and not
    the loss of a mean of correlations or of embeddings: "an off-the-shelf joint-embedding loss is
    applied to pairs" (Figure 5). A mask is never compared with another one of its own view.

    Args:
        gathered: for each of the two branches a list of its masks' embeddings ``[N, D]`` of all
            ranks, N at least 2. Gradients flow through it.
        lambda_: weight of the correlations of different dimensions.
        scale_loss: factor of the loss.

    Returns:
        The loss, a scalar of at least 0.

    Raises:
        ValueError: there is only one image, or shapes differ.
    """
    check_shapes(*gathered)
    if len(gathered[0][0]) < 2:
        raise ValueError("Barlow Twins needs at least 2 images over all ranks to correlate")
    pairs = [_of_pair(one, other, lambda_) for one in gathered[0] for other in gathered[1]]
    return scale_loss * torch.stack(pairs).mean()


def _of_pair(one: Tensor, other: Tensor, lambda_: float) -> Tensor:
    both = F.batch_norm(torch.cat([one, other]), None, None, training=True, eps=_EPS)
    one, other = both.split(len(one))
    correlation = one.T @ other / len(one)
    same = correlation.diagonal()
    different = correlation.square().sum() - same.square().sum()
    return (same - 1).square().sum() + lambda_ * different


@register_loss("mscn_barlow_twins_loss")
class MSCNBarlowTwinsLoss(EmbeddingLoss):
    """Barlow Twins (Zbontar et al. 2021) over the cross-branch pairs of masked views.

    The mean of the ranks' losses, which DistributedDataParallel differentiates, is the loss of
    one process with the whole batch, the gradient too. On R ranks VISSL's gradient, and that of
    the code of Barlow Twins, is an R-th of it: LARS does not see the difference but in biases and
    norms, for which ``scale_loss`` over R makes it the same.

    Args:
        num_masks: K, or ``[K0, K1]``; the collator's value.
        lambda_: weight of the redundancy term, above 0; VISSL's.
        scale_loss: factor of the loss, above 0; VISSL's.

    Raises:
        ValueError: a value is outside of its range; the message starts with its name.
    """

    def __init__(
        self, num_masks: NumMasks = 2, lambda_: float = 0.0051, scale_loss: float = 0.024
    ) -> None:
        super().__init__()
        for name, value in {"lambda_": lambda_, "scale_loss": scale_loss}.items():
            POSITIVE.check(name, value)
        self.num_masks = masks_per_branch(num_masks)
        self.lambda_, self.scale_loss = lambda_, scale_loss

    def of_embeddings(self, embeddings: Tensor) -> Tensor:
        gathered = gather_by_branch(embeddings, self.num_masks)
        return barlow_twins(gathered, self.lambda_, self.scale_loss)

    def extra_repr(self) -> str:
        return f"num_masks={self.num_masks}, lambda_={self.lambda_}, scale_loss={self.scale_loss}"
