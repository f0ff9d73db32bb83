"""What a run of ``mscn_task`` wrote down while it trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from mscn_plugin.checkpoints.run_folder import json_lines, measured_on


@dataclasses.dataclass(frozen=True)
class History:
    """The lines of a run's logs, each list in order; all are empty for a run that wrote nothing.

    Attributes:
        steps: of ``stdout.json``: ``iter``, ``loss``, ``lr``.
        evaluations: of ``metrics.json``: ``train_phase_idx`` (-1 before training) and
            ``online_evaluation``, accuracies in percent; ``images``, ``chance`` and
            ``color_histogram`` where the run wrote on what they were measured.
        statistics: of ``embedding_statistics.json``: ``iteration``, ``std``, with BYOL also
            ``prediction_std``.
        unreadable: of ``metrics.json``: ``train_phase_idx`` and ``unreadable_images``, how many
            of an epoch could not be read.
        no_evaluation: why there was no online evaluation, as the log states it; empty where
            it does not.
    """

    steps: list[dict[str, Any]]
    evaluations: list[dict[str, Any]]
    statistics: list[dict[str, Any]]
    unreadable: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    no_evaluation: str = ""

    @classmethod
    def of(cls, folder: Path) -> History:
        """Read the logs in a run's folder."""
        evaluations = _lines(folder / "metrics.json", "train_phase_idx", "online_evaluation")
        return cls(
            _lines(folder / "stdout.json", "iter", "loss"),
            evaluations,
            _lines(folder / "embedding_statistics.json", "iteration", "std"),
            _lines(folder / "metrics.json", "train_phase_idx", "unreadable_images"),
            "" if evaluations else _last_in_log(folder / "log.txt", "no online evaluation: "),
        )

    def evaluations_until(self, epochs: int | None) -> list[dict[str, Any]]:
        """The evaluations of a checkpoint that has seen ``epochs``, or all where that is None."""
        return [
            line for line in self.evaluations if epochs is None or line["train_phase_idx"] < epochs
        ]


def _last_in_log(path: Path, words: str) -> str:
    """What follows the last ``words`` in a log, to the end of the line."""
    log = path.read_text(errors="replace") if path.is_file() else ""
    return log.rpartition(words)[2].partition("\n")[0] if words in log else ""


def _lines(path: Path, place: str, needed: str) -> list[dict[str, Any]]:
    # A run that resumed from a checkpoint writes the lines after it again: the later ones count.
    by_place = {}
    for line in map(_numbers, json_lines(path)):
        if needed in line and isinstance(line.get(place), int):
            by_place[line[place]] = line
    return [by_place[key] for key in sorted(by_place)]


def _numbers(line: dict[str, Any]) -> dict[str, Any]:
    """A line without what is neither a number nor a section of numbers, but for its images."""
    numbers = {}
    if "images" in line:
        try:
            measured_on(line)
            numbers["images"] = line["images"]
        except (KeyError, TypeError, ValueError):  # not a line that this package has written
            line = {key: line[key] for key in line if key not in ("chance", "color_histogram")}
    for key, value in line.items():
        if key == "images":
            continue
        if isinstance(value, dict):
            value = _numbers(value)
        elif not isinstance(value, (int, float)):
            continue
        numbers[key] = value
    return numbers
