"""Run the paper's experiments, at its size or a small one, and set them beside its numbers.

    python extra_scripts/run_experiments.py trajectory --scale smoke
    python extra_scripts/run_experiments.py trajectory table5 --scale small --seeds 0 1 2 --jobs 2
    python extra_scripts/run_experiments.py all --scale paper --data /data/imagenet --slurm gpu

Each run goes through VISSL's tool into a folder of its own; what is done is not done again, and
what was killed goes on. Writes ``results.json`` and ``results.csv``, one line for each run and
metric, and a plot for each suite.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List, Tuple

from tabulate import tabulate
from tqdm import tqdm

import mscn_plugin
from mscn_plugin.evaluation.run_folder import save_json
from mscn_plugin.experiments.definitions import SUITES, Experiment
from mscn_plugin.experiments.runs import METRICS, ExperimentRun, plot, summary
from mscn_plugin.experiments.scales import SCALES, page_of
from mscn_plugin.tool_run import RunFailedError


def main() -> None:
    options = arguments()
    suites = list(SUITES) if "all" in options.suites else options.suites
    folder = (options.output / options.scale).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    experiments = {e.name: e for suite in suites for e in SUITES[suite]}
    configs = compose({page_of(e) for e in experiments.values()})
    todo = [
        (experiment, seed, launch(options, folder, experiment, seed, configs))
        for seed in options.seeds
        for experiment in experiments.values()
    ]
    rows: List[Dict[str, Any]] = []
    # disable=None: no bar where nobody looks.
    with ThreadPoolExecutor(options.jobs) as jobs, tqdm(total=len(todo), disable=None) as bar:
        for row in jobs.map(run, todo):
            rows.append(row)
            bar.update()
    save(folder, rows)
    for suite in suites:
        names = [e.name for e in SUITES[suite]]
        of_suite = sorted(
            (row for row in rows if row["experiment"] in names),
            key=lambda row: names.index(row["experiment"]),
        )
        headers = [suite, "seeds", *METRICS, "the paper"]
        print(tabulate(summary(of_suite), headers=headers, floatfmt=".1f", missingval="-"))
        plot(of_suite, folder / suite, f"{suite}, scale {options.scale}")
        print(f"{folder / suite}.png\n")
    print(folder / "results.json")
    failed = [row for row in rows if "error" in row]
    for row in failed:
        print(f"{row['experiment']}, seed {row['seed']}: {row['error']}", file=sys.stderr)
    sys.exit(bool(failed))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "suites",
        nargs="+",
        choices=[*SUITES, "all"],
        metavar="SUITE",
        help=f"some of {', '.join(SUITES)}, or all",
    )
    parser.add_argument("--scale", choices=list(SCALES), default="small")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--data", help="folder with train/ and val/; default: the scale's own")
    parser.add_argument("--output", type=Path, default=Path("runs/experiments"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time")
    parser.add_argument("--slurm", metavar="PARTITION", help="one SLURM job for each run")
    parser.add_argument(
        "--overrides", nargs="+", default=[], metavar="KEY=VALUE", help="for VISSL, behind ours"
    )
    return parser.parse_args()


def compose(pages: Any) -> Dict[str, Dict[str, Any]]:
    """The ``config`` part of pages, as VISSL's tool composes them."""
    import warnings

    mscn_plugin.register()
    from omegaconf import OmegaConf
    from vissl.utils.hydra_config import compose_hydra_configuration

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            page: OmegaConf.to_container(compose_hydra_configuration([f"config={page}"]).config)
            for page in sorted(pages)
        }


def launch(
    options: argparse.Namespace,
    folder: Path,
    experiment: Experiment,
    seed: int,
    configs: Dict[str, Dict[str, Any]],
) -> ExperimentRun:
    page = page_of(experiment)
    data = [f"config.MSCN.DATA={Path(options.data).resolve()}"] if options.data else []
    slurm: Tuple[str, ...] = ()
    if options.slurm:
        slurm = "config.SLURM.USE_SLURM=true", f"config.SLURM.PARTITION={options.slurm}"
    overrides = SCALES[options.scale].overrides(experiment, configs[page], seed)
    return ExperimentRun(
        name=f"{experiment.name}-seed{seed}",
        folder=folder,
        page=page,
        overrides=(*overrides, *data, *options.overrides),
        slurm=slurm,
    )


def run(job: Tuple[Experiment, int, ExperimentRun]) -> Dict[str, Any]:
    """A row of ``results.json``: its metrics or its error."""
    experiment, seed, tool = job
    start = time.monotonic()
    row: Dict[str, Any] = {
        "experiment": experiment.name,
        "title": experiment.title,
        "seed": seed,
        "paper": experiment.paper,
        "page": tool.page,
        "overrides": list(tool.overrides),
        "folder": tool.output.name,
    }
    try:
        row["metrics"] = tool.run(lambda done: None)
    except RunFailedError as error:
        row["error"] = str(error)
    row["seconds"] = round(time.monotonic() - start, 1)
    return row


def save(folder: Path, rows: List[Dict[str, Any]]) -> None:
    """Write the rows as JSON, and flat as CSV."""
    save_json(folder / "results.json", rows)
    with (folder / "results.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["experiment", "seed", "metric", "accuracy", "paper"])
        for row in rows:
            for metric, accuracy in row.get("metrics", {}).items():
                table.writerow([row["experiment"], row["seed"], metric, accuracy, row["paper"]])


if __name__ == "__main__":
    main()
