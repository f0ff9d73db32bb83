"""The target network of a checkpoint as a checkpoint of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from mscn_plugin.checkpoints.io import (
    CONFIG_KEY,
    SIGMA_KEY,
    CheckpointError,
    save_checkpoint,
    training_config,
)

_PREFIXES = ("target.", "moco_encoder.", "momentum_teacher.")


def save_target(
    checkpoint: dict[str, Any], source: Path, path: Path
) -> dict[str, dict[str, Tensor]]:
    """Write the target network to ``path``, for VISSL's evaluations; returns trunk and heads.

    The run's configuration goes with it: an evaluation has to see images as pre-training did.

    Args:
        checkpoint: what ``source`` holds.

    Raises:
        CheckpointError: there is none: ``byol_loss``, ``moco_loss`` and ``dino_loss`` have one;
            or the file beside ``source`` is not a configuration.
        OSError: the file cannot be written.
    """
    model = target_network(checkpoint)
    if not model["trunk"]:
        raise CheckpointError(
            f"{source} holds no target network: byol_loss, moco_loss and dino_loss have one"
        )
    state: dict[str, Any] = {"base_model": {"model": model}}
    sigma = checkpoint.get("classy_state_dict", {}).get(SIGMA_KEY)
    if sigma is not None:
        state[SIGMA_KEY] = sigma  # an evaluation has to filter as pre-training did
    config = training_config(source, checkpoint)
    if config is not None:
        state[CONFIG_KEY] = json.dumps(config, default=str)
    save_checkpoint({"classy_state_dict": state}, path)
    return model


def target_network(checkpoint: dict[str, Any]) -> dict[str, dict[str, Tensor]]:
    """Trunk and heads of the target network, by the names that VISSL gives a model's."""
    loss = checkpoint.get("loss") or {}
    parts = {}
    for part in ("trunk", "heads"):
        starts = tuple(f"{prefix}{part}." for prefix in _PREFIXES)
        parts[part] = {
            name.split(f"{part}.", 1)[1]: tensor
            for name, tensor in loss.items()
            if name.startswith(starts)
        }
    return parts
