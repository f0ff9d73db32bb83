"""What features of a frozen trunk have to be better than: those of simpler things, on its input.

Shape shorthand: B images, C color channels, H, W height and width in pixels, F features.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from vissl.models import build_model

from mscn_plugin.data.arrays import value_histogram
from mscn_plugin.data.photographs import color_histogram
from mscn_plugin.evaluation.frozen_features import flatten
from mscn_plugin.models.timm_trunk import is_timm
from mscn_plugin.transforms.stated import NOT_NORMALIZED, normalization
from mscn_plugin.types import Config, Task

UNTRAINED = "untrained_"
"""In front of a layer's name: the same layer of the untrained trunk."""


class BesideUntrained(nn.Module):
    """The outputs of a task's model, and those of the same model with initial weights, of seed 0.

    VISSL builds a model without its weights, and reads these afterwards.
    """

    def __init__(self, task: Task) -> None:
        super().__init__()
        model, optimizer = (copy.deepcopy(task.config[key]) for key in ("MODEL", "OPTIMIZER"))
        if is_timm(model):
            model.TRUNK.TIMM["WEIGHTS"] = None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.untrained = build_model(model, optimizer).to(task.device)
        self.trained = task.base_model

    def forward(self, images: Tensor) -> list[Tensor]:
        return flatten([self.trained(images), self.untrained(images)])


def with_untrained(layers: Sequence[str]) -> list[str]:
    """The layers of :class:`BesideUntrained`'s outputs, in their order."""
    return [*layers, *(UNTRAINED + layer for layer in layers)]


def histograms(images: Tensor, cfg: Config) -> Tensor:
    """Histograms of pictures, float32 ``[B, F]``: what their colors alone say.

    Args:
        images: ``[B, C, H, W]``, after the transforms of ``DATA.TEST`` and not filtered.
        cfg: says how they were normalized; with ``MSCN.CHANNELS`` histograms are of each channel's
            values.
    """
    pictures = images.cpu()
    if cfg.MSCN.CHANNELS is not None:
        counts = np.stack([value_histogram(picture.numpy(), [0.0], [1.0]) for picture in pictures])
    else:
        given = normalization(cfg.DATA.TEST.TRANSFORMS) or NOT_NORMALIZED
        mean, std = (torch.tensor(given[key]).view(-1, 1, 1) for key in ("mean", "std"))
        colors = ((pictures * std + mean) * 255).round().clip(0, 255)
        counts = color_histogram(list(colors.permute(0, 2, 3, 1).byte().numpy()))
    return torch.from_numpy(counts)
