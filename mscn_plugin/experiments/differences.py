"""What an experiment changes, seed by seed: both have the seed's initial weights and crops.

Rows are those of :mod:`mscn_plugin.experiments.results`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tabulate import tabulate

from mscn_plugin.evaluation.definitions import BASELINES
from mscn_plugin.experiments.means import Rows, as_text, by_experiment, mean_and_interval, of_fewer
from mscn_plugin.experiments.runs import METRICS, shown


def difference_table(rows: Rows, against: str) -> str | None:
    """Differences of one suite's experiments to one of them, the mean over seeds that both have.

    A line for each number, of the online evaluation and of all others; in bold where the 95%
    interval is on one side of 0. A cell over fewer seeds than its column's, where a run lacks an
    evaluation, says over how many. Numbers that are the same everywhere are left out, and those of
    untrained trunks.

    Args:
        against: name or title of the experiment that the others are compared with.

    Returns:
        None where the suite lacks it, or no other experiment has a seed of it.
    """
    numbers = {
        name: {row["seed"]: _numbers(row) for row in of_one}
        for name, of_one in by_experiment(rows).items()
    }
    titles = {row["experiment"]: row["title"] for row in rows}
    against = next((name for name, title in titles.items() if title == against), against)
    base = numbers.pop(against, {})
    seeds = {name: sorted(base.keys() & of_one.keys()) for name, of_one in numbers.items()}
    names = [name for name, common in seeds.items() if common]
    if not names:
        return None
    lines = []
    for number in dict.fromkeys(n for of_seed in base.values() for n in of_seed):
        by_name = [
            [
                numbers[name][seed][number] - base[seed][number]
                for seed in seeds[name]
                if number in base[seed].keys() & numbers[name][seed].keys()
            ]
            for name in names
        ]
        if any(any(of_one) for of_one in by_name):
            common = (len(seeds[name]) for name in names)
            lines.append([number, *map(_cell, by_name, common)])
    headers = [f"difference to {titles[against]}"]
    headers += [f"{titles[name]}, seeds: {len(seeds[name])}" for name in names]
    return str(tabulate(lines, headers=headers, tablefmt="github", disable_numparse=True))


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    numbers = {shown(metric): row["metrics"][metric] for metric in METRICS}
    for outcome in row.get("evaluations", {}).values():
        numbers.update(outcome.get("metrics", {}))
    # An untrained trunk is the same network for every seed, of which there is no interval.
    return {n: value for n, value in numbers.items() if not n.endswith(BASELINES["untrained"])}


def _cell(differences: list[float], seeds: int) -> str:
    if not differences:
        return "-"
    mean, half = mean_and_interval(differences)
    shown_mean = round(mean, 1) + 0.0  # no -0.0
    text = f"{'+' if shown_mean > 0 else ''}{as_text(shown_mean, half)}"
    marked = f"**{text}**" if not np.isnan(half) and abs(mean) > half else text
    return marked + of_fewer(len(differences), seeds)
