"""One run of VISSL's launching tool in a folder of its own, here or on SLURM, not done twice."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mscn_plugin.checkpoints.io import CheckpointError, check_plain_pickle
from mscn_plugin.config.hydra_overrides import hydra_override
from mscn_plugin.errors import ConfigError
from mscn_plugin.files import open_new, write_text
from mscn_plugin.runs import lock
from mscn_plugin.training.signals import SAME_KEYSTROKE, SCRIPT_SIGNALS, exit_code

_SUBMITTED = re.compile(r"^SUBMITTED: (\S+)$", re.MULTILINE)
_JOB_ID = re.compile(r"[\w.+-]+")
_TOTAL = re.compile(r"Total (\d+) iterations for training")
_ITERATION = re.compile(r" iter: (\d+); ")
_EXCEPTION = re.compile(r"(\[rank\d+\]: )?[\w.]+(Error|Exception): ")
_POLL_SECONDS = 1.0


def tool() -> str:
    """VISSL's launching tool by its path: the folder that one is in may have a ``tools``, too."""
    vissl = importlib.util.find_spec("vissl")
    if vissl is None or vissl.origin is None:
        raise ConfigError("VISSL is not installed: mscn doctor --fix prints how")
    return str(Path(vissl.origin).parents[1] / "tools" / "run_distributed_engines.py")


# Loaded here: between fork and exec, beside other threads, nothing may take a lock.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def die_with_caller() -> None:
    """Between fork and exec: let a process be killed as soon as the one that started it is gone."""
    # A caller that was killed may be started again at once: there would be two in one folder.
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class StoppedError(Exception):
    """A run that did not begin or did not end, since this process was asked to end."""


class _Stop:
    """The signal that this process received, and the running tools, to which it is passed on."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self.processes: list[Any] = []
        self._time = 0.0

    def receive(self, signum: int, _frame: Any) -> None:
        now = time.monotonic()
        again = signum == self.signum == signal.SIGINT and now - self._time > SAME_KEYSTROKE
        self.signum, self._time = signum, now
        for process in list(self.processes):
            process.send_signal(signal.SIGKILL if again else signum)

    def check(self) -> None:
        if self.signum is not None:
            raise StoppedError(f"stopped by {signal.Signals(self.signum).name}")


_stop = _Stop()


def check_stopped() -> None:
    """Raise StoppedError where this process was asked to end."""
    _stop.check()


@contextlib.contextmanager
def stopped_by_signals(name: str) -> Iterator[None]:
    """Pass signals on to the running tools, which write a checkpoint, and start no others.

    Args:
        name: of the script, for its last message.

    Raises:
        SystemExit: in the place of :class:`StoppedError`; 130 after Ctrl-C, else 75.
    """
    heeded = [number for number in SCRIPT_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, _stop.receive) for number in heeded}
    try:
        yield
    except StoppedError as error:
        print(f"{name}: {error}; the same command resumes", file=sys.stderr)
        raise SystemExit(exit_code(_stop.signum)) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class RunFailedError(Exception):
    """A run of the tool that ended without a result: one line."""


class ToolRun:
    """What to run, and where. A folder that holds a result is not run again.

    Attributes:
        config: VISSL's ``config=``.
        overrides: everything on the command line after the config, except SLURM's keys.
        output: the run's folder.
        slurm: overrides that send the run to SLURM; empty to run it here.
    """

    config: Any
    overrides: Any
    output: Any
    slurm: Any

    @property
    def command(self) -> list[str]:
        """Starts VISSL's tool."""
        return [sys.executable, "-W", "ignore", tool(), *self.arguments]

    @property
    def arguments(self) -> list[str]:
        """All arguments of VISSL's tool."""
        return [
            f"config={self.config}",
            *self.overrides,
            hydra_override("config.CHECKPOINT.DIR", self.output),
            *([hydra_override("config.SLURM.LOG_FOLDER", self.output)] if self.slurm else []),
            *self.slurm,
        ]

    @property
    def job_note(self) -> Path:
        """The file with the number of a job of SLURM, from its submission to its end."""
        note: Path = self.output / "job_id"
        return note

    def read_metrics(self) -> dict[str, float] | None:
        """The numbers in the folder of a finished run, by title, or None."""
        raise NotImplementedError

    def details(self) -> dict[str, Any]:
        """What a finished run reports in addition to its metrics."""
        raise NotImplementedError

    def metrics(self) -> dict[str, float] | None:
        """The numbers of a finished run in percent, by title; else None."""
        return self.read_metrics() if (self.output / "finished").is_file() else None

    def run(self, progress: Callable[[float], None]) -> dict[str, float]:
        """Run, or take the result where it is there, and return the metrics.

        Args:
            progress: is called with the fraction that is done, from 0 to 1, every second.

        Raises:
            RunFailedError: VISSL or SLURM ended without a result, or another process is running it.
            OSError: the run's folder, or a file in it, cannot be read or written.
            StoppedError: this process was asked to end (:func:`stopped_by_signals`).
        """
        metrics = self.metrics()
        if metrics is None:
            _stop.check()
            self.output.mkdir(parents=True, exist_ok=True)
            self._run_on_slurm(progress) if self.slurm else self._run_here(progress)
            write_text(self.output / "finished", "")
            metrics = self.metrics()
        if metrics is None:
            raise RunFailedError(f"no result in {self.output}/metrics.json")
        progress(1.0)
        return metrics

    def _run_here(self, progress: Callable[[float], None]) -> None:
        self._refuse_if_busy()
        log = self.output / "console.txt"
        with open_new(log) as stream:
            code = self._call(lambda: progress(self.done()), stream, subprocess.STDOUT)
        if code:
            _stop.check()
            raise RunFailedError(reason(log.read_text(errors="replace"), log))

    def _refuse_if_busy(self) -> None:
        try:
            lock.refuse_if_held(self.output)
        except ConfigError as error:
            raise RunFailedError(str(error)) from None

    def _call(self, wait: Callable[[], None], stdout: Any, stderr: Any) -> int:
        process = subprocess.Popen(
            self.command, stdout=stdout, stderr=stderr, preexec_fn=die_with_caller
        )
        _stop.processes.append(process)
        try:
            if _stop.signum is not None:  # it came before the line above
                process.send_signal(_stop.signum)
            while process.poll() is None:
                wait()
                time.sleep(_POLL_SECONDS)
        finally:
            _stop.processes.remove(process)
            process.kill()
        return process.returncode

    def _run_on_slurm(self, progress: Callable[[float], None]) -> None:
        import submitit

        note = self.job_note
        if not note.is_file():  # else a job that an earlier call has submitted, perhaps running
            self._refuse_if_busy()
            log = self.output / "console.txt"
            with open_new(log) as stream:
                code = self._call(lambda: None, stream, subprocess.STDOUT)
            console = log.read_text(errors="replace")
            job_ids = _SUBMITTED.findall(console)
            if code or not job_ids:
                _stop.check()
                raise RunFailedError(reason(console, log))
            write_text(note, job_ids[0])
        executor = submitit.AutoExecutor(folder=self.output)._executor
        job_id = note.read_text(errors="replace")
        if not _JOB_ID.fullmatch(job_id):
            raise RunFailedError(f"{note} holds {job_id!r}; it must be the number of a job")
        job = executor.job_class(folder=self.output, job_id=job_id, tasks=[0])
        while not job.done():
            _stop.check()  # the job continues, and the next call waits for it
            progress(self.done())
            time.sleep(_POLL_SECONDS)
        # Done, well or not: the next try submits again. Another call may have waited for it, too.
        note.unlink(missing_ok=True)
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
    """The error message of a refused configuration, or the last line of what else went wrong."""
    refused = [line for line in console.splitlines() if line.startswith("mscn-plugin: ")]
    message = refused[-1][len("mscn-plugin: ") :] if refused else last_line(console)
    return f"{message} (all of it: {log})"


def last_line(text: str) -> str:
    """The last line that names an exception, or else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    raised = [line for line in lines if _EXCEPTION.match(line)]
    return (raised or lines or ["no output"])[-1]
