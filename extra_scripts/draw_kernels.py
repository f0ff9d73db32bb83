"""Draw the kernels of a trunk's first layer and count the blank ones (Figure 2 of the paper).

    python extra_scripts/draw_kernels.py runs/standard runs/masked --output kernels.png

Takes checkpoints or the folders of runs, and sets them side by side. Blank is a kernel whose norm
is under a tenth of the median norm of its layer. Writes PNG, PDF, and the norms as JSON.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import List

from mscn_plugin.training.signals import end_on_signals

if __name__ == "__main__":
    end_on_signals()  # first: the imports below take seconds

from tabulate import tabulate

from mscn_plugin.checkpoints.run_folder import user_path
from mscn_plugin.errors import ConfigError
from mscn_plugin.files import save_json
from mscn_plugin.report.kernels import first_kernels, kernel_norms, plot, table_row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", type=user_path, nargs="+", help="files, or folders of runs")
    parser.add_argument(
        "--output",
        type=user_path,
        default=Path("kernels.png"),
        help="PNG; a PDF and a JSON lie beside",
    )
    options = parser.parse_args()
    try:
        layers = {
            title: first_kernels(path)
            for title, path in zip(titles(options.checkpoints), options.checkpoints)
        }
        plot(layers, options.output)
        save_json(
            options.output.with_suffix(".json"),
            {title: kernel_norms(kernels).tolist() for title, kernels in layers.items()},
        )
    except (ConfigError, OSError) as error:
        sys.exit(f"draw_kernels: {error}")
    rows = [{"checkpoint": title, **table_row(kernels)} for title, kernels in layers.items()]
    print(tabulate(rows, headers="keys", floatfmt=".3g"))
    for suffix in (".png", ".pdf", ".json"):
        print(options.output.with_suffix(suffix).resolve())


def titles(paths: List[Path]) -> List[str]:
    """The last parts of each path, as many as tell all of them apart."""
    parts = [path.absolute().parts for path in paths]
    for length in range(1, max(map(len, parts))):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(set(paths)):
            return names
    return list(map(str, paths))


if __name__ == "__main__":
    main()
