"""Whole training steps of VISSL's trainer: loader, device stage, forward, backward, optimizer.

224-pixel crops of JPEGs, batches of 32, a small trunk (ResNet-10 of width 4), so that the data's
share is large. "One core": no worker, everything one after the other in one thread, so that moving
work from one process to another wins nothing. "One worker": one thread each for the worker and for
the training, on two cores. Each run is a process of its own; all are repeated in turn.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import Row, faster, main, photographs_as_jpegs, quiet
from benchmarks.pipelines import (
    IN_WORKERS,
    VISSLS,
    compose,
    in_a_process_group,
    masked,
    with_views,
)

BATCH, BATCHES, SKIPPED, REPEATS = 32, 11, 3, 3

CONFIGURATIONS = {
    "MSCN, K = 1 (2 views)": (masked(1), 0),
    "MSCN, K = 1, filter and masks in the workers": (masked(1, IN_WORKERS), 0),
    "VISSL SimCLR, 2 views": (VISSLS, 2),
    "MSCN, K = 4 (8 views)": (masked(4), 0),
    "VISSL SimCLR, 8 views": (VISSLS, 8),
}
"""Overrides, and the number of views where the configuration is VISSL's alone."""


def measure(name: str, images: Path, workers: int) -> None:
    """Print the images per second of one run."""
    import torch
    from classy_vision.hooks import ClassyHook

    torch.set_num_threads(1)
    ends: list[float] = []

    class Clock(ClassyHook):
        on_start = on_phase_start = on_forward = on_loss_and_meter = on_backward = ClassyHook._noop
        on_update = on_phase_end = on_end = ClassyHook._noop

        def on_step(self, task: Any) -> None:
            ends.append(time.perf_counter())

    overrides, num_views = CONFIGURATIONS[name]
    in_a_process_group()
    with tempfile.TemporaryDirectory() as folder, quiet():
        config = compose(overrides, images, workers, BATCH, Path(folder))
        if num_views:
            with_views(config, num_views)
        config.MODEL.TRUNK.NAME = "small_resnet"
        small = {"DEPTH": 10, "WIDTH": 4, "STEM_STRIDE": 2, "STEM_POOL": True}
        config.MODEL.TRUNK.SMALL_RESNET = type(config)(small)
        config.MODEL.HEAD.PARAMS = [["mlp", {"dims": [32, 128]}]]
        config.LOG_FREQUENCY = 1000
        from vissl.trainer import SelfSupervisionTrainer
        from vissl.utils.misc import find_free_tcp_port

        run_id = f"localhost:{find_free_tcp_port()}"
        trainer = SelfSupervisionTrainer(config, run_id, None, folder, hooks=[Clock()])
        trainer.train()
    print(json.dumps((len(ends) - SKIPPED) * BATCH / (ends[-1] - ends[SKIPPED - 1])))


def rows() -> list[Row]:
    result: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        images = photographs_as_jpegs(Path(folder), BATCH * BATCHES)
        for workers, where in ((0, "one core"), (1, "one worker")):
            rates: dict[str, list[float]] = {
                name: [] for name in CONFIGURATIONS if workers or "in the workers" not in name
            }
            for _ in range(REPEATS):
                for name in rates:
                    command = [sys.executable, "-m", "benchmarks.step", "measure", name]
                    command += [str(images), str(workers)]
                    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                    rates[name].append(json.loads(out.stdout.splitlines()[-1]))
            for views in ("K = 1", "K = 4"):
                compared = {
                    f"steps of {name}, {where}": values
                    for name, values in rates.items()
                    if views in name or ("2 views" if views == "K = 1" else "8 views") in name
                }
                first, *others = compared
                targets = {name: 1.0 if "VISSL SimCLR" in name else None for name in others}
                result += faster(compared, first, targets, "images/s", more_is_better=True)
    return result


if __name__ == "__main__":
    if sys.argv[1] == "measure":
        measure(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main(rows)
