"""A run in ten lines."""

from __future__ import annotations

from run_folders import write_lines

from mscn_plugin.report.summary import summarize


def test_images_that_could_not_be_read_are_told(tmp_path):
    assert "could not be read" not in summarize(tmp_path)
    lines = [{"train_phase_idx": epoch, "unreadable_images": 5 + epoch} for epoch in (0, 1)]
    lines[1]["seen_images"] = 48
    write_lines(tmp_path / "metrics.json", *lines, {"train_phase_idx": 2})
    assert "In epoch 2, 6 of 48 images could not be read and were replaced" in summarize(tmp_path)
