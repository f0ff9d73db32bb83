"""VISSL's checkpoints as everything behind pre-training reads them: without running their code."""

from __future__ import annotations

import inspect
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any, Dict, Optional, Union

import torch
import yaml
from torch import Tensor

from mscn_plugin.errors import ConfigError

SIGMA_KEY = "mscn_high_pass_sigma"
"""Where ``mscn_task`` puts pre-training's sigma, in the ``classy_state_dict`` of a checkpoint."""
TRUSTED = "; pass --trusted if it is your own (PyTorch 1.13 needs it for all of VISSL's)"
"""The hint of scripts that have the option."""
VISSL_UNPICKLES = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6)
"""Whether VISSL itself, on this PyTorch, unpickles whatever a checkpoint holds."""
_WRAPPER = "base_model."  # what VISSL puts around the trunk of a linear evaluation


class CheckpointError(ConfigError):
    """A file that is not the checkpoint it should be: one sentence that starts with the file."""


def load_checkpoint(
    path: Union[str, Path], trusted: bool = False, hint: str = ""
) -> Dict[str, Any]:
    """Load a checkpoint of VISSL on the CPU, its tensors mapped from the file where possible.

    Args:
        trusted: load by pickle, which can run code that the file holds.
        hint: what the error says of a file that needs it, such as :data:`TRUSTED`.

    Raises:
        CheckpointError: it is no file, no checkpoint, or would need ``trusted``.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file; it must be a checkpoint of VISSL")
    options: Dict[str, Any] = {}
    if "mmap" in inspect.signature(torch.load).parameters and zipfile.is_zipfile(path):
        options["mmap"] = True
    try:
        checkpoint = torch.load(str(path), map_location="cpu", weights_only=not trusted, **options)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path} holds more than the tensors and plain values that PyTorch {torch.__version__} "
            f"loads without running code{hint}"
        ) from None
    except Exception as error:
        raise CheckpointError(
            f"{path} is damaged, or no checkpoint of PyTorch ({type(error).__name__})"
        ) from None
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{path} holds no dictionary; it must be a checkpoint of VISSL")
    return checkpoint


def save_checkpoint(content: Dict[str, Any], path: Path) -> None:
    """Write ``content`` by ``torch.save`` so that a reader never sees half of it."""
    staged = path.with_suffix(".tmp")
    torch.save(content, staged)
    os.replace(staged, path)


def trunk_weights(checkpoint: Dict[str, Any], path: Union[str, Path]) -> Dict[str, Tensor]:
    """The trunk's tensors by the names of VISSL's trunk (``_feature_blocks...``).

    Args:
        path: the checkpoint's file, for the error.

    Raises:
        CheckpointError: the checkpoint has no trunk.
    """
    trunk: Any = checkpoint
    for key in ("classy_state_dict", "base_model", "model", "trunk"):
        trunk = trunk.get(key) if isinstance(trunk, dict) else None
    if not trunk or not isinstance(trunk, dict):
        raise CheckpointError(
            f"{path} has no trunk under classy_state_dict.base_model.model; it must be a "
            "checkpoint of VISSL"
        )
    return {
        name[len(_WRAPPER) :] if name.startswith(_WRAPPER) else name: tensor
        for name, tensor in trunk.items()
    }


def training_config(path: Union[str, Path], follow: bool = True) -> Optional[Dict[str, Any]]:
    """The configuration of the run that wrote a checkpoint, which VISSL puts beside it.

    Args:
        follow: look where the checkpoint lies, not where links to it do.

    Returns:
        The ``config`` part, or None where there is no ``train_config.yaml``.
    """
    place = Path(path).resolve() if follow else Path(path)
    file = place.parent / "train_config.yaml"
    return yaml.safe_load(file.read_text()) if file.is_file() else None
