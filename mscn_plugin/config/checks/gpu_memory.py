"""What a training step needs of a GPU's memory, and what would fit where it has too little."""

from __future__ import annotations

from typing import Any

import torch

from mscn_plugin.errors import ConfigError
from mscn_plugin.models.input_channels import input_channels
from mscn_plugin.transforms.collate import masks_of_branches
from mscn_plugin.types import Config

_VIEWS = 4
"""Of the pass that is measured: batch normalization needs more than one."""
_BESIDE = 1.1
"""Weights, optimizer and the stage's views beside the activations; 1.02 to 1.07 was measured."""


def activation_bytes(config: Config, size: tuple[int, int]) -> int:
    """Bytes that one view's activations take between forward and backward pass.

    Counted on PyTorch's meta device, which computes shapes and no values: what autograd keeps,
    parameters aside. A lower bound of the memory that a step needs. Mixed precision counts half.

    Args:
        config: the ``config`` part of a configuration.
        size: (H, W) of a view in pixels.
    """
    from vissl.models import build_model

    with torch.device("meta"):
        model = build_model(config.MODEL, config.OPTIMIZER)
    parameters = {p.untyped_storage()._cdata for p in model.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in parameters:
            kept[storage._cdata] = storage  # held, so that no other gets its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.empty(_VIEWS, input_channels(config.MODEL), *size, device="meta"))
    count = int(sum(storage.nbytes() for storage in kept.values())) // _VIEWS
    return count // 2 if config.MODEL.AMP_PARAMS.USE_AMP else count


def check_gpu_memory(config: Config, size: tuple[int, int] | None, available: int) -> None:
    """Refuse a step whose activations alone are more than a GPU's memory.

    Args:
        size: (H, W) of a view, or None where no crop states it: then nothing is checked.
        available: bytes of the GPU.

    Raises:
        ConfigError: it cannot fit; names what would.
    """
    if size is None:
        return
    try:
        of_view = activation_bytes(config, size)
    except Exception:  # a model that the meta device cannot hold need not be wrong
        return
    views = config.DATA.TRAIN.BATCHSIZE_PER_REPLICA * num_masked_views(config)
    if of_view * views > available:
        raise ConfigError(
            f"{batch_in_words(config)}, whose activations alone need {_gib(of_view * views)}; the "
            f"GPU has {_gib(available)}: {advice(config, of_view, available)}"
        )


def num_masked_views(config: Config) -> int:
    """Views of an image in a step: K0 + K1, or 2 with VISSL's collators."""
    return sum(masks_of_branches(config.DATA.TRAIN))


def advice(config: Config, of_view: int = 0, available: int = 0) -> str:
    """The overlays that need less, with their estimates where they fit.

    Args:
        of_view: :func:`activation_bytes`; 0 where it is not known.
    """
    batch_size, views = config.DATA.TRAIN.BATCHSIZE_PER_REPLICA, num_masked_views(config)
    checkpointing = config.MODEL.ACTIVATION_CHECKPOINTING.USE_ACTIVATION_CHECKPOINTING
    ways: list[tuple[str, float]] = []
    if not config.MODEL.AMP_PARAMS.USE_AMP:
        ways.append(("amp", 0.5))
    if views > 2:
        ways.append(("one_mask", 2 / views))
    if len(ways) == 2:
        ways.append(("amp +config/mscn/memory=one_mask", 1 / views))
    said = []
    for overlay, share in ways:
        need = _BESIDE * share * of_view * batch_size * views
        if need <= available or not of_view:
            estimate = f" (about {_gib(need)})" if of_view else ""
            said.append(f"+config/mscn/memory={overlay}{estimate}")
    if not checkpointing:
        said.append("+config/mscn/memory=activation_checkpointing")
    largest = int(available / (_BESIDE * of_view * views)) if of_view else 0
    fits = f" of at most {largest}" if largest >= 2 else ""
    return f"add {', or '.join([*said, f'a smaller batch{fits}'])}"


def batch_in_words(config: Config) -> str:
    """The key of the batch with what it means in views."""
    batch_size, views = config.DATA.TRAIN.BATCHSIZE_PER_REPLICA, num_masked_views(config)
    return (
        f"config.DATA.TRAIN.BATCHSIZE_PER_REPLICA is {batch_size}, with {views} views of an image "
        f"{batch_size * views} views"
    )


def _gib(count: float) -> str:
    return f"{count / 2**30:.1f} GiB"
