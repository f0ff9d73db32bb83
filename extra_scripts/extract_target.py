"""Write the target network of a checkpoint as a checkpoint of its own, for VISSL's evaluations.

    python extra_scripts/extract_target.py runs/mscn_byol/checkpoint.torch target.torch

VISSL's evaluations load the online network of a checkpoint as it is:
``config.MODEL.WEIGHTS_INIT.PARAMS_FILE=runs/mscn_byol/checkpoint.torch``. The file that this script
writes takes the same place and needs no other key. It works for BYOL's target network and for the
momentum encoder of VISSL's MoCo.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import Any, Dict

from mscn_plugin.training.signals import end_on_signals

if __name__ == "__main__":
    end_on_signals()  # first: the imports below take seconds

import torch

from mscn_plugin.checkpoints.io import (
    SIGMA_KEY,
    TRUSTED,
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
)
from mscn_plugin.checkpoints.run_folder import checkpoint_of, user_path
from mscn_plugin.config.hydra_overrides import hydra_override

PREFIXES = ("target.", "moco_encoder.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "checkpoint",
        type=user_path,
        help="a checkpoint of byol_loss or moco_loss, or a run's folder",
    )
    parser.add_argument("output", type=user_path, help="the file to write")
    parser.add_argument(
        "--trusted", action="store_true", help="load the checkpoint by pickle, which can run code"
    )
    arguments = parser.parse_args()
    source = checkpoint_of(arguments.checkpoint)
    if arguments.output.resolve() in (source, *source.parent.glob("model_*.torch")):
        sys.exit(f"{arguments.output} is the run's own checkpoint; the output must be another file")
    try:
        checkpoint = load_checkpoint(source, arguments.trusted, TRUSTED)
    except CheckpointError as error:
        sys.exit(f"extract_target: {error}")
    model = target_network(checkpoint)
    if not model["trunk"]:
        sys.exit(
            f"{arguments.checkpoint} holds no target network: byol_loss and moco_loss have one"
        )
    state: Dict[str, Any] = {"base_model": {"model": model}}
    sigma = checkpoint.get("classy_state_dict", {}).get(SIGMA_KEY)
    if sigma is not None:
        state[SIGMA_KEY] = sigma  # an evaluation has to filter as pre-training did
    try:
        save_checkpoint({"classy_state_dict": state}, arguments.output)
    except OSError as error:
        sys.exit(f"extract_target: {error}")
    print(f"{len(model['trunk'])} tensors of the trunk, {len(model['heads'])} of the projector")
    key = "config.MODEL.WEIGHTS_INIT.PARAMS_FILE"
    print(shlex.quote(hydra_override(key, arguments.output.resolve())))


def target_network(checkpoint: Dict[str, Any]) -> Dict[str, Dict[str, torch.Tensor]]:
    """Trunk and heads of the target network, by the names that VISSL gives a model's."""
    loss = checkpoint.get("loss") or {}
    parts = {}
    for part in ("trunk", "heads"):
        starts = tuple(f"{prefix}{part}." for prefix in PREFIXES)
        parts[part] = {
            name.split(f"{part}.", 1)[1]: tensor
            for name, tensor in loss.items()
            if name.startswith(starts)
        }
    return parts


if __name__ == "__main__":
    main()
