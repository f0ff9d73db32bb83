"""The loss at 32 ranks x 128 images and 256 dimensions, the other ranks' embeddings simulated.

Memory is what the loss holds between steps and what a step with its backward pass needs at its
peak, both in resident memory. Building VISSL's masks counts neither as time nor as memory.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from unittest import mock

import torch
from torch.nn import functional as F

from benchmarks.harness import Row, main, peak_memory, quiet, resident_memory

RANKS, IMAGES, DIMENSIONS = 32, 128, 256
NAMES = {"mscn": "mscn_info_nce_loss", "vissl": "VISSL multicrop_simclr_info_nce_loss"}


def measure(name: str, num_masks: int, repeats: int) -> None:
    """Print median-ready milliseconds and MB of one loss, in a process of its own."""
    import time

    with quiet():
        import mscn_plugin

        mscn_plugin.register()
        from classy_vision.generic.distributed_util import set_cpu_device
        from classy_vision.losses import build_loss
        from vissl.config import AttrDict

        set_cpu_device()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sets = 2 * num_masks
    others = F.normalize(torch.randn((RANKS - 1) * sets * IMAGES, DIMENSIONS), dim=1)
    output = torch.randn(sets * IMAGES, DIMENSIONS, requires_grad=True)
    settings = {
        "mscn": {"temperature": 0.2, "num_masks": num_masks},
        "vissl": {
            "temperature": 0.2,
            "num_crops": sets,
            "buffer_params": {
                "embedding_dim": DIMENSIONS,
                "effective_batch_size": RANKS * IMAGES,
                "world_size": RANKS,
            },
        },
    }[name]
    gathering = {
        "mscn": "mscn_plugin.losses.branches.gather_from_all",
        "vissl": "vissl.losses.simclr_info_nce_loss.SimclrInfoNCECriterion.gather_embeddings",
    }[name]
    times = []

    def gather(mine: torch.Tensor) -> torch.Tensor:
        return torch.cat([mine, others])

    def step() -> None:
        output.grad = None
        loss(output, None).backward()

    with mock.patch(gathering, staticmethod(gather)), quiet():
        before = resident_memory()
        loss = build_loss(AttrDict({"name": NAMES[name].split()[-1], **settings}))
        gc.collect()
        memory = resident_memory() - before + peak_memory(step)
        for _ in range(repeats):
            start = time.perf_counter()
            step()
            times.append((time.perf_counter() - start) * 1e3)
    print(json.dumps({"ms": times, "mb": memory}))


def rows() -> list[Row]:
    result = []
    for num_masks in (1, 2, 4):
        measured = {}
        for name in NAMES:
            command = [sys.executable, "-m", "benchmarks.loss", "measure", name, str(num_masks)]
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            measured[name] = json.loads(out.splitlines()[-1])
        for key, unit, target in (("ms", "ms", 3.0), ("mb", "MB", 8.0)):
            mine, vissls = (
                Row(
                    f"{NAMES[name]}, K = {num_masks}, {'time' if key == 'ms' else 'memory'}",
                    measured[name][key] if key == "ms" else [measured[name][key]],
                    unit,
                )
                for name in ("mscn", "vissl")
            )
            mine.against, mine.ratio = vissls.what, vissls.median / mine.median
            mine.target = target if num_masks == 4 else None
            result += [mine, vissls]
    return result


if __name__ == "__main__":
    if sys.argv[1] == "measure":
        measure(sys.argv[2], int(sys.argv[3]), repeats=5)
    else:
        main(rows)
