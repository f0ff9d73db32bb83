"""The option ``--overrides`` of commands that start VISSL's tool for the user."""

from __future__ import annotations

import argparse

from mscn_plugin.config.hydra_overrides import full_override


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add ``--overrides``, whose values are complete: with the ``config.`` that may be left out."""
    parser.add_argument(
        "--overrides",
        nargs="+",
        type=full_override,
        default=[],
        metavar="KEY=VALUE",
        help="further VISSL overrides, applied last, as for mscn train",
    )
