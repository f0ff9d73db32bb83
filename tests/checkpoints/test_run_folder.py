"""A run's folder: its checkpoint, and its JSON lines, whatever a kill has left of them."""

from __future__ import annotations

import json
import os

import pytest

from mscn_plugin.checkpoints.run_folder import checkpoint_of, cut_logs, json_lines, mend_logs


def line(**content):
    return json.dumps(content) + "\n"


@pytest.mark.parametrize("half", ["", "{", '{"a": 1', '{"a": 1}', "\0\0"])
def test_half_a_last_line_does_not_spoil_the_next(tmp_path, half):
    metrics = tmp_path / "metrics.json"
    metrics.write_text(line(iteration=1) + half)
    mend_logs(tmp_path)
    with metrics.open("a") as stream:  # as VISSL does
        stream.write(line(iteration=2))
    assert json_lines(metrics) == [{"iteration": 1}, {"iteration": 2}]


def test_logs_that_are_not_there_and_links_are_left_alone(tmp_path):
    mend_logs(tmp_path)
    (tmp_path / "elsewhere").write_text("no newline")
    (tmp_path / "metrics.json").symlink_to("elsewhere")
    mend_logs(tmp_path)
    assert (tmp_path / "elsewhere").read_text() == "no newline"


def test_lines_of_lost_weights_are_taken_out(tmp_path):
    """A run that goes on from iteration 4, perhaps in another way, has no accuracy of 8 yet."""
    kept = line(iteration=0, test_frozen_features={}) + line(iteration=4, online_evaluation={})
    (tmp_path / "metrics.json").write_text(kept + line(iteration=8, online_evaluation={}))
    (tmp_path / "stdout.json").write_text(line(iter=4, loss=1) + line(iter=5, loss=1))
    cut_logs(tmp_path, 4)
    assert (tmp_path / "metrics.json").read_text() == kept
    assert [entry["iter"] for entry in json_lines(tmp_path / "stdout.json")] == [4]
    before = (tmp_path / "metrics.json").stat()
    cut_logs(tmp_path, 4)
    assert (tmp_path / "metrics.json").stat().st_ino == before.st_ino


def test_what_is_no_object_is_left_out(tmp_path):
    (tmp_path / "a").write_bytes(b"[1]\nnull\n\xff\n" + b"[" * 100_000 + b"\n{}\n")
    assert json_lines(tmp_path / "a") == [{}]
    assert json_lines(tmp_path / "none") == []


def test_a_runs_folder_stands_for_its_newest_checkpoint(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "model_phase0.torch").write_text("")
    (run / "checkpoint.torch").symlink_to(run / "model_phase0.torch")  # absolute, as VISSL's
    for path in (run, run / "checkpoint.torch", run / "model_phase0.torch"):
        assert checkpoint_of(path) == run / "model_phase0.torch"
    moved = tmp_path / "moved"
    os.rename(run, moved)
    assert checkpoint_of(moved) == moved / "model_phase0.torch"
    assert not checkpoint_of(tmp_path / "none").exists()
