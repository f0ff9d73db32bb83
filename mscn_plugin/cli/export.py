"""Export the trunk of a checkpoint of VISSL to other libraries and runtimes, and check every file.

- torchvision, timm, detectron2: weights by the library's names, as .pth and as .safetensors. The
  high-pass filter is not in them: it belongs in front of the model.
- torchscript, onnx: trunk and filter in one graph, from normalized images to features.

model_card.md beside the files says how to load each. The architecture and the images' size come
from the train_config.yaml that VISSL puts beside its checkpoints; without it a ResNet-50 and
ImageNet's size are assumed. For the target network of BYOL, export the file that mscn target
writes. The formats need libraries of their own, which mscn doctor
lists. A format that cannot be written, as torchvision for a trunk that it lacks, does not stop the
others; the exit code is 1 if it was requested by --format.

examples:
    mscn export runs/mscn_simclr --output exports/mscn_simclr
    mscn export runs/mscn_simclr --format torchvision onnx --output exports/mscn_simclr
"""

from __future__ import annotations

import argparse
import sys

from mscn_plugin.checkpoints.run_folder import checkpoint_of
from mscn_plugin.cli.arguments import add_checkpoint, add_sigma, add_trusted
from mscn_plugin.export.formats import LIBRARIES
from mscn_plugin.files import user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint(parser)
    parser.add_argument(
        "--format",
        nargs="+",
        action="extend",
        choices=LIBRARIES,
        help="default: all that the trunk and the installed libraries allow",
    )
    parser.add_argument("--output", type=user_path, required=True, help="the folder to write to")
    add_sigma(parser)
    parser.add_argument(
        "--size", type=int, help="side of the images in pixels (default: the run's, else 224)"
    )
    add_trusted(parser)
    parser.add_argument(
        "--license", "--licence", default="not stated", help="of the weights, for the card"
    )
    parser.add_argument(
        "--results", type=user_path, help="results.json of mscn evaluate, for the card"
    )


def run(options: argparse.Namespace) -> None:
    import mscn_plugin
    from mscn_plugin.export.preprocessing import assumption
    from mscn_plugin.export.pretrained import load_pretrained
    from mscn_plugin.export.results import read_results
    from mscn_plugin.export.run import export_trunk, left_from_before

    mscn_plugin.register()
    checkpoint = checkpoint_of(options.checkpoint)
    pretrained = load_pretrained(checkpoint, options.sigma, options.trusted, options.size)
    if pretrained.config is None:
        words = assumption(checkpoint, pretrained.preprocessing.in_words())
        print(f"{options.program}: warning: {words}", file=sys.stderr)
    files, refused = export_trunk(
        pretrained,
        options.format or list(LIBRARIES),
        options.output,
        read_results(options.results, checkpoint) if options.results else None,
        options.license,
    )
    for file in files:
        differences = ", ".join(f"{kind} {value:.1e}" for kind, value in file.differences.items())
        print(f"{options.output / file.name}: features differ from VISSL's by {differences}")
    print(options.output / "model_card.md")
    before = left_from_before(options.output, files)
    if before:
        print(
            f"{options.program}: warning: {', '.join(before)} in {options.output}: of an earlier "
            "export, which model_card.md is not about",
            file=sys.stderr,
        )
    for name, reason in refused.items():
        print(f"{options.program}: no {name}: {reason}", file=sys.stderr)
    sys.exit(bool(refused and options.format))
