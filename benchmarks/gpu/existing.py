"""The fast tests of what runs on a device, by pytest, with the tests that need a GPU among them."""

from __future__ import annotations

import re
import subprocess
import sys

from benchmarks.gpu.launched import ROOT
from benchmarks.gpu.recorder import Recorder, require

FOLDERS = ("tests/transforms", "tests/masking", "tests/losses")


def tests(rec: Recorder) -> None:
    chosen = {
        "tests that need a GPU": [*FOLDERS, "-k", "cuda"],
        "tests of views, masks and losses": [*FOLDERS, "-m", "not (process or new_interpreter)"],
    }
    if not rec.on_gpu:  # whose tests run by themselves: one of them shows that pytest is started
        chosen = {"a test of the filter": ["tests/masking/test_high_pass.py", "-k", "constants"]}
    quiet = ["-q", "-p", "no:cacheprovider", "-W", "ignore"]
    for name, arguments in chosen.items():
        with rec.check(name) as row:
            command = [sys.executable, "-m", "pytest", *quiet, *arguments]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            lines = [line for line in done.stdout.splitlines() if line.strip()]
            row["detail"] = re.sub(r"^=+ | =+$", "", lines[-1] if lines else done.stderr[-300:])
            failed = [line[:200] for line in lines if line.startswith(("FAILED", "ERROR"))]
            require(done.returncode == 0, "; ".join([row["detail"], *failed[:5]]))
