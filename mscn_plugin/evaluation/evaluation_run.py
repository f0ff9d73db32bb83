"""Runs one evaluation through VISSL's launcher, here or on SLURM, and reads what came out."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from mscn_plugin.checkpoints.io import last_epoch
from mscn_plugin.checkpoints.run_folder import json_lines
from mscn_plugin.evaluation.definitions import (
    CHECKPOINT_DIGEST,
    DETAILS,
    FROZEN,
    FROZEN_LOG,
    METER,
    Evaluation,
)
from mscn_plugin.runs.launch import RunFailedError, ToolRun

_CHECKPOINT = "config.MODEL.WEIGHTS_INIT.PARAMS_FILE="


@dataclasses.dataclass(frozen=True)
class EvaluationRun(ToolRun):
    """One evaluation of one checkpoint, in a folder that is named after all that it depends on.

    What a folder holds is what this command made, so that it can be reused, or resumed by VISSL.

    Attributes:
        evaluation: what to run.
        overrides: everything on the command line after the config, except SLURM's keys.
        folder: of all evaluations of the checkpoint.
        digest: of the checkpoint's file.
        slurm: overrides that send the evaluation to SLURM; empty to run it here.
        inputs: digests of the images and other files that it depends on.
    """

    evaluation: Evaluation
    overrides: tuple[str, ...]
    folder: Path
    digest: str
    slurm: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()

    @property
    def config(self) -> str:
        return f"mscn/benchmark/{self.evaluation.config}"

    @functools.cached_property
    def output(self) -> Path:
        overrides = (o for o in self.overrides if not o.startswith(_CHECKPOINT))
        words = json.dumps([self.digest, self.evaluation.config, *overrides, *self.inputs])
        name = hashlib.sha256(words.encode()).hexdigest()[:10]
        return self.folder / f"{self.evaluation.config}-{name}"

    def read_metrics(self) -> dict[str, float] | None:
        """The numbers of the last epoch of this checkpoint; others are not a result.

        Those that could not be measured, as the SVMs' of classes of few images, are left out.

        Raises:
            RunFailedError: there are numbers of several layers.
        """
        line = self._last_line()
        if line is None:
            return None
        found = {title: self._only(line, keys) for title, keys in self.evaluation.metrics.items()}
        return {title: number for title, number in found.items() if number is not None}

    def details(self) -> dict[str, Any]:
        """What was measured in addition to the metrics, of :data:`DETAILS`, of the one layer."""
        line = self._last_line() or {}
        return {key: next(iter(line[key].values())) for key in DETAILS if key in line}

    def _last_line(self) -> dict[str, Any] | None:
        last = last_epoch(self.output)
        done = [
            line
            for line in json_lines(self.output / FROZEN_LOG)
            if FROZEN in line and line.get(CHECKPOINT_DIGEST) == self.digest
        ] + [
            line
            for line in json_lines(self.output / "metrics.json")
            if METER in line and last is not None and line.get("train_phase_idx") == last
        ]
        return done[-1] if done else None

    def _only(self, line: dict[str, Any], keys: tuple[str, ...]) -> float | None:
        """The value at ``keys``, of the one layer that our configs evaluate; None: it has none."""
        value: Any = line
        for key in keys:
            if key not in value:
                return None
            value = value[key]
        if len(value) != 1:
            file = self.output / (FROZEN_LOG if FROZEN in keys else "metrics.json")
            raise RunFailedError(
                f"{self.evaluation.config} has numbers of {len(value)} layers "
                f"({', '.join(value)}); one can be in the table: {file} has all"
            )
        (number,) = value.values()
        return float(number)
