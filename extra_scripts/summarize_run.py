"""Sum a pre-training run up: accuracies beside the baselines, training curves, where things lie.

    python extra_scripts/summarize_run.py runs/mscn_quickstart

Reads the folder that ``config.CHECKPOINT.DIR`` named; writes ``training_curves.png`` into it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List, Optional

import numpy as np
import yaml
from tabulate import tabulate

from mscn_plugin.evaluation.run_folder import json_lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="the run's checkpoint folder")
    run = parser.parse_args().run
    if not (run / "train_config.yaml").is_file():
        sys.exit(f"{run} is not the folder of a run: it has no train_config.yaml")
    config = yaml.safe_load((run / "train_config.yaml").read_text())

    evaluations = [line for line in json_lines(run / "metrics.json") if "online_evaluation" in line]
    rows = accuracy_rows(config, evaluations)
    if rows:
        headers = ["accuracy in %", "kNN", "linear probe"]
        print(tabulate(rows, headers=headers, floatfmt=".1f"))
    curves = draw_curves(run, evaluations)

    checkpoint = (run / "checkpoint.torch").resolve()
    print(f"\ncheckpoint:      {checkpoint if checkpoint.is_file() else 'none yet'}")
    for title, path in (("masked views:", run / "masked_views.png"), ("training curves:", curves)):
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
        epochs = last["train_phase_idx"] + 1
        rows.append(row(f"pre-trained trunk, {epochs} epochs", last["online_evaluation"]))
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


def draw_curves(run: Path, evaluations: List[Dict[str, Any]]) -> Optional[Path]:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    steps = [line for line in json_lines(run / "stdout.json") if "loss" in line]
    if not steps:
        return None
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 3.5), constrained_layout=True)
    left.plot([step["iter"] for step in steps], [step["loss"] for step in steps])
    left.set(xlabel="iteration", ylabel="loss", title="pre-training loss")
    statistics = json_lines(run / "embedding_statistics.json")
    for name, label in (("std", "embedding"), ("prediction_std", "prediction")):
        lines = [line for line in statistics if name in line]
        if lines:
            iterations = [line["iteration"] for line in lines]
            middle.plot(iterations, [line[name] for line in lines], label=label)
    middle.set(
        xlabel="iteration",
        ylabel="standard deviation",
        title="spread of the embedding, 0: collapsed",
    )
    middle.set_ylim(bottom=0)
    if statistics:
        middle.legend()
    for name, label in (("knn", "kNN"), ("linear_probe", "linear probe")):
        epochs = [line["train_phase_idx"] + 1 for line in evaluations]
        values = [line["online_evaluation"][name] for line in evaluations]
        right.plot(epochs, values, marker="o", label=label)
    right.set(xlabel="epoch", ylabel="accuracy in %", title="frozen trunk")
    if evaluations:
        right.legend()
    path = run / "training_curves.png"
    figure.savefig(path, dpi=120)
    return path


if __name__ == "__main__":
    main()
