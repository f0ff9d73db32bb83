"""Weights by their names, as a file of PyTorch and as one of safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mscn_plugin.checkpoints.io import SIGMA_KEY


def write_and_read(
    weights: dict[str, Tensor],
    folder: Path,
    name: str,
    sigma: float,
    wrapper: dict[str, Any] | None = None,
) -> dict[str, dict[str, Tensor]]:
    """Write ``<name>.pth`` and ``<name>.safetensors``, and read both back.

    Args:
        weights: what both files hold.
        sigma: in pixels, for the metadata of safetensors.
        wrapper: what else the ``.pth`` holds than the weights, which are then its ``"model"``;
            None: it holds the weights alone.

    Returns:
        What was read, by file name.
    """
    from safetensors.torch import load_file, save

    weights = {key: tensor.detach().clone().contiguous() for key, tensor in weights.items()}
    plain, safe = folder / f"{name}.pth", folder / f"{name}.safetensors"
    torch.save(weights if wrapper is None else {"model": weights, **wrapper}, str(plain))
    # save_file would make the file unreadable for others.
    safe.write_bytes(save(weights, metadata={"format": "pt", SIGMA_KEY: repr(sigma)}))
    read = torch.load(str(plain), weights_only=True)
    return {
        plain.name: read if wrapper is None else read["model"],
        safe.name: load_file(str(safe)),
    }
