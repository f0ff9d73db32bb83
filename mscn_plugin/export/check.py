"""Does an exported file compute the features of the model that it was made from?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import skimage.data
import torch
from PIL import Image
from torch import Tensor

from mscn_plugin.errors import ConfigError
from mscn_plugin.export.preprocessing import Preprocessing
from mscn_plugin.export.pretrained import Pretrained
from mscn_plugin.models.input_channels import input_channels

TOLERANCE = 1e-5
"""Largest difference that passes, in units of an image's largest feature."""


class Sample(NamedTuple):
    """Images of one kind and what an export has to make of them.

    Attributes:
        images: ``[B, C, H, W]``, normalized, not filtered.
        features: ``[B, F]``, of VISSL's model behind the filter.
    """

    kind: str
    images: Tensor
    features: Tensor


def check_samples(pretrained: Pretrained) -> list[Sample]:
    """Two images of Gaussian noise and, by itself, a photograph.

    Where images are arrays, each channel is the photograph's first one, moved a little further.
    """
    side, channels = pretrained.preprocessing.crop, input_channels(pretrained.model_config)
    noise = torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(0))
    photograph = Image.fromarray(skimage.data.chelsea())
    if pretrained.preprocessing.channels is None:
        cat = pretrained.preprocessing(photograph)[None]
    else:
        gray = Preprocessing(crop=side, resize=side)(photograph)[0]
        cat = torch.stack([gray.roll(channel, dims=1) for channel in range(channels)])[None]
    return [
        Sample(kind, images, pretrained.features(images))
        for kind, images in (("noise", noise), ("photograph", cat))
    ]


def check(
    file: str, reader: Callable[[Tensor], Tensor], samples: Sequence[Sample]
) -> dict[str, float]:
    """Compare what an exported file computes with what it should.

    Args:
        file: its name, for the error.
        reader: from images ``[B, C, H, W]`` to the file's features ``[B, F]``.

    Returns:
        :func:`largest_difference` by kind of sample.

    Raises:
        ConfigError: one is larger than :data:`TOLERANCE`, or not a number.
    """
    differences = {}
    for kind, images, expected in samples:
        difference = largest_difference(reader(images), expected)
        if not difference <= TOLERANCE:
            raise ConfigError(
                f"{file} is not exported: its features of the {kind} differ from VISSL's by "
                f"{difference:.1e} of the largest feature, more than {TOLERANCE:.0e}"
            )
        differences[kind] = difference
    return differences


def largest_difference(features: Tensor, expected: Tensor) -> float:
    """The largest ``|features - expected|`` of an image over its largest ``|expected|``.

    Args:
        features, expected: ``[B, F]``.

    Returns:
        The maximum over the images; infinite where the shapes differ.
    """
    if features.shape != expected.shape:
        return float("inf")
    difference = (features - expected).abs().amax(dim=1)
    return float((difference / expected.abs().amax(dim=1)).max())
