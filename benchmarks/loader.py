"""Images per second out of the loader, and bytes that it hands to the device.

Real photographs as JPEGs of 500 x 375 pixels, crops of 224, batches of 32. "One core": the loader,
and with it the stage on the device, in the process itself; "one worker": as in training, one worker
process beside a main process that only runs the stage. "Stage on another device" is what the worker
alone delivers: what a GPU is fed with.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import Row, faster, main, photographs_as_jpegs, quiet
from benchmarks.pipelines import AS_IN_VISSL, IN_WORKERS, VISSLS, compose, masked

BATCH, BATCHES, SKIPPED, REPEATS = 32, 12, 4, 3

CONFIGURATIONS = {
    "MSCN, K = 4": masked(4),
    "MSCN, K = 1": masked(1),
    "MSCN, K = 4, filter and masks in the workers": masked(4, IN_WORKERS),
    "MSCN, K = 1, filter and masks in the workers": masked(1, IN_WORKERS),
    "MSCN, K = 4, as in VISSL": masked(4, AS_IN_VISSL),
    "VISSL SimCLR, no masks": VISSLS,
    "VISSL SimCLR, no masks, files from a list": [
        *VISSLS,
        "config.DATA.TRAIN.DATA_SOURCES=[disk_filelist]",
        "config.DATA.TRAIN.LABEL_SOURCES=[]",
    ],
}
"""VISSL reads a file once from a list and twice from a folder."""


def loader_of(overrides: list[str], images: Path, workers: int, folder: Path) -> Any:
    from vissl.trainer.trainer_main import build_task

    config = compose(overrides, images, workers, BATCH, folder)
    if config.DATA.TRAIN.DATA_SOURCES == ["disk_filelist"]:
        import numpy as np

        files = sorted(str(path) for path in images.glob("train/*/*.jpg"))
        np.save(folder / "files.npy", files)
        config.DATA.TRAIN.DATA_PATHS = [str(folder / "files.npy")]
    task = build_task(config)
    task.available_splits = ["TRAIN"]
    task.datasets, _ = task.build_datasets()
    return task.build_dataloaders(pin_memory=False)["train"]


def images_per_second(loader: Any) -> float:
    """Throughput after the first batches, which a new worker's start and prefetching distort."""
    torch.manual_seed(0)
    batches: Iterator[Any] = iter(loader)
    for _ in range(SKIPPED):
        next(batches)
    start = time.perf_counter()
    count = sum(1 for _ in batches)
    return count * BATCH / (time.perf_counter() - start)


def bytes_of(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(map(bytes_of, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(bytes_of, value))
    return sum(map(bytes_of, vars(value).values())) if hasattr(value, "__dict__") else 0


def rows() -> list[Row]:
    result: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = photographs_as_jpegs(folder / "images", BATCH * BATCHES)
        size = statistics.mean(path.stat().st_size for path in images.glob("train/*/*.jpg"))
        result.append(Row("mean size of a JPEG", [size / 1e3], "kB"))
        for workers, where in ((0, "one core"), (1, "one worker")):
            builders: dict[str, Callable[[], Any]] = {
                name: lambda o=overrides, w=workers: loader_of(o, images, w, folder)
                for name, overrides in CONFIGURATIONS.items()
            }
            with quiet():
                loaders = {f"{key}, {where}": build() for key, build in builders.items()}
                alone = f"MSCN, any K, {where}, stage on another device"
                if workers:
                    loaders[alone] = next(iter(loaders.values())).dataloader
                rates: dict[str, list[float]] = {key: [] for key in loaders}
                for _ in range(REPEATS):
                    for key, loader in loaders.items():
                        rates[key].append(images_per_second(loader))
            rates_alone = rates.pop(alone, None)
            first, *others = rates
            targets = {
                key: 1.0 if key.startswith("VISSL SimCLR, no masks, one") else None
                for key in others
            }
            result += faster(rates, first, targets, unit="images/s", more_is_better=True)
            if rates_alone:
                plain = next(key for key in targets if targets[key])
                compared = {alone: rates_alone, plain: rates[plain]}
                result += faster(compared, alone, {plain: 1.0}, "images/s", more_is_better=True)[:1]
        result += _bytes(images, folder)
    return result


def _bytes(images: Path, folder: Path) -> list[Row]:
    sizes = {}
    configurations = {f"MSCN, K = {k}": masked(k) for k in (1, 4, 8)}
    for name, overrides in {**configurations, "VISSL SimCLR, no masks": VISSLS}.items():
        with quiet():
            loader = loader_of(overrides, images, 0, folder)
        batch = next(iter(getattr(loader, "dataloader", loader)))
        sizes[f"{name}: sent to the device"] = [bytes_of(batch) / BATCH / 1e3]
    *mine, plain = sizes
    result = []
    for name in mine:
        ratio = sizes[plain][0] / sizes[name][0]
        result.append(Row(name, sizes[name], "kB per image", plain, ratio, 1 / 0.30))
    return [*result, Row(plain, sizes[plain], "kB per image")]


if __name__ == "__main__":
    main(rows)
