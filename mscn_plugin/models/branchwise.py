"""A VISSL model that takes the branches of a batch one by one, heads included."""

from __future__ import annotations

import torch
from torch import Tensor
from vissl.models import register_model
from vissl.models.base_ssl_model import BaseSSLMultiInputOutputModel


@register_model("mscn_branchwise_model")
class BranchwiseModel(BaseSSLMultiInputOutputModel):
    """VISSL's model, ``MODEL.BASE_MODEL_NAME``, with a pass of its own for each branch.

    A batch that is a list, one tensor per branch (``split_branches``), passes trunk and heads
    tensor by tensor, so that batch normalization sees one branch at a time, as in BYOL's own code.
    VISSL's model with ``SINGLE_PASS_EVERY_CROP`` does so in the trunk alone. Parameters and their
    names are those of VISSL's model; a batch that is one tensor passes as there.
    """

    def multi_res_input_forward(
        self, batch: list[Tensor], feature_names: list[str]
    ) -> list[Tensor]:
        """Return one tensor ``[(K0 + K1) * B, D]`` from ``batch``, ``[K0 * B, ...]`` and so on."""
        outputs = [self.single_input_forward(views, feature_names, self.heads) for views in batch]
        return [torch.cat(parts) for parts in zip(*outputs)]
