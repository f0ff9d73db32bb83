"""Means over seeds, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

Rows = list[dict[str, Any]]


def mean_and_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Mean, and half the width of its interval of Student's t; NaN for a single value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, float("nan")
    return mean, float(stats.t.ppf((1 + confidence) / 2, len(values) - 1) * stats.sem(values))


def as_text(mean: float, half: float) -> str:
    """A mean with one decimal, and its interval where there is one."""
    return f"{mean:.1f}" if np.isnan(half) else f"{mean:.1f} ± {half:.1f}"


def cell(values: Sequence[float], seeds: int) -> str | None:
    """Mean and interval of a number that not all ``seeds`` of a line need to have, in a table.

    Returns:
        None where there is no value.
    """
    if not values:
        return None
    return as_text(*mean_and_interval(values)) + of_fewer(len(values), seeds)


def of_fewer(number: int, seeds: int) -> str:
    """The note after a mean over ``number`` of the seeds that its table states."""
    return "" if number == seeds else f" ({number} seed{'s' if number > 1 else ''})"


def by_experiment(rows: Rows) -> dict[str, Rows]:
    """The rows of each experiment of one suite, in their order, without those that failed."""
    experiments: dict[str, Rows] = {row["experiment"]: [] for row in rows}
    for row in rows:
        if "error" not in row:
            experiments[row["experiment"]].append(row)
    return experiments
