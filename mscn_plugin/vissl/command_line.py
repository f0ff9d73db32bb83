"""Messages about a command line that Hydra rejects: the line to type, the configs there are.

Nothing here is heavy: it is imported while Hydra starts, and where it has failed.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from mscn_plugin.config.folder import config_folder
from mscn_plugin.config.hydra_overrides import line_to_type

_OVERLAYS = (
    "augmentations",
    "machine",
    "memory",
    "models",
    "optimizer",
    "readings",
    "scale",
    "speed",
    "transforms",
)
"""Folders of ``mscn/`` whose files change a config and are none themselves."""
_TOOL = "run_distributed_engines"
_KEY = re.compile(r"\+{0,2}[\w./@-]+")
USAGE = f"""Pre-train, or evaluate, by VISSL's launching tool:

    python -m tools.{_TOOL} config=<name> [config.KEY=value ...]

    python -m tools.{_TOOL} config=mscn/quickstart config.MSCN.DATA=/data/my_images

"""


def configs() -> list[str]:
    """Names of the package's configs, as ``config=`` takes them."""
    return [name for name in _names() if name.split("/")[1] not in _OVERLAYS]


def overlays() -> list[str]:
    """Names of the files that change a config, ``mscn/machine/cpu`` for instance."""
    return [name for name in _names() if name.split("/")[1] in _OVERLAYS]


def _names() -> list[str]:
    folder = config_folder() / "config"
    files = folder.glob("mscn/**/*.yaml")
    names = (file.relative_to(folder).with_suffix("").as_posix() for file in files)
    return sorted(name for name in names if not is_base(name))


def is_base(name: str) -> bool:
    """Whether a name below ``mscn/`` is that of a file for others to inherit from."""
    return any(part.startswith("_") for part in name.split("/"))


def print_help(arguments: Sequence[str]) -> None:
    """Answer ``--help`` of VISSL's tool, which has none, and end the process.

    Args:
        arguments: ``sys.argv``.
    """
    is_tool = Path(arguments[0]).stem == _TOOL
    if is_tool and {"-h", "--help"} & set(arguments[1:]):
        print(USAGE + list_of_configs())
        sys.exit(0)


def names_no_config(arguments: Sequence[str]) -> bool:
    """Whether VISSL's tool is called without ``config=``, or with a config that does not exist.

    Args:
        arguments: ``sys.argv``.
    """
    if Path(arguments[0]).stem != _TOOL:
        return False
    named = [argument[len("config=") :] for argument in arguments if argument.startswith("config=")]
    return not any(name in configs() or name in _configs_of_vissl() for name in named)


def about_configs(text: str) -> str | None:
    """The message where Hydra's ``text`` says that there is no such config, or none is named."""
    if "must specify 'config'" in text:
        return f"no config is named: add config=<name>. {list_of_configs()}"
    missing = re.search(r"Could not find 'config/([^']*)'", text)
    if missing is None:
        return None
    name = missing[1]
    known = [*configs(), *_configs_of_vissl()]
    if name.startswith("mscn/") and "/" in name[len("mscn/") :]:
        known += overlays()
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return (
            f"Could not find 'config/{name}'; did you mean {near[0]}? mscn configs lists them all"
        )
    listed = re.search(r"Available options in '[^']*':(.*?)(Config search path|$)", text, re.DOTALL)
    of_hydra = " ".join(n for n in listed[1].split() if not is_base(n)) if listed else ""
    there = f" Beside it Hydra sees {of_hydra}." if of_hydra else ""
    return f"Could not find 'config/{name}'.{there} {list_of_configs()}"


def about_grammar(override: str, arguments: Sequence[str]) -> str | None:
    """What to type in place of ``override``, which Hydra does not take.

    Args:
        arguments: those in which it stands; the shell splits a value with spaces.
    """
    key, equals, value = override.partition("=")
    before = arguments[arguments.index(override) - 1] if override in arguments[1:] else ""
    if not equals and re.match(r"\+*config\.\S+=", before):
        key, _, value = before.partition("=")
        value = f"{value} {override}"
    elif not equals or not _KEY.fullmatch(key):
        return None
    return (
        f"{override} is not in Hydra's grammar, in which = , : [ ] {{ }} ( ) ~ quotes and letters "
        f"with accents have to be quoted; for this text type {line_to_type(key, value)}"
    )


def list_of_configs() -> str:
    """The names of the package's configs, in one line."""
    return f"Configs of mscn-plugin: {', '.join(configs())}."


def _configs_of_vissl() -> list[str]:
    spec = importlib.util.find_spec("configs")
    roots = [*(spec.submodule_search_locations or ()), "configs"] if spec else ["configs"]
    return [
        file.relative_to(Path(root) / "config").with_suffix("").as_posix()
        for root in roots
        for file in (Path(root) / "config").glob("**/*.yaml")
    ]
