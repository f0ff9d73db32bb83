"""A worker's time for one small image from memory: crops, and augmentations, here or on the device.

JPEGs of 64 pixels, as Tiny ImageNet's, all of them decoded before (MSCN.CACHE memory); two views of
56 pixels; batches of 64; one core. What is left to the device takes no time of the worker.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import Row, faster, main, milliseconds, photographs_as_jpegs, quiet
from benchmarks.pipelines import compose

IMAGES, BATCH, REPEATS = 256, 64, 7
AUGMENTATIONS = {"crops alone": "04_different_crops", "all augmentations": "11_final"}
ON_DEVICE = "config.MSCN.AUGMENT_ON=device"
WHERE = {
    "crops on the device": [ON_DEVICE, "config.MSCN.CROP_ON=device"],
    "crops in the worker": [ON_DEVICE],
    "all in the worker": ["config.MSCN.AUGMENT_ON=worker"],
}


def worker(experiment: str, switches: list[str], folder: Path) -> Any:
    """A call of it makes all batches of an epoch, as a loader's worker does."""
    from vissl.data.collators import get_collator

    from mscn_plugin.config.composed import composed
    from mscn_plugin.data.readable_images import dataset_of
    from mscn_plugin.experiments.definitions import SUITES
    from mscn_plugin.experiments.scales import SCALES, config_of
    from mscn_plugin.transforms.loader_pipeline import loader_config

    chosen = next(e for e in SUITES["trajectory"] if e.name == experiment)
    scaled = SCALES["small"].overrides(chosen, composed(config_of(chosen)), seed=0)
    overrides = [f"config={config_of(chosen)}", *scaled, "config.MSCN.CACHE=memory", *switches]
    config, _ = loader_config(compose(overrides, folder / "images", 0, BATCH, folder))
    dataset = dataset_of(config, "TRAIN")
    dataset.epoch = 0
    collate = get_collator(
        config.DATA.TRAIN.COLLATE_FUNCTION, config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS
    )

    def epoch() -> None:
        for first in range(0, IMAGES, BATCH):
            collate([dataset[index] for index in range(first, first + BATCH)])

    return epoch


def rows() -> list[Row]:
    result: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photographs_as_jpegs(folder / "images", IMAGES, (64, 64))
        for what, experiment in AUGMENTATIONS.items():
            with quiet():
                epochs = {
                    f"{what}, {where}": worker(experiment, switches, folder)
                    for where, switches in WHERE.items()
                }
            times = {
                name: [1e3 * value / IMAGES for value in values]
                for name, values in milliseconds(epochs, REPEATS).items()
            }
            first, *others = times
            result += faster(times, first, dict.fromkeys(others), unit="µs per image")
    return result


if __name__ == "__main__":
    main(rows)
