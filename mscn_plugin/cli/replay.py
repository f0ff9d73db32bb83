"""Repeat a training step whose loss was not finite, and name where it became so.

Runs on a CPU, in one process and in float32, with the batch and the weights that the run has kept:
of a folder, those of one rank after the other, until one is not finite.

examples:
    mscn replay runs/mscn_simclr
    mscn replay runs/mscn_simclr/non_finite_rank0.torch
"""

from __future__ import annotations

import argparse
import math

from mscn_plugin.files import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "step", type=user_path, help="non_finite_rank<n>.torch of a run's folder, or the folder"
    )


def run(options: argparse.Namespace) -> None:
    import mscn_plugin

    mscn_plugin.register()
    from mscn_plugin.training.hooks.non_finite import kept_steps, replay

    step = options.step
    files = [step]
    if step.is_dir():
        files = kept_steps(step) or [step / "non_finite_rank0.torch"]
    for file in files:
        loss, broken = replay(file)
        if len(files) > 1:
            print(f"{file.name}:")
        print("\n".join(lines_of(loss, broken)), flush=True)
        if broken or (loss is not None and not math.isfinite(loss)):
            return


def lines_of(loss: float | None, broken: list[str]) -> list[str]:
    """What a repeated step of one rank has shown, as lines of text."""
    lines = [f"loss: {'needs more than the model and is not repeated' if loss is None else loss}"]
    if broken:
        lines.append(f"first that is not finite: {broken[0]}")
    elif loss is None:
        lines.append("no part of the model is not finite in float32 on this rank's data")
    elif math.isfinite(loss):
        lines.append("not seen again in float32 on this rank's data: all is finite")
    else:
        lines.append("first that is not finite: no part of the model, but the loss itself")
    if broken[1:]:
        lines.append(f"and after it: {', '.join(broken[1:])}")
    return lines
