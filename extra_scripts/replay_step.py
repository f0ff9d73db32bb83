"""Repeat a training step whose loss was not finite, and name where it became so.

    python extra_scripts/replay_step.py runs/mscn_simclr/non_finite_rank0.torch

Runs on a CPU, in one process, with the batch and the weights that the run has kept.
"""

from __future__ import annotations

import argparse

from mscn_plugin.training.signals import end_on_signals

if __name__ == "__main__":
    end_on_signals()  # first: the imports below take seconds

import mscn_plugin
from mscn_plugin.checkpoints.run_folder import user_path
from mscn_plugin.errors import print_errors_plainly


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", type=user_path, help="non_finite_rank<n>.torch of a run's folder")
    arguments = parser.parse_args()
    print_errors_plainly()
    mscn_plugin.register()
    from mscn_plugin.training.hooks.non_finite import replay

    loss, broken = replay(arguments.step)
    print(f"loss: {loss}")
    first = broken[0] if broken else "no part of the model, but the loss itself"
    print(f"first that is not finite: {first}")
    if broken[1:]:
        print(f"and after it: {', '.join(broken[1:])}")


if __name__ == "__main__":
    main()
