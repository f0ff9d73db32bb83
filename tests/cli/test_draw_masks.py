"""Figures 3 and 4 from the command line."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import run_command
from PIL import Image


@pytest.mark.process
def test_writes_png_and_pdf(image_folder, tmp_path):
    image = next((image_folder / "train").rglob("*.png"))
    arguments = ["--image", image, "--size", "64", "--output", tmp_path / "sigma1.25"]
    result = run_command("draw masks", *arguments, check=True)
    files = [tmp_path / "sigma1.25.png", tmp_path / "sigma1.25.pdf"]
    assert result.stdout.split() == [str(file.resolve()) for file in files]
    assert all(file.stat().st_size for file in files)


def test_pictures_are_decoded_as_in_training(mscn, tmp_path, capsys, monkeypatch):
    """A drawing on nothing is on white, a photograph on its side upright, and little is said."""
    monkeypatch.chdir(tmp_path)
    drawing = np.zeros((80, 120, 4), np.uint8)
    drawing[:40, :] = (255, 0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(drawing).save(tmp_path / "x.png", exif=exif)
    options = ("--size", 112, "--sigma", 2, "--cell-size", 56, 14)
    mscn("draw masks", *("--image", tmp_path / "x.png", *options))
    with Image.open("masks.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    tile = pixels[50 : 50 + 112, 14 : 14 + 112]
    assert (tile[:50] == 255).all()
    assert (tile[62:] == [255, 0, 0]).all()
    assert "nearly blank" not in capsys.readouterr().err


def test_what_comes_out_nearly_blank_is_named(mscn, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((80, 80), 77, np.uint16)).save(tmp_path / "dark.png")
    mscn("draw masks", "--image", tmp_path / "dark.png", "--size", 112, "--sigma", 2)
    assert "dark.png comes out nearly blank" in capsys.readouterr().err


def test_what_cannot_be_decoded_is_named(mscn, tmp_path):
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(tmp_path / "nan.tiff")
    with pytest.raises(SystemExit, match="^mscn draw masks: .*nan.tiff: .* not finite"):
        mscn("draw masks", "--image", tmp_path / "nan.tiff")


def test_cells_have_one_side_or_two(mscn, tmp_path):
    with pytest.raises(SystemExit, match=r"cell_size is \[8, 8, 8\]; .* a list of two"):
        mscn("draw masks", "--output", tmp_path / "x.png", "--cell-size", 8, 8, 8)


@pytest.mark.parametrize("size", [0, 100_000])
def test_the_size_is_checked(mscn, tmp_path, size):
    message = f"--size is {size}; it must be from 1 to 4096 pixels"
    with pytest.raises(SystemExit, match=message):
        mscn("draw masks", "--output", tmp_path / "x.png", "--size", size)
