"""Which random numbers a mask takes, in which order: a resumed run must mask as an unbroken one.

The reference is written down number by number, and its result for one seed beside it.
"""

from __future__ import annotations

import hashlib
import math

import pytest
import torch

from mscn_plugin.masking import MaskDistribution

CASES = {
    "the defaults": ({}, (5, 3, 224, 224), "68b1fa4e0bab"),
    "grid": ({"focal_probability": 0.0, "ratio": 0.3}, (4, 3, 64, 96), "47493ed763b7"),
    "focal": ({"focal_probability": 1.0}, (4, 3, 64, 96), "fb78ac6c3c7d"),
    "focal of a stated size": (
        {"focal_probability": 1.0, "focal_size": 40},
        (4, 3, 64, 96),
        "b99e9553e595",
    ),
    "shared by the channels": ({"channelwise_probability": 0.0}, (6, 3, 56, 56), "023615d906c9"),
    "cut cells": ({"cell_size": 9, "ratio": 0.5}, (6, 1, 50, 31), "fd36dc31a6f1"),
}


def reference(masks, n, c, height, width, generator):
    """What is hidden, bool ``[N, C, H, W]``, number by number and cell by cell."""
    focal = torch.rand(n, generator=generator) < masks.focal_probability
    independent = torch.rand(n, generator=generator) < masks.channelwise_probability
    rows, columns = (math.ceil(side / masks.cell_size) for side in (height, width))
    extra = torch.rand(n, c, generator=generator)
    order = torch.rand(n, c, rows * columns, generator=generator)
    position = torch.rand(n, c, 2, generator=generator)
    hidden = torch.zeros(n, c, height, width, dtype=torch.bool)
    for sample in range(n):
        for channel in range(c):
            source, mask = channel if independent[sample] else 0, hidden[sample, channel]
            if focal[sample]:
                mask[:] = True
                sides = [masks.focal_side(side) for side in (height, width)]
                top, left = (
                    min(int(place * (side - box + 1)), side - box)
                    for place, side, box in zip(position[sample, source], (height, width), sides)
                )
                mask[top : top + sides[0], left : left + sides[1]] = False
                continue
            number = int(rows * columns * masks.ratio + extra[sample, source])
            for cell in order[sample, source].argsort()[:number].tolist():
                top, left = (masks.cell_size * place for place in divmod(cell, columns))
                mask[top : top + masks.cell_size, left : left + masks.cell_size] = True
    return hidden


@pytest.mark.parametrize("name", list(CASES))
def test_the_random_numbers_and_their_order_are_those_of_earlier_runs(name):
    settings, shape, digest = CASES[name]
    masks, generator = MaskDistribution(**settings), torch.Generator().manual_seed(5)
    hidden = masks.sample(shape[0], shape[2:], shape[1], generator).hidden()
    again = torch.Generator().manual_seed(5)
    assert torch.equal(hidden, reference(masks, *shape, again))
    assert torch.rand((), generator=generator) == torch.rand((), generator=again)
    assert hashlib.sha256(hidden.numpy().tobytes()).hexdigest()[:12] == digest
