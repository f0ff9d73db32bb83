"""An experiment as a run of VISSL's tool."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from mscn_plugin.checkpoints.io import last_epoch
from mscn_plugin.checkpoints.run_folder import json_lines, measured_on
from mscn_plugin.runs.launch import ToolRun

METRICS = {"kNN": "knn", "linear probe": "linear_probe"}
"""Titles of the numbers of the online evaluation, and its names for them."""
UNTRAINED = {f"{title}, untrained": name for title, name in METRICS.items()}
"""The same of the trunk before its first step: a filter alone changes its features of a picture."""


def shown(metric: str) -> str:
    """A metric's title in tables and plots: the probe of a run is not A.2's."""
    return metric.replace("linear probe", "online probe")


@dataclasses.dataclass(frozen=True)
class ExperimentRun(ToolRun):
    """One experiment with one seed; its folder is named after all that it depends on.

    Attributes:
        name: of the config and the seed.
        folder: of all runs of a scale.
        images: a digest of what they train on; None: the scale's own.
        files: digests of the files that the overrides name.
    """

    name: str
    folder: Path
    config: str
    overrides: tuple[str, ...]
    slurm: tuple[str, ...] = ()
    images: str | None = None
    files: tuple[str, ...] = ()

    @property
    def output(self) -> Path:
        images = [self.images] if self.images else []
        words = json.dumps([self.config, *self.overrides, *images, *self.files])
        digest = hashlib.sha256(words.encode()).hexdigest()[:8]
        return self.folder / f"{self.name}-{digest}"

    def read_metrics(self) -> dict[str, float] | None:
        """The numbers after the last epoch, and before the first; else there is no result."""
        evaluated = {
            line.get("train_phase_idx"): line["online_evaluation"]
            for line in json_lines(self.output / "metrics.json")
            if "online_evaluation" in line
        }
        epoch = last_epoch(self.output)
        if epoch is None or epoch not in evaluated:
            return None
        last, first = evaluated[epoch], evaluated.get(-1, {})
        return {
            **{title: last[name] for title, name in METRICS.items()},
            **{title: first[name] for title, name in UNTRAINED.items() if name in first},
        }

    def epochs(self) -> list[dict[str, float]]:
        """``epoch``, from 0 for the untrained trunk, and the numbers of each online evaluation."""
        return [
            {
                "epoch": line["train_phase_idx"] + 1,
                **{title: line["online_evaluation"][name] for title, name in METRICS.items()},
            }
            for line in json_lines(self.output / "metrics.json")
            if "online_evaluation" in line
        ]

    def details(self) -> dict[str, Any]:
        """``measured_on`` which images, and what is to be beaten; ``chance`` in percent, where the
        run's version has logged it; and :meth:`epochs`."""
        lines = json_lines(self.output / "metrics.json")
        last = [line for line in lines if "online_evaluation" in line][-1]
        chance = {"chance": last["chance"]} if "chance" in last else {}
        return {"measured_on": measured_on(_named(last)), **chance, "epochs": self.epochs()}


def _named(line: dict[str, Any]) -> dict[str, Any]:
    """The line with its images from the data set's folder on: results read the same elsewhere."""
    images = line.get("images")
    if not images:
        return line
    splits = {name: images[name] for name in ("train", "val")}
    paths = [os.path.abspath(split["path"]) for split in splits.values()]
    around = os.path.dirname(os.path.commonpath(paths))
    named = {
        name: {**split, "path": os.path.relpath(path, around)}
        for (name, split), path in zip(splits.items(), paths)
    }
    return {**line, "images": {**images, **named}}
