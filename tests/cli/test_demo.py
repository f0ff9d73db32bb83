"""The demonstration, outside of a checkout."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import TINY, run_command


@pytest.mark.process
def test_it_trains_reports_and_is_quick_the_second_time(image_folder, tmp_path):
    settings = [override.removeprefix("config.") for override in TINY]
    command = ("demo", f"MSCN.DATA={image_folder}", *settings)
    result = run_command(*command, cwd=tmp_path, check=True)
    run = tmp_path / "runs" / "mscn_quickstart"
    lines = result.stdout.splitlines()
    title = "Pre-training on real photographs; what VISSL prints goes to"
    assert lines[0] == f"{title} runs/mscn_quickstart/console.txt"
    assert lines[1].split() == ["accuracy", "in", "%", "kNN", "linear", "probe"]
    assert lines[-2:] == [
        str(run / "report.html"),
        "To read in a browser: runs/mscn_quickstart/report.html",
    ]
    assert "pre-training: 100%" in result.stderr
    written = (run / "report.html").stat().st_mtime_ns
    again = run_command(*command, cwd=tmp_path, check=True)
    assert again.stdout.splitlines() == [*lines[:-2], lines[-1]]
    assert (run / "report.html").stat().st_mtime_ns == written


def test_the_report_is_of_the_run_that_was_trained(mscn, monkeypatch, tmp_path, capsys):
    """A setting may name another folder than the option, where an earlier run may lie."""
    monkeypatch.chdir(tmp_path)
    for name in ("runs/mscn_quickstart", "other"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "checkpoint.torch").touch()
    monkeypatch.setattr(
        "mscn_plugin.cli.demo.train", lambda overrides, title: Path("other").resolve()
    )
    monkeypatch.setattr(
        "mscn_plugin.report.page.write_report", lambda folder: folder / "report.html"
    )
    mscn("demo", "CHECKPOINT.DIR=other")
    assert capsys.readouterr().out.splitlines() == [
        str(tmp_path / "other" / "report.html"),
        "To read in a browser: other/report.html",
    ]
