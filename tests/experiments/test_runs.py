from __future__ import annotations

import json
import math

import numpy as np
import pytest

from mscn_plugin.experiments.runs import ExperimentRun, mean_and_interval, plot, summary
from mscn_plugin.tool_run import RunFailedError


def a_run(folder, *overrides):
    return ExperimentRun("x-seed0", folder, "mscn/trajectory/x", overrides)


def write_metrics(run):
    run.output.mkdir(parents=True)
    lines = [
        {"train_phase_idx": -1, "online_evaluation": {"knn": 1.0, "linear_probe": 2.0}},
        {"train_phase_idx": 3, "online_evaluation": {"knn": 30.0, "linear_probe": 40.0}},
        {"train_phase_idx": 3},
    ]
    (run.output / "metrics.json").write_text("\n".join(map(json.dumps, lines)))


def test_a_finished_run_is_not_run_again(tmp_path):
    run = a_run(tmp_path, "a=1")
    write_metrics(run)
    assert run.metrics() is None  # killed before it was noted as finished
    (run.output / "finished").touch()
    seen = []
    assert run.run(seen.append) == {"kNN": 30.0, "linear probe": 40.0}
    assert seen == [1.0]


def test_other_overrides_are_another_run(tmp_path):
    assert a_run(tmp_path, "a=1").output != a_run(tmp_path, "a=2").output


@pytest.mark.slow
def test_a_run_that_cannot_start_says_why(tmp_path):
    with pytest.raises(RunFailedError, match="Could not find 'config/mscn/trajectory/x'"):
        a_run(tmp_path).run(lambda done: None)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        mean, half = mean_and_interval(random.normal(5, 2, size=3))
        hits += abs(mean - 5) < half
    assert hits / 2000 == pytest.approx(0.95, abs=0.02)
    assert math.isnan(mean_and_interval([3.0])[1])


def rows():
    return [
        {
            "experiment": name,
            "title": name,
            "seed": seed,
            "paper": paper,
            **({"metrics": {"kNN": 10.0 + seed, "linear probe": 20.0}} if seed < 2 else {}),
            **({"error": "no"} if seed == 2 else {}),
        }
        for name, paper in (("a", 60.0), ("b", None))
        for seed in range(3)
    ]


def test_failures_are_not_averaged():
    assert summary(rows())[0] == ["a", 2, "10.5 ± 6.4", "20.0 ± 0.0", 60.0]


def test_the_plot_is_written_as_png_and_pdf(tmp_path):
    plot(rows(), tmp_path / "suite", "title")
    assert (tmp_path / "suite.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "suite.pdf").read_bytes()[:4] == b"%PDF"
