"""Figures 3 and 4 from the command line."""

from __future__ import annotations

import pathlib
import subprocess
import sys

SCRIPT = pathlib.Path(__file__).parents[2] / "extra_scripts" / "draw_masks.py"


def test_writes_png_and_pdf(image_folder, tmp_path):
    image = next((image_folder / "train").rglob("*.png"))
    arguments = ["--image", image, "--size", "64", "--output", tmp_path / "masks.png"]
    command = [sys.executable, "-W", "ignore", str(SCRIPT), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    files = [tmp_path / "masks.png", tmp_path / "masks.pdf"]
    assert result.stdout.split() == [str(file.resolve()) for file in files]
    assert all(file.stat().st_size for file in files)
