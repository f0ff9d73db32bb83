"""VICReg over several masks per branch (the paper's reference [6], section 4.1; pairs: Figure 5).

The embeddings of an image are pulled together across the branches; those of a batch are spread in
each dimension, and their dimensions are decorrelated, for each mask by itself.

Shape shorthand: B images on this rank, N images on all ranks, K0 and K1 masks, D embedding size.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mscn_plugin.allowed import NOT_NEGATIVE, POSITIVE
from mscn_plugin.losses.branches import check_shapes, gather_by_branch, split_by_branch
from mscn_plugin.losses.registry import EmbeddingLoss, register_loss
from mscn_plugin.masking.per_branch import NumMasks, masks_per_branch


def vicreg(
    local: list[list[Tensor]],
    gathered: list[list[Tensor]],
    sim_coeff: float = 25.0,
    std_coeff: float = 25.0,
    cov_coeff: float = 1.0,
    gamma: float = 1.0,
    eps: float = 1e-4,
) -> Tensor:
    """VICReg's loss, averaged over the K0 * K1 cross-branch pairs of masks.

    Of a pair of embeddings Z and Z', as in the published code of Bardes, Ponce and LeCun:

    - invariance, times ``sim_coeff``: the mean of ``(Z - Z')^2`` over this rank's images and the
      dimensions;
    - variance, times ``std_coeff``: the mean over the dimensions of
      ``max(0, gamma - sqrt(Var + eps))``, averaged over Z and Z';
    - covariance, times ``cov_coeff``: the sum of the squared covariances of different dimensions
      over D, added for Z and Z'.

    Variance and covariance are of the images of all ranks, with N - 1 in the denominator. The
    article's equations have no mean over D in the first term, and a sum in place of the average in
    the second; the coefficients of both are 25, 25 and 1.

    Variance and covariance are of one set of embeddings, so that their mean over pairs is the mean
    over the masks of each branch. The paper does not state how its masks enter this loss: pairs
    are those of Figure 5.

    Args:
        local: for each of the two branches a list of its masks' embeddings ``[B, D]``.
        gathered: the same with the images of all ranks, ``[N, D]``, N at least 2. Gradients flow
            through it where it is part of the graph.

    Returns:
        The loss, a scalar of at least 0.

    Raises:
        ValueError: there is only one image, so there is no variance, or shapes differ.
    """
    check_shapes(*local)
    check_shapes(*gathered)
    if len(gathered[0][0]) < 2:
        raise ValueError("VICReg needs at least 2 images over all ranks to have a variance")
    first, second = (torch.stack(branch) for branch in local)
    invariance = (first[:, None] - second[None]).square().mean()
    loss = sim_coeff * invariance
    for branch in gathered:
        spread, correlated = zip(*(_spread_and_covariance(z, gamma, eps) for z in branch))
        loss = loss + std_coeff * torch.stack(spread).mean() / 2
        loss = loss + cov_coeff * torch.stack(correlated).mean()
    return loss


def _spread_and_covariance(embeddings: Tensor, gamma: float, eps: float) -> tuple[Tensor, Tensor]:
    """The terms of variance and covariance of one set ``[N, D]``."""
    num_images, dimensions = embeddings.shape
    centered = embeddings - embeddings.mean(dim=0)
    covariance = centered.T @ centered / (num_images - 1)
    variance = covariance.diagonal()
    spread = F.relu(gamma - (variance + eps).sqrt()).mean()
    return spread, (covariance.square().sum() - variance.square().sum()) / dimensions


@register_loss("vicreg_loss")
class VICRegLoss(EmbeddingLoss):
    """VICReg (Bardes, Ponce, LeCun 2021) over the cross-branch pairs of masked views.

    The mean of the ranks' losses, which DistributedDataParallel differentiates, is the loss of
    one process with the whole batch.

    Args:
        num_masks: K, or ``[K0, K1]``; the collator's value.
        sim_coeff: of the invariance term, at least 0.
        std_coeff: of the variance term, at least 0.
        cov_coeff: of the covariance term, at least 0.
        gamma: standard deviation that each dimension should have, above 0.
        eps: added to the variance under the root, above 0.

    The defaults are the published ones, see :func:`vicreg`.

    Raises:
        ValueError: a value is outside of its range; the message starts with its name.
    """

    def __init__(
        self,
        num_masks: NumMasks = 2,
        sim_coeff: float = 25.0,
        std_coeff: float = 25.0,
        cov_coeff: float = 1.0,
        gamma: float = 1.0,
        eps: float = 1e-4,
    ) -> None:
        super().__init__()
        coefficients = {"sim_coeff": sim_coeff, "std_coeff": std_coeff, "cov_coeff": cov_coeff}
        for name, value in coefficients.items():
            NOT_NEGATIVE.check(name, value)
        for name, value in {"gamma": gamma, "eps": eps}.items():
            POSITIVE.check(name, value)
        self.num_masks = masks_per_branch(num_masks)
        self.settings = {**coefficients, "gamma": gamma, "eps": eps}

    def of_embeddings(self, embeddings: Tensor) -> Tensor:
        local = split_by_branch(embeddings, self.num_masks)
        return vicreg(local, gather_by_branch(embeddings, self.num_masks), **self.settings)

    def extra_repr(self) -> str:
        settings = {"num_masks": self.num_masks, **self.settings}
        return ", ".join(f"{name}={value}" for name, value in settings.items())
