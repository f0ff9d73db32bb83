"""Print the line that lets a shell complete the command mscn, its options and its configs.

It takes the library argcomplete: pip install argcomplete.

examples:
    mscn completion bash >> ~/.bashrc
    mscn completion zsh >> ~/.zshrc
"""

from __future__ import annotations

import argparse
import importlib.util

from mscn_plugin.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh"))


def run(options: argparse.Namespace) -> None:
    if importlib.util.find_spec("argcomplete") is None:
        raise ConfigError("argcomplete is not installed: pip install argcomplete")
    line = f'eval "$(register-python-argcomplete --shell {options.shell} mscn)"'
    if options.shell == "zsh":
        line = f"autoload -U compinit && compinit && {line}"
    print(line)
