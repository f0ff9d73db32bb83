"""Transfer a checkpoint to detection with detectron2, and show Table 4 beside the result.

    python extra_scripts/detect.py runs/mscn_simclr --dataset voc --data /data/detection
    python extra_scripts/detect.py runs/mscn_simclr --dataset custom --data my_boxes

Converts the trunk, puts pre-training's filter in front of the detector and runs VISSL's own
detection tool with a page of ``configs/detection``. ``--overrides SOLVER.BASE_LR 0.0425``
changes it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Dict, List

import torch
from tabulate import tabulate

from mscn_plugin.detection.launch import (
    METRICS,
    TABLE_4,
    convert,
    detection,
    require_detectron2,
    results,
)
from mscn_plugin.detection.reading import check_last_checkpoint
from mscn_plugin.errors import ConfigError
from mscn_plugin.evaluation.run_folder import file_digest, user_path
from mscn_plugin.evaluation.suites import Run
from mscn_plugin.files import save_json

SOURCE = "checkpoint_sha256.json"
"""Which checkpoint a folder's detector started from."""


def main() -> None:
    options = arguments()
    try:
        require_detectron2()
        run = Run.of(options.checkpoint, options.sigma)
        output = (options.output or run.folder / f"detection_{options.dataset}").resolve()
        weights = output / "converted.pth"
        data = options.data.resolve() if options.data else None
        job = detection(options.dataset, weights, run.sigma, output, data, options.overrides)
        job.check()
        digest = file_digest(run.checkpoint)
        check_output(output, digest, options.resume)
        count = convert(run.checkpoint, weights)
    except ConfigError as error:
        sys.exit(f"detect: {error}")
    print(f"{count} tensors of the trunk, filter sigma {run.sigma:g}: {weights}", flush=True)
    save_json(output / SOURCE, digest)
    if job.classes:
        save_json(output / "classes.json", job.classes)
    gpus = torch.cuda.device_count() if options.num_gpus is None else options.num_gpus
    device = [] if gpus else ["MODEL.DEVICE", "cpu"]
    command = [*job.command(sys.executable, gpus, options.resume), *device]
    status = subprocess.run(command, env={**os.environ, **job.environment}).returncode
    if status:
        sys.exit(f"detect: VISSL's tool ended with status {status}; its messages stand above")
    measured = results(output)
    save_json(output / "results.json", measured)
    print(table(measured, options.dataset))


def check_output(output: Path, digest: str, resume: bool) -> None:
    """Raise ConfigError where a finished detector would be lost, or another's would be resumed."""
    source = output / SOURCE
    if resume:
        check_last_checkpoint(output)
    if resume and source.is_file() and json.loads(source.read_text()) != digest:
        raise ConfigError(
            f"{output} holds the detector of another checkpoint; --output names a new folder"
        )
    if not resume and (output / "model_final.pth").exists():
        raise ConfigError(
            f"{output} holds a finished detector; --resume goes on with it, --output names another"
        )


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
    parser.add_argument("--resume", action="store_true", help="from the output's last checkpoint")
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
