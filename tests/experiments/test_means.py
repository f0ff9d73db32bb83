from __future__ import annotations

import math

import numpy as np
import pytest

from mscn_plugin.experiments.means import by_experiment, mean_and_interval


def test_the_interval_covers_the_mean_as_often_as_it_says():
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        mean, half = mean_and_interval(random.normal(5, 2, size=3))
        hits += abs(mean - 5) < half
    assert hits / 2000 == pytest.approx(0.95, abs=0.02)
    assert math.isnan(mean_and_interval([3.0])[1])


def test_failed_runs_are_left_out_and_their_experiments_are_not():
    rows = [{"experiment": "a", "error": "no"}, {"experiment": "b"}, {"experiment": "a"}]
    assert by_experiment(rows) == {"a": [rows[2]], "b": [rows[1]]}
    assert by_experiment(rows[:1]) == {"a": []}
