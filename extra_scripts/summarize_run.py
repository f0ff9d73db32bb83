"""Sum a pre-training run up: accuracies beside the baselines, training curves, where things lie.

    python extra_scripts/summarize_run.py runs/mscn_quickstart

Reads the folder that ``config.CHECKPOINT.DIR`` named, and writes ``training_curves.png`` and
``training_curves.pdf`` there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List, Optional

import numpy as np
from tabulate import tabulate

from mscn_plugin.evaluation.checkpoint import CheckpointError, read_yaml
from mscn_plugin.files import save_figure
from mscn_plugin.report.curves import curves, side_by_side
from mscn_plugin.report.history import History


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="the run's checkpoint folder")
    run = parser.parse_args().run
    if not (run / "train_config.yaml").is_file():
        sys.exit(f"{run} is not the folder of a run: it has no train_config.yaml")
    try:
        config = read_yaml(run / "train_config.yaml")
    except CheckpointError as error:
        sys.exit(f"summarize_run: {error}")

    history = History.of(run)
    try:
        rows = accuracy_rows(config, history.evaluations)
    except (AttributeError, KeyError, TypeError) as error:
        sys.exit(f"summarize_run: {run / 'train_config.yaml'} is no configuration ({error!r})")
    if rows:
        headers = ["accuracy in %", "kNN", "linear probe"]
        print(tabulate(rows, headers=headers, floatfmt=".1f"))
    picture = draw_curves(run, history)

    checkpoint = (run / "checkpoint.torch").resolve()
    print(f"\ncheckpoint:      {checkpoint if checkpoint.is_file() else 'none yet'}")
    for title, path in (("masked views:", run / "masked_views.png"), ("training curves:", picture)):
        if path is not None and path.is_file():
            print(f"{title:<17}{path.resolve()}")


def accuracy_rows(config: Dict[str, Any], evaluations: List[Dict[str, Any]]) -> List[List[Any]]:
    """Trained trunk, random trunk, colour histogram and chance, as far as the run has them."""
    if not evaluations:
        return []

    def row(name: str, values: Dict[str, float]) -> List[Any]:
        return [name, values["knn"], values["linear_probe"]]

    rows = []
    last = evaluations[-1]
    if last["train_phase_idx"] >= 0:
        epochs, total = last["train_phase_idx"] + 1, config["OPTIMIZER"]["num_epochs"]
        of = "" if epochs == total else f" of {total}"
        rows.append(row(f"pre-trained trunk, {epochs}{of} epochs", last["online_evaluation"]))
    if evaluations[0]["train_phase_idx"] < 0:
        title = "random trunk, same input"
        rows.append(row(title, evaluations[0]["online_evaluation"]))
    settings = SimpleNamespace(**config["MSCN"]["ONLINE_EVALUATION"])
    train, val = (folder_of(config, split) for split in ("TRAIN", "TEST"))
    if train and val:
        from mscn_plugin.training.online_evaluation import accuracies

        features = [histograms(train, settings.MAX_TRAIN_IMAGES)]
        features.append(histograms(val, settings.MAX_VAL_IMAGES))
        rows.append(row("colour histogram", accuracies(*features, settings)))
        chance = 100 / len(set(features[0][1]))
        rows.append(["chance", chance, chance])
    return rows


def folder_of(config: Dict[str, Any], split: str) -> Optional[str]:
    data = config["DATA"][split]
    return data["DATA_PATHS"][0] if data["DATA_SOURCES"] == ["disk_folder"] else None


def histograms(folder: str, max_images: int) -> Any:
    """Colour histograms and labels of at most ``max_images`` images, chosen as online."""
    from torchvision.datasets import ImageFolder

    from mscn_plugin.data.photographs import color_histogram

    images = ImageFolder(folder)
    order = np.random.RandomState(0).permutation(len(images))[:max_images]
    features = color_histogram([images[index][0] for index in order])
    return features, np.array([images.targets[index] for index in order])


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
