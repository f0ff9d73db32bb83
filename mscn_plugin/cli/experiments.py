"""Run the paper's experiments, at its size or a small one, and set them beside its numbers.

The numbers beside the paper's are of a run's online evaluation, a kNN and a probe on a sample of
images. The paper's are A.2's linear evaluation: mscn evaluate RUN --suite paper.
Each run goes through VISSL's tool into a folder of its own; finished runs are skipped and
interrupted ones resumed. Ctrl-C and SIGTERM (exit codes 130 and 75) let the current runs write a
checkpoint, and start no others. --evaluate adds evaluations of every finished run, in the folders
that mscn evaluate uses; none is done twice. Writes results.json, results.csv with one line for each
run and metric, results.md, and plots for each suite as PNG and PDF.

examples:
    mscn experiments trajectory --scale smoke
    mscn experiments trajectory table5 --scale small --seeds 0 1 2 --jobs 2
    mscn experiments study --scale study --data /data/tiny --evaluate quick_occlusion
    mscn experiments trajectory table9 --scale paper --data /data/imagenet --slurm gpu
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from mscn_plugin.cli.arguments import add_jobs, add_overrides, at_least
from mscn_plugin.config.hydra_overrides import refuse_given, values_of
from mscn_plugin.data.parallel import usable_cores
from mscn_plugin.errors import ConfigError
from mscn_plugin.evaluation.definitions import SUITES as EVALUATIONS
from mscn_plugin.experiments.definitions import SUITES
from mscn_plugin.experiments.scales import SCALES
from mscn_plugin.files import user_path

_GIVEN_BY = {"config.MSCN.DATA": "--data", "config.SEED_VALUE": "--seeds"}
"""Keys that only these options set, since runs and their results are told apart by them."""
_OF_EVALUATIONS = (
    "config.MSCN.BOXES",
    "config.MSCN.FROZEN_EVALUATIONS",
    "config.MSCN.OCCLUSION_CELL_SIZE",
    "config.MSCN.OCCLUSION_IMAGES",
    "config.MSCN.PRETRAINING_SIGMA",
    "config.NEAREST_NEIGHBOR",
    "config.SVM",
)
"""Keys and sections that pre-training does not read. Rows would name values that were not used."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "suites",
        nargs="+",
        choices=[*SUITES, "all"],
        metavar="SUITE",
        help=f"some of {', '.join(SUITES)}, or all",
    )
    parser.add_argument(
        "--scale", choices=list(SCALES), default="small", help="of the runs (default: %(default)s)"
    )
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=at_least(0),
        default=[0],
        help="a run for each (default: %(default)s)",
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these experiments of the suites")
    parser.add_argument(
        "--data",
        type=user_path,
        help="folder with train/ and val/, or of classes; default: the scale's",
    )
    parser.add_argument(
        "--output",
        type=user_path,
        default=Path("runs/experiments"),
        help="results go to OUTPUT/SCALE (default: %(default)s)",
    )
    add_jobs(parser, "runs at a time")
    parser.add_argument(
        "--evaluate",
        nargs="+",
        default=[],
        choices=[evaluation.config for evaluation in EVALUATIONS["quick"]],
        metavar="NAME",
        help="evaluations of each finished run, some of mscn evaluate's quick suite, as their "
        "configs have them: --overrides are of the runs",
    )
    parser.add_argument("--slurm", metavar="PARTITION", help="one SLURM job for each run")
    add_overrides(parser)


def run(options: argparse.Namespace) -> None:
    from mscn_plugin.config.checks.machine import refuse_without_slurm
    from mscn_plugin.data.fingerprints import splits_digest
    from mscn_plugin.data.sources import find_splits, measured_images
    from mscn_plugin.experiments.results import by_suite, merged, save, table
    from mscn_plugin.experiments.schedule import Schedule, run_all
    from mscn_plugin.runs.launch import check_stopped, stopped_by_signals

    if options.slurm is not None:
        refuse_without_slurm()
    refuse_given(options.overrides, _GIVEN_BY)
    _refuse_settings_of_evaluations(options.overrides)
    suites = list(SUITES) if "all" in options.suites else list(dict.fromkeys(options.suites))
    images, folder = None, (options.output / options.scale).resolve()
    if options.data:
        measured_images(str(options.data), "--data")
        splits = find_splits(str(options.data), "--data")
        for images_of in filter(None, (splits.train, splits.val)):
            if folder.is_relative_to(images_of.resolve()):
                raise ConfigError(
                    f"--output is {str(options.output)!r}, which is among the images of --data, "
                    f"{str(images_of)!r}: plots would be taken for images; name another folder"
                )
        images = splits_digest(splits)
    schedule = Schedule(
        scale=options.scale,
        folder=folder,
        data=options.data,
        overrides=options.overrides,
        partition=options.slurm,
        evaluations=options.evaluate,
        images=images,
    )
    planned = schedule.plan(suites, options.only, options.seeds)
    schedule.read_rows()  # a file without results is refused before the runs
    runs = [plan.run for plan in planned]
    # Finished runs may be of another machine; and a job of SLURM that an earlier call has submitted
    # may still be running in its folder.
    to_begin = next((r for r in runs if not (r.metrics() or r.job_note.is_file())), None)
    if to_begin is not None:
        refuse_early(to_begin.arguments)
    if not options.slurm:  # Runs side by side share the cores. Not over a value of the user's.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // options.jobs)))
    folder.mkdir(parents=True, exist_ok=True)
    with stopped_by_signals(options.program):
        outcomes = run_all(runs, options.jobs)
        schedule.evaluate(outcomes, options.jobs)
        rows = schedule.rows(planned, outcomes)
        if rows:  # else it was stopped before the first result, and what earlier calls left stays
            known = merged(schedule.earlier_rows(rows), rows)  # another call may have added some
            save(folder, known)
        check_stopped()
    for suite, of_suite in by_suite(known).items():
        if suite in suites:
            print(f"{table(of_suite, 'simple')}\nplot: {folder / suite}.png\n")
    if options.scale == "smoke":
        print("This scale shows that everything runs; its accuracies mean nothing.")
    print(folder / "results.json")
    failed = failures(rows)
    for name, error in failed.items():
        print(f"{name}: {error}", file=sys.stderr)
    sys.exit(bool(failed))


def _refuse_settings_of_evaluations(overrides: list[str]) -> None:
    for key, value in values_of(overrides):
        if any(key == name or key.startswith(f"{name}.") for name in _OF_EVALUATIONS):
            raise ConfigError(
                f"--overrides {key}={value}: it is a setting of evaluations, and overrides are of "
                "the runs; mscn evaluate RUN --overrides takes it"
            )


def failures(rows: list[dict[str, Any]]) -> dict[str, str]:
    """The error of each run and evaluation that has one, by folder and name."""
    outcomes = {row["folder"]: row for row in rows}
    for row in rows:
        for name, outcome in row.get("evaluations", {}).items():
            outcomes[f"{row['folder']}, {name}"] = outcome
    return {name: outcome["error"] for name, outcome in outcomes.items() if "error" in outcome}


def refuse_early(arguments: list[str]) -> None:
    """Report once, before VISSL starts, what would otherwise be every run's error."""
    from mscn_plugin.config.composed import compose
    from mscn_plugin.vissl.config_hook import refusal

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        message = refusal(arguments)
    if message is not None:
        raise ConfigError(message)
    if not compose(arguments).config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS:
        raise ConfigError(
            "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS is 0; it must be at least 1: the "
            "results of experiments are those of the online evaluation"
        )
