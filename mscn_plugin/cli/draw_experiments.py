"""Draw the tables and plots of experiments from their result file (Figure 1 and Tables 5 to 10).

Writes results.md, and plots for each suite as PNG and PDF.

examples:
    mscn draw experiments runs/experiments/small/results.json --output drawn
    mscn draw experiments results.json --output drawn --against control_crop_high_pass
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from mscn_plugin.errors import ConfigError
from mscn_plugin.evaluation.definitions import CONDITIONS
from mscn_plugin.experiments.definitions import SUITES
from mscn_plugin.files import user_path

if TYPE_CHECKING:
    from mscn_plugin.experiments.means import Rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=user_path, help="results.json of mscn experiments")
    parser.add_argument("--output", type=user_path, help="folder; default: that of the file")
    parser.add_argument(
        "--only", nargs="+", metavar="EXPERIMENT", help="names or titles; default: all of the file"
    )
    parser.add_argument(
        "--against",
        metavar="EXPERIMENT",
        help="name or title; adds tables of the others' differences to it, seed by seed",
    )
    parser.add_argument(
        "--conditions",
        nargs="+",
        choices=list(CONDITIONS),
        default=list(CONDITIONS),
        metavar="NAME",
        help=f"of the occlusion plot, some of {', '.join(CONDITIONS)} (default: all)",
    )


def run(options: argparse.Namespace) -> None:
    from mscn_plugin.experiments.results import PLOTS, by_suite, present

    folder = options.output or options.results.parent
    text = options.results.read_text()
    try:
        rows = json.loads(text)
        if options.only:
            rows = _chosen(rows, options.only)
        suites = by_suite(rows)
        if not suites or not suites.keys() <= SUITES.keys():  # they name files
            raise ValueError(f"its suites are {', '.join(map(repr, suites)) or 'none'}")
        folder.mkdir(parents=True, exist_ok=True)
        present(folder, rows, options.against, options.conditions)
    except ConfigError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{options.results}: no results of mscn experiments ({error})") from None
    drawn = (f"{suite}{plot}.png" for suite in suites for plot in PLOTS)
    for name in ("results.md", *drawn):
        if (folder / name).is_file():
            print((folder / name).resolve())


def _chosen(rows: Rows, names: list[str]) -> Rows:
    known = {name for row in rows for name in (row["experiment"], row["title"])}
    unknown = [name for name in names if name not in known]
    if unknown:
        there = ", ".join(dict.fromkeys(row["experiment"] for row in rows))
        raise ConfigError(f"--only {' '.join(unknown)}: the file has {there}")
    return [row for row in rows if {row["experiment"], row["title"]} & set(names)]
