"""A checkpoint's transfer to detection: training, resumption, and the numbers beside Table 4."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from mscn_plugin.detection.launch import (
    CONVERTED_DATA,
    METRICS,
    Detection,
    check_run,
    convert,
    detection,
    detector_weights,
    results,
)
from mscn_plugin.detection.paper_results import PROTOCOL, TABLE_4
from mscn_plugin.detection.resume import (
    RESULTS,
    finished,
    recipe_of,
    refuse_another,
    rewind,
    save_recipe,
    set_aside,
)
from mscn_plugin.detection.tool_process import run
from mscn_plugin.errors import ConfigError, RunError
from mscn_plugin.files import file_digest, save_json
from mscn_plugin.runs import lock


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transfer:
    """What to train a detector from, on what, and where.

    Attributes:
        checkpoint: of a pre-training run.
        sigma: of its filter in pixels.
        dataset: ``voc``, ``coco`` or ``custom``.
        data: the folder of the data set, or None for detectron2's own.
        output: the detector's folder.
        num_gpus: 0 for the CPU.
        overrides: of detectron2's configuration: key, value, key, value.
        restart: set aside what is in the folder, in place of resuming it.
        config: of the pre-training run, or None where it is not beside the checkpoint.
    """

    checkpoint: Path
    sigma: float
    dataset: str
    data: Path | None
    output: Path
    num_gpus: int
    overrides: Sequence[str] = ()
    restart: bool = False
    config: dict[str, Any] | None = None

    def run(self) -> dict[str, float]:
        """Train and evaluate, as far as that is not done; returns the numbers in percent."""
        check_run(self.config)
        detector_weights(self.checkpoint)  # in seconds; a look at all pictures may take minutes
        weights = self.output / "converted.pth"
        job = detection(
            self.dataset,
            weights,
            self.sigma,
            self.output,
            data=self.data,
            overrides=list(self.overrides),
            run_config=self.config,
        )
        cfg = job.check(self.num_gpus)
        recipe = recipe_of(file_digest(self.checkpoint), job.data_digest, job.classes, cfg)
        if not self.restart:
            refuse_another(self.output, recipe)
            done = finished(self.output)
            if done is not None:
                print(f"{self.output} is finished; --restart starts over", flush=True)
                return done
        lock.refuse_if_held(self.output)
        count = convert(self.checkpoint, weights)
        lock.acquire(self.output, "--output")
        print(f"{count} tensors of the trunk, filter sigma {self.sigma:g}: {weights}", flush=True)
        self._prepare(job, recipe)
        run(job.command(sys.executable, self.num_gpus, cfg), job.environment)
        numbers = results(self.output, cfg.SOLVER.MAX_ITER)
        if not numbers:
            file = self.output / "metrics.json"
            raise RunError(f"{file} has no evaluation of the last iteration")
        save_json(self.output / RESULTS, numbers)
        return numbers

    def _prepare(self, job: Detection, recipe: dict[str, Any]) -> None:
        """Write what detectron2 starts from, and report it."""
        if self.restart:
            aside = set_aside(self.output)
            if aside:
                print(f"starting over: the files of the previous detector are in {aside}")
        if job.data:
            print("\n".join([str(job.data.folder), *job.data.notes]))
            job.data.write(self.output / CONVERTED_DATA)
            save_json(self.output / "classes.json", job.classes)
        for line in rewind(self.output):
            print(line)
        save_recipe(self.output, recipe)
        sys.stdout.flush()


def number_of_gpus(wanted: int | None) -> int:
    """All of the machine's, or ``wanted``, checked.

    Raises:
        ConfigError: the machine has fewer.
    """
    available = torch.cuda.device_count()
    if wanted is None:
        return available
    if not 0 <= wanted <= available:
        raise ConfigError(
            f"--num-gpus is {wanted}; it must be from 0, the CPU, to {available}, the GPUs here"
        )
    return wanted


def table(measured: dict[str, float], dataset: str, overrides: Sequence[str] = ()) -> str:
    """This run's row above the paper's, which are of VOC07+12 and COCO alone.

    Args:
        overrides: of detectron2's configuration, with which the run is none of Table 4's.
    """
    names = [name for name in METRICS if name in measured] or list(METRICS[:3])
    rows: list[list[object]] = [["this checkpoint", *(measured.get(name) for name in names)]]
    for name, values in TABLE_4.get(dataset, {}).items():
        rows.append([f"{name} (Table 4)", *values[: len(names)]])
    headers = ["in %", *(name.replace("bbox/", "box ").replace("segm/", "mask ") for name in names)]
    text = str(tabulate(rows, headers=headers, floatfmt=".1f", missingval="-"))
    if dataset in TABLE_4:
        text += f"\n\n{PROTOCOL[dataset]}"
        if overrides:
            text += f"\nThis checkpoint's is another: {' '.join(overrides)}"
    return text
