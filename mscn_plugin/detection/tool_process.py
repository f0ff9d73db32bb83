"""VISSL's detection tool as a process that ends with the one that started it."""

from __future__ import annotations

import collections
import os
import re
import signal
import subprocess
import sys
import threading

from mscn_plugin.errors import RunError
from mscn_plugin.runs.launch import die_with_caller
from mscn_plugin.training.signals import SCRIPT_SIGNALS, handlers_held_back

_GRACE = 20  # seconds for the tool to end after SIGTERM
_WAKE = 0.2  # seconds between two looks for a signal
_KILLED = re.compile(r"signal SIGKILL|killed by signal: Killed")  # of a rank, of a loader's worker
_GPU_MEMORY = re.compile(r"OutOfMemoryError|CUDA out of memory")


def run(command: list[str], environment: dict[str, str]) -> None:
    """Run the tool to its end; its messages are passed on.

    Raises:
        RunError: it failed.
        SystemExit: this process was asked to end (:func:`end_on_signals`); the tool has ended.
    """
    last: collections.deque[str] = collections.deque(maxlen=100)
    process = None
    try:
        # If a handler raised while the process is started, nothing could end the process.
        with handlers_held_back(SCRIPT_SIGNALS):
            process = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                preexec_fn=die_with_caller,
            )
        failures: list[OSError | ValueError] = []
        reader = threading.Thread(target=_hand_on, args=(process, last, failures), daemon=True)
        reader.start()
        # A signal that comes just before a read would wait for the tool's next line.
        while reader.is_alive():
            reader.join(_WAKE)
        if failures:
            raise failures[0]
        status = process.wait()
    except BaseException:
        if process is not None:
            end(process)
        raise
    if status:
        raise RunError(reason(status, "".join(last)))


def _hand_on(
    process: subprocess.Popen[str],
    last: collections.deque[str],
    failures: list[OSError | ValueError],
) -> None:
    assert process.stderr is not None, "it is a pipe"
    try:
        for line in process.stderr:
            sys.stderr.write(line)
            last.append(line)
    except (OSError, ValueError) as error:  # nothing reads this process's output
        failures.append(error)


def end(process: subprocess.Popen[str]) -> None:
    """End a process, if need be by force."""
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def reason(status: int, messages: str) -> str:
    """Why the tool ended with ``status``, which is not 0."""
    again = "the same command resumes from the last checkpoint"
    if status == -signal.SIGKILL or _KILLED.search(messages):
        return (
            "VISSL's tool was killed, probably out of memory: use fewer images "
            f"(SOLVER.IMS_PER_BATCH) or workers (DATALOADER.NUM_WORKERS); {again}"
        )
    if _GPU_MEMORY.search(messages):
        return (
            "the GPU's memory is too small: use fewer images (SOLVER.IMS_PER_BATCH, and "
            f"SOLVER.BASE_LR with it); {again}"
        )
    if status < 0:
        return f"VISSL's tool was ended by {signal.Signals(-status).name}; {again}"
    return f"VISSL's tool ended with status {status}; see its messages above"
