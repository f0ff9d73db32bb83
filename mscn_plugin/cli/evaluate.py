"""Evaluate a checkpoint as the paper does, and set the numbers beside the paper's.

Runs the configs mscn/benchmark/* through VISSL's launcher, here or with --slurm as SLURM jobs. One
failure does not stop the others, Ctrl-C and SIGTERM do (exit codes 130 and 75); finished
evaluations are skipped, interrupted ones resumed. Writes results.json, results.md and results.png.

examples:
    mscn evaluate runs/mscn_quickstart
    mscn evaluate runs/mscn_simclr --suite paper --data imagenet1k=/data/imagenet
"""

from __future__ import annotations

import argparse
import sys

from mscn_plugin.cli.arguments import add_checkpoint, add_overrides, add_sigma
from mscn_plugin.evaluation.definitions import SUITES
from mscn_plugin.files import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint(parser)
    parser.add_argument(
        "--suite",
        choices=sorted(SUITES),
        default="quick",
        help="quick (default): on the run's own data, on the CPU; paper: needs --data",
    )
    parser.add_argument(
        "--data",
        nargs="+",
        default=[],
        metavar="[NAME=]FOLDER",
        help="folder with train/ and val/, or with one sub-folder per class; for the paper's suite "
        "imagenet1k=, places205=, inaturalist18=; default, of the quick suite: the run's own",
    )
    parser.add_argument(
        "--output", type=user_path, help="default: evaluation/ beside the checkpoint"
    )
    parser.add_argument(
        "--boxes",
        type=user_path,
        metavar="FILE",
        help="list of boxes for quick_boxes: image,x0,y0,x1,y1 on a line; default: boxes.csv or "
        "another of its names beside the validation folder",
    )
    parser.add_argument("--baseline", type=user_path, help="results.json of another checkpoint")
    add_sigma(parser)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=[evaluation.config for suite in SUITES.values() for evaluation in suite],
        metavar="NAME",
        help="some of the suite's evaluations, by the names of their configs",
    )
    parser.add_argument("--slurm", metavar="PARTITION", help="submit to SLURM and wait")
    add_overrides(parser)


def run(options: argparse.Namespace) -> None:
    from mscn_plugin.config.checks.machine import refuse_without_slurm
    from mscn_plugin.evaluation import suite_run
    from mscn_plugin.evaluation.pretraining_run import PretrainingRun
    from mscn_plugin.evaluation.table import markdown
    from mscn_plugin.runs.launch import stopped_by_signals

    if options.slurm is not None:
        refuse_without_slurm()
    pretrained = PretrainingRun.of(options.checkpoint, options.sigma)
    suite = suite_run.SuiteRun(
        run=pretrained,
        suite=options.suite,
        evaluations=suite_run.choose(options.suite, options.only),
        folders=suite_run.data_folders(options.suite, options.data, pretrained),
        output=(options.output or pretrained.folder / "evaluation").resolve(),
        overrides=options.overrides,
        partition=options.slurm,
        baseline=suite_run.load_baseline(options.baseline),
        boxes=options.boxes,
    )
    results = suite.begin()
    results["assumed"] = suite_run.assumptions(pretrained, suite.evaluations)
    for line in results["assumed"]:
        print(f"{options.program}: warning: {line}", file=sys.stderr)
    with stopped_by_signals(options.program):
        suite.evaluate(results)
    print(markdown(results, suite.baseline))
    for name in suite_run.FILES:
        print(suite.output / name)
    sys.exit(any("error" in results["evaluations"][e.config] for e in suite.evaluations))
