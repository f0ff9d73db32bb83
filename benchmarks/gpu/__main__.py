"""``python -m benchmarks.gpu [--device cuda|cpu] [--minutes 5] [--output docs] [steps]``.

Exit status: 0 where all checks hold, 1 where one failed, 2 without a GPU.

Writes ``gpu.json`` after every step and ``gpu.md`` beside it. Steps that are not named keep their
rows from the last run on the same machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu.page import page
from mscn_plugin.runs.launch import last_line

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torchvision", "numpy", "vissl", "classy_vision", "hydra-core", "kornia")
FOLDERS = re.compile(r"(?<![\w.])/(?:[\w.+-]+/)+")


class Step(NamedTuple):
    """A process of its own.

    Attributes:
        title: of its section on the page.
        limit: seconds after which it is ended.
        alone: times something, so that nothing may run beside it.
    """

    title: str
    limit: float
    alone: bool


STEPS = {
    "tensors.main": Step("Numbers beside the CPU's", 90, False),
    "launched.quickstart": Step("The quickstart, its evaluation and its export", 200, False),
    "launched.variants": Step("Ten to twenty steps of what differs on a GPU", 190, False),
    "launched.resume": Step("SIGKILL and resume", 120, False),
    "existing.tests": Step("The fast tests", 100, False),
    "speed.step": Step("Training step, batch of 128 images of 224 px", 160, True),
    "speed.parts": Step("Filter and loss", 40, True),
    "launched.paper_config": Step("The paper's config", 80, True),
    "speed.loader": Step("Loader", 70, True),
    "speed.compiled": Step("Compiled trunk", 110, True),
}
"""In the order of their value; the checks run beside each other."""


def machine(device: str) -> dict[str, str]:
    """What the figures were measured on."""
    import torch

    found = {"card": "no GPU"}
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found["card"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
        with contextlib.suppress(OSError, IndexError):
            command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
            driver = subprocess.run(command, capture_output=True, text=True).stdout.split()[0]
            found["driver"] = f"driver {driver}"
    found["cores"] = f"{os.cpu_count()} CPU cores"
    cuda = f", CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    found["pytorch"] = f"PyTorch {torch.__version__}{cuda if device == 'cuda' else ''}"
    versions = []
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(f"{name} {metadata.version(name)}")
    found["packages"] = ", ".join([f"Python {platform.python_version()}", *versions])
    return found


class Runner:
    """Runs steps until the time is up, and writes after each of them."""

    def __init__(self, options: argparse.Namespace, scratch: Path) -> None:
        self.options = options
        self.scratch = scratch
        self.start = time.monotonic()
        self.deadline = self.start + 60 * options.minutes
        self.lock = threading.Lock()
        self.results: dict[str, Any] = {
            "device": options.device,
            "date": time.strftime("%Y-%m-%d"),
            "machine": machine(options.device),
            "seconds": 0.0,
            "steps": {},
        }
        self.names = list(options.steps or STEPS)
        for name in STEPS:
            self.results["steps"][name] = {
                "title": STEPS[name].title,
                "state": "not run",
                "error": "the time was up" if name in self.names else "it was not asked for",
                "rows": [],
            }
        self._keep_earlier()

    def _keep_earlier(self) -> None:
        """Steps that are not requested keep their rows, if the same machine has written them."""
        path = self.options.output / "gpu.json"
        earlier = json.loads(path.read_text()) if path.is_file() else {}
        if earlier.get("machine") != self.results["machine"]:
            return
        for name, step in earlier["steps"].items():
            if name in STEPS and name not in self.names:
                self.results["steps"][name] = step

    def run(self) -> None:
        beside = [name for name in self.names if not STEPS[name].alone]
        if beside:
            jobs = len(beside) if self.options.device == "cuda" else 1
            with ThreadPoolExecutor(jobs) as pool:
                list(pool.map(self._step, beside))
        for name in self.names:
            if STEPS[name].alone:
                self._step(name)

    def _step(self, name: str) -> None:
        limit = min(STEPS[name].limit, self.deadline - time.monotonic())
        if self.options.device == "cpu":
            limit = self.deadline - time.monotonic()
        if limit < 5:
            return
        rows, log = self.scratch / f"{name}.jsonl", self.scratch / f"{name}.txt"
        folder, shared = self.scratch / name, self.scratch / "shared"
        for place in (folder, shared):
            place.mkdir(exist_ok=True)
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.gpu.step", name]
        command += [self.options.device, *map(str, (rows, folder, shared))]
        result: dict[str, Any] = {"title": STEPS[name].title, "state": "done"}
        begin = time.monotonic()
        with log.open("w") as stream:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that what it has started ends with it
            )
            try:
                code = process.wait(limit)
                if code:
                    result["state"] = "failed"
                    result["error"] = last_line(log.read_text(errors="replace"))[:500]
            except subprocess.TimeoutExpired:
                result.update(state="ended", error=f"it took longer than {limit:.0f} s")
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        result["seconds"] = round(time.monotonic() - begin, 1)
        text = rows.read_text() if rows.is_file() else ""
        result["rows"] = [json.loads(line) for line in text.splitlines()]
        with self.lock:
            self.results["steps"][name] = result
            self._write()
        failed = [row["name"] for row in result["rows"] if row.get("passed") is False]
        said = f"{name}: {result['state']}, {result['seconds']} s"
        print("; ".join([said, *(f"failed: {check}" for check in failed)]), flush=True)
        if result["state"] == "failed" or failed:
            self._show(name, folder, log)

    def _write(self) -> None:
        self.results["seconds"] = time.monotonic() - self.start
        output = self.options.output
        output.mkdir(parents=True, exist_ok=True)
        for place, text in (
            ("gpu.json", json.dumps(self.results, indent=1) + "\n"),
            ("gpu.md", page(self.results)),
        ):
            # Errors name folders of this machine, which say nothing elsewhere.
            (output / place).write_text(FOLDERS.sub("", text))

    def _show(self, name: str, folder: Path, log: Path) -> None:
        """Print the ends of the logs of what has failed, to be read where the run is watched."""
        logs: list[Path] = [log, *sorted(folder.rglob("console.txt"))]
        if name == "launched.quickstart":
            logs += sorted((self.scratch / "shared").rglob("console.txt"))
        for path in logs:
            text = path.read_text(errors="replace")
            if path == log or "Error" in text or "mscn-plugin: " in text:
                print(f"--- {path.relative_to(self.scratch)}\n{text[-1500:]}", flush=True)


def failed(steps: dict[str, Any]) -> bool:
    """Whether a step or a check has failed; one that the time did not allow has not."""
    return any(
        step["state"] == "failed" or any(row.get("passed") is False for row in step["rows"])
        for step in steps.values()
    )


def absolute(paths: str) -> str:
    """The places of a search path, none of them relative to the working directory."""
    return os.pathsep.join(os.path.abspath(place) for place in paths.split(os.pathsep))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", nargs="*", choices=[*STEPS, []], help="default: all")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--minutes", type=float, default=5.0, help="8 are enough for all of it")
    parser.add_argument("--output", type=Path, default=ROOT / "docs")
    options = parser.parse_args()
    options.output = options.output.absolute()
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        print("PyTorch sees no GPU here: --device cpu tests the script alone", file=sys.stderr)
        sys.exit(2)
    if "PYTHONPATH" in os.environ:  # steps and what they start run in folders of their own
        os.environ["PYTHONPATH"] = absolute(os.environ["PYTHONPATH"])
    with tempfile.TemporaryDirectory() as scratch:
        runner = Runner(options, Path(scratch))
        runner.run()
        runner._write()
    print(f"written: {options.output / 'gpu.json'}, {options.output / 'gpu.md'}")
    sys.exit(1 if failed(runner.results["steps"]) else 0)


if __name__ == "__main__":
    main()
