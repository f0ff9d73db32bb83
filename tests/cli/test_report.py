from __future__ import annotations

import functools

import pytest
from conftest import run_command

pytestmark = pytest.mark.process

report = functools.partial(run_command, "report")


def test_the_script_prints_the_page_that_it_wrote(checkpoints, tmp_path):
    page = tmp_path / "a.html"
    result = report(checkpoints["simclr"], "--output", page, "--max-images", 4)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [str(page)]
    assert "among 4." in page.read_text()


def test_several_runs_are_compared(checkpoints, tmp_path):
    page = tmp_path / "a.html"
    result = report(checkpoints["simclr"], checkpoints["byol"], "--output", page)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [str(page)]
    assert "<code>LOSS.name</code>" in page.read_text()
    refused = report(*2 * [checkpoints["simclr"]], "--max-images", 4)
    assert "--data and --max-images are for the report of one run" in refused.stderr


def test_a_wrong_folder_is_one_sentence(tmp_path):
    result = report(tmp_path)
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1].startswith("mscn report: ")
    assert "checkpoint.torch is not a file" in result.stderr
    assert "Traceback" not in result.stderr
