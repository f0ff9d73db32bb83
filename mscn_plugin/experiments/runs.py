"""Experiments as runs of VISSL's tool, and what a set of them says."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from scipy import stats

from mscn_plugin.evaluation.run_folder import json_lines
from mscn_plugin.tool_run import ToolRun

METRICS = {"kNN": "knn", "linear probe": "linear_probe"}
"""Titles of the numbers of the online evaluation, and its names for them."""


@dataclasses.dataclass(frozen=True)
class ExperimentRun(ToolRun):
    """One experiment with one seed; its folder is named after all that it depends on.

    Attributes:
        name: of the experiment and the seed.
        folder: of all runs of a scale.
    """

    name: str
    folder: Path
    page: str
    overrides: Tuple[str, ...]
    slurm: Tuple[str, ...] = ()

    @property
    def output(self) -> Path:
        words = json.dumps([self.page, *self.overrides])
        digest = hashlib.sha256(words.encode()).hexdigest()[:8]
        return self.folder / f"{self.name}-{digest}"

    def read_metrics(self) -> Optional[Dict[str, float]]:
        lines = json_lines(self.output / "metrics.json")
        done = [
            line["online_evaluation"]
            for line in lines
            if "online_evaluation" in line and line["train_phase_idx"] >= 0
        ]
        return {title: done[-1][key] for title, key in METRICS.items()} if done else None


def mean_and_interval(values: Sequence[float], confidence: float = 0.95) -> Tuple[float, float]:
    """Mean, and half the width of its interval of Student's t; NaN for a single value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, float("nan")
    return mean, float(stats.t.ppf((1 + confidence) / 2, len(values) - 1) * stats.sem(values))


def summary(rows: List[Dict[str, Any]]) -> List[List[Any]]:
    """A line for each experiment: title, seeds, mean and interval of each metric, the paper's."""
    lines = []
    for name in dict.fromkeys(row["experiment"] for row in rows):
        of_one = [row for row in rows if row["experiment"] == name and "error" not in row]
        title, paper = next((r["title"], r["paper"]) for r in rows if r["experiment"] == name)
        cells: List[Any] = [title, len(of_one)]
        for metric in METRICS:
            values = [row["metrics"][metric] for row in of_one]
            cells.append(_as_text(*mean_and_interval(values)) if values else None)
        lines.append([*cells, paper])
    return lines


def _as_text(mean: float, half: float) -> str:
    return f"{mean:.1f}" if np.isnan(half) else f"{mean:.1f} ± {half:.1f}"


def plot(rows: List[Dict[str, Any]], path: Path, title: str) -> None:
    """Draw mean, interval and seeds of each experiment beside the paper's values: PNG and PDF."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(row["experiment"] for row in rows))
    figure, axes = plt.subplots(
        1,
        len(METRICS) + 1,
        figsize=(11, 1.2 + 0.32 * len(names)),
        sharey=True,
        constrained_layout=True,
    )
    labels = [next(r["title"] for r in rows if r["experiment"] == name) for name in names]
    for axis, metric in zip(axes, METRICS):
        for place, name in enumerate(names):
            values = [
                row["metrics"][metric]
                for row in rows
                if row["experiment"] == name and "error" not in row
            ]
            if not values:
                continue
            mean, half = mean_and_interval(values)
            axis.barh(place, mean, height=0.7, color="0.8")
            if not np.isnan(half):
                axis.errorbar(mean, place, xerr=half, color="black", capsize=3, lw=1)
            axis.plot(values, [place] * len(values), "o", ms=3, color="tab:blue")
        axis.set(xlabel=f"{metric}, % (here)")
    for place, name in enumerate(names):
        paper = next(row["paper"] for row in rows if row["experiment"] == name)
        if paper is not None:
            axes[-1].barh(place, paper, height=0.7, color="tab:orange")
            axes[-1].text(paper + 1, place, f"{paper:.1f}", va="center", fontsize=8)
    axes[-1].set(xlabel="linear probe, % (the paper, ImageNet)", xlim=(0, 85))
    axes[0].set_yticks(range(len(names)), labels)
    axes[0].invert_yaxis()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    for suffix in (".png", ".pdf"):
        figure.savefig(path.with_suffix(suffix), dpi=130)
    plt.close(figure)
