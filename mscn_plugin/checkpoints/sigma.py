"""Which high-pass filter is in front of the trunk, and whether it is pre-training's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor
from vissl.config import AttrDict

from mscn_plugin.checkpoints.io import SIGMA_KEY, CheckpointError
from mscn_plugin.errors import ConfigError
from mscn_plugin.masking import check_sigma
from mscn_plugin.models.high_pass_trunk import trunk_sigma
from mscn_plugin.schema import is_pretraining
from mscn_plugin.transforms.transforms import SIGMA
from mscn_plugin.types import Config

TRANSFORM = "MSCNHighPass"


def input_sigma(cfg: Config, split: str) -> float:
    """Sigma in pixels of the filter that a split's images pass: its transforms' or the trunk's.

    Args:
        cfg: the ``config`` part of a configuration; its trunk's sigma is known.
        split: ``"TRAIN"`` or ``"TEST"``.

    Returns:
        0 where there is no filter.

    Raises:
        ConfigError: the images would be filtered twice.
    """
    filters = list(_filters(cfg, split))
    if len(filters) > 1:
        places = " and ".join(place for place, _ in filters)
        raise ConfigError(f"{places} both filter the images of {split}; keep one of them")
    return filters[0][1] if filters else 0.0


def _filters(cfg: Config, split: str) -> Iterator[tuple[str, float]]:
    for index, transform in enumerate(cfg.DATA[split].TRANSFORMS):
        if transform.get("name") == TRANSFORM:
            sigma = float(transform.get("sigma", SIGMA))
            if sigma > 0:
                yield f"config.DATA.{split}.TRANSFORMS[{index}]", sigma
    sigma_of_trunk = trunk_sigma(cfg.MODEL.TRUNK)
    if sigma_of_trunk:
        yield "config.MODEL.TRUNK.NAME", sigma_of_trunk


def pretraining_sigma(
    checkpoint: dict[str, Any], config: dict[str, Any] | None = None
) -> float | None:
    """Sigma of pre-training's high-pass filter in pixels (0: none), or None if not stated.

    Checkpoints of ``mscn_task`` carry it as a tensor; for older ones the run's configuration
    states it.

    Args:
        config: of the run, see :func:`~mscn_plugin.checkpoints.io.training_config`.
    """
    state = checkpoint.get("classy_state_dict")
    sigma = state.get(SIGMA_KEY) if isinstance(state, dict) else None
    if isinstance(sigma, Tensor) and sigma.numel() == 1:
        return float(sigma)
    if config is None:
        return None
    run = AttrDict(config)
    sigma = input_sigma(run, "TRAIN")
    return sigma if sigma or is_pretraining(run) else None


def resolve_sigma(path: str | Path, stated: float | None, given: float | None) -> float:
    """The sigma that a checkpoint states, or else the one that the user gave.

    Args:
        path: the checkpoint's file, for the errors.
        stated: see :func:`pretraining_sigma`.
        given: by ``--sigma``.

    Raises:
        CheckpointError: they differ, neither is there, or it cannot be a blur's width.
    """
    sigma = given if stated is None else stated
    if sigma is None:
        raise CheckpointError(
            f"{path} does not state which high-pass filter its images passed, nor does a "
            "train_config.yaml beside it; pass --sigma, in pixels, 0 for none"
        )
    if given not in (None, sigma):
        raise CheckpointError(
            f"--sigma is {given:g}, but {path} was pre-trained with {sigma:g}; leave --sigma out"
        )
    try:
        return check_sigma(sigma)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None
