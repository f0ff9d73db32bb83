"""Runs of seconds through VISSL's launching tool, and the comparison of what they leave."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mscn_plugin.checkpoints.io import load_checkpoint
from mscn_plugin.report.history import History

IMAGES = 48
TIMEOUT = 600
"""Seconds after which a run that has not ended counts as one that does not end."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One way to train.

    Attributes:
        method: ``simclr`` or ``byol``.
        workers: of the loader.
        device_views: filter and masks on the device, or in the loader's workers.
        by_iteration: checkpoints at every second iteration too, with VISSL's stateful sampler.
        epochs: of four iterations of 12 images.
        evaluations: epochs from one online evaluation to the next; 0: there are none.
        augment_on: ``device`` or ``worker``.
    """

    method: str = "simclr"
    workers: int = 0
    device_views: bool = True
    by_iteration: bool = False
    epochs: int = 16
    evaluations: int = 2
    augment_on: str = "worker"

    def __str__(self) -> str:
        views = "on the device" if self.device_views else "in the loader"
        views += " and augmented there" if self.augment_on == "device" else ""
        return (
            f"{self.method}, {self.workers} workers, views {views}, checkpoints by "
            f"{'iteration' if self.by_iteration else 'epoch'}"
        )

    @property
    def overrides(self) -> list[str]:
        pages = {"simclr": "mscn/quickstart", "byol": "mscn/byol_quickstart"}
        heads = {
            "simclr": "[[mlp,{dims:[null,16]}]]",
            "byol": "[[mlp,{dims:[null,24,8],use_bn:true,use_relu:true,use_bias:false}],"
            "[mlp,{dims:[8,24,8],use_bn:true,use_relu:true,use_bias:false}]]",
        }
        train = "config.DATA.TRAIN"
        by_iteration = [
            f"{train}.USE_STATEFUL_DISTRIBUTED_SAMPLER=True",
            "config.CHECKPOINT.CHECKPOINT_ITER_FREQUENCY=2",
            "config.OPTIMIZER.name=lars",
            "++config.OPTIMIZER.eta=0.001",
            "++config.OPTIMIZER.exclude_bias_and_norm=True",
        ]
        return [
            f"config={pages[self.method]}",
            f"config.MODEL.HEAD.PARAMS={heads[self.method]}",
            "config.MODEL.TRUNK.SMALL_RESNET.WIDTH=8",
            "config.MODEL.TRUNK.SMALL_RESNET.DEPTH=10",
            f"{train}.TRANSFORMS.1.size=32",
            f"{train}.BATCHSIZE_PER_REPLICA=12",
            f"config.DATA.NUM_DATALOADER_WORKERS={self.workers}",
            f"config.MSCN.DEVICE_VIEWS={self.device_views}",
            f"config.MSCN.AUGMENT_ON={self.augment_on}",
            f"config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS={self.evaluations}",
            "config.HOOKS.TENSORBOARD_SETUP.USE_TENSORBOARD=False",
            f"config.OPTIMIZER.num_epochs={self.epochs}",
            *(by_iteration if self.by_iteration else ()),
        ]


SETTINGS = [
    Setting(method, workers, device_views, by_iteration, epochs=8)
    for method in ("simclr", "byol")
    for device_views, by_iteration in ((True, False), (False, True))
    for workers in (0, 2)
]


def write_images(folder: Path, count: int = IMAGES) -> Path:
    """An ImageFolder of ``count`` textures in two classes."""
    random = np.random.default_rng(0)
    for index in range(count):
        file = folder / f"class{index % 2}" / f"{index:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((96, 80), Image.Resampling.BICUBIC).save(file)
    return folder


@contextlib.contextmanager
def started(
    folder: Path,
    overrides: Sequence[str],
    program: str | None = None,
    command: Sequence[str] | None = None,
) -> Iterator[subprocess.Popen]:
    """VISSL's tool as the head of a process group of its own, killed as a whole on leaving.

    Args:
        folder: the run's; what the tool prints goes to ``<folder>.txt``.
        program: Python source to run in the tool's place; it ends in the tool.
        command: interpreter and tool; this process's own interpreter and the tool's module if None.
    """
    if command is None:
        arguments = ["-c", program] if program else ["-m", "tools.run_distributed_engines"]
        command = [sys.executable, *arguments]
    ours = [*command, *overrides, f"config.CHECKPOINT.DIR={folder}"]
    with command_started(folder, ours) as process:
        yield process


@contextlib.contextmanager
def command_started(folder: Path, command: Sequence[str]) -> Iterator[subprocess.Popen]:
    """:func:`started`, for any command that writes to ``folder``."""
    environment = {k: v for k, v in os.environ.items() if k not in ("WORLD_SIZE", "RANK")}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".txt").open("a") as output:
        process = subprocess.Popen(
            command,
            cwd=folder.parent,
            env={**environment, "OMP_NUM_THREADS": "1"},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def finish(folder: Path, overrides: Sequence[str], program: str | None = None) -> int:
    """Run to the end; returns the exit code."""
    with started(folder, overrides, program) as process:
        return process.wait(TIMEOUT)


def output_of(folder: Path) -> str:
    """What the runs of a folder have printed."""
    return folder.with_suffix(".txt").read_text(errors="replace")


def messages_of(folder: Path) -> list[str]:
    """The lines of it with which the plugin has ended a run."""
    lines = output_of(folder).splitlines()
    return [line for line in lines if line.startswith("mscn-plugin: ")]


def result_of(folder: Path) -> dict[str, Any]:
    """Weights, statistics, target network, optimizer state and accuracies of a run, by name."""
    (file,) = folder.glob("model_final*.torch")
    checkpoint = load_checkpoint(file)
    state = checkpoint["classy_state_dict"]
    parts = {"model": state["base_model"], "optimizer": state["optimizer"]}
    evaluations = {e["train_phase_idx"]: e for e in History.of(folder).evaluations}
    return dict(_leaves({**parts, "loss": checkpoint["loss"], "evaluations": evaluations}))


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The names of values that are not the same bit for bit."""
    names = sorted({*one, *other})
    return [n for n in names if n not in one or n not in other or not _same(one[n], other[n])]


def differences_of(folder: Path, expected: dict[str, Any]) -> list[str]:
    """:func:`differences` of a run to ``expected``, or in their place why it has no result."""
    try:
        return differences(expected, result_of(folder))
    except Exception as error:  # no final file, or not one that loads
        return [f"{type(error).__name__}: {error}"]


def _same(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def _leaves(content: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(content, (dict, list, tuple)):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in items:
            yield from _leaves(value, f"{name}.{key}")
    else:
        yield name, content
