"""Whole training steps of VISSL's trainer: loader, device stage, forward, backward, optimizer.

224-pixel crops of JPEGs, batches of 32, one worker beside the training process, one thread each.
The trunk is small (ResNet-10, width 8), so that the data's share is large. Each run is a process of
its own, and all are repeated in turn.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List

from benchmarks.harness import Row, faster, main, photographs_as_jpegs, quiet
from benchmarks.pipelines import (
    AS_IN_VISSL,
    IN_WORKERS,
    VISSLS,
    compose,
    in_a_process_group,
    masked,
    with_views,
)

BATCH, BATCHES, SKIPPED, REPEATS = 32, 14, 4, 3

CONFIGURATIONS = {
    "MSCN, K = 1 (2 views)": (masked(1), 0),
    "MSCN, K = 1, filter and masks in the workers": (masked(1, IN_WORKERS), 0),
    "MSCN, K = 1, as in VISSL": (masked(1, AS_IN_VISSL), 0),
    "VISSL SimCLR, 2 views": (VISSLS, 2),
    "MSCN, K = 4 (8 views)": (masked(4), 0),
    "MSCN, K = 4, filter and masks in the workers": (masked(4, IN_WORKERS), 0),
    "VISSL SimCLR, 8 views": (VISSLS, 8),
}
"""Overrides, and the number of views where the configuration is VISSL's alone."""


def measure(name: str, images: Path) -> None:
    """Print the images per second of one run."""
    import torch
    from classy_vision.hooks import ClassyHook

    torch.set_num_threads(1)
    ends: List[float] = []

    class Clock(ClassyHook):
        on_start = on_phase_start = on_forward = on_loss_and_meter = on_backward = ClassyHook._noop
        on_update = on_phase_end = on_end = ClassyHook._noop

        def on_step(self, task: Any) -> None:
            ends.append(time.perf_counter())

    overrides, num_views = CONFIGURATIONS[name]
    in_a_process_group()
    with tempfile.TemporaryDirectory() as folder, quiet():
        config = compose(overrides, images, 1, BATCH, Path(folder))
        if num_views:
            with_views(config, num_views)
        config.MODEL.TRUNK.NAME = "small_resnet"
        small = {"DEPTH": 10, "WIDTH": 8, "STEM_STRIDE": 2, "STEM_POOL": True}
        config.MODEL.TRUNK.SMALL_RESNET = type(config)(small)
        config.MODEL.HEAD.PARAMS = [["mlp", {"dims": [64, 128]}]]
        config.LOG_FREQUENCY = 1000
        from vissl.trainer import SelfSupervisionTrainer
        from vissl.utils.misc import find_free_tcp_port

        run_id = f"localhost:{find_free_tcp_port()}"
        trainer = SelfSupervisionTrainer(config, run_id, None, folder, hooks=[Clock()])
        trainer.train()
    print(json.dumps((len(ends) - SKIPPED) * BATCH / (ends[-1] - ends[SKIPPED - 1])))


def rows() -> List[Row]:
    rates: Dict[str, List[float]] = {name: [] for name in CONFIGURATIONS}
    with tempfile.TemporaryDirectory() as folder:
        images = photographs_as_jpegs(Path(folder), BATCH * BATCHES)
        for _ in range(REPEATS):
            for name in CONFIGURATIONS:
                command = [sys.executable, "-m", "benchmarks.step", "measure", name, str(images)]
                out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                rates[name].append(json.loads(out.splitlines()[-1]))
    one, in_workers, as_in_vissl, two_views, four, eight_views = CONFIGURATIONS
    compared = {n: rates[n] for n in (one, in_workers, as_in_vissl, two_views)}
    targets = {two_views: 1.0, in_workers: None, as_in_vissl: None}
    unit = {"unit": "images/s", "more_is_better": True}
    result = faster(compared, one, targets, **unit)
    compared = {n: rates[n] for n in (four, eight_views)}
    return [*result, *faster(compared, four, {eight_views: 1.0}, **unit)]


if __name__ == "__main__":
    if sys.argv[1] == "measure":
        measure(sys.argv[2], Path(sys.argv[3]))
    else:
        main(rows)
