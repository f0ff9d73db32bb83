"""Export the trunk of a checkpoint of VISSL to other libraries and runtimes, and check every file.

    python extra_scripts/export.py runs/mscn_simclr --format torchvision onnx \\
        --output exports/mscn_simclr

- ``torchvision``, ``timm``, ``detectron2``: weights by the library's names, as ``.pth`` and as
  ``.safetensors``. The high-pass filter is not in them: it belongs in front of the model.
- ``torchscript``, ``onnx``: trunk and filter in one graph, from normalised images to features.

``model_card.md`` beside the files says how to load each. The architecture and the images' size
come from the ``train_config.yaml`` that VISSL puts beside its checkpoints; for the target network
of BYOL, export the file that ``extra_scripts/extract_target.py`` writes. The formats need libraries
of their own: ``pip install --no-deps -r requirements/export.txt``. A format that cannot be written,
as torchvision for a trunk that it lacks, does not stop the others; the exit code is 1 if it was
asked for by ``--format``.
"""

from __future__ import annotations

import argparse
import sys

from mscn_plugin.training.signals import end_on_signals

if __name__ == "__main__":
    end_on_signals()  # first: the imports below take seconds

import mscn_plugin
from mscn_plugin.checkpoints.run_folder import checkpoint_of, user_path
from mscn_plugin.errors import print_errors_plainly
from mscn_plugin.export.pretrained import load_pretrained
from mscn_plugin.export.results import read_results
from mscn_plugin.export.run import FORMATS, export_trunk


def main() -> None:
    print_errors_plainly()
    arguments = parse_arguments()
    mscn_plugin.register()
    pretrained = load_pretrained(
        checkpoint_of(arguments.checkpoint), arguments.sigma, arguments.trusted, arguments.size
    )
    files, refused = export_trunk(
        pretrained,
        arguments.format or list(FORMATS),
        arguments.output,
        read_results(arguments.results, arguments.checkpoint) if arguments.results else (),
        arguments.licence,
    )
    for file in files:
        differences = ", ".join(f"{kind} {value:.1e}" for kind, value in file.differences.items())
        print(f"{arguments.output / file.name}: features differ from VISSL's by {differences}")
    print(arguments.output / "model_card.md")
    for name, reason in refused.items():
        print(f"export: no {name}: {reason}", file=sys.stderr)
    sys.exit(bool(refused and arguments.format))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "checkpoint", type=user_path, help="a checkpoint of VISSL, or a run's folder"
    )
    parser.add_argument(
        "--format",
        nargs="+",
        action="extend",
        choices=FORMATS,
        help="default: all that the trunk and the installed libraries allow",
    )
    parser.add_argument("--output", type=user_path, required=True, help="the folder to write to")
    parser.add_argument(
        "--sigma", type=float, help="of pre-training's filter in pixels, where no file says it"
    )
    parser.add_argument(
        "--size", type=int, help="side of the images in pixels (default: the run's, else 224)"
    )
    parser.add_argument(
        "--trusted", action="store_true", help="load the checkpoint by pickle, which can run code"
    )
    parser.add_argument("--licence", default="not stated", help="of the weights, for the card")
    parser.add_argument(
        "--results", type=user_path, help="results.json of evaluations, for the card"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
