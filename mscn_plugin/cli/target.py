"""Write the target network of a checkpoint as a checkpoint of its own, for VISSL's evaluations.

VISSL's evaluations load the online network of a checkpoint as it is:
config.MODEL.WEIGHTS_INIT.PARAMS_FILE=runs/mscn_byol/checkpoint.torch. The file that this command
writes takes the same place and needs no other key; it holds the run's configuration, for mscn
evaluate and mscn export. It works for BYOL's target network, the momentum
encoder of VISSL's MoCo and the teacher of its DINO.

examples:
    mscn target runs/mscn_byol target.torch
    mscn target runs/mscn_byol/model_phase99.torch target.torch
"""

from __future__ import annotations

import argparse
import shlex

from mscn_plugin.checkpoints.run_folder import checkpoint_of
from mscn_plugin.cli.arguments import add_trusted
from mscn_plugin.config.hydra_overrides import hydra_override
from mscn_plugin.errors import ConfigError
from mscn_plugin.files import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint",
        type=user_path,
        help="a checkpoint of byol_loss, moco_loss or dino_loss, or a run's folder",
    )
    parser.add_argument("output", type=user_path, help="the file to write")
    add_trusted(parser)


def run(options: argparse.Namespace) -> None:
    from mscn_plugin.checkpoints.io import TRUSTED, load_checkpoint
    from mscn_plugin.checkpoints.target import save_target

    source = checkpoint_of(options.checkpoint)
    if options.output.resolve() in (source, *source.parent.glob("model_*.torch")):
        raise ConfigError(
            f"{options.output} is the run's own checkpoint; the output must be another file"
        )
    model = save_target(load_checkpoint(source, options.trusted, TRUSTED), source, options.output)
    print(f"{len(model['trunk'])} tensors of the trunk, {len(model['heads'])} of the projector")
    key = "config.MODEL.WEIGHTS_INIT.PARAMS_FILE"
    print(shlex.quote(hydra_override(key, options.output.resolve())))
