"""Arguments that several commands have."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from mscn_plugin.config.hydra_overrides import full_override
from mscn_plugin.data.parallel import usable_cores
from mscn_plugin.files import user_path


def at_least(least: int) -> Callable[[str], int]:
    """A type for ``argparse``."""

    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is below {least}")
        return int(text)

    return number


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Let a command take ``KEY=VALUE``, VISSL's overrides, as many as there are."""
    parser.add_argument(
        "settings", nargs="*", default=[], metavar="KEY=VALUE", help="VISSL's overrides"
    )


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


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add the checkpoint of a pre-training run."""
    parser.add_argument(
        "checkpoint", type=user_path, help="a checkpoint of VISSL, or a run's folder"
    )


def add_sigma(parser: argparse.ArgumentParser) -> None:
    """Add ``--sigma``, of the filter that a checkpoint was trained behind."""
    parser.add_argument(
        "--sigma",
        type=float,
        help="sigma of pre-training's high-pass filter in pixels, if neither the checkpoint nor "
        "its configuration states it",
    )


def add_trusted(parser: argparse.ArgumentParser) -> None:
    """Add ``--trusted``: a checkpoint may hold any Python object, and run code."""
    parser.add_argument(
        "--trusted", action="store_true", help="load the checkpoint by pickle, which can run code"
    )


def add_jobs(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``--jobs``: how many of ``what`` there are at a time, by default one for each core."""
    parser.add_argument(
        "--jobs",
        type=at_least(1),
        default=usable_cores(),
        help=f"{what} (default: %(default)s)",
    )
