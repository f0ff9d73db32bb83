"""List the configs of this package with a line each, or print one as it is composed.

Those that begin with + are overlays, which change a config: add +mscn/machine=cpu after its
name. show takes the same command line as mscn train, and checks nothing.

examples:
    mscn configs
    mscn configs show mscn/simclr
    mscn configs show mscn/simclr +mscn/memory=amp OPTIMIZER.num_epochs=100
"""

from __future__ import annotations

import argparse
import re
import shutil
import textwrap

from mscn_plugin.cli.arguments import add_settings
from mscn_plugin.config.folder import config_folder
from mscn_plugin.config.hydra_overrides import full_override
from mscn_plugin.errors import ConfigError
from mscn_plugin.vissl.command_line import configs, overlays


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=["show"], help="default: list")
    config = parser.add_argument("config", nargs="?", metavar="CONFIG", help="the one to show")
    config.completer = lambda **_: configs()  # type: ignore[attr-defined]
    add_settings(parser)


def run(options: argparse.Namespace) -> None:
    if options.action is None:
        rows = [(name, name) for name in configs()]
        rows += [("+{}={}".format(*name.rpartition("/")[::2]), name) for name in overlays()]
        width = max(len(title) for title, _ in rows)
        room = max(40, shutil.get_terminal_size((200, 24)).columns - width - 2)
        for title, name in rows:
            print(f"{title:<{width}}  {textwrap.shorten(first_comment(name), room)}")
    elif options.config is None:
        raise ConfigError("show takes the name of a config: mscn configs lists them")
    else:
        print(composed([f"config={options.config}", *map(full_override, options.settings)]), end="")


def first_comment(name: str) -> str:
    """The first sentence of the comment at the top of a config."""
    comment = []
    for line in (config_folder() / "config" / f"{name}.yaml").read_text().splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            comment.append(line.lstrip("# "))
    return re.split(r"(?<=\.)\s+(?=[A-Z])", " ".join(comment), maxsplit=1)[0]


def composed(overrides: list[str]) -> str:
    """A config as VISSL's tool composes it, as YAML."""
    from omegaconf import OmegaConf

    from mscn_plugin.config.composed import compose

    return OmegaConf.to_yaml(compose(overrides), resolve=True)
