from __future__ import annotations

import pytest

from mscn_plugin.report.curves import curves, running_mean, side_by_side
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


def test_a_long_loss_is_smoothed_with_itself_behind():
    steps = [{"iter": i, "loss": float(i % 2), "lr": 0.1} for i in range(40)]
    loss, rate = curves(History(steps, [], []))
    behind, smooth = side_by_side([loss]).axes[0].lines
    assert behind.get_ydata().tolist() == [line["loss"] for line in steps]
    assert abs(smooth.get_ydata() - 0.5).max() < 0.2
    assert behind.get_alpha() < 1
    assert len(side_by_side([rate]).axes[0].lines) == 1
    short = curves(History(steps[:10], [], []))[0]
    assert len(side_by_side([short]).axes[0].lines) == 1
    assert running_mean([1.0, 2.0, 6.0]) == [1.5, 3.0, 4.0]


def test_what_is_to_beat_stands_beside_the_accuracy():
    baselines = {"chance": 6.25, "color_histogram": {"knn": 30.0, "linear_probe": 35.0}}
    evaluations = [{**line, **baselines} for line in EVALUATIONS]
    (accuracy,) = curves(History([], evaluations, []))
    assert accuracy.levels == {"chance": 6.25, "kNN of color histograms": 30.0}
    assert len(side_by_side([accuracy]).axes[0].lines) == 4
    assert accuracy.in_words().endswith("chance 6.25; kNN of color histograms 30")
    assert b"<svg" in accuracy.svg()


@pytest.mark.parametrize("statistics", [STATISTICS, []])
def test_plots_are_drawn_and_depend_on_nothing_else(statistics):
    drawn = curves(History(STEPS, EVALUATIONS, statistics))
    for curve in drawn:
        svg = curve.svg()
        assert svg == curve.svg()
        assert b"<svg" in svg
        assert b"<image" not in svg
    assert len(side_by_side(drawn).axes) == len(drawn)
