"""Draw the kernels of a trunk's first layer and count the blank ones (Figure 2 of the paper).

Takes checkpoints or the folders of runs, and shows them side by side. A kernel is blank if its norm
is under a tenth of the median norm of its layer. Writes PNG, PDF, and the norms as JSON.

examples:
    mscn draw kernels runs/standard runs/masked --output kernels.png
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from mscn_plugin.errors import ConfigError
from mscn_plugin.files import figure_file, save_json, user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoints", type=user_path, nargs="+", help="files, or folders of runs")
    parser.add_argument(
        "--output",
        type=user_path,
        default=Path("kernels.png"),
        help="PNG; a PDF and a JSON file are beside it",
    )


def run(options: argparse.Namespace) -> None:
    from tabulate import tabulate

    from mscn_plugin.report.kernels import first_kernels, kernel_norms, plot, table_row

    norms = figure_file(options.output, ".json")
    _refuse_foreign(norms)
    layers = {
        title: first_kernels(path)
        for title, path in zip(titles(options.checkpoints), options.checkpoints)
    }
    plot(layers, options.output)
    save_json(
        norms,
        {title: kernel_norms(kernels).tolist() for title, kernels in layers.items()},
    )
    rows = [{"checkpoint": title, **table_row(kernels)} for title, kernels in layers.items()]
    print(tabulate(rows, headers="keys", floatfmt=".3g"))
    for suffix in (".png", ".pdf", ".json"):
        print(figure_file(options.output, suffix).resolve())


def _refuse_foreign(file: Path) -> None:
    """Refuse to replace a file that is there and holds something else than kernels' norms.

    Raises:
        ConfigError: it does, as the ``results.json`` beside a ``results.png``.
    """
    if not file.exists():
        return
    try:
        content = json.loads(file.read_text())
        own = bool(content) and all(
            isinstance(n, float) for norms in content.values() for n in norms
        )
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        own = False
    if not own:
        raise ConfigError(
            f"--output would replace {file}, which is not of mscn draw kernels: name another file"
        )


def titles(paths: Sequence[Path]) -> list[str]:
    """The last parts of each path, as many as tell all of them apart."""
    parts = [path.absolute().parts for path in paths]
    for length in range(1, max(map(len, parts))):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(set(paths)):
            return names
    return list(map(str, paths))
