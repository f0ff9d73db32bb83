"""SIGKILL at random moments and while checkpoints are written, and damaged files."""

from __future__ import annotations

import dataclasses
import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

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


@dataclasses.dataclass
class Outcome:
    """A run that was killed several times, and then left to end.

    Attributes:
        kills: what each kill met: seconds after the start, or the step of a write.
        codes: exit codes of the restarts that were not killed.
        differing: values that are not those of the unbroken run.
    """

    setting: str
    kills: List[str]
    codes: List[int]
    differing: List[str]

    @property
    def survived(self) -> bool:
        return self.codes == [0] and not self.differing

    def row(self) -> Dict[str, Any]:
        return {**dataclasses.asdict(self), "survived": self.survived}


def unbroken(setting: Setting, folder: Path, data: Path) -> Tuple[Dict[str, Any], float]:
    """The result of a run that nobody disturbs, and its length in seconds."""
    start = time.monotonic()
    code = finish(folder, overrides_of(setting, data))
    if code:
        raise RuntimeError(f"{setting}: exit {code}\n{output_of(folder)[-3000:]}")
    return result_of(folder), time.monotonic() - start


def overrides_of(setting: Setting, data: Path) -> List[str]:
    return [*setting.overrides, f"config.MSCN.DATA={data}"]


def kill_at_random(
    setting: Setting,
    folder: Path,
    data: Path,
    expected: Dict[str, Any],
    length: float,
    kills: int,
    seed: int,
) -> List[Outcome]:
    """Kill until ``kills`` have met a run; where one ended first, the next begins in a new folder.

    The moments are uniform over the length of the unbroken run, imports included.
    """
    moments = random.Random(seed)
    outcomes: List[Outcome] = []
    while sum(len(outcome.kills) for outcome in outcomes) < kills:
        run = folder / f"series{len(outcomes)}"
        met: List[str] = []
        left = kills - sum(len(outcome.kills) for outcome in outcomes)
        while len(met) < left:
            moment = moments.uniform(0, length)
            with started(run, overrides_of(setting, data)) as process:
                try:
                    process.wait(moment)
                    break
                except subprocess.TimeoutExpired:
                    met.append(f"{moment:.1f} s")
        outcomes.append(_left_to_end(setting, run, data, expected, met))
    return outcomes


def kill_in_writes(
    setting: Setting,
    folder: Path,
    data: Path,
    expected: Dict[str, Any],
    kills: int,
    seed: int,
    pause: float = 0.25,
) -> List[Outcome]:
    """Kill while checkpoints are written, on a disk made slow: the last file's among them.

    Every second kill waits for the final checkpoint.

    Args:
        pause: seconds that each of the eight steps of a write takes.
    """
    moments = random.Random(seed)
    outcomes: List[Outcome] = []
    for kill in range(kills):
        run = folder / f"write{kill}"
        run.parent.mkdir(parents=True, exist_ok=True)
        marker = run.with_suffix(".step")
        program = SLOW_WRITER.format(marker=str(marker), pause=pause)
        final = kill % 2 == 1
        # Past the first checkpoints; and within one.
        skipped = 0 if final else moments.randrange(3)
        met: Optional[str] = None
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
    setting: Setting, folder: Path, data: Path, whole: Path, expected: Dict[str, Any], how: str
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
    setting: Setting, run: Path, data: Path, expected: Dict[str, Any], kills: List[str]
) -> Outcome:
    code = finish(run, overrides_of(setting, data))
    differing = differences_of(run, expected)
    if run.is_dir() and list(run.glob(".staging*")):
        differing.append("a staging folder is left")
    return Outcome(str(setting), kills, [code], differing)
