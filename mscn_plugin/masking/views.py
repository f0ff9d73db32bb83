"""The masked views of both branches, as a module of plain PyTorch (section 4.5, Figure 5).

Shape shorthand: B images, K0 and K1 masks, C, H, W channels, height, width.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from mscn_plugin.masking.apply import apply_in_chunks
from mscn_plugin.masking.high_pass import check_sigma, high_pass
from mscn_plugin.masking.per_branch import (
    NUM_BRANCHES,
    NumMasks,
    mask_distributions,
    masks_per_branch,
)


class MaskedViews(nn.Module):
    """Filter two views of each image and mask each of them several times.

    Args:
        num_masks: K, or ``[K0, K1]``. The number is not stated in the paper.
        sigma: standard deviation of the high-pass filter in pixels, 0 (none) or from 0.25; the
            paper's is 5 for 224 pixels.
        settings: those of :class:`~mscn_plugin.masking.MaskDistribution`, each one value for both
            branches or a list of two.

    Raises:
        ValueError: a value is outside of its range; the message starts with its name.
    """

    def __init__(self, num_masks: NumMasks = 2, sigma: float = 5.0, **settings: object) -> None:
        super().__init__()
        self.num_masks = masks_per_branch(num_masks)
        self.sigma = check_sigma(sigma)
        self.distributions = mask_distributions(NUM_BRANCHES, settings)

    def forward(
        self, view_0: Tensor, view_1: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the masked views ``[K0, B, C, H, W]`` of branch 0 and ``[K1, ...]`` of branch 1.

        Args:
            view_0: one augmented and normalized view of each image, ``[B, C, H, W]``, floating
                point, on any device; the masked views are of its dtype and on its device.
            view_1: another one of the same images.
            generator: source of masks and noise, on the CPU; PyTorch's global ones if None.

        Raises:
            ValueError: the views are not two batches of as many images, or cells or boxes are
                larger than the images.
            TypeError: the views are not floating point.
        """
        views = (view_0, view_1)
        if any(view.dim() != 4 for view in views) or len(view_0) != len(view_1):
            raise ValueError(
                f"the views have shapes {tuple(view_0.shape)} and {tuple(view_1.shape)}; they must "
                "be [B, C, H, W] of the same B images"
            )
        masks = [
            distribution.sample(count * len(view), view.shape[2:], view.shape[1], generator)
            for count, distribution, view in zip(self.num_masks, self.distributions, views)
        ]
        noise = _on_device(generator, view_0.device)
        branches = [
            view.new_empty(count, *view.shape) for count, view in zip(self.num_masks, views)
        ]
        prepare = functools.partial(high_pass, sigma=self.sigma)
        for view, of_view, branch in zip(views, masks, branches):
            apply_in_chunks(view, of_view.to(view.device), branch, prepare, generator=noise)
        return branches[0], branches[1]

    def extra_repr(self) -> str:
        return f"num_masks={self.num_masks}, sigma={self.sigma}, {self.distributions}"


def _on_device(generator: torch.Generator | None, device: torch.device) -> torch.Generator | None:
    """The generator itself on a CPU; elsewhere one of ``device`` that it seeds."""
    if generator is None or device.type == "cpu":
        return generator
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    return torch.Generator(device).manual_seed(seed)
