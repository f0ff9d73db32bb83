"""Transfer a checkpoint to detection with detectron2, and show Table 4 beside the result.

Converts the trunk, puts pre-training's filter in front of the detector and runs VISSL's own
detection tool with a config of configs/detection, which --overrides SOLVER.BASE_LR 0.0425 changes.
The same command resumes where it was interrupted.

examples:
    mscn detect runs/mscn_simclr --dataset voc --data /data/detection
    mscn detect runs/mscn_simclr --dataset custom --data my_boxes
"""

from __future__ import annotations

import argparse
import sys

from mscn_plugin.cli.arguments import add_checkpoint, add_sigma
from mscn_plugin.files import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint(parser)
    parser.add_argument("--dataset", choices=("voc", "coco", "custom"), required=True)
    parser.add_argument(
        "--data",
        type=user_path,
        help="folder with VOC2007/ and VOC2012/, or coco/, or the custom data",
    )
    parser.add_argument(
        "--output", type=user_path, help="default: detection_<dataset>/ beside the checkpoint"
    )
    add_sigma(parser)
    parser.add_argument(
        "--num-gpus", type=int, help="number of GPUs (default: all; 0: use the CPU)"
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--resume", action="store_true", help="from the output's last checkpoint: the default"
    )
    start.add_argument(
        "--restart", action="store_true", help="start over; what is in the output is set aside"
    )
    parser.add_argument(
        "--overrides",
        nargs="*",
        default=[],
        metavar="KEY VALUE",
        help="of detectron2's configuration",
    )


def run(options: argparse.Namespace) -> None:
    from mscn_plugin.detection.launch import require_detectron2
    from mscn_plugin.detection.transfer import Transfer, number_of_gpus, table
    from mscn_plugin.evaluation.pretraining_run import PretrainingRun
    from mscn_plugin.export.preprocessing import assumption

    require_detectron2()
    num_gpus = number_of_gpus(options.num_gpus)
    source = PretrainingRun.of(options.checkpoint, options.sigma)
    if source.config is None:
        words = assumption(source.checkpoint, "pictures in RGB, ImageNet's mean and std")
        print(f"{options.program}: warning: {words}", file=sys.stderr)
    transfer = Transfer(
        checkpoint=source.checkpoint,
        sigma=source.sigma,
        dataset=options.dataset,
        data=options.data.resolve() if options.data else None,
        output=(options.output or source.folder / f"detection_{options.dataset}").resolve(),
        num_gpus=num_gpus,
        overrides=options.overrides,
        restart=options.restart,
        config=source.config,
    )
    print(table(transfer.run(), options.dataset, options.overrides))
