"""The kernels of a trunk's first layer (Figure 2), and which of them collapsed to blank ones."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path

from torch import Tensor
from torchvision.utils import make_grid

from mscn_plugin.checkpoints.io import (
    CheckpointError,
    load_checkpoint,
    training_config,
    trunk_weights,
)
from mscn_plugin.data.arrays import shown_channels
from mscn_plugin.evaluation.pretraining_run import PretrainingRun
from mscn_plugin.files import save_figure
from mscn_plugin.models.input_channels import RGB
from mscn_plugin.types import value_at

BLANK_FRACTION = 0.1
"""A kernel is blank if its norm is under this part of the median norm of its layer."""
_NAME = "_feature_blocks.conv1.weight"
_KERNEL_SIDE = 28  # pixels of the picture, at least


def first_kernels(path: str | Path) -> Tensor:
    """The kernels that see the image itself.

    They are ``_feature_blocks.conv1.weight`` where the trunk has it, as VISSL's ResNets do, and
    else the first tensor of the shape ``[O, C, k, k]``: the stems of RegNet and EfficientNet.

    Args:
        path: a checkpoint, or the folder of a run, of which the newest one is taken.

    Returns:
        ``[O, C, k, k]`` in float32, the channels in the order RGB or as the arrays have them.

    Raises:
        CheckpointError: it is no checkpoint with a trunk, none of the trunk's tensors has that
            shape, or its values are not finite.
    """
    path = Path(path)
    if path.is_dir():
        path = PretrainingRun.of(path).checkpoint
    checkpoint = load_checkpoint(path)
    weights = trunk_weights(checkpoint, path)
    candidates = [weights[_NAME]] if _NAME in weights else list(weights.values())
    config = training_config(path, checkpoint) or {}
    channels = value_at(config, "MSCN.CHANNELS") or RGB
    found = [tensor for tensor in candidates if tensor.dim() == 4 and tensor.shape[1] == channels]
    if not found:
        raise CheckpointError(
            f"{path} has no kernels of a first layer: no tensor of its trunk is [O, {channels}, k, "
            "k]"
        )
    kernels = found[0].float()
    if not kernels.isfinite().all():
        raise CheckpointError(f"{path} has kernels in its first layer that are not finite")
    is_bgr = value_at(config, "MODEL.INPUT_TYPE") == "bgr"
    return kernels.flip(1) if is_bgr else kernels.clone()


def kernel_norms(kernels: Tensor) -> Tensor:
    """L2 norms ``[O]`` of kernels ``[O, C, k, k]``, in the unit of the weights."""
    return kernels.flatten(1).norm(dim=1)


def blank_kernels(kernels: Tensor) -> Tensor:
    """Which kernels are blank: the "trivial blank features" of section 3.

    Blank means a norm under ``BLANK_FRACTION`` of the median norm of the layer, or 0. Where more
    than half of a layer is blank, its median is, too, and the count says too little; the median
    norms of two runs, side by side, show that.

    Args:
        kernels: ``[O, C, k, k]``.

    Returns:
        Booleans ``[O]``.
    """
    norms = kernel_norms(kernels)
    return (norms < BLANK_FRACTION * norms.quantile(0.5)) | (norms == 0)


def kernel_sheet(kernels: Tensor) -> Tensor:
    """Lay kernels out in a near-square grid, the largest norm first.

    All are divided by the largest magnitude among them, so that blank ones are plain mid-gray. Of
    other channels than RGB those are drawn that pictures for people show.

    Args:
        kernels: ``[O, C, k, k]``.

    Returns:
        ``[3, height, width]`` in [0, 1], each kernel magnified to at least 28 pixels.
    """
    ordered = kernels[kernel_norms(kernels).argsort(descending=True)]
    pixels = 0.5 + ordered / (2 * ordered.abs().max().clamp(min=1e-12))
    pixels = pixels[:, shown_channels(pixels.shape[1])]
    factor = -(-_KERNEL_SIDE // kernels.shape[-1])
    for axis in (-1, -2):
        pixels = pixels.repeat_interleave(factor, dim=axis)
    return make_grid(pixels, nrow=math.ceil(math.sqrt(len(pixels))), padding=3, pad_value=1.0)


def plot(layers: dict[str, Tensor], path: Path) -> None:
    """Draw Figure 2 for several trunks, side by side: kernels, and a histogram of their norms.

    Args:
        layers: kernels ``[O, C, k, k]`` of each trunk, by its title.
        path: of the PNG; a PDF is written beside it.

    Raises:
        OSError: the folder of ``path`` is missing or cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(layers), 5.6), constrained_layout=True)
    ratios = {"height_ratios": (3, 1.4)}
    axes = figure.subplots(2, len(layers), squeeze=False, gridspec_kw=ratios)
    # One axis for all: spreads are there to be compared.
    top = max(float(kernel_norms(kernels).max()) for kernels in layers.values()) or 1.0
    for (title, kernels), (upper, lower) in zip(layers.items(), axes.T):
        norms = kernel_norms(kernels)
        count = int(blank_kernels(kernels).sum())
        upper.imshow(kernel_sheet(kernels).permute(1, 2, 0).numpy(), interpolation="nearest")
        upper.axis("off")
        wrapped = textwrap.fill(title, 36)
        upper.set_title(f"{wrapped}\n{count} of {len(kernels)} kernels blank", fontsize=9)
        lower.hist(norms.numpy(), bins=32, range=(0, top), color="0.5")
        limit = BLANK_FRACTION * float(norms.quantile(0.5))
        lower.axvline(limit, color="tab:red", lw=1, ls="--")
        lower.set(xlabel="L2 norm of a kernel (left of the line: blank)", ylabel="kernels")
        lower.yaxis.get_major_locator().set_params(integer=True)
        lower.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path, ".png", ".pdf")


def table_row(kernels: Tensor) -> dict[str, int | float]:
    """How many kernels ``[O, 3, k, k]``, their norms' median, the least to it, blank ones."""
    norms = kernel_norms(kernels)
    median = float(norms.quantile(0.5))
    return {
        "kernels": len(kernels),
        "median norm": median,
        "least / median": float(norms.min()) / median if median else 0.0,
        "blank": int(blank_kernels(kernels).sum()),
    }
