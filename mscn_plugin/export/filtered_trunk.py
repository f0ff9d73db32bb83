"""A trunk with its high-pass filter inside, in operations that every runtime has."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mscn_plugin.export.pretrained import Pretrained
from mscn_plugin.masking import high_pass


class FilteredTrunk(nn.Module):
    """Features of ordinary normalized images, which are filtered first, of one size.

    :func:`mscn_plugin.masking.high_pass` looks at sizes while it runs, which a recorded graph
    cannot; here its blur along an axis is a matrix, made by ``high_pass`` itself.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, pretrained: Pretrained) -> None:
        super().__init__()
        self.trunk = pretrained.trunk
        blur = blur_matrix(pretrained.preprocessing.crop, pretrained.sigma)
        self.register_buffer("rows", blur)
        self.register_buffer("columns", blur.T.contiguous())
        self.limit = pretrained.preprocessing.limit
        self.eval()  # PyTorch's ONNX exporter gives the trunk the mode of this module

    def forward(self, images: Tensor) -> Tensor:
        """Return ``[B, F]`` of normalized images ``[B, C, crop, crop]``, float32.

        The features of an image that is not normalized, by its largest value, are NaN: a recorded
        graph has no other way to refuse it.
        """
        filtered = images - self.rows @ images @ self.columns
        features = self.trunk(filtered, [])[-1].flatten(1)
        refused = images.abs().amax(dim=(1, 2, 3)) > self.limit
        return features.masked_fill(refused[:, None], float("nan"))


def blur_matrix(size: int, sigma: float) -> Tensor:
    """The blur along an axis of ``size`` pixels: ``[size, size]``, row i the weights of pixel i.

    Each column of the identity is an image of one column, whose other axis mirrors itself: the
    filter blurs it along one axis alone.
    """
    identity = torch.eye(size)
    return identity - high_pass(identity[:, :, None], sigma)[:, :, 0].T
