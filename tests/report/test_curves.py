from __future__ import annotations

import pytest

from mscn_plugin.report.curves import curves, side_by_side
from mscn_plugin.report.history import History

STEPS = [{"iter": 0, "loss": 5.0, "lr": 0.0}, {"iter": 10, "loss": float("nan"), "lr": 0.2}]
EVALUATIONS = [
    {"train_phase_idx": -1, "online_evaluation": {"knn": 20.0, "linear_probe": 25.0}},
    {"train_phase_idx": 3, "online_evaluation": {"knn": 40.0, "linear_probe": 45.0}},
]
STATISTICS = [{"iteration": 0, "std": 0.1, "prediction_std": 0.2}]


def test_a_run_without_logs_has_no_curves():
    assert curves(History([], [], [])) == []


def test_every_log_has_its_curve():
    loss, rate, accuracy, spread = curves(History(STEPS, EVALUATIONS, STATISTICS))
    assert rate.series == {"learning rate": ([0, 10], [0.0, 0.2])}
    assert accuracy.series == {"kNN": ([0, 4], [20, 40]), "linear probe": ([0, 4], [25, 45])}
    assert set(spread.series) == {"embedding", "prediction"}
    assert loss.in_words() == (
        "Plot of the pre-training loss: loss from 5 at iteration 0 to nan at 10"
    )


@pytest.mark.parametrize("statistics", [STATISTICS, []])
def test_plots_are_drawn_and_depend_on_nothing_else(statistics):
    drawn = curves(History(STEPS, EVALUATIONS, statistics))
    for curve in drawn:
        assert curve.svg() == curve.svg()
        assert b"<svg" in curve.svg()
        assert b"<image" not in curve.svg()
    assert len(side_by_side(drawn).axes) == len(drawn)
