"""One run of VISSL's launching tool in a folder of its own, here or on SLURM, not done twice."""

from __future__ import annotations

import ctypes
import re
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from mscn_plugin.evaluation.checkpoint import CheckpointError, check_plain_pickle
from mscn_plugin.files import open_new, write_text

TOOL = "tools.run_distributed_engines"
_SUBMITTED = re.compile(r"^SUBMITTED: (\S+)$", re.MULTILINE)
_JOB_ID = re.compile(r"[\w.+-]+")
_TOTAL = re.compile(r"Total (\d+) iterations for training")
_ITERATION = re.compile(r" iter: (\d+); ")
_EXCEPTION = re.compile(r"(\[rank\d+\]: )?[\w.]+(Error|Exception): ")
_POLL_SECONDS = 1.0


# Loaded here: between fork and exec, beside other threads, nothing may take a lock.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def die_with_caller() -> None:
    """Between fork and exec: let a process be killed as soon as the one that started it is gone."""
    # A caller that was killed may be started again at once: there would be two in one folder.
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class RunFailedError(Exception):
    """A run of the tool that ended without a result: one sentence."""


class ToolRun:
    """What to run, and where. A folder that holds a result is not run again.

    Attributes:
        page: VISSL's ``config=``.
        overrides: everything on the command line behind the page, but for SLURM's keys.
        output: the run's folder.
        slurm: overrides that send the run to SLURM; empty to run it here.
    """

    page: Any
    overrides: Any
    output: Any
    slurm: Any

    @property
    def command(self) -> List[str]:
        """VISSL's tool with its arguments."""
        return [
            *(sys.executable, "-W", "ignore", "-m", TOOL),
            f"config={self.page}",
            *self.overrides,
            f"config.CHECKPOINT.DIR={self.output}",
            *(self._slurm_folder_and_port if self.slurm else []),
            *self.slurm,
        ]

    @property
    def _slurm_folder_and_port(self) -> List[str]:
        # VISSL's jobs all meet at port 40050, and those that share a node would collide. Systems
        # hand ports above 32767 to any program that asks for one.
        port = 20000 + zlib.crc32(str(self.output).encode()) % 12000
        return [f"config.SLURM.LOG_FOLDER={self.output}", f"config.SLURM.PORT_ID={port}"]

    def read_metrics(self) -> Optional[Dict[str, float]]:
        """The numbers that a finished run has left in its folder, by title, or None."""
        raise NotImplementedError

    def metrics(self) -> Optional[Dict[str, float]]:
        """The numbers of a finished run in percent, by title; else None."""
        return self.read_metrics() if (self.output / "finished").is_file() else None

    def run(self, progress: Callable[[float], None]) -> Dict[str, float]:
        """Run, or take the result where it is there, and return the metrics.

        Args:
            progress: is told the fraction that is done, from 0 to 1, every second.

        Raises:
            RunFailedError: VISSL or SLURM ended without a result.
        """
        metrics = self.metrics()
        if metrics is None:
            self.output.mkdir(parents=True, exist_ok=True)
            self._run_on_slurm(progress) if self.slurm else self._run_here(progress)
            write_text(self.output / "finished", "")
            metrics = self.metrics()
        if metrics is None:
            raise RunFailedError(f"no result in {self.output}/metrics.json")
        progress(1.0)
        return metrics

    def _run_here(self, progress: Callable[[float], None]) -> None:
        log = self.output / "console.txt"
        with open_new(log) as stream:
            process = subprocess.Popen(
                self.command,
                stdout=stream,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_caller,
            )
            try:
                while process.poll() is None:
                    progress(self.done())
                    time.sleep(_POLL_SECONDS)
            finally:
                process.kill()
        if process.returncode:
            raise RunFailedError(reason(log.read_text(errors="replace"), log))

    def _run_on_slurm(self, progress: Callable[[float], None]) -> None:
        import submitit

        note = self.output / "job_id"
        if not note.is_file():  # else a job that an earlier call has submitted, perhaps at work
            sent = subprocess.run(self.command, capture_output=True, text=True)
            job_ids = _SUBMITTED.findall(sent.stdout)
            write_text(self.output / "console.txt", sent.stdout + sent.stderr)
            if sent.returncode or not job_ids:
                raise RunFailedError(reason(sent.stderr, self.output / "console.txt"))
            write_text(note, job_ids[0])
        executor = submitit.AutoExecutor(folder=self.output)._executor
        job_id = note.read_text(errors="replace")
        if not _JOB_ID.fullmatch(job_id):
            raise RunFailedError(f"{note} holds {job_id!r}; it must be the number of a job")
        job = executor.job_class(folder=self.output, job_id=job_id, tasks=[0])
        while not job.done():
            progress(self.done())
            time.sleep(_POLL_SECONDS)
        note.unlink()  # done, well or not: the next try submits again
        try:
            for outcome in self.output.glob("*_result.pkl"):  # submitit unpickles the job's
                check_plain_pickle(outcome)
        except CheckpointError as error:
            raise RunFailedError(str(error)) from None
        failure = job.exception()
        if failure is not None:
            raise RunFailedError(f"job {job.job_id} failed: {last_line(str(failure))}")

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
