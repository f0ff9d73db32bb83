"""Rows of one step, appended to a file as they come, so that a killed step keeps what it saw."""

from __future__ import annotations

import contextlib
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mscn_plugin.runs.launch import last_line


class Recorder:
    """Writes checks and measurements of one step.

    Args:
        path: a file of JSON lines.
        device: ``"cuda"``, or ``"cpu"`` to test the script with small sizes.
        folder: an empty folder of the step's own.
        shared: a folder that all steps of this call share.
    """

    def __init__(self, path: Path, device: str, folder: Path, shared: Path) -> None:
        self.path = path
        self.device = device
        self.folder = folder
        self.shared = shared

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"

    @contextlib.contextmanager
    def check(self, name: str) -> Iterator[dict[str, Any]]:
        """A check: it has passed if the block raises nothing.

        Yields:
            The row; the block puts what it saw under ``detail``.
        """
        row: dict[str, Any] = {"kind": "check", "name": name, "detail": ""}
        start = time.monotonic()
        try:
            yield row
            row["passed"] = True
        except Exception as error:
            row["passed"] = False
            row["error"] = last_line(f"{type(error).__name__}: {error}")[:500]
        row["seconds"] = round(time.monotonic() - start, 1)
        self._write(row)

    def measure(
        self,
        name: str,
        values: list[float],
        unit: str,
        against: str | None = None,
        ratio: float | None = None,
    ) -> float:
        """Write a measurement; returns the median of its ``values``.

        Args:
            against: name of what it is compared with.
            ratio: how many times better than that: above 1 is faster, smaller or more.
        """
        row: dict[str, Any] = {"kind": "measurement", "name": name, "unit": unit}
        row.update(values=[float(f"{value:.5g}") for value in values])
        if against is not None and ratio is not None:
            row.update(against=against, ratio=round(ratio, 3))
        self._write(row)
        return statistics.median(values)

    def fail(self, name: str, error: BaseException) -> None:
        """Write that a measurement could not be taken."""
        text = last_line(f"{type(error).__name__}: {error}")[:500]
        self._write({"kind": "measurement", "name": name, "error": text})

    def _write(self, row: dict[str, Any]) -> None:
        with self.path.open("a") as stream:
            stream.write(json.dumps(row) + "\n")


def require(condition: Any, message: str) -> None:
    """Raise AssertionError with ``message`` where ``condition`` does not hold."""
    if not condition:
        raise AssertionError(message)


def milliseconds(
    function: Callable[[], Any], device: str, repeats: int, warm_up: int = 2, calls: int = 1
) -> list[float]:
    """Time ``function`` by CUDA events, or by the clock on a CPU; a repeat is a mean of ``calls``.

    The host enqueues a whole repeat before the device is waited for, as training does.
    """
    import torch

    for _ in range(warm_up):
        function()
    if device == "cpu":
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            for _ in range(calls):
                function()
            times.append((time.perf_counter() - start) / calls * 1e3)
        return times
    torch.cuda.synchronize()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    marks[0].record()
    for mark in marks[1:]:
        for _ in range(calls):
            function()
        mark.record()
    torch.cuda.synchronize()
    return [first.elapsed_time(last) / calls for first, last in itertools.pairwise(marks)]
