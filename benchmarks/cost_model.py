"""``docs/cost_model.md``: where the paper's 32-GPU run is limited, from the measured figures."""

from __future__ import annotations

import json
import statistics
from typing import Any

from tabulate import tabulate

GPUS = {"V100, float32": 367, "V100, mixed": 1200, "A100, TF32": 938, "A100, mixed": 2470}
"""Views per second of ResNet-50 training at 224 pixels, published by NVIDIA for one GPU.

DeepLearningExamples, PyTorch/Classification/ConvNets/resnet50v1.5, container 21.03.
"""

WORKERS = 8
MASKS = (1, 2, 4, 8)
VIEW_KB = 3 * 224 * 224 * 4 / 1e3


H200 = "MSCN, mixed precision, channels_last, K = {}: images"
"""Rows of ``docs/gpu.json``: whole training steps of ResNet-50, measured on an H200.

An H100 has the same cores, and less and slower memory.
"""

AUGMENTATION = {1: 0.12, 2: 0.06, 4: 0.03}
"""What the device augmentations add to a step by K, as a part of it: computed, not measured."""


def cores_of_an_h200(peers: list[dict[str, Any]], gpu: dict[str, Any]) -> str:
    """A table of how many cores feed it, from measured steps and measured loaders."""
    rates = {row["what"]: statistics.median(row["values"]) for row in peers}
    loaders = {
        "augmentations on the device": rates["MSCN's worker alone, augmentations on the device"],
        "augmentations in the workers": rates["MSCN's worker alone, augmentations and all"],
        "VISSL SimCLR": rates["VISSL SimCLR"],
        "DALI SimCLR, CPU": rates["DALI SimCLR"],
    }
    steps = {row["name"]: row["values"] for row in gpu["steps"]["speed.step"]["rows"]}
    lines = []
    for k, share in AUGMENTATION.items():
        needed = statistics.median(steps[H200.format(k)])
        on_device, *in_workers = loaders.values()
        augmenting = needed / (1 + share)
        cores = [augmenting / on_device, *(needed / rate for rate in in_workers)]
        lines.append([k, f"{needed:.0f}", f"{augmenting:.0f}", *(f"{n:.1f}" for n in cores)])
    headers = [
        "K",
        "images/s",
        "with the augmentations on the device",
        *(f"cores, {name}" for name in loaders),
    ]
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True)


class Measured:
    """Figures of the loader's benchmark: images per second and core, kilobytes per image."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.mscn = self.median("any K", "stage on another device")
        self.vissl = self.median("VISSL SimCLR, no masks, one worker")
        in_workers = [
            1 / self.median(f"K = {k}, filter and masks in the workers, one worker") for k in (1, 4)
        ]
        self.seconds_per_mask = (in_workers[1] - in_workers[0]) / 3
        self.seconds_without_masks = in_workers[0] - self.seconds_per_mask
        self.kilobytes = self.median("K = 1: sent to the device")
        self.kilobytes_vissl = self.median("VISSL SimCLR, no masks: sent")

    def median(self, *parts: str) -> float:
        row = next(row for row in self.rows if all(part in row["what"] for part in parts))
        return statistics.median(row["values"])

    def masked_in_workers(self, num_masks: int) -> float:
        """Images per second and core with filter and masks in the workers, interpolated."""
        return 1 / (self.seconds_without_masks + num_masks * self.seconds_per_mask)


def text(rows: list[dict[str, Any]], machine: dict[str, str], h200: str) -> str:
    measured = Measured(rows)
    lines, limited = [], {"device": [], "workers": [], "vissl": []}
    for gpu, views in GPUS.items():
        for k in MASKS:
            needed = views / (2 * k)
            device, workers = needed / measured.mscn, needed / measured.masked_in_workers(k)
            vissl = needed / measured.vissl
            for name, cores in (("device", device), ("workers", workers), ("vissl", vissl)):
                if cores > WORKERS:
                    limited[name].append(f"{gpu}, K = {k}")
            lines.append(
                [
                    gpu,
                    k,
                    f"{needed:.0f}",
                    f"{device:.1f}",
                    f"{workers:.1f}",
                    f"{vissl:.1f}",
                    f"{needed * measured.kilobytes / 1e3:.0f}",
                    f"{needed * 2 * k * VIEW_KB / 1e3:.0f}",
                    "model" if device <= WORKERS else "loader",
                    "model" if workers <= WORKERS else "loader",
                ]
            )
    headers = [
        "GPU",
        "K",
        "images/s",
        "cores",
        "cores, masks in workers",
        "cores, VISSL SimCLR",
        "MB/s",
        "MB/s, masks in workers",
        "limit",
        "limit, masks in workers",
    ]
    where = {name: "; ".join(cases) or "nowhere" for name, cases in limited.items()}
    table = tabulate(lines, headers, tablefmt="github", disable_numparse=True)
    return f"""# Cost model of the paper's run

## How many cores an H100 or H200 needs

ResNet-50, 224 pixels, mixed precision, channels_last. The images/s are those of complete training steps with a batch of
128 images, **measured on an H200** ([gpu.md](gpu.md)); an H100 has the same cores and slower memory, so it needs
fewer. The rates of one core are those of [benchmarks.md](benchmarks.md), "peers", by processor time; the second
section's are of "loader", by the clock, with the worker as a process of its own. The augmentations on the device are **not measured on a GPU**: computed,
they read and write some 500 bytes per value of a view, 20 to 25 microseconds per unmasked view. They lengthen the step
by {AUGMENTATION[1]:.0%} at K = 1, {AUGMENTATION[2]:.0%} at K = 2 and {AUGMENTATION[4]:.0%} at K = 4, so that fewer images have to come. With cores to spare,
`AUGMENT_ON=worker` spares the GPU that.

{h200}

## The paper's GPUs

What one of the paper's 32 GPUs (ResNet-50, 224 pixels, batch 128 per GPU, section 5) has to be fed with,
and where the bottleneck sits. Written by `make benchmarks` from figures measured on one CPU and from
NVIDIA's published training throughput; **no figure of this section was measured on a GPU**.

- **Model.** A GPU that trains v views per second takes v / (2 K) images per second: K masks of two views
  each. v is NVIDIA's figure for one GPU ([ResNet-50 v1.5, PyTorch, container 21.03](https://github.com/NVIDIA/DeepLearningExamples/tree/master/PyTorch/Classification/ConvNets/resnet50v1.5)):
  {", ".join(f"{gpu} {views}" for gpu, views in GPUS.items())}.
- **Workers.** One core delivers {measured.mscn:.0f} images/s with the masks on the device, whatever K;
  {measured.masked_in_workers(1):.0f}, {measured.masked_in_workers(2):.0f}, {measured.masked_in_workers(4):.0f} and {measured.masked_in_workers(8):.0f} with filter and masks in
  the workers (K = 1, 2, 4, 8; K = 1 and 4 measured, the others on the line through them); VISSL's SimCLR
  without masks {measured.vissl:.0f}. "Cores" is how many keep a GPU busy; the configurations start {WORKERS} workers per GPU.
- **Bytes.** {measured.kilobytes:.0f} kB per image with the masks on the device (two views in uint8 and the masks as numbers),
  {measured.kilobytes_vissl:.0f} kB for SimCLR's two float32 views, 2 K x {VIEW_KB:.0f} kB with masks in the workers.
- **Device stage, computed.** The filter is 26 million multiply-adds per view, ResNet-50's forward and backward
  pass 12,300: 0.2% of the arithmetic at K = 1, less for more masks. Filter, masks and noise read and write
  some 20 times the 0.6 MB of a view: at 1.5 TB/s 8 microseconds per view, 2% of an A100's 400 in mixed precision.

{table}

With {WORKERS} workers per GPU, on cores like this one, the loader and not the model is the limit

- with the masks on the device: {where["device"]};
- with filter and masks in the workers: {where["workers"]};
- for VISSL's SimCLR at the same number of images per second, without masks: {where["vissl"]}.

Masks in the workers take {2 * VIEW_KB / measured.kilobytes:.0f} (K = 1) to {16 * VIEW_KB / measured.kilobytes:.0f} (K = 8) times the bytes per image.

Measured on: {"; ".join(machine.values())}.
"""


def main(results: dict[str, Any], path: Any) -> None:
    loader = results["loader"]
    gpu = json.loads((path.parent / "gpu.json").read_text())
    h200 = cores_of_an_h200(results["peers"]["rows"], gpu)
    path.write_text(text(loader["rows"], loader["machine"], h200))


if __name__ == "__main__":
    from benchmarks.__main__ import DOCS

    main(json.loads((DOCS / "benchmarks.json").read_text()), DOCS / "cost_model.md")
