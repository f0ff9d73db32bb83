"""The folder of a run as ``mscn_task`` leaves it, of a trunk with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image


def write_run(folder: Path, config) -> Path:
    """Write checkpoint, configuration, logs and picture; returns the folder.

    Args:
        config: the ``config`` part of a checked configuration.
    """
    from mscn_plugin.models.shapes import build_trunk

    folder.mkdir(parents=True)
    trunk = build_trunk(config.MODEL).state_dict()
    state = {"base_model": {"model": {"trunk": trunk, "heads": {}}}}
    state["mscn_high_pass_sigma"] = torch.tensor(1.25, dtype=torch.float64)
    torch.save({"classy_state_dict": state, "train_phase_idx": 1}, folder / "model_phase1.torch")
    (folder / "checkpoint.torch").symlink_to("model_phase1.torch")
    plain = json.loads(json.dumps(config, default=str))
    (folder / "train_config.yaml").write_text(yaml.safe_dump(plain))
    write_lines(
        folder / "stdout.json",
        {"ep": 0, "iter": 0, "max_iterations": 20},
        {"iter": 0, "lr": 0.0, "loss": 5.0},
        {"iter": 10, "lr": 0.2, "loss": 4.5},
        {"iter": 20, "lr": 0.1, "loss": 4.0},
    )
    write_lines(
        folder / "metrics.json",
        {"train_phase_idx": -1, "online_evaluation": {"knn": 20.04, "linear_probe": 25.0}},
        {"train_phase_idx": 0, "iteration": 10},
        {"train_phase_idx": 0, "online_evaluation": {"knn": 30.0, "linear_probe": 33.0}},
        {"train_phase_idx": 1, "online_evaluation": {"knn": 41.26, "linear_probe": 45.0}},
    )
    write_lines(
        folder / "embedding_statistics.json",
        {"iteration": 0, "std": 0.12},
        {"iteration": 20, "std": 0.1},
    )
    Image.fromarray(np.full((20, 30, 3), 128, np.uint8)).save(folder / "masked_views.png")
    return folder


def write_lines(path: Path, *lines) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
