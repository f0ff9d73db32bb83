"""The command ``mscn``: a module a command, which holds its arguments and what it prints.

Nothing heavy is imported before a command runs. So ``--help`` answers at once, and a signal in the
seconds in which PyTorch is imported ends a command as later ones do.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from mscn_plugin import __version__
from mscn_plugin.errors import suggestion
from mscn_plugin.training.signals import end_on_signals
from mscn_plugin.vissl.error_messages import message_of

COMMANDS = (
    "demo",
    "train",
    "evaluate",
    "export",
    "detect",
    "experiments",
    "report",
    "summary",
    "draw masks",
    "draw kernels",
    "draw detections",
    "draw experiments",
    "target",
    "subset",
    "pack",
    "statistics",
    "replay",
    "configs",
    "doctor",
    "completion",
)
"""Each is a module here, with ``add_arguments(parser)``, ``run(options)`` and its help."""


class Parser(argparse.ArgumentParser):
    """Prints a docstring as it stands, and of a wrong choice the nearest right one."""

    def __init__(self, **options: object) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        choice = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)$", message)
        if choice:
            known = (name.strip("'") for name in choice[2].split(", "))
            message = f"{message[: choice.end(1) + 1]}; {suggestion(choice[1], known)}"
        super().error(message)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command ``mscn``.

    Args:
        arguments: default: the process's own.

    Raises:
        SystemExit: with what went wrong in one line, or with the command's exit status.
    """
    end_on_signals("mscn")
    parser = mscn_parser()
    with contextlib.suppress(ImportError):
        import argcomplete

        argcomplete.autocomplete(parser)
    options = _parse(parser, arguments)
    _run(f"mscn {options.command}", options)


def script(command: str) -> None:
    """Run a command as a script of its own, as ``extra_scripts`` does.

    Raises:
        SystemExit: as :func:`main`.
    """
    name = Path(sys.argv[0]).stem
    end_on_signals(name)
    _run(name, _parse(command_parser(command, Parser()), None))


def mscn_parser() -> Parser:
    """The parser of ``mscn`` with all of its commands."""
    parser = Parser(
        prog="mscn",
        description="Masked Siamese ConvNets: pre-train, evaluate, export and look at the results.",
        epilog="mscn COMMAND --help shows a command's arguments and examples.",
    )
    parser.add_argument("--version", action="version", version=f"mscn-plugin {__version__}")
    groups = {"": parser.add_subparsers(metavar="COMMAND", required=True)}
    for command in COMMANDS:
        group, _, word = command.rpartition(" ")
        if group not in groups:
            words = [c.split()[1] for c in COMMANDS if c.startswith(f"{group} ")]
            about = f"{group.capitalize()} {', '.join(words)}."
            nested = groups[""].add_parser(group, help=about, description=about)
            groups[group] = nested.add_subparsers(metavar=group.upper(), required=True)
        about = (module_of(command).__doc__ or "").splitlines()[0]
        command_parser(command, groups[group].add_parser(word, help=about))
    return parser


def command_parser(command: str, parser: Parser) -> Parser:
    """Give ``parser`` the arguments of a command and its help."""
    module = module_of(command)
    parser.description = module.__doc__
    parser.set_defaults(command=command)
    module.add_arguments(parser)
    return parser


def module_of(command: str) -> ModuleType:
    """The module of a command."""
    return importlib.import_module(f"{__name__}.{command.replace(' ', '_')}")


def _parse(parser: Parser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse; of a command that takes ``KEY=VALUE``, these may also follow options."""
    options, rest = parser.parse_known_args(arguments)
    if rest and ("settings" not in options or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.settings = [*options.settings, *rest]
    return options


def _run(program: str, options: argparse.Namespace) -> None:
    options.program = program
    # A file's name need not be text. Errors, on stderr, are printed so anyway.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        module_of(options.command).run(options)
    except BrokenPipeError:  # as in "mscn configs | head"; nothing is left to flush at the exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except ModuleNotFoundError as error:
        if (error.name or __package__).partition(".")[0] == "mscn_plugin":
            raise
        sys.exit(f"{program}: {error.name} is not installed; mscn doctor shows what is missing")
    except Exception as error:
        message = message_of(error)
        if message is None and isinstance(error, OSError):
            message = str(error)
        if message is None:
            raise
        sys.exit(f"{program}: {message}")
