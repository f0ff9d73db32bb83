"""Pre-train, or run an evaluation's config, by VISSL's launching tool in this process.

CONFIG is one that mscn configs lists, or one of VISSL's or of your own. Everything after it is
VISSL's command line, on which config. and config/ at the beginning of a key may be left out:
MSCN.DATA=/x is config.MSCN.DATA=/x, +mscn/machine=cpu is +config/mscn/machine=cpu. A folder of
images in the place of CONFIG is pre-trained on in minutes by mscn/quickstart, into runs/<its name>.

VISSL's log goes to console.txt in the run's folder; the terminal shows a progress bar, and at the
end accuracies and where the files are. The same command resumes an interrupted run: exit code 75 if
it was asked to end and can be resumed, 130 after Ctrl-C.

Under torchrun each of its processes is a rank: torchrun --nproc_per_node 8 -m mscn_plugin.cli train
CONFIG. Without it VISSL starts the ranks.

examples:
    mscn train /data/my_images
    mscn train mscn/simclr MSCN.DATA=/data/imagenet OPTIMIZER.num_epochs=100 --gpus 8
    mscn train mscn/byol MSCN.DATA=/data/imagenet +mscn/memory=amp --slurm gpu --nodes 4 --gpus 8
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mscn_plugin.cli.arguments import add_settings, at_least
from mscn_plugin.config.hydra_overrides import full_override, hydra_override, slurm_overrides
from mscn_plugin.errors import ConfigError
from mscn_plugin.files import user_path
from mscn_plugin.vissl.command_line import configs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    config = parser.add_argument(
        "config", metavar="CONFIG", help="as config= of VISSL's tool, or a folder of images"
    )
    config.completer = lambda **_: configs()  # type: ignore[attr-defined]
    add_settings(parser)
    parser.add_argument("--output", type=user_path, help="the run's folder: config.CHECKPOINT.DIR")
    parser.add_argument("--gpus", type=at_least(0), help="of a node; 0: one process on the CPU")
    parser.add_argument("--nodes", type=at_least(1), help="with --gpus; default: 1")
    parser.add_argument("--slurm", metavar="PARTITION", help="submit to SLURM, and do not wait")
    parser.add_argument(
        "--verbose", action="store_true", help="print VISSL's log in place of a summary"
    )


def run(options: argparse.Namespace) -> None:
    config = options.config
    if config.startswith((".", "/", "~")) and not Path(config).expanduser().is_dir():
        raise ConfigError(f"CONFIG is {config!r}, which is neither a folder nor a config's name")
    train(overrides_of(options), options.verbose)


def train(overrides: list[str], verbose: bool = False, title: str = "Training") -> Path:
    """Train by VISSL's tool, and print a summary unless ``verbose``; returns the run's folder."""
    from mscn_plugin.report.summary import summarize
    from mscn_plugin.schema import is_pretraining
    from mscn_plugin.training.ranks import is_first_rank
    from mscn_plugin.vissl.tool import launch

    config = launch(overrides, verbose, title)
    folder = Path(config.CHECKPOINT.DIR)
    # By now VISSL has told this process whether its node is the first one.
    if is_first_rank() and not verbose and not config.SLURM.USE_SLURM:
        print(summarize(folder) if is_pretraining(config) else folder / "metrics.json")
    return folder


def overrides_of(options: argparse.Namespace) -> list[str]:
    """The overrides for VISSL's tool; the user's own come last, so that they take precedence."""
    config, output = options.config, options.output
    data = []
    if Path(config).expanduser().is_dir() and config not in configs():
        images = Path(config).expanduser().resolve()
        data = [hydra_override("config.MSCN.DATA", images)]
        config, output = "mscn/quickstart", output or Path("runs") / images.name
    return [
        f"config={config}",
        *data,
        *([hydra_override("config.CHECKPOINT.DIR", output)] if output else []),
        *machine(options.gpus, options.nodes),
        *slurm_overrides(options.slurm),
        *map(full_override, options.settings),
    ]


def machine(gpus: int | None, nodes: int | None) -> list[str]:
    """VISSL's keys for so many GPUs of so many nodes."""
    values: dict[str, object] = {}
    if gpus is not None:
        device, backend = ("gpu", "nccl") if gpus else ("cpu", "gloo")
        values = {"MACHINE.DEVICE": device, "DISTRIBUTED.BACKEND": backend}
        values["DISTRIBUTED.NUM_PROC_PER_NODE"] = max(1, gpus)
        nodes = nodes or 1
    if nodes is not None:
        values["DISTRIBUTED.NUM_NODES"] = nodes
    return [hydra_override(f"config.{key}", value) for key, value in values.items()]
