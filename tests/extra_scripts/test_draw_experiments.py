"""Tables and plots from a result file."""

from __future__ import annotations

import pathlib
import runpy
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / "extra_scripts" / "draw_experiments.py"


@pytest.fixture
def draw(monkeypatch):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        runpy.run_path(str(SCRIPT), run_name="__main__")

    return run


def test_another_file_is_refused(draw, tmp_path):
    other = tmp_path / "results.json"
    other.write_text('{"a": 1}')
    with pytest.raises(SystemExit, match="results.json: no results of run_experiments.py"):
        draw(other)
