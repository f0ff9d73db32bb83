"""Print the line that lets a shell complete the command mscn, its options and its configs.

examples:
    mscn completion bash >> ~/.bashrc
    mscn completion zsh >> ~/.zshrc
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh"))


def run(options: argparse.Namespace) -> None:
    line = f'eval "$(register-python-argcomplete --shell {options.shell} mscn)"'
    if options.shell == "zsh":
        line = f"autoload -U compinit && compinit && {line}"
    print(line)
