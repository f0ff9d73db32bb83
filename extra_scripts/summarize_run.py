"""Sum a pre-training run up: accuracies beside the baselines, training curves, where things lie.

    python extra_scripts/summarize_run.py runs/mscn_quickstart

Reads the folder that ``config.CHECKPOINT.DIR`` named, and writes ``training_curves.png`` and
``training_curves.pdf`` there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Optional

from mscn_plugin.training.signals import end_on_signals

if __name__ == "__main__":
    end_on_signals()  # first: the imports below take seconds

from tabulate import tabulate

from mscn_plugin.checkpoints.run_folder import user_path
from mscn_plugin.experiments.runs import METRICS
from mscn_plugin.files import save_figure
from mscn_plugin.report.accuracies import about_accuracies, accuracy_rows
from mscn_plugin.report.curves import curves, side_by_side
from mscn_plugin.report.history import History


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=user_path, help="the run's checkpoint folder")
    run = parser.parse_args().run
    if not (run / "train_config.yaml").is_file():
        sys.exit(f"{run} is not the folder of a run: it has no train_config.yaml")
    history = History.of(run)
    rows = [[title, *map(values.get, METRICS.values())] for title, values in accuracy_rows(history)]
    if rows:
        headers = ["accuracy in %", *METRICS]
        print(tabulate(rows, headers=headers, floatfmt=".1f", missingval="-"))
    print(about_accuracies(history))
    try:
        picture = draw_curves(run, history)
    except OSError as error:
        sys.exit(f"summarize_run: {error}")

    checkpoint = (run / "checkpoint.torch").resolve()
    print(f"\ncheckpoint:      {checkpoint if checkpoint.is_file() else 'none yet'}")
    for title, path in (("masked views:", run / "masked_views.png"), ("training curves:", picture)):
        if path is not None and path.is_file():
            print(f"{title:<17}{path.resolve()}")


def draw_curves(run: Path, history: History) -> Optional[Path]:
    drawn = curves(history)
    if not history.steps:
        return None
    path = run / "training_curves.png"
    figure = side_by_side(drawn)
    save_figure(figure, path, ".png", ".pdf", dpi=120)
    return path


if __name__ == "__main__":
    main()
