"""Draw the tables and plots of experiments from their result file (Figure 1 and Tables 5 to 10).

    python extra_scripts/draw_experiments.py docs/results.json --output drawn

Writes ``results.md``, and a plot for each suite as PNG and PDF.
"""

from __future__ import annotations

import argparse
import json
import sys

from mscn_plugin.training.signals import end_on_signals

if __name__ == "__main__":
    end_on_signals()  # first: the imports below take seconds

from mscn_plugin.checkpoints.run_folder import user_path
from mscn_plugin.experiments.definitions import SUITES
from mscn_plugin.experiments.results import by_suite, present


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=user_path, help="results.json of run_experiments.py")
    parser.add_argument("--output", type=user_path, help="folder; default: that of the file")
    options = parser.parse_args()
    folder = options.output or options.results.parent
    try:
        rows = json.loads(options.results.read_text())
        suites = by_suite(rows)
        if not suites or not suites.keys() <= SUITES.keys():  # they name files
            raise ValueError(f"its suites are {', '.join(map(repr, suites)) or 'none'}")
        folder.mkdir(parents=True, exist_ok=True)
        present(folder, rows)
    except OSError as error:
        sys.exit(f"draw_experiments: {error}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        sys.exit(f"draw_experiments: {options.results}: no results of run_experiments.py ({error})")
    for name in ("results.md", *(f"{suite}.png" for suite in suites)):
        print((folder / name).resolve())


if __name__ == "__main__":
    main()
