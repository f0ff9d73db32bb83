"""Figures 3 and 4 from the command line."""

from __future__ import annotations

import pytest
from conftest import run_command


@pytest.mark.process
def test_writes_png_and_pdf(image_folder, tmp_path):
    image = next((image_folder / "train").rglob("*.png"))
    arguments = ["--image", image, "--size", "64", "--output", tmp_path / "masks.png"]
    result = run_command("draw_masks.py", *arguments, check=True)
    files = [tmp_path / "masks.png", tmp_path / "masks.pdf"]
    assert result.stdout.split() == [str(file.resolve()) for file in files]
    assert all(file.stat().st_size for file in files)
