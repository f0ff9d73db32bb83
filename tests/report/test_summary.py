"""A run in ten lines."""

from __future__ import annotations

import errno

from run_folders import write_lines

from mscn_plugin.report import summary
from mscn_plugin.report.summary import summarize


def test_a_folder_that_cannot_be_written_has_a_summary_too(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(summary, "save_figure", full)
    write_lines(tmp_path / "stdout.json", {"iter": 0, "ep": 0, "loss": 1.0, "lr": 0.1})
    said = summarize(tmp_path)
    assert "training_curves.png: Read-only file system" in said
    assert "checkpoint:      none yet" in said


def test_images_that_could_not_be_read_are_told(tmp_path):
    assert "could not be read" not in summarize(tmp_path)
    lines = [{"train_phase_idx": epoch, "unreadable_images": 5 + epoch} for epoch in (0, 1)]
    lines[1]["seen_images"] = 48
    write_lines(tmp_path / "metrics.json", *lines, {"train_phase_idx": 2})
    assert "In epoch 2, 6 of 48 images could not be read and were replaced" in summarize(tmp_path)
