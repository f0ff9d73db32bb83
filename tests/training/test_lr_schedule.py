from __future__ import annotations

import math

import pytest


@pytest.fixture
def schedule(registered):
    from classy_vision.optim.param_scheduler import build_param_scheduler

    def build(**settings):
        return build_param_scheduler({"name": "mscn_warmup_cosine", "num_epochs": 100, **settings})

    return build


def test_linear_then_cosine(schedule):
    rate = schedule(start_value=4.8, warmup_epochs=10, end_value=0.2, warmup_start_value=0.4)
    for epoch in range(100):
        if epoch < 10:
            expected = 0.4 + 4.4 * epoch / 10
        else:
            expected = 0.2 + 2.3 * (1 + math.cos(math.pi * (epoch - 10) / 90))
        assert rate(epoch / 100) == pytest.approx(expected)


def test_without_warmup_it_is_the_cosine(schedule):
    rate = schedule(start_value=1.0, warmup_epochs=0)
    assert rate(0) == 1.0
    assert rate(0.5) == pytest.approx(0.5)


def test_warmup_keeps_its_epochs_whatever_the_length(schedule):
    for num_epochs in (20, 100, 800):
        rate = schedule(start_value=1.0, warmup_epochs=10, num_epochs=num_epochs)
        assert rate(5 / num_epochs) == pytest.approx(0.5)
        assert rate(10 / num_epochs) == pytest.approx(1.0)


def test_updates_per_step_unless_told_otherwise(schedule):
    assert schedule(start_value=1.0).update_interval.value == "step"
    assert schedule(start_value=1.0, update_interval="epoch").update_interval.value == "epoch"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start_value": 0}, "start_value is 0"),
        ({"end_value": -1}, "end_value is -1"),
        ({"end_value": 2.0}, "end_value is 2.0; it must be at most start_value, 1.0"),
        ({"warmup_start_value": 1.5}, "warmup_start_value is 1.5; it must be at most start_value"),
        ({"warmup_epochs": 100}, "warmup_epochs is 100"),
        ({"warmup_epochs": -1}, "warmup_epochs is -1"),
    ],
)
def test_refuses_wrong_values(schedule, settings, message):
    with pytest.raises(ValueError, match=message):
        schedule(**{"start_value": 1.0, **settings})
