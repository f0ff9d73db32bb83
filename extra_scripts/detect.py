"""Transfer a checkpoint to detection with detectron2, and show Table 4 beside the result.

    python extra_scripts/detect.py runs/mscn_simclr --dataset voc --data /data/detection
    python extra_scripts/detect.py runs/mscn_simclr --dataset custom --data my_boxes

Converts the trunk, puts pre-training's filter in front of the detector and runs VISSL's own
detection tool with a page of ``configs/detection``. ``--overrides SOLVER.BASE_LR 0.0425``
changes it. The same command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

from mscn_plugin.training.signals import end_on_signals

if __name__ == "__main__":
    end_on_signals()  # first: the imports below take seconds

import torch
from tabulate import tabulate

from mscn_plugin.checkpoints.run_folder import file_digest, user_path
from mscn_plugin.detection.launch import (
    CONVERTED_DATA,
    METRICS,
    TABLE_4,
    Detection,
    convert,
    detection,
    require_detectron2,
    results,
)
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
from mscn_plugin.evaluation.suites import Run
from mscn_plugin.files import save_json
from mscn_plugin.runs import lock


def main() -> None:
    options = arguments()
    try:
        print(table(measured(options), options.dataset))
    except (ConfigError, OSError, RunError) as error:
        sys.exit(f"detect: {error}")


def measured(options: argparse.Namespace) -> Dict[str, float]:
    """Train and evaluate, as far as that is not done; returns the numbers in percent."""
    require_detectron2()
    num_gpus = number_of_gpus(options.num_gpus)
    source = Run.of(options.checkpoint.expanduser(), options.sigma)
    output = (options.output or source.folder / f"detection_{options.dataset}").resolve()
    weights = output / "converted.pth"
    data = options.data.expanduser().resolve() if options.data else None
    job = detection(options.dataset, weights, source.sigma, output, data, options.overrides)
    cfg = job.check(num_gpus)
    recipe = recipe_of(file_digest(source.checkpoint), job.data_digest, job.classes, cfg)
    if not options.restart:
        refuse_another(output, recipe)
        done = finished(output)
        if done is not None:
            print(f"{output} is finished; --restart begins anew", flush=True)
            return done
    lock.refuse_if_held(output)
    count = convert(source.checkpoint, weights)
    lock.acquire(output, "--output")
    print(f"{count} tensors of the trunk, filter sigma {source.sigma:g}: {weights}", flush=True)
    prepare(job, output, recipe, options.restart)
    run(job.command(sys.executable, num_gpus, cfg), job.environment)
    numbers = results(output, cfg.SOLVER.MAX_ITER)
    if not numbers:
        raise RunError(f"{output / 'metrics.json'} has no evaluation of the last iteration")
    save_json(output / RESULTS, numbers)
    return numbers


def prepare(job: Detection, output: Path, recipe: Dict[str, Any], restart: bool) -> None:
    """Write what detectron2 starts from, and say it."""
    if restart:
        aside = set_aside(output)
        if aside:
            print(f"beginning anew: the files of the detector before are in {aside}")
    if job.data:
        print("\n".join([str(job.data.folder), *job.data.notes]))
        job.data.write(output / CONVERTED_DATA)
        save_json(output / "classes.json", job.classes)
    for line in rewind(output):
        print(line)
    save_recipe(output, recipe)
    sys.stdout.flush()


def number_of_gpus(wanted: Optional[int]) -> int:
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


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "checkpoint", type=user_path, help="a checkpoint of VISSL, or a run's folder"
    )
    parser.add_argument("--dataset", choices=("voc", "coco", "custom"), required=True)
    parser.add_argument(
        "--data",
        type=user_path,
        help="folder with VOC2007/ and VOC2012/, or coco/, or the custom data",
    )
    parser.add_argument(
        "--output", type=user_path, help="default: detection_<dataset>/ beside the checkpoint"
    )
    parser.add_argument("--sigma", type=float, help="of pre-training, where nothing else says it")
    parser.add_argument("--num-gpus", type=int, help="default: all; 0: the CPU")
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--resume", action="store_true", help="from the output's last checkpoint: the default"
    )
    start.add_argument(
        "--restart", action="store_true", help="begin anew; what is in the output is set aside"
    )
    parser.add_argument(
        "--overrides",
        nargs="*",
        default=[],
        metavar="KEY VALUE",
        help="of detectron2's configuration",
    )
    return parser.parse_args()


def table(measured: Dict[str, float], dataset: str) -> str:
    """This run's row above the paper's, which are of VOC07+12 and COCO alone."""
    names = [name for name in METRICS if name in measured] or list(METRICS[:3])
    rows: List[List[object]] = [["this checkpoint", *(measured.get(name) for name in names)]]
    for name, values in TABLE_4.get(dataset, {}).items():
        rows.append([f"{name} (Table 4)", *values[: len(names)]])
    headers = ["in %", *(name.replace("bbox/", "box ").replace("segm/", "mask ") for name in names)]
    return tabulate(rows, headers=headers, floatfmt=".1f", missingval="-")


if __name__ == "__main__":
    main()
