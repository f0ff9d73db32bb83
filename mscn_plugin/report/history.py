"""What a run of ``mscn_task`` wrote down while it trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Dict, List, Optional

from mscn_plugin.evaluation.run_folder import json_lines


@dataclasses.dataclass(frozen=True)
class History:
    """The lines of a run's logs, each list in order; all are empty for a run that wrote nothing.

    Attributes:
        steps: of ``stdout.json``: ``iter``, ``loss``, ``lr``.
        evaluations: of ``metrics.json``: ``train_phase_idx`` (-1 before training) and
            ``online_evaluation``, accuracies in percent.
        statistics: of ``embedding_statistics.json``: ``iteration``, ``std``, with BYOL also
            ``prediction_std``.
    """

    steps: List[Dict[str, Any]]
    evaluations: List[Dict[str, Any]]
    statistics: List[Dict[str, Any]]

    @classmethod
    def of(cls, folder: Path) -> History:
        """Read the logs that lie in a run's folder."""
        return cls(
            _lines(folder / "stdout.json", "iter", "loss"),
            _lines(folder / "metrics.json", "train_phase_idx", "online_evaluation"),
            _lines(folder / "embedding_statistics.json", "iteration", "std"),
        )

    def last_evaluation(self, epochs: Optional[int] = None) -> Optional[Dict[str, Any]]:
        """The last evaluation after an epoch, of the first ``epochs`` where that is given."""
        done = [line for line in self.evaluations if line["train_phase_idx"] >= 0]
        done = [line for line in done if epochs is None or line["train_phase_idx"] < epochs]
        return done[-1] if done else None


def _lines(path: Path, place: str, needed: str) -> List[Dict[str, Any]]:
    # A run that went on from a checkpoint writes the lines behind it again: the later ones count.
    by_place = {}
    for line in map(_numbers, json_lines(path)):
        if needed in line and isinstance(line.get(place), int):
            by_place[line[place]] = line
    return [by_place[key] for key in sorted(by_place)]


def _numbers(line: Dict[str, Any]) -> Dict[str, Any]:
    """A line without what is neither a number nor a section of numbers."""
    numbers = {}
    for key, value in line.items():
        if isinstance(value, dict):
            value = _numbers(value)
        elif not isinstance(value, (int, float)):
            continue
        numbers[key] = value
    return numbers
