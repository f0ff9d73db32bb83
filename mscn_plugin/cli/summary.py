"""Summarize a pre-training run: accuracies with baselines, training curves, file locations.

Reads the folder that config.CHECKPOINT.DIR named, and writes training_curves.png and
training_curves.pdf there.

examples:
    mscn summary runs/mscn_quickstart
"""

from __future__ import annotations

import argparse

from mscn_plugin.errors import ConfigError
from mscn_plugin.files import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", type=user_path, help="the run's folder, or a checkpoint in it"
    )


def run(options: argparse.Namespace) -> None:
    from mscn_plugin.report.summary import summarize

    folder = options.checkpoint
    if folder.is_file():
        folder = folder.parent
    if not (folder / "train_config.yaml").is_file():
        raise ConfigError(f"{folder} is not the folder of a run: it has no train_config.yaml")
    print(summarize(folder))
