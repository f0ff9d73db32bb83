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
    "cells of two sides": ({"cell_size": [16, 5], "ratio": 0.5}, (6, 2, 50, 31), "02139923e5b6"),
    "bands": ({"band_probability": 0.4, "column_band_size": 20}, (8, 3, 64, 48), "b6c5e731640a"),
    "groups": (
        {"channel_groups": {"a": [0, 3], "b": [1, 2, 4]}, "band_probability": 0.2},
        (8, 5, 64, 64),
        "6146226c3be5",
    ),
}


def reference(masks, n, c, height, width, generator):
    """What is hidden, bool ``[N, C, H, W]``, number by number and cell by cell."""
    choice = torch.rand(n, generator=generator)
    focal = choice < masks.focal_probability
    banded = ~focal & (choice < masks.focal_probability + masks.band_probability)
    independent = torch.rand(n, generator=generator) < masks.channelwise_probability
    size = masks.cell_size
    cell_height, cell_width = size if isinstance(size, list) else (size, size)
    rows, columns = math.ceil(height / cell_height), math.ceil(width / cell_width)
    groups = list((masks.channel_groups or {number: [number] for number in range(c)}).values())
    group_of = {channel: number for number, group in enumerate(groups) for channel in group}
    g = len(groups)
    extra = torch.rand(n, g, generator=generator)
    order = torch.rand(n, g, rows * columns, generator=generator)
    position = torch.rand(n, g, 2, generator=generator)
    if masks.band_probability:
        place, part, rounding = torch.rand(3, n, g, 4, generator=generator)
        share = 1 - (1 - masks.ratio) ** 0.25  # of each of 2 + 2 bands
        largest = [2 * share * height] * 2 + [masks.column_band_size or 2 * share * width] * 2
    hidden = torch.zeros(n, c, height, width, dtype=torch.bool)
    for sample in range(n):
        for channel in range(c):
            source = group_of[channel if independent[sample] else 0]
            mask = hidden[sample, channel]
            if focal[sample]:
                mask[:] = True
                sides = [masks.focal_side(side) for side in (height, width)]
                top, left = (
                    min(int(place * (side - box + 1)), side - box)
                    for place, side, box in zip(position[sample, source], (height, width), sides)
                )
                mask[top : top + sides[0], left : left + sides[1]] = False
                continue
            if banded[sample]:
                for band, side in enumerate((height, height, width, width)):
                    start = int(place[sample, source, band] * side)
                    length = part[sample, source, band] * largest[band]
                    end = start + int(length + rounding[sample, source, band])
                    lines = [line % side for line in range(start, end)]
                    (mask if band < 2 else mask.T)[lines] = True
                continue
            number = int(rows * columns * masks.ratio + extra[sample, source])
            for cell in order[sample, source].argsort()[:number].tolist():
                row, column = divmod(cell, columns)
                top, left = cell_height * row, cell_width * column
                mask[top : top + cell_height, left : left + cell_width] = True
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
