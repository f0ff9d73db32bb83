"""Folders of arrays for tests: textures of four classes, in train/ and val/."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

from mscn_plugin.data.arrays import ArrayFormat
from mscn_plugin.data.statistics import FILE, measure
from mscn_plugin.files import save_json

SCALES = {"uint8": (20, 128), "uint16": (8000, 30000), "float32": (1e-3, -5)}
"""Standard deviation and mean of the values."""


def write_arrays(root: Path, channels: int, kind: str, ending: str = ".npy") -> None:
    """8 training and 3 validation arrays of each class, and their statistics.json.

    Odd ones have their channels last.
    """
    random = np.random.RandomState(0)
    std, mean = SCALES[kind]
    for split, count in (("train", 8), ("val", 3)):
        for label, index in np.ndindex(4, count):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True, exist_ok=True)
            wave = np.sin(np.arange(70) * (label + 1) / 4 + random.rand())
            values = (mean + std * (wave + random.randn(channels, 66, 70))).astype(np.float64)
            values = np.moveaxis(values, 0, -1) if index % 2 else values
            stored = values.clip(0, 255) if kind == "uint8" else values
            path = folder / f"{index}{ending}"
            save = np.save if ending == ".npy" else tifffile.imwrite
            save(path, stored.astype(kind))
    save_json(root / FILE, measure(str(root), ArrayFormat(channels)))
