"""Several processes: do they train what one does, and what becomes of them when one dies."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.reliability.kills import overrides_of
from benchmarks.reliability.runs import (
    IMAGES,
    TIMEOUT,
    Setting,
    differences_of,
    finish,
    messages_of,
    output_of,
    result_of,
    started,
)
from mscn_plugin.checkpoints.io import load_checkpoint
from mscn_plugin.training.signals import EXIT_CODE

GLOBAL_BATCH = 24
STEPS = 6
LOSS_TOLERANCE = 1e-4
"""Relative, of each step."""
FIRST_STEP_TOLERANCE = 1e-6
"""Of the weights, absolute, after the first step."""
WEIGHT_TOLERANCE = 1e-3
"""The same after all steps. Rounding grows with each of them, as between any two orders of a sum:
rectifiers switch on either side of zero."""
FULL_DISK = """
import resource, runpy
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
runpy.run_module("tools.run_distributed_engines", run_name="__main__", alter_sys=True)
"""
"""VISSL's tool where no file can grow beyond 200 kB, in the middle of a checkpoint."""


def agreement(method: str, folder: Path, data: Path, processes: Sequence[int]) -> dict[str, Any]:
    """Differences of losses and weights of runs of 1 and more processes with the same batches.

    Masks and noise are drawn by ``MSCNMask``, per image, so that they do not depend on who draws;
    and the trunk has layer normalization, since batch normalization without synchronization uses
    the statistics of each process's own images.
    """
    runs = {}
    for number in processes:
        run = folder / f"{method}{number}"
        code = finish(run, _comparable(method, number, data))
        if code:
            raise RuntimeError(f"{number} processes: exit {code}\n{output_of(run)[-3000:]}")
        # Rank 0's losses are the mean of all ranks', times the number of its own views.
        files = [*sorted(run.glob("model_phase*.torch")), *run.glob("model_final*.torch")]
        steps = [load_checkpoint(file)["classy_state_dict"] for file in files]
        views = 2 * IMAGES // number
        losses = [loss / views for step in steps for loss in step["losses"]]
        runs[number] = losses, [_weights(step["base_model"]["model"]) for step in steps]
    losses, weights = runs.pop(processes[0])
    rows = {}
    for number, (other_losses, others) in runs.items():
        apart = [max(float((o[n] - w[n]).abs().max()) for n in w) for o, w in zip(others, weights)]
        rows[number] = {
            "loss": max(abs(a / b - 1) for a, b in zip(other_losses, losses)),
            "weights": apart,
        }
    return {
        "method": method,
        "steps": len(losses),
        "largest weight": max(float(value.abs().max()) for value in weights[-1].values()),
        "differences": rows,
        "right": all(
            row["loss"] < LOSS_TOLERANCE
            and row["weights"][0] < FIRST_STEP_TOLERANCE
            and row["weights"][-1] < WEIGHT_TOLERANCE
            for row in rows.values()
        ),
    }


def _weights(parts: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {f"{part}.{name}": value for part in parts for name, value in parts[part].items()}


def _comparable(method: str, processes: int, data: Path) -> list[str]:
    setting = Setting(method, evaluations=0)
    heads = {
        "simclr": "[[mlp,{dims:[2048,16]}]]",
        "byol": "[[mlp,{dims:[2048,8],use_bias:false}],[mlp,{dims:[8,8],use_bias:false}]]",
    }
    masks = "{name:MSCNMask,ratio:0.3,cell_size:8,focal_probability:0.4,noise_std:0.2}"
    return [
        *(o for o in setting.overrides if "SMALL_RESNET" not in o and "HEAD.PARAMS" not in o),
        f"config.MSCN.DATA={data}",
        "config.MODEL.TRUNK.NAME=resnet",
        "config.MODEL.TRUNK.RESNETS.NORM=LayerNorm",
        f"config.MODEL.HEAD.PARAMS={heads[method]}",
        "config.MODEL.BASE_MODEL_NAME=multi_input_output_model",
        "config.MSCN.DEVICE_VIEWS=False",
        "config.DATA.TRAIN.TRANSFORMS="
        "[{name:ImgReplicatePil,num_times:2},{name:RandomResizedCrop,size:32},"
        "{name:ToTensor},{name:Normalize,mean:[0.5,0.5,0.5],std:[0.25,0.25,0.25]},"
        f"{{name:MSCNHighPass,sigma:1.25}},{masks}]",
        "config.DATA.TRAIN.COLLATE_FUNCTION=simclr_collator",
        "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS=null",
        # All images at once: an epoch is a step, and each step leaves a checkpoint.
        f"config.DATA.TRAIN.BATCHSIZE_PER_REPLICA={IMAGES // processes}",
        f"config.DISTRIBUTED.NUM_PROC_PER_NODE={processes}",
        f"config.OPTIMIZER.num_epochs={STEPS}",
        "config.OPTIMIZER.param_schedulers.lr.auto_lr_scaling.auto_scale=False",
        "config.OPTIMIZER.param_schedulers.lr.start_value=0.01",
        "config.OPTIMIZER.param_schedulers.lr.warmup_epochs=0",
    ]


@dataclasses.dataclass
class End:
    """How a run ended after something was done to it, and how its restart did."""

    what: str
    code: int
    seconds: float
    left_running: int
    said: list[str]
    restart: int
    differing: list[str]
    right: bool = False


def interfere(
    what: str,
    act: Callable[[int], None],
    processes: int,
    folder: Path,
    data: Path,
    workers: int = 2,
    method: str = "fork",
    epochs: int = 16,
    command: Sequence[str] | None = None,
) -> End:
    """Do something to a run after its first checkpoint, wait for its end, and start it again.

    Args:
        act: from the process id of VISSL's tool.
        method: by which the loader starts its workers.
        command: interpreter and tool of the run that something is done to; None: as for the others.
    """
    overrides = _overrides(processes, data, workers, method, epochs)
    expected = undisturbed(folder, overrides, processes)
    run = folder / "".join(c if c.isalnum() else "_" for c in what)
    with started(run, overrides, command=command) as process:
        deadline = time.monotonic() + TIMEOUT
        while not (run / "model_phase0.torch").is_file() and time.monotonic() < deadline:
            time.sleep(0.02)
        if process.poll() is not None:
            raise RuntimeError(f"{what}: ended before it\n{output_of(run)[-3000:]}")
        start = time.monotonic()
        act(process.pid)
        code = process.wait(TIMEOUT)
        seconds = time.monotonic() - start
        left = _members(process.pid)
        while left and time.monotonic() - start < 60:
            time.sleep(0.1)
            left = _members(process.pid)
            seconds = time.monotonic() - start
    said = messages_of(run)
    restart = finish(run, overrides)
    differing = differences_of(run, result_of(expected))
    return End(what, code, seconds, len(left), said, restart, differing)


def _overrides(processes: int, data: Path, workers: int, method: str, epochs: int) -> list[str]:
    return [
        *overrides_of(Setting("byol", workers, epochs=epochs), data),
        f"config.MULTI_PROCESSING_METHOD={method}",
        f"config.DISTRIBUTED.NUM_PROC_PER_NODE={processes}",
        f"config.DATA.TRAIN.BATCHSIZE_PER_REPLICA={GLOBAL_BATCH // processes}",
    ]


def undisturbed(folder: Path, overrides: Sequence[str], processes: int) -> Path:
    """The undisturbed run of this many processes, which the first call in a folder makes."""
    run = folder / f"unbroken{processes}"
    if not run.is_dir():
        finish(run, overrides)
    return run


def _members(session: int) -> list[int]:
    """Processes of a session that still run, the head left out."""
    members = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == session:
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            members.append(int(entry.name))
    return members


def _ranks(pid: int) -> list[int]:
    """The ranks that VISSL's tool has spawned: its children that run Python's spawn."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def interferences(folder: Path, data: Path) -> list[dict[str, Any]]:
    """All that is done to runs here; a row for each."""

    def kill_rank(pid: int) -> None:
        os.kill(_ranks(pid)[-1], signal.SIGKILL)

    def kill_tool(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)

    def send(number: int) -> Callable[[int], None]:
        return lambda pid: os.kill(pid, number)

    def send_all(number: int) -> Callable[[int], None]:
        return lambda pid: os.killpg(pid, number)

    asked = [
        interfere("SIGTERM, 1 process", send(signal.SIGTERM), 1, folder, data),
        interfere("SIGUSR1, 2 processes", send(signal.SIGUSR1), 2, folder, data),
        interfere("SIGTERM to all of 2 processes", send_all(signal.SIGTERM), 2, folder, data),
    ]
    for end in asked:
        end.right = end.code == EXIT_CODE
    died = [
        interfere("one of 2 ranks killed", kill_rank, 2, folder, data),
        interfere("one of 4 ranks killed", kill_rank, 4, folder, data, workers=0),
        interfere("the tool killed, 2 ranks", kill_tool, 2, folder, data),
        interfere("the tool killed, forkserver", kill_tool, 1, folder, data, method="forkserver"),
    ]
    for end in died:
        end.right = end.code != 0
    for end in (*asked, *died):
        end.right &= end.restart == 0 and end.left_running == 0 and end.seconds < 60
        end.right &= not end.differing
    return [dataclasses.asdict(end) for end in (*asked, *died)]


def fill_disk(
    folder: Path, data: Path, setting: Setting | None = None, expected: Path | None = None
) -> dict[str, Any]:
    """Let the disk be full during a checkpoint, then start again with room.

    Args:
        expected: folder of a run of ``setting`` with room; made if None.
    """
    overrides = overrides_of(setting or Setting("simclr"), data)
    run = folder / "full"
    if expected is None:
        expected = folder / "with_room"
        finish(expected, overrides)
    code = finish(run, overrides, FULL_DISK)
    said = messages_of(run)
    left = [path.name for path in run.glob("*.torch")] + [p.name for p in run.glob(".staging*")]
    restart = finish(run, overrides)
    differing = differences_of(run, result_of(expected))
    right = code != 0 and len(said) == 1 and not left and restart == 0 and not differing
    return {
        **{"code": code, "said": said, "left": left, "restart": restart},
        **{"differing": differing, "right": right},
    }
