"""What a list of transforms in a configuration states of the images that it gives."""

from __future__ import annotations

from typing import Any

from mscn_plugin.types import value_at


def normalize_of(config: dict[str, Any] | None) -> dict[str, Any] | None:
    """The ``Normalize`` that a run's trunk was trained behind.

    Args:
        config: the ``config`` part of the run's configuration.

    Returns:
        The section of ``DATA.TRAIN.TRANSFORMS``, or else that of ``DATA.TEST.TRANSFORMS``; None
        where neither has one.
    """
    for split in ("TRAIN", "TEST"):
        for transform in value_at(config, f"DATA.{split}.TRANSFORMS") or ():
            if transform["name"] == "Normalize":
                return dict(transform)
    return None
