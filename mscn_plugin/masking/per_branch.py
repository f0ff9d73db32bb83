"""Settings given per branch: one value for both, or a list with one entry per branch.

The asymmetry of section 4.5 is data: ``focal_probability: [0.3, 0.5]`` in the YAML.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mscn_plugin.masking.distribution import MaskDistribution
from mscn_plugin.types import is_whole

NUM_BRANCHES = 2
"""A name, not a setting: the losses compare branch 0 with branch 1 and 1 with 0, and no third."""
NumMasks = int | Sequence[int]
"""K, or ``[K0, K1]``."""
MASK_SETTINGS = tuple(field.name for field in dataclasses.fields(MaskDistribution))
"""The keys by which transforms and collator describe masks."""


def is_one_value(name: str, value: Sequence[object]) -> bool:
    """Whether a list is one value of the setting ``name``, and not a list with one per branch.

    Groups of channels are, which belong to the images, and so are height and width of a cell: per
    branch a ``cell_size`` is a list of lists.
    """
    pair = name == "cell_size" and not any(isinstance(part, (list, tuple)) for part in value)
    return pair or name == "channel_groups"


def per_branch(name: str, value: object, num_branches: int) -> list[Any]:
    """Return ``value`` as a list with one entry per branch.

    Raises:
        ValueError: ``value`` is a list of another length; the message starts with ``name``.
    """
    if not isinstance(value, Sequence) or isinstance(value, str) or is_one_value(name, value):
        return [value] * num_branches
    if len(value) != num_branches:
        raise ValueError(
            f"{name} is {list(value)}; it must be one value, or a list with one value for each "
            f"of the {num_branches} branches"
        )
    return list(value)


def mask_distributions(num_branches: int, settings: Mapping[str, object]) -> list[MaskDistribution]:
    """Build the mask distribution of every branch from config settings.

    Args:
        num_branches: number of branches (views of one image).
        settings: some of :data:`MASK_SETTINGS`, each one value or a list with one per branch; see
            :func:`is_one_value`.

    Raises:
        ValueError: unknown key, list of the wrong length, or a value outside of its range; the
            message starts with the key.
    """
    for name in settings:
        if name not in MASK_SETTINGS:
            raise ValueError(f"{name} is not a mask setting; known are {', '.join(MASK_SETTINGS)}")
    columns = {name: per_branch(name, value, num_branches) for name, value in settings.items()}
    return [
        MaskDistribution(**{name: column[branch] for name, column in columns.items()})
        for branch in range(num_branches)
    ]


def masks_per_branch(num_masks: object, num_branches: int = NUM_BRANCHES) -> list[int]:
    """Return K as ``[K0, K1]``; ``num_masks`` is K or that list (section 4.5, multimasks).

    Raises:
        ValueError: a count is not a whole number of at least 1, or the list has the wrong length.
    """
    counts = per_branch("num_masks", num_masks, num_branches)
    for count in counts:
        if not is_whole(count) or count < 1:
            raise ValueError(
                f"num_masks is {num_masks!r}; it must be a whole number of at least 1, or a list "
                f"with one for each of the {num_branches} branches"
            )
    return counts
