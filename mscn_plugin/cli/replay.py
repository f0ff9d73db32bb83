"""Repeat a training step whose loss was not finite, and name where it became so.

Runs on a CPU, in one process, with the batch and the weights that the run has kept.

examples:
    mscn replay runs/mscn_simclr
    mscn replay runs/mscn_simclr/non_finite_rank0.torch
"""

from __future__ import annotations

import argparse

from mscn_plugin.checkpoints.run_folder import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "step", type=user_path, help="non_finite_rank<n>.torch of a run's folder, or the folder"
    )


def run(options: argparse.Namespace) -> None:
    import mscn_plugin

    mscn_plugin.register()
    from mscn_plugin.training.hooks.non_finite import replay

    step = options.step
    if step.is_dir():
        step = min(step.glob("non_finite_rank*.torch"), default=step / "non_finite_rank0.torch")
    loss, broken = replay(step)
    print(f"loss: {loss}")
    first = broken[0] if broken else "no part of the model, but the loss itself"
    print(f"first that is not finite: {first}")
    if broken[1:]:
        print(f"and after it: {', '.join(broken[1:])}")
