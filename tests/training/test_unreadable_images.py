"""The zoo of images that are found in the wild, through VISSL's tool without root's privileges."""

from __future__ import annotations

import pytest

from benchmarks.reliability.zoo import train_on_zoo


@pytest.mark.new_interpreter
def test_training_goes_on_and_counts(tmp_path):
    row = train_on_zoo(tmp_path, workers=2)
    assert row["right"], row
    assert row["counted"] == [7, 7, 7]


@pytest.mark.new_interpreter
def test_too_many_stop_the_run(tmp_path):
    row = train_on_zoo(tmp_path, workers=0, share=0.1)
    assert row["right"], row
    assert "7 of the 48 images of an epoch could not be read, such as" in row["said"][0]
