"""A detector's folder, read without running anything that it holds.

detectron2 itself runs what a YAML file asks for, and unpickles files that end in ``.pkl``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from mscn_plugin.checkpoints.io import CheckpointError, load_checkpoint, read_yaml

_BASE = "_BASE_"


def read_config(file: Path) -> Any:
    """detectron2's configuration in ``file``, without weights, which detectron2 would load.

    Raises:
        CheckpointError: it is not one, holds more than plain values, or takes in another file.
    """
    from detectron2.config import get_cfg

    content = read_yaml(file)
    if _BASE in content:
        raise CheckpointError(f"{file} takes in the file {content[_BASE]!r}; it must be complete")
    config = get_cfg()
    try:
        config.merge_from_file(str(file), allow_unsafe=False)
    except Exception as error:  # detectron2 has many ways to refuse a configuration
        raise CheckpointError(f"{file} is not a configuration of detectron2 ({error!r})") from None
    config.MODEL.WEIGHTS = ""
    return config


def load_weights(model: nn.Module, file: Path) -> None:
    """Load a detector's weights into its model.

    Raises:
        CheckpointError: the file is no checkpoint of detectron2, or of another detector.
    """
    weights: Any = load_checkpoint(file).get("model")
    try:
        model.load_state_dict(weights)
    except (AttributeError, RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(
            f"{file} does not hold the weights of the detector of config.yaml ({reason})"
        ) from None


def read_class_names(file: Path) -> list[str]:
    """The names in ``classes.json``.

    Raises:
        CheckpointError: it is not a list of names.
    """
    try:
        names = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is not a list of names ({error})") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"{file} is not a list of names")
    return names
