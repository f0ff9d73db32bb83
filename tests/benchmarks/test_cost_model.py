"""The cost model's tables from the figures that docs/ holds."""

from __future__ import annotations

import json

import pytest

from benchmarks import cost_model
from benchmarks.__main__ import DOCS


def test_cores_are_images_of_a_step_by_images_of_a_core():
    gpu = json.loads((DOCS / "gpu.json").read_text())
    names = (
        "MSCN's worker alone, augmentations on the device",
        "MSCN's worker alone, augmentations and all",
        "VISSL SimCLR",
        "DALI SimCLR",
    )
    peers = [
        {"what": name, "values": [rate]} for name, rate in zip(names, (400.0, 200.0, 80.0, 100.0))
    ]
    _, _, *lines = cost_model.cores_of_an_h200(peers, gpu).splitlines()
    rows = [[float(cell) for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in rows] == [1, 2, 4]
    for k, needed, augmenting, *cores in rows:
        assert needed / augmenting == pytest.approx(1 + cost_model.AUGMENTATION[k], abs=0.002)
        expected = [augmenting / 400, needed / 200, needed / 80, needed / 100]
        assert cores == pytest.approx(expected, abs=0.06)
