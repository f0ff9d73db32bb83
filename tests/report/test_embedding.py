"""What is said of a run's embedding at its end."""

from __future__ import annotations

import json

from mscn_plugin.report.embedding import about_embedding
from mscn_plugin.report.history import History
from mscn_plugin.report.summary import summarize


def history(*similarities):
    lines = [
        {"iteration": 5 * n, "std": 0.1, "positive_similarity": same, "negative_similarity": others}
        for n, (same, others) in enumerate(similarities)
    ]
    return History([{"iter": 60, "loss": 4.93}], [], lines)


def test_the_last_steps_are_described():
    about = about_embedding(history(*[(0.2, 0.1)] * 5, *[(0.8, 0.3)] * 10))
    assert about == (
        "After iteration 70: loss 4.93, similarity of views of one image 0.80, of different images "
        "0.30."
    )


def test_a_network_that_does_not_tell_images_apart_is_said_to():
    assert "does not tell images apart" in about_embedding(history((0.959, 0.9594)))
    assert "does not tell images apart" not in about_embedding(history((0.97, 0.95)))


def test_without_statistics_nothing_is_said():
    assert about_embedding(History([], [], [])) == ""


def test_the_summary_has_it_and_the_logs_reason_for_no_accuracies(tmp_path):
    line = {"iteration": 7, "std": 0.1, "positive_similarity": 0.9, "negative_similarity": 0.9}
    (tmp_path / "embedding_statistics.json").write_text(json.dumps(line) + "\n")
    (tmp_path / "log.txt").write_text(
        "INFO no online evaluation: of old\nno online evaluation: x\n"
    )
    summary = summarize(tmp_path)
    assert "The run has no online evaluation: x.\n" in summary
    assert "After iteration 7: similarity of views of one image 0.90" in summary
