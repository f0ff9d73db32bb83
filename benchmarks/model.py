"""A training step on one core: the share of the device stage, memory format, compilation.

A step is forward, InfoNCE loss, backward and SGD with VISSL's models. Compilation happens before
the clock starts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import Row, faster, main, milliseconds, quiet
from benchmarks.pipelines import compose, masked


def task_of(overrides: list[str], folder: Path) -> Any:
    from vissl.trainer.trainer_main import build_task

    images = folder / "images" / "train" / "class"
    images.mkdir(parents=True, exist_ok=True)
    from PIL import Image

    for number in range(32):  # a batch: fewer are refused
        Image.new("RGB", (8, 8)).save(images / f"{number}.png")
    return build_task(compose([*masked(1), *overrides], folder / "images", 0, 32, folder))


def step_of(task: Any, views: torch.Tensor) -> Callable[[], None]:
    """A step on ``views`` ``[2 * B, 3, H, W]``."""
    model = task._build_model()
    loss = task._build_loss()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    target = torch.zeros(len(views))

    def step() -> None:
        optimizer.zero_grad()
        loss(model(views), target).backward()
        optimizer.step()

    return step


def _stage(folder: Path) -> list[Row]:
    from mscn_plugin.masking import MaskDistribution
    from mscn_plugin.transforms.on_device import DeviceViews

    views = torch.randint(0, 256, (2, 32, 3, 224, 224), dtype=torch.uint8)
    one = torch.ones(2, 32, dtype=torch.long)
    masks = MaskDistribution()
    batch = {"data": views, "label": one, "data_valid": one, "data_idx": one}
    batch["masks"] = [masks.sample(32, (224, 224)) for _ in range(2)]
    stage = DeviceViews((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), sigma=5.0)
    with quiet():
        step = step_of(task_of([], folder), stage(batch, "cpu")["data"][0])
        times = milliseconds(
            {
                "device stage, batch 32, K = 1": lambda: stage(batch, "cpu"),
                "ResNet-50 step, batch 32, K = 1": step,
            },
            repeats=3,
        )
    return faster(times, *list(times)[:1], {list(times)[1]: 20.0})


def _switches(name: str, overrides: list[str], views: torch.Tensor, folder: Path) -> list[Row]:
    switches: dict[str, list[str]] = {
        "as it is": [],
        "channels_last": ["config.MSCN.CHANNELS_LAST=True"],
        "compiled": ["config.MSCN.COMPILE_TRUNK=True"],
        "channels_last and compiled": ["+config/mscn/speed=compiled"],
    }
    with quiet():
        steps = {
            f"{name}, {key}": step_of(task_of([*overrides, *values], folder), views)
            for key, values in switches.items()
        }
        for step in steps.values():
            step()
        times = milliseconds(steps, repeats=5)
    plain, *others = times
    result = [Row(plain, times[plain], "ms")]
    for other in others:
        result += faster({k: times[k] for k in (other, plain)}, other, {plain: None})[:1]
    return result


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return [
            *_stage(folder),
            *_switches("ResNet-50 step, 8 views of 224", [], torch.randn(8, 3, 224, 224), folder),
            *_switches(
                "quickstart's ResNet-18 step, 256 views of 56",
                [
                    "config=mscn/quickstart",
                    "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS.num_masks=1",
                ],
                torch.randn(256, 3, 56, 56),
                folder,
            ),
        ]


if __name__ == "__main__":
    main(rows)
