from __future__ import annotations

import json
import re

import pytest

from mscn_plugin.experiments.runs import ExperimentRun
from mscn_plugin.runs.launch import RunFailedError


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
    (run.output / "train_config.yaml").write_text("OPTIMIZER: {num_epochs: 4}")


def test_a_finished_run_is_not_run_again(tmp_path):
    run = a_run(tmp_path, "a=1")
    write_metrics(run)
    assert run.metrics() is None  # killed before it was noted as finished
    (run.output / "finished").touch()
    seen = []
    assert run.run(seen.append) == {
        "kNN": 30.0,
        "linear probe": 40.0,
        "kNN, untrained": 1.0,
        "linear probe, untrained": 2.0,
    }
    assert seen == [1.0]
    details = run.details()
    assert [epoch["epoch"] for epoch in details.pop("epochs")] == [0, 4]
    assert details == {"measured_on": "on images that the run of an earlier version does not name"}


@pytest.mark.parametrize("where", ["/here", "/elsewhere/deep"])
@pytest.mark.parametrize(
    ("train", "val", "said"),
    [
        ("tiny/train", "tiny/val", "3 images of tiny/val; .* from 5 images of tiny/train;"),
        ("tiny", "tiny", "3 images of tiny that were held out"),
        (
            "tiny/x-*train*.tar",
            "tiny/x-*val*.tar",
            r"3 images of tiny/x-\*val\*.tar; .* of tiny/x-\*train",
        ),
    ],
)
def test_images_are_named_the_same_wherever_they_lie(tmp_path, where, train, val, said):
    run = a_run(tmp_path)
    write_metrics(run)
    numbers = {"knn": 30.0, "linear_probe": 40.0}
    images = {
        "held_out": train == val,
        "train": {"number": 5, "path": f"{where}/{train}"},
        "val": {"number": 3, "path": f"{where}/{val}"},
    }
    line = {"images": images, "chance": 25.0, "color_histogram": numbers}
    line |= {"train_phase_idx": 3, "online_evaluation": numbers}
    (run.output / "metrics.json").write_text(json.dumps(line))
    measured_on = run.details()["measured_on"]
    assert re.search(f"^measured on {said}", measured_on)
    assert where not in measured_on


def test_an_earlier_epochs_numbers_are_no_result(tmp_path):
    """The kill came in the last epoch's evaluation, or in the writing of its line."""
    run = a_run(tmp_path, "a=1")
    write_metrics(run)
    (run.output / "finished").touch()
    (run.output / "train_config.yaml").write_text("OPTIMIZER: {num_epochs: 5}")
    assert run.metrics() is None
    line = json.dumps({"train_phase_idx": 4, "online_evaluation": {"knn": 5, "linear_probe": 6}})
    with (run.output / "metrics.json").open("a") as stream:
        stream.write("\n" + line[:50])
    assert run.metrics() is None
    with (run.output / "metrics.json").open("a") as stream:
        stream.write("\n" + line)
    assert run.metrics()["linear probe"] == 6


def test_other_overrides_are_another_run(tmp_path):
    assert a_run(tmp_path, "a=1").output != a_run(tmp_path, "a=2").output


@pytest.mark.process
def test_a_run_that_cannot_start_says_why(tmp_path):
    with pytest.raises(RunFailedError, match="Could not find 'config/mscn/trajectory/x'"):
        a_run(tmp_path).run(lambda done: None)
