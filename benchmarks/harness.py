"""Timing of alternatives in turn, and rows for the report."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch",
    "torchvision",
    "vissl",
    "opencv-python-headless",
    "kornia",
    "lightly",
    "nvidia-dali-cuda120",
    "webdataset",
    "pillow",
)


@dataclasses.dataclass
class Row:
    """One line of the report: a quantity, and what it is compared with.

    Attributes:
        what: the quantity.
        values: one number per repeat.
        unit: of the values.
        against: what it is compared with, by the name of its row; None for the compared itself.
        ratio: how many times better than that: above 1 is faster, smaller or more.
        target: what the ratio was to reach, as a number, or None.
    """

    what: str
    values: list[float]
    unit: str
    against: str | None = None
    ratio: float | None = None
    target: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)


def milliseconds(
    alternatives: dict[str, Callable[[], Any]], repeats: int, calls: int = 1
) -> dict[str, list[float]]:
    """Time every alternative once per repeat, in turn, after one warm-up round.

    In turn, so that a machine that slows down slows all of them. A repeat is the mean of ``calls``.
    """
    times: dict[str, list[float]] = {name: [] for name in alternatives}
    for repeat in range(repeats + 1):
        for name, function in alternatives.items():
            start = time.perf_counter()
            for _ in range(calls):
                function()
            if repeat:
                times[name].append((time.perf_counter() - start) / calls * 1e3)
    return times


def faster(
    times: dict[str, list[float]],
    what: str,
    targets: dict[str, float | None],
    unit: str = "ms",
    more_is_better: bool = False,
) -> list[Row]:
    """Rows of ``what`` against each of ``targets``, and the alternatives' own rows after them."""
    mine = statistics.median(times[what])
    rows = []
    for name, target in targets.items():
        other = statistics.median(times[name])
        ratio = mine / other if more_is_better else other / mine
        rows.append(Row(what, times[what], unit, name, ratio, target))
    return rows + [Row(name, times[name], unit) for name in times if name != what]


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    model = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(
        f"{d.metadata['Name']} {d.version}"
        for n in PACKAGES
        for d in metadata.distributions(name=n)
    )
    return {
        "processor": f"{model}, {os.cpu_count()} cores, {memory:.0f} GB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "packages": versions,
        "date": time.strftime("%Y-%m-%d"),
    }


def single_core() -> None:
    """One thread for PyTorch and OpenCV; the runner sets OMP_NUM_THREADS for the rest."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def photographs_as_jpegs(folder: Path, count: int, size: tuple[int, int] = (500, 375)) -> Path:
    """An ImageFolder of JPEGs, of ImageNet's common size by default, cut from real photographs."""
    import numpy as np

    from mscn_plugin.data.photographs import photographs

    random = np.random.RandomState(0)
    pictures = list(photographs().values())
    target = folder / "train" / "photographs"
    target.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        picture = pictures[index % len(pictures)].convert("RGB")
        width = int(min(picture.width, picture.height * size[0] / size[1]) * random.uniform(0.6, 1))
        height = width * size[1] // size[0]
        left, top = (
            random.randint(0, n + 1) for n in (picture.width - width, picture.height - height)
        )
        box = (left, top, left + width, top + height)
        picture.resize(size, box=box).save(target / f"{index:05}.jpg", quality=92)
    return folder


def peak_memory(function: Callable[[], Any]) -> float:
    """MB by which the resident memory of this process rose at most while ``function`` ran."""
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before = resident_memory()
    function()
    return resident_memory("VmHWM") - before


def resident_memory(key: str = "VmRSS") -> float:
    """Resident memory of this process in MB; ``"VmHWM"``: its high-water mark."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without VISSL's log."""
    import logging

    logging.disable(logging.INFO)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield
    logging.disable(logging.NOTSET)


def main(rows: Callable[[], Sequence[Row]]) -> None:
    """Entry of a benchmark's own process: write its rows to the file named on the command line."""
    single_core()
    result = [dataclasses.asdict(row) for row in rows()]
    Path(sys.argv[1]).write_text(json.dumps(result))
