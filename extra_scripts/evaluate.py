"""Evaluate a checkpoint as the paper does, and set the numbers beside the paper's.

    python extra_scripts/evaluate.py runs/mscn_quickstart --suite quick
    python extra_scripts/evaluate.py runs/mscn_simclr --suite paper --data imagenet1k=/data/imagenet

Runs the pages of ``configs/config/mscn/benchmark`` through VISSL's launcher, here or with
``--slurm`` as SLURM jobs. One failure does not stop the others, Ctrl-C and SIGTERM do (exit codes
130 and 75); what is done is not done again.
Writes ``results.json``, ``results.md`` and ``results.png``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from mscn_plugin.training.signals import end_on_signals

if __name__ == "__main__":
    end_on_signals()  # first: the imports below take seconds

import torch
from tqdm import tqdm

from mscn_plugin.checkpoints.run_folder import file_digest, user_path
from mscn_plugin.config.hydra_overrides import hydra_override
from mscn_plugin.data.image_folder import PHOTOGRAPHS, measured_images
from mscn_plugin.errors import ConfigError
from mscn_plugin.evaluation.launch import Launch
from mscn_plugin.evaluation.suites import SUITES, Evaluation, Run
from mscn_plugin.evaluation.table import markdown, plot
from mscn_plugin.files import save_json, write_text
from mscn_plugin.runs.launch import RunFailedError, stopped_by_signals

SUITE_BATCH = 256  # A.2, A.3


def main() -> None:
    options = arguments()
    try:
        run = Run.of(options.checkpoint, options.sigma)
        folders = data_folders(options, run)
        measured_on = {
            name: measured_images(folder, key) for name, (folder, key) in folders.items()
        }
        baseline = load_baseline(options.baseline)
        chosen = choose(options.suite, options.only)
        output = (options.output or run.folder / "evaluation").resolve()
        output.mkdir(parents=True, exist_ok=True)
    except (ConfigError, OSError) as error:
        sys.exit(f"evaluate: {error}")
    results: Dict[str, Any] = {
        "checkpoint": str(run.checkpoint),
        "sha256": file_digest(run.checkpoint),
        "sigma": run.sigma,
        "loss": run.loss,
        "suite": options.suite,
        "overrides": options.overrides,
        "measured_on": measured_on,
        "evaluations": {},
    }
    bar_format = "{desc:<30}{percentage:3.0f}%|{bar}| {elapsed}"
    # disable=None: no bar where nobody looks.
    with (
        stopped_by_signals("evaluate"),
        tqdm(total=len(chosen), bar_format=bar_format, disable=None) as bar,
    ):
        for place, evaluation in enumerate(chosen):
            bar.set_description_str(evaluation.page)
            results["evaluations"][evaluation.page] = evaluate(
                Launch(
                    evaluation,
                    tuple(overrides(options, run, folders, evaluation)),
                    output,
                    results["sha256"],
                    slurm(options),
                )
                if evaluation.dataset in folders
                else None,
                lambda done, place=place: show(bar, place + done),
            )
            report = markdown(results, baseline)
            save_json(output / "results.json", results)
            write_text(output / "results.md", report)
            plot(results, baseline, output / "results.png")
    print(report)
    for name in ("results.json", "results.md", "results.png"):
        print(output / name)
    if any("error" in evaluation for evaluation in results["evaluations"].values()):
        sys.exit(1)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "checkpoint", type=user_path, help="a checkpoint of VISSL, or a run's folder"
    )
    parser.add_argument("--suite", choices=sorted(SUITES), default="quick")
    parser.add_argument(
        "--data",
        nargs="+",
        default=[],
        metavar="[NAME=]FOLDER",
        help="folder with train/ and val/, or with one sub-folder per class; for the paper's suite "
        "imagenet1k=, places205=, inaturalist18=; default: the run's own",
    )
    parser.add_argument(
        "--output", type=user_path, help="default: evaluation/ beside the checkpoint"
    )
    parser.add_argument("--baseline", type=user_path, help="results.json of another checkpoint")
    parser.add_argument("--sigma", type=float, help="of pre-training, where nothing else says it")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=[evaluation.page for suite in SUITES.values() for evaluation in suite],
        metavar="NAME",
        help="some of the suite's evaluations, by their pages (see README)",
    )
    parser.add_argument("--slurm", metavar="PARTITION", help="submit to SLURM and wait")
    parser.add_argument(
        "--overrides", nargs="+", default=[], metavar="KEY=VALUE", help="for VISSL, behind ours"
    )
    return parser.parse_args()


def choose(suite: str, names: Optional[List[str]]) -> List[Evaluation]:
    """The evaluations of a suite, or those that ``--only`` names."""
    pages = {evaluation.page: evaluation for evaluation in SUITES[suite]}
    for name in names or ():
        if name not in pages:
            raise ConfigError(f"--only {name}: the suite {suite} has {', '.join(pages)}")
    return [pages[name] for name in pages if not names or name in names]


def data_folders(options: argparse.Namespace, run: Run) -> Dict[str, Tuple[str, str]]:
    """The folder of each data set that is known, and what names it."""
    datasets = dict.fromkeys(evaluation.dataset for evaluation in SUITES[options.suite])
    default = next(iter(datasets))
    folders = {}
    if run.data and options.suite == "quick":
        folders[default] = run.data, "without --data the run's own config.MSCN.DATA is taken, which"
    for item in options.data:
        name, _, folder = item.partition("=")
        if name not in datasets:
            name, folder = default, item
            if "=" in item and not user_path(item).exists():
                raise ConfigError(
                    f"--data {item} is no folder, and the suite {options.suite} has "
                    f"{', '.join(datasets)}"
                )
        if folder != PHOTOGRAPHS:
            folder = str(user_path(folder).resolve())
        folders[name] = folder, "--data"
    if not folders:
        known = " ".join(f"{name}=<folder>" for name in datasets)
        raise ConfigError(
            "no data: give --data <folder with train/ and val/>"
            if options.suite == "quick"
            else f"no data: give --data with some of {known}"
        )
    return folders


def load_baseline(path: Optional[Path]) -> Optional[Dict[str, Any]]:
    if path is None:
        return None
    file = path / "results.json" if path.is_dir() else path
    try:
        baseline = json.loads(file.read_text())
        return {"evaluations": baseline["evaluations"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(f"--baseline {path}: not the results.json of an evaluation") from None


def overrides(
    options: argparse.Namespace,
    run: Run,
    folders: Dict[str, Tuple[str, str]],
    evaluation: Evaluation,
) -> List[str]:
    machine: List[str] = []
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not options.slurm and options.suite == "paper":
        machine = [f"+config/mscn/machine={'gpu_1' if gpus else 'cpu'}"]
        if gpus:
            machine += [
                f"config.DISTRIBUTED.NUM_PROC_PER_NODE={gpus}",
                f"config.DATA.TRAIN.BATCHSIZE_PER_REPLICA={max(2, SUITE_BATCH // gpus)}",
            ]
    data = hydra_override("config.MSCN.DATA", folders[evaluation.dataset][0])
    return [*machine, *run.overrides(evaluation.page), data, *options.overrides]


def slurm(options: argparse.Namespace) -> Any:
    if not options.slurm:
        return ()
    partition = hydra_override("config.SLURM.PARTITION", options.slurm)
    return "config.SLURM.USE_SLURM=true", partition


def show(bar: Any, done: float) -> None:
    if not bar.disable:
        bar.n = done
        bar.refresh()


def evaluate(launch: Optional[Launch], progress: Any) -> Dict[str, Any]:
    """The entry of one evaluation in ``results.json``: its metrics or its error."""
    if launch is None:
        progress(1.0)
        return {"skipped": "its data was not given"}
    start = time.monotonic()
    entry = {"folder": str(launch.output), "reused": launch.metrics() is not None}
    try:
        entry["metrics"] = launch.run(progress)
    except RunFailedError as error:
        entry["error"] = str(error)
        progress(1.0)
    entry["seconds"] = round(time.monotonic() - start, 1)
    return entry


if __name__ == "__main__":
    main()
