"""SIGKILL at random moments, in writes and evaluations, and damaged files."""

from __future__ import annotations

import dataclasses
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.reliability.runs import (
    TIMEOUT,
    Setting,
    differences_of,
    finish,
    output_of,
    result_of,
    started,
)

SLOW_WRITER = """
import os, runpy, sys, time
from pathlib import Path

def pause(step):
    Path({marker!r}).write_text(step)
    time.sleep({pause})

def slowed(function, step):
    def call(*arguments, **keywords):
        pause(f"before {{step}}")
        result = function(*arguments, **keywords)
        pause(f"after {{step}}")
        return result
    return call

import torch
save = torch.save

def save_slowly(content, target, *arguments, **keywords):
    if not hasattr(target, "write") or "model" not in str(getattr(target, "name", "")):
        return save(content, target, *arguments, **keywords)
    import io
    buffer = io.BytesIO()
    save(content, buffer, *arguments, **keywords)
    whole = buffer.getvalue()
    for part in range(4):
        target.write(whole[len(whole) * part // 4 : len(whole) * (part + 1) // 4])
        target.flush()
        pause(f"after quarter {{part + 1}} of {{Path(target.name).name}}")

torch.save = save_slowly
os.fsync = slowed(os.fsync, "fsync")
os.replace = slowed(os.replace, "rename")
runpy.run_module("tools.run_distributed_engines", run_name="__main__", alter_sys=True)
"""
"""VISSL's tool on a disk that takes its time, and says in a file what it is doing."""


SLOW_EVALUATION = """
import json, runpy, time
from pathlib import Path
import mscn_plugin.training.hooks.online_evaluation as evaluation

def pause(step, epoch):
    Path({marker!r}).write_text(f"{{step}} of epoch {{epoch}}")
    time.sleep({pause})

evaluate, save = evaluation.OnlineEvaluationHook._evaluate, evaluation.save_file

def evaluate_slowly(self, task, epoch):
    pause("before", epoch)
    evaluate(self, task, epoch)

def save_slowly(line, path, **keywords):
    epoch = line["train_phase_idx"]
    pause("after", epoch)
    text = json.dumps(line, sort_keys=True)
    with open(path, "a") as stream:
        stream.write(text[:40])
        stream.flush()
        pause("half a line", epoch)
        stream.write(text[40:] + "\\n")

evaluation.OnlineEvaluationHook._evaluate = evaluate_slowly
evaluation.save_file = save_slowly
runpy.run_module("tools.run_distributed_engines", run_name="__main__", alter_sys=True)
"""
"""VISSL's tool with online evaluations that take their time, and say in a file where they are."""


@dataclasses.dataclass
class Outcome:
    """A run that was killed several times, and then left to end.

    Attributes:
        kills: what each kill met: seconds after the start, or the step of a write.
        codes: exit codes of the restarts that were not killed.
        differing: values that are not those of the unbroken run.
    """

    setting: str
    kills: list[str]
    codes: list[int]
    differing: list[str]

    @property
    def survived(self) -> bool:
        return self.codes == [0] and not self.differing

    def row(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "survived": self.survived}


def unbroken(setting: Setting, folder: Path, data: Path) -> tuple[dict[str, Any], float]:
    """The result of a run that is not disturbed, and the seconds from its first checkpoint on."""
    code = finish(folder, overrides_of(setting, data))
    if code:
        raise RuntimeError(f"{setting}: exit {code}\n{output_of(folder)[-3000:]}")
    written = [file.stat().st_mtime for file in folder.glob("model_*.torch")]
    return result_of(folder), max(written) - min(written)


def overrides_of(setting: Setting, data: Path) -> list[str]:
    return [*setting.overrides, f"config.MSCN.DATA={data}"]


def kill_at_random(
    setting: Setting,
    folder: Path,
    data: Path,
    expected: dict[str, Any],
    length: float,
    kills: int,
    seed: int,
) -> list[Outcome]:
    """Kill until ``kills`` have met a run; where one ended first, the next begins in a new folder.

    A kill falls between a run's first and last checkpoint, evaluations included, at a moment that
    is uniform over what is left for each kill.

    Args:
        length: seconds from the first checkpoint of the unbroken run to its last.
    """
    moments = random.Random(seed)
    outcomes: list[Outcome] = []
    while sum(len(outcome.kills) for outcome in outcomes) < kills:
        if outcomes and not outcomes[-1].survived:
            break  # a fault, which might repeat itself forever
        run = folder / f"series{len(outcomes)}"
        met: list[str] = []
        left = kills - sum(len(outcome.kills) for outcome in outcomes)
        while len(met) < left:
            moment = moments.uniform(0, 2 * length / (left + 1))
            before = _starts(run)
            with started(run, overrides_of(setting, data)) as process:
                _wait(process, _has_trained, run, before)
                time.sleep(moment)
                if process.poll() is not None or _newest(run).startswith("model_final"):
                    break
                met.append(f"{moment:.2f} s after the start, newest {_newest(run)}")
        outcomes.append(_left_to_end(setting, run, data, expected, met))
    return outcomes


def _starts(run: Path) -> int:
    """How often training has begun in a run's folder, its restarts included."""
    log = run.with_suffix(".txt")
    return log.read_text(errors="replace").count("Starting training....") if log.is_file() else 0


def _has_trained(run: Path, starts: int) -> bool:
    """Whether there is a checkpoint, and training has begun once more than ``starts`` times."""
    return bool(_newest(run)) and _starts(run) > starts


def _says(marker: Path, wanted: str) -> bool:
    return marker.is_file() and marker.read_text() == wanted


def _newest(run: Path) -> str:
    """Name of the newest checkpoint of a run, or an empty one."""
    files = [(file.stat().st_mtime, file.name) for file in run.glob("model_*.torch")]
    return max(files)[1] if files else ""


def _wait(process: subprocess.Popen, condition: Callable[..., bool], *arguments: Any) -> None:
    """Wait until ``condition(*arguments)`` is true, or the process has ended."""
    deadline = time.monotonic() + TIMEOUT
    while process.poll() is None and not condition(*arguments) and time.monotonic() < deadline:
        time.sleep(0.02)


def kill_in_evaluations(
    setting: Setting, folder: Path, data: Path, expected: dict[str, Any], pause: float = 1.0
) -> list[Outcome]:
    """Kill at each step of an online evaluation, of the second one and of the last one."""
    outcomes: list[Outcome] = []
    for epoch in (1, setting.epochs - 1):
        for step in ("before", "after", "half a line"):
            run = folder / f"evaluation{len(outcomes)}"
            run.parent.mkdir(parents=True, exist_ok=True)
            marker, wanted = run.with_suffix(".step"), f"{step} of epoch {epoch}"
            program = SLOW_EVALUATION.format(marker=str(marker), pause=pause)
            with started(run, overrides_of(setting, data), program) as process:
                _wait(process, _says, marker, wanted)
                met = [f"online evaluation, {wanted}"] if process.poll() is None else []
            outcomes.append(_left_to_end(setting, run, data, expected, met))
    return outcomes


def kill_in_writes(
    setting: Setting,
    folder: Path,
    data: Path,
    expected: dict[str, Any],
    kills: int,
    seed: int,
    pause: float = 0.25,
) -> list[Outcome]:
    """Kill while checkpoints are written, on a disk made slow: the last file's among them.

    Every second kill waits for the final checkpoint.

    Args:
        pause: seconds that each of the eight steps of a write takes.
    """
    moments = random.Random(seed)
    outcomes: list[Outcome] = []
    for kill in range(kills):
        run = folder / f"write{kill}"
        run.parent.mkdir(parents=True, exist_ok=True)
        marker = run.with_suffix(".step")
        program = SLOW_WRITER.format(marker=str(marker), pause=pause)
        final = kill % 2 == 1
        # Past the first checkpoints; and within one.
        skipped = 0 if final else moments.randrange(3)
        met: str | None = None
        with started(run, overrides_of(setting, data), program) as process:
            deadline = time.monotonic() + TIMEOUT
            writes, last = 0, ""
            while process.poll() is None and time.monotonic() < deadline:
                step = marker.read_text() if marker.is_file() else ""
                if step != last:
                    begins = step.startswith("after quarter 1")
                    writes += begins
                    if begins and (("final" in step) if final else writes > skipped):
                        time.sleep(moments.uniform(0, 8 * pause))
                        met = marker.read_text()
                        break
                last = step
                time.sleep(min(0.02, pause / 5))
        outcomes.append(_left_to_end(setting, run, data, expected, [met] if met else []))
    return outcomes


DAMAGES = ("truncated", "empty", "bit flipped", "NaN", "half a header")


def damage_newest(
    setting: Setting, folder: Path, data: Path, whole: Path, expected: dict[str, Any], how: str
) -> Outcome:
    """Damage the final file of a copy of ``whole``, an unbroken run's folder, and start again."""
    shutil.copytree(whole, folder, symlinks=True)
    (file,) = folder.glob("model_final*.torch")
    damage(file, how)
    return _left_to_end(setting, folder, data, expected, [f"{file.name} {how}"])


def damage(file: Path, how: str) -> None:
    """Damage a file in one of :data:`DAMAGES`."""
    import torch

    content = bytearray(file.read_bytes())
    if how == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "bit flipped":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif how == "half a header":
        file.write_bytes(content[:15])
    else:
        checkpoint = torch.load(file, weights_only=True)
        trunk = checkpoint["classy_state_dict"]["base_model"]["model"]["trunk"]
        next(iter(trunk.values())).view(-1)[0] = float("nan")
        torch.save(checkpoint, file)


def _left_to_end(
    setting: Setting, run: Path, data: Path, expected: dict[str, Any], kills: list[str]
) -> Outcome:
    code = finish(run, overrides_of(setting, data))
    differing = differences_of(run, expected)
    if run.is_dir() and list(run.glob(".staging*")):
        differing.append("a staging folder is left")
    return Outcome(str(setting), kills, [code], differing)
