"""A worker's time for one image, part by part: VISSL's transforms and the fast ones, one core.

Two 224-pixel views of a 500 x 375 JPEG. The last rows are how much the pictures differ, for the
same seeds.
"""

from __future__ import annotations

import copy
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.harness import Row, faster, main, milliseconds, photographs_as_jpegs, quiet

COUNT = 32
JITTER = {"name": "ImgPilColorDistortion", "strength": 1.0}
BLUR = {"name": "ImgPilGaussianBlur", "p": 0.5, "radius_min": 0.1, "radius_max": 2.0}
REPLICATE = {"name": "ImgReplicatePil", "num_times": 2}


def crop(size: int, **settings: Any) -> dict[str, Any]:
    return {"name": "RandomResizedCrop", "size": size, **settings}


def seed(value: int) -> None:
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)


def views(pipeline: Any, image: Any, number: int) -> list[Any]:
    seed(number)
    sample = {"data": [image], "label": [0], "data_valid": [1], "data_idx": [0]}
    return pipeline(sample)["data"]


def _compared(
    what: str, steps: Sequence[dict[str, Any]], inputs: Sequence[Any], files: bool
) -> list[Row]:
    from vissl.data.ssl_transforms import get_transform

    from mscn_plugin.transforms.opencv import with_fast_augmentations

    with quiet():
        theirs = get_transform(copy.deepcopy(list(steps)))
        ours = get_transform(with_fast_augmentations(copy.deepcopy(steps)))

    def run(pipeline: Any, undecoded: bool) -> list[Any]:
        result = []
        for number, item in enumerate(inputs):
            image = Image.open(item) if files else item
            image = image.convert("RGB") if files and not undecoded else image
            result += views(pipeline, image, number)
        return result

    times = milliseconds(
        {f"fast: {what}": lambda: run(ours, True), f"VISSL: {what}": lambda: run(theirs, False)},
        repeats=7,
    )
    times = {name: [value / len(inputs) for value in values] for name, values in times.items()}
    pairs = zip(run(ours, True), run(theirs, False))
    distances = [np.abs(np.subtract(a, b, dtype=float)).mean() for a, b in pairs]
    first, other = times
    return [
        *faster(times, first, {other: None}, unit="ms per image"),
        Row(f"{what}: mean difference between the two", distances, "of 255 levels"),
    ]


def rows() -> list[Row]:
    import mscn_plugin

    mscn_plugin.register()
    with tempfile.TemporaryDirectory() as name:
        folder = photographs_as_jpegs(Path(name), COUNT)
        files = sorted(folder.glob("train/*/*.jpg"))
        pictures = [Image.open(path).convert("RGB").resize((224, 224)) for path in files]
        whole = {"scale": [0.9, 1.0]}
        return [
            *_compared("decode and two crops of 224", [REPLICATE, crop(224)], files, True),
            *_compared("decode and two crops of 56", [REPLICATE, crop(56)], files, True),
            *_compared(
                "decode and two large crops of 56", [REPLICATE, crop(56, **whole)], files, True
            ),
            *_compared("color distortion of two views", [REPLICATE, JITTER], pictures, False),
            *_compared("Gaussian blur of two views", [REPLICATE, BLUR], pictures, False),
            *_compared(
                "all augmentations of an image",
                [REPLICATE, crop(224), {"name": "RandomHorizontalFlip"}, JITTER, BLUR],
                files,
                True,
            ),
        ]


if __name__ == "__main__":
    main(rows)
