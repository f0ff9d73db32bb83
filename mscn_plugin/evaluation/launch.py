"""Runs one evaluation through VISSL's launcher, here or on SLURM, and reads what came out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from mscn_plugin.evaluation.run_folder import json_lines
from mscn_plugin.evaluation.suites import FROZEN, METER, Evaluation

TOOL = "tools.run_distributed_engines"
_SUBMITTED = re.compile(r"^SUBMITTED: (\S+)$", re.MULTILINE)
_TOTAL = re.compile(r"Total (\d+) iterations for training")
_ITERATION = re.compile(r" iter: (\d+); ")
_EXCEPTION = re.compile(r"(\[rank\d+\]: )?[\w.]+(Error|Exception): ")
_POLL_SECONDS = 1.0


class EvaluationFailedError(Exception):
    """An evaluation that ended without a result: one sentence."""


@dataclasses.dataclass(frozen=True)
class Launch:
    """One evaluation of one checkpoint, in a folder that is named after all that it depends on.

    What a folder holds is what this command made, so that it can be reused, or resumed by VISSL.

    Attributes:
        evaluation: what to run.
        overrides: everything on the command line behind the page, but for SLURM's keys.
        folder: of all evaluations of the checkpoint.
        digest: of the checkpoint's file.
        slurm: overrides that send the evaluation to SLURM; empty to run it here.
    """

    evaluation: Evaluation
    overrides: Tuple[str, ...]
    folder: Path
    digest: str
    slurm: Tuple[str, ...] = ()

    @property
    def output(self) -> Path:
        words = json.dumps([self.digest, self.evaluation.page, *self.overrides])
        name = hashlib.sha256(words.encode()).hexdigest()[:10]
        return self.folder / f"{self.evaluation.page}-{name}"

    @property
    def command(self) -> List[str]:
        """VISSL's tool with its arguments."""
        return [
            *(sys.executable, "-W", "ignore", "-m", TOOL),
            f"config=mscn/benchmark/{self.evaluation.page}",
            *self.overrides,
            f"config.CHECKPOINT.DIR={self.output}",
            *self.slurm,
            *([f"config.SLURM.LOG_FOLDER={self.output}"] if self.slurm else []),
        ]

    def metrics(self) -> Optional[Dict[str, float]]:
        """The numbers of a finished evaluation in percent, by title; else None."""
        lines = json_lines(self.output / "metrics.json")
        done = [line for line in lines if METER in line or FROZEN in line]
        if not done or not (self.output / "finished").is_file():
            return None
        return {title: _only(done[-1], keys) for title, keys in self.evaluation.metrics.items()}

    def run(self, progress: Callable[[float], None]) -> Dict[str, float]:
        """Run the evaluation, or take its result where it is there, and return its metrics.

        Args:
            progress: is told the fraction that is done, from 0 to 1, every second.

        Raises:
            EvaluationFailedError: VISSL or SLURM ended without a result.
        """
        metrics = self.metrics()
        if metrics is None:
            self.output.mkdir(parents=True, exist_ok=True)
            self._run_on_slurm(progress) if self.slurm else self._run_here(progress)
            (self.output / "finished").touch()
            metrics = self.metrics()
        if metrics is None:
            raise EvaluationFailedError(f"no result in {self.output}/metrics.json")
        progress(1.0)
        return metrics

    def _run_here(self, progress: Callable[[float], None]) -> None:
        log = self.output / "console.txt"
        with log.open("w") as stream:
            process = subprocess.Popen(self.command, stdout=stream, stderr=subprocess.STDOUT)
            try:
                while process.poll() is None:
                    progress(self.done())
                    time.sleep(_POLL_SECONDS)
            finally:
                process.kill()
        if process.returncode:
            raise EvaluationFailedError(reason(log.read_text(errors="replace"), log))

    def _run_on_slurm(self, progress: Callable[[float], None]) -> None:
        import submitit

        note = self.output / "job_id"
        if not note.is_file():
            sent = subprocess.run(self.command, capture_output=True, text=True)
            job_ids = _SUBMITTED.findall(sent.stdout)
            (self.output / "console.txt").write_text(sent.stdout + sent.stderr)
            if sent.returncode or not job_ids:
                raise EvaluationFailedError(reason(sent.stderr, self.output / "console.txt"))
            note.write_text(job_ids[0])
        executor = submitit.AutoExecutor(folder=self.output)._executor
        job = executor.job_class(folder=self.output, job_id=note.read_text(), tasks=[0])
        while not job.done():
            progress(self.done())
            time.sleep(_POLL_SECONDS)
        note.unlink()  # done, well or not: the next try submits again
        error = job.exception()
        if error is not None:
            raise EvaluationFailedError(f"job {job.job_id} failed: {last_line(str(error))}")

    def done(self) -> float:
        """The fraction of the iterations that the log of a running evaluation has."""
        log = self.output / "log.txt"
        text = log.read_text(errors="replace") if log.is_file() else ""
        totals, iterations = _TOTAL.findall(text), _ITERATION.findall(text)
        return int(iterations[-1]) / int(totals[-1]) if totals and iterations else 0.0


def reason(console: str, log: Path) -> str:
    """The sentence of a refused configuration, or the last line of what else went wrong."""
    refused = [line for line in console.splitlines() if line.startswith("mscn-plugin: ")]
    sentence = refused[-1][len("mscn-plugin: ") :] if refused else last_line(console)
    return f"{sentence} (all of it: {log})"


def last_line(text: str) -> str:
    """The last line that names an exception, or else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    raised = [line for line in lines if _EXCEPTION.match(line)]
    return (raised or lines or ["it said nothing"])[-1]


def _only(line: Dict[str, Any], keys: Tuple[str, ...]) -> float:
    """The value at ``keys``, of the one layer that our pages evaluate."""
    value: Any = line
    for key in keys:
        value = value[key]
    (number,) = value.values()
    return float(number)
