"""File lists from the command line."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from conftest import run_command

pytestmark = pytest.mark.process

make = functools.partial(run_command, "make_subset.py")


def test_prints_the_overrides_of_the_files_that_it_wrote(image_folder, tmp_path):
    result = make(image_folder / "train", "0.25", "--output", tmp_path / "lists")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("8 images of 4 classes; for VISSL:\n")
    lines = dict(line.split("=") for line in result.stdout.splitlines()[1:])
    for key, expected in (("DATA", 8), ("LABEL", 8)):
        file = lines[f"config.DATA.TRAIN.{key}_PATHS"].strip("[]")
        assert len(np.load(file, allow_pickle=False)) == expected


def test_wrong_arguments_are_one_sentence(image_folder, tmp_path):
    for arguments, message in (
        ((tmp_path / "none", "0.1"), "none is not a folder"),
        ((image_folder / "train", "1.5"), "subset is 1.5; it must be a fraction"),
        ((image_folder / "train", "list.txt"), "subset is 'list.txt', which is not a file"),
    ):
        result = make(*arguments, "--output", tmp_path / "lists")
        assert result.returncode == 1
        assert result.stderr.startswith("make_subset: ")
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
