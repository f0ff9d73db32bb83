"""Run the paper's experiments, at its size or a small one, and set them beside its numbers.

    python extra_scripts/run_experiments.py trajectory --scale smoke
    python extra_scripts/run_experiments.py trajectory table5 --scale small --seeds 0 1 2 --jobs 2
    python extra_scripts/run_experiments.py all --scale paper --data /data/imagenet --slurm gpu

Each run goes through VISSL's tool into a folder of its own; what is done is not done again, and
what was killed goes on. Ctrl-C and SIGTERM (exit codes 130 and 75) let the runs at work write a
checkpoint, and begin no others. Writes ``results.json``, ``results.csv`` with one line for each run
and metric, ``results.md``, and a plot for each suite as PNG and PDF.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from mscn_plugin.training.signals import end_on_signals

if __name__ == "__main__":
    end_on_signals()  # first: the imports below take seconds

from tqdm import tqdm

from mscn_plugin.checkpoints.run_folder import user_path
from mscn_plugin.config.composed import composed
from mscn_plugin.config.hydra_overrides import hydra_override
from mscn_plugin.data.image_folder import measured_images
from mscn_plugin.errors import ConfigError
from mscn_plugin.experiments.definitions import SUITES, Experiment
from mscn_plugin.experiments.results import by_suite, merged, save, table
from mscn_plugin.experiments.runs import ExperimentRun
from mscn_plugin.experiments.scales import SCALES, page_of
from mscn_plugin.runs.launch import (
    RunFailedError,
    StoppedError,
    check_stopped,
    stopped_by_signals,
)

_DATA = "config.MSCN.DATA"
_BAR = "{percentage:3.0f}%|{bar}| {n:.1f}/{total} runs [{elapsed}<{remaining}]"


def main() -> None:
    options = arguments()
    suites = list(SUITES) if "all" in options.suites else list(dict.fromkeys(options.suites))
    chosen = {suite: choose(SUITES[suite], options.only) for suite in suites}
    if options.data:
        try:
            measured_images(str(options.data), "--data")
        except ConfigError as error:
            sys.exit(f"run_experiments: {error}")
    folder = (options.output / options.scale).resolve()
    pages = {page_of(e) for experiments in chosen.values() for e in experiments}
    configs = {page: composed(page) for page in pages}
    planned = [
        (suite, experiment, seed, plan(options, folder, experiment, seed, configs))
        for seed in options.seeds
        for suite, experiments in chosen.items()
        for experiment in experiments
    ]
    if not planned:
        sys.exit(f"run_experiments: --only {' '.join(options.only)}: none of {', '.join(suites)}")
    # Two suites may hold the same run.
    tools = {tool.output: tool for *_, tool in planned}
    refuse_early(next(iter(tools.values())))
    # Runs side by side share the cores. Not over a value of the user's.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // options.jobs)))
    folder.mkdir(parents=True, exist_ok=True)
    with stopped_by_signals("run_experiments"):
        outcomes = run_all(tools, options.jobs)
        rows = [
            {**labels(options, suite, experiment, seed, tool), **outcomes[tool.output]}
            for suite, experiment, seed, tool in planned
            if tool.output in outcomes
        ]
        known = merged(earlier(folder), rows)
        save(folder, known)
        check_stopped()
    for suite, of_suite in by_suite(known).items():
        if suite in chosen:
            print(f"{table(of_suite, 'simple')}\n{folder / suite}.png\n")
    print(folder / "results.json")
    failed = {row["folder"]: row["error"] for row in rows if "error" in row}
    for run_folder, error in failed.items():
        print(f"{run_folder}: {error}", file=sys.stderr)
    sys.exit(bool(failed))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "suites",
        nargs="+",
        choices=[*SUITES, "all"],
        metavar="SUITE",
        help=f"some of {', '.join(SUITES)}, or all",
    )
    parser.add_argument("--scale", choices=list(SCALES), default="small", help="size of the runs")
    parser.add_argument("--seeds", nargs="+", type=at_least(0), default=[0], help="a run for each")
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
        help="results go to OUTPUT/SCALE",
    )
    parser.add_argument(
        "--jobs", type=at_least(1), default=os.cpu_count() or 1, help="runs at a time"
    )
    parser.add_argument("--slurm", metavar="PARTITION", help="one SLURM job for each run")
    parser.add_argument(
        "--overrides", nargs="+", default=[], metavar="KEY=VALUE", help="for VISSL, behind ours"
    )
    return parser.parse_args()


def at_least(least: int) -> Any:
    """A type for ``argparse``."""

    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is below {least}")
        return int(text)

    return number


def choose(experiments: List[Experiment], names: Optional[List[str]]) -> List[Experiment]:
    return [e for e in experiments if names is None or e.name in names]


def plan(
    options: argparse.Namespace,
    folder: Path,
    experiment: Experiment,
    seed: int,
    configs: Dict[str, Dict[str, Any]],
) -> ExperimentRun:
    page = page_of(experiment)
    data = [hydra_override(_DATA, options.data.resolve())] if options.data else []
    slurm: Tuple[str, ...] = ()
    if options.slurm:
        partition = hydra_override("config.SLURM.PARTITION", options.slurm)
        slurm = "config.SLURM.USE_SLURM=true", partition
    overrides = SCALES[options.scale].overrides(experiment, configs[page], seed)
    return ExperimentRun(
        name=f"{experiment.page}-seed{seed}",
        folder=folder,
        page=page,
        overrides=(*overrides, *data, *options.overrides),
        slurm=slurm,
    )


def refuse_early(tool: ExperimentRun) -> None:
    """Say once what would otherwise be every run's error, after VISSL's start."""
    from mscn_plugin.vissl.config_hook import refusal

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sentence = refusal(tool.arguments)
    if sentence is not None:
        sys.exit(f"run_experiments: {sentence}")


def earlier(folder: Path) -> List[Dict[str, Any]]:
    """The rows that an earlier call has left, or none."""
    try:
        return list(json.loads((folder / "results.json").read_text()))
    except FileNotFoundError:
        return []
    except (ValueError, TypeError) as error:
        sys.exit(f"run_experiments: {folder / 'results.json'} holds no results ({error})")


def run_all(tools: Dict[Path, ExperimentRun], jobs: int) -> Dict[Path, Dict[str, Any]]:
    """The outcome of every run by its folder; none of those that a signal has stopped."""
    # disable=None: no bar where nobody looks.
    with (
        ThreadPoolExecutor(jobs) as executor,
        tqdm(total=len(tools), disable=None, bar_format=_BAR) as bar,
    ):
        futures = {output: executor.submit(run, tool, bar) for output, tool in tools.items()}
        outcomes = {}
        for output, future in futures.items():
            with contextlib.suppress(StoppedError):
                outcomes[output] = future.result()
    return outcomes


def run(tool: ExperimentRun, bar: Any) -> Dict[str, Any]:
    """The metrics of a run, or its error; ``bar`` counts runs, begun ones by their part."""
    shown = 0.0

    def progress(done: float) -> None:
        nonlocal shown
        bar.update(done - shown)
        shown = done

    outcome: Dict[str, Any]
    try:
        outcome = {"metrics": tool.run(progress), "measured_on": tool.measured_on()}
        said = ", ".join(f"{title} {value:.1f}" for title, value in outcome["metrics"].items())
    except RunFailedError as error:
        progress(1.0)
        said = str(error)
        outcome = {"error": said}
    bar.write(f"{tool.output.name}: {said}", file=sys.stderr)
    return outcome


def labels(
    options: argparse.Namespace, suite: str, experiment: Experiment, seed: int, tool: ExperimentRun
) -> Dict[str, Any]:
    """What a row of ``results.json`` says of its run beside the outcome."""
    return {
        "suite": suite,
        "experiment": experiment.name,
        "title": experiment.title,
        "seed": seed,
        "paper": experiment.paper,
        "data": options.data.resolve().name if options.data else None,
        "given": options.overrides,
        "page": tool.page,
        # Where the data lie says nothing elsewhere.
        "overrides": [o for o in tool.overrides if not o.startswith(f"{_DATA}=")],
        "folder": tool.output.name,
    }


if __name__ == "__main__":
    main()
