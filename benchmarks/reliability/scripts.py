"""SIGKILL to evaluate.py, run_experiments.py and export.py at random moments."""

from __future__ import annotations

import dataclasses
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.reliability.kills import Outcome, overrides_of
from benchmarks.reliability.runs import (
    TIMEOUT,
    Setting,
    command_started,
    differences,
    finish,
    output_of,
)
from mscn_plugin.files import file_digest

SCRIPTS = Path(__file__).resolve().parents[2] / "extra_scripts"
TRANSFORMS = (
    "[{name:Resize,size:36},{name:CenterCrop,size:32},{name:ToTensor},"
    "{name:Normalize,mean:[0.485,0.456,0.406],std:[0.229,0.224,0.225]},"
    "{name:MSCNHighPass,sigma:1.25}]"
)
"""No random crops: VISSL's task, which trains the linear probe, draws others after a resume."""


@dataclasses.dataclass(frozen=True)
class Script:
    """A script and what to look at.

    Attributes:
        name: of the file.
        arguments: what follows it, except ``--output``.
        result: what it leaves in its output folder, by name.
    """

    name: str
    arguments: tuple[str, ...]
    result: Callable[[Path], dict[str, Any]]

    def command(self, output: Path) -> list[str]:
        return [sys.executable, str(SCRIPTS / self.name), *self.arguments, "--output", str(output)]


def _metrics(output: Path) -> dict[str, Any]:
    evaluations = json.loads((output / "results.json").read_text())["evaluations"]
    return {name: evaluation.get("metrics") for name, evaluation in evaluations.items()}


def _rows(output: Path) -> dict[str, Any]:
    rows = json.loads((output / "smoke" / "results.json").read_text())
    return {f"{row['experiment']}, seed {row['seed']}": row.get("metrics") for row in rows}


def _files(output: Path) -> dict[str, Any]:
    return {file.name: file_digest(file) for file in output.iterdir()}


def scripts(folder: Path, images: Path) -> list[Script]:
    """The three scripts, for a run that is trained in ``folder``."""
    run = folder / "pretrained"
    code = finish(run, overrides_of(Setting(epochs=2), images / "train"))
    if code:
        raise RuntimeError(f"pre-training: exit {code}\n{output_of(run)[-3000:]}")
    small = ["config.DATA.NUM_DATALOADER_WORKERS=0"]
    evaluate = (
        *(str(run), "--data", str(images), "--only", "quick_frozen", "quick_linear"),
        *("--overrides", *small, f"config.DATA.TRAIN.TRANSFORMS={TRANSFORMS}"),
        *("config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=12", "config.OPTIMIZER.num_epochs=8"),
    )
    experiments = (
        *("trajectory", "--scale", "smoke", "--only", "01_mask_only", "11_final", "--jobs", "1"),
        *("--data", str(images), "--overrides", *small, "config.OPTIMIZER.num_epochs=3"),
        *("config.MSCN.TRAIN_SUBSET=1.0", "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=12"),
    )
    formats = ("torchscript", "onnx")
    return [
        Script("evaluate.py", evaluate, _metrics),
        Script("run_experiments.py", experiments, _rows),
        Script("export.py", (str(run / "checkpoint.torch"), "--format", *formats), _files),
    ]


def kill_script(script: Script, folder: Path, runs: int, kills: int, seed: int) -> list[Outcome]:
    """Kill a script ``kills`` times in each of ``runs`` output folders, then let it end.

    A kill comes after the imports, at a moment that is uniform over what the unbroken script
    takes from its first file on.
    """
    moments = random.Random(seed)
    whole = folder / "unbroken"
    begun = 0.0
    with command_started(whole, script.command(whole)) as process:
        while process.poll() is None:
            if not begun and whole.is_dir():
                begun = time.monotonic()
            time.sleep(0.02)
        if process.returncode:
            raise RuntimeError(f"{script.name}: {output_of(whole)[-3000:]}")
    length = time.monotonic() - begun
    expected = script.result(whole)
    outcomes = []
    for number in range(runs):
        output, met = folder / f"killed{number}", []
        for _ in range(kills):
            moment = moments.uniform(0, length)
            with command_started(output, script.command(output)) as process:
                started = time.monotonic()
                while process.poll() is None and time.monotonic() - started < TIMEOUT:
                    if not output.is_dir():
                        started = time.monotonic()
                    elif time.monotonic() - started > moment:
                        met.append(f"{moment:.1f} s behind its first file")
                        break
                    time.sleep(0.02)
                if process.poll() is not None:
                    break
        with command_started(output, script.command(output)) as process:
            code = process.wait(TIMEOUT)
        try:
            differing = differences(expected, script.result(output))
        except (OSError, ValueError, KeyError) as error:
            differing = [f"{type(error).__name__}: {error}"]
        differing += [str(path) for path in output.rglob(".staging*")]
        outcomes.append(Outcome(script.name, met, [code], differing))
    return outcomes
