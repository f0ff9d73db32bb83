"""What the folder of an evaluation says, whatever a kill has left in it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import submitit

from mscn_plugin.evaluation import suite_run
from mscn_plugin.evaluation.definitions import (
    CHECKPOINT_DIGEST,
    CLASSIFIERS,
    CONDITIONS,
    CURVES,
    FROZEN,
    FROZEN_LOG,
    METER,
    SUITES,
)
from mscn_plugin.evaluation.evaluation_run import EvaluationRun
from mscn_plugin.runs.launch import RunFailedError

LINEAR = next(e for e in SUITES["quick"] if e.config == "quick_linear")
KNN = next(e for e in SUITES["quick"] if e.config == "quick_frozen")


@pytest.fixture
def unfinished(tmp_path):
    """An evaluation on SLURM with a final checkpoint and no accuracy of its epoch."""
    launch = EvaluationRun(LINEAR, (), tmp_path, "digest", ("config.SLURM.USE_SLURM=true",))
    launch.output.mkdir()
    for name in ("model_phase0.torch", "model_final_checkpoint_phase1.torch"):
        (launch.output / name).write_text("weights")
    (launch.output / "checkpoint.torch").symlink_to("model_final_checkpoint_phase1.torch")
    return launch


def test_the_checkpoints_of_a_job_at_work_are_left_alone(unfinished, monkeypatch):
    """Its last epoch may be under evaluation at this moment; and another call waits, too."""

    def done():
        (unfinished.output / "job_id").unlink()  # by the other call, which was faster
        return True

    job = SimpleNamespace(done=done, exception=lambda: None)
    executor = SimpleNamespace(job_class=lambda **_: job)
    monkeypatch.setattr(
        submitit, "AutoExecutor", lambda folder: SimpleNamespace(_executor=executor)
    )
    (unfinished.output / "job_id").write_text("7")
    with pytest.raises(RunFailedError, match="no result"):
        unfinished.run(lambda done: None)
    assert (unfinished.output / "checkpoint.torch").exists()


@pytest.fixture
def folder(tmp_path):
    """An evaluation's folder as VISSL leaves it, by its metrics' lines."""

    def write(evaluation, *lines):
        launch = EvaluationRun(evaluation, (), tmp_path, "digest")
        launch.output.mkdir()
        (launch.output / "train_config.yaml").write_text("OPTIMIZER: {num_epochs: 3}")
        (launch.output / "metrics.json").write_text("".join(lines))
        return launch

    return write


def accuracy(epoch, value, end="\n"):
    line = {"train_phase_idx": epoch, METER: {"top_1": {"res5avg": value}}}
    return json.dumps(line) + end


def frozen(digest, value):
    numbers = {"knn": {"top_1": value}, "svm": {"mAP": value, "top_1": value}}
    by_layer = {n: {m: {"res5": v} for m, v in values.items()} for n, values in numbers.items()}
    return json.dumps({FROZEN: by_layer, **digest}) + "\n"


def test_the_last_of_the_last_epochs_lines_counts(folder):
    launch = folder(LINEAR, accuracy(1, 10.0), accuracy(2, 20.0), accuracy(2, 30.0))
    assert launch.read_metrics() == {"linear probe, top-1": 30.0}


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (accuracy(1, 10.0),),
        (accuracy(1, 10.0), accuracy(2, 30.0)[:40]),
        (json.dumps([1]) + "\n", "{" * 9 + "\n", "\0\n", json.dumps({METER: 1}) + "\n"),
    ],
)
def test_an_earlier_epochs_accuracy_is_no_result(folder, lines):
    assert folder(LINEAR, *lines).read_metrics() is None


@pytest.mark.parametrize("half", ["", "OPTIMIZER: {num_ep", "OPTIMIZER:", "x: !!python/none"])
def test_half_a_configuration_is_no_result(folder, half):
    launch = folder(LINEAR, accuracy(2, 30.0))
    (launch.output / "train_config.yaml").write_text(half)
    assert launch.read_metrics() is None


def test_frozen_features_of_another_checkpoint_are_no_result(folder):
    launch = folder(KNN, frozen({}, 1.0))
    with (launch.output / FROZEN_LOG).open("a") as stream:
        stream.write(frozen({CHECKPOINT_DIGEST: "other"}, 2.0))
    assert launch.read_metrics() is None
    with (launch.output / FROZEN_LOG).open("a") as stream:
        stream.write(frozen({CHECKPOINT_DIGEST: "digest"}, 3.0))
        stream.write(frozen({CHECKPOINT_DIGEST: "other"}, 4.0))
    assert set(launch.read_metrics().values()) == {3.0}


def test_a_number_that_could_not_be_measured_is_left_out(folder):
    """As the SVMs' are where each class has but a few images."""
    quick = next(e for e in SUITES["quick"] if e.config == "quick_frozen")
    line = {FROZEN: {"knn": {"top_1": {"res5": 3.0}}}, CHECKPOINT_DIGEST: "digest"}
    launch = folder(quick)
    (launch.output / FROZEN_LOG).write_text(json.dumps(line) + "\n")
    assert launch.read_metrics() == {"kNN, top-1": 3.0}


def test_numbers_of_two_layers_are_an_error_of_this_evaluation(folder):
    numbers = {"top_1": {"res4": 1.0, "res5": 2.0}}
    launch = folder(KNN)
    line = {FROZEN: {"knn": numbers}, CHECKPOINT_DIGEST: "digest"}
    (launch.output / FROZEN_LOG).write_text(json.dumps(line) + "\n")
    (launch.output / "finished").touch()
    error = suite_run._entry(launch, lambda done: None)["error"]
    assert "quick_frozen has numbers of 2 layers (res4, res5); one can be in the table: " in error
    assert error.endswith(f"{launch.output}/frozen_features.json has all")
    launch = folder(LINEAR, json.dumps({"train_phase_idx": 2, METER: numbers}) + "\n")
    with pytest.raises(RunFailedError, match=r"quick_linear-\w+/metrics\.json has all$"):
        launch.read_metrics()


def test_an_evaluation_of_a_checkpoint_that_was_moved_is_the_same(tmp_path):
    def launch(*overrides):
        file = "config.MODEL.WEIGHTS_INIT.PARAMS_FILE"
        return EvaluationRun(LINEAR, (f"{file}={overrides[0]}", "a=1"), tmp_path, "digest")

    assert launch("/a.torch").output == launch("/b.torch").output


def test_curves_of_hidden_shares_are_those_of_the_one_layer(folder):
    occlusion = next(e for e in SUITES["quick"] if e.config == "quick_occlusion")
    areas = {classifier: {name: {"res5": 7.0} for name in CONDITIONS} for classifier in CLASSIFIERS}
    curves = {"shares": [0.0, 0.5], "knn": {"cells-zeros": [9.0, 5.0]}}
    launch = folder(occlusion)
    assert launch.details() == {}
    line = {FROZEN: areas, CURVES: {"res5": curves}, CHECKPOINT_DIGEST: "digest"}
    (launch.output / FROZEN_LOG).write_text(json.dumps(line) + "\n")
    assert launch.details() == {CURVES: curves}
    assert set(launch.read_metrics().values()) == {7.0}
    assert len(launch.read_metrics()) == len(CONDITIONS) * len(CLASSIFIERS)
