"""File lists from the command line."""

from __future__ import annotations

import ast
import functools
import shlex

import numpy as np
import pytest
from conftest import run_command

pytestmark = pytest.mark.process

make = functools.partial(run_command, "subset")


def test_prints_the_overrides_of_the_files_that_it_wrote(image_folder, tmp_path):
    result = make(image_folder / "train", "0.25", "--output", tmp_path / "lr=0.1, ü")
    assert result.returncode == 0, result.stderr
    train = f"8 of 32 images of 4 classes in {image_folder / 'train'}; for VISSL:\n"
    assert result.stdout.startswith(train)
    lines = dict(override.split("=", 1) for override in shlex.split(result.stdout)[-4:])
    for key, expected in (("DATA", 8), ("LABEL", 8)):
        (file,) = ast.literal_eval(lines[f"config.DATA.TRAIN.{key}_PATHS"])  # in Hydra's quotes
        assert len(np.load(file, allow_pickle=False)) == expected


def test_of_a_data_set_the_training_images_are_taken(image_folder, tmp_path, mscn, capsys):
    """Not ``train`` and ``val`` as two classes."""
    mscn("subset", image_folder, "0.25", "--output", tmp_path / "lists")
    assert f"8 of 32 images of 4 classes in {image_folder / 'train'};" in capsys.readouterr().out


def test_wrong_arguments_are_one_sentence(image_folder, tmp_path):
    for arguments, message in (
        ((tmp_path / "none", "0.1"), "none is not a folder"),
        ((image_folder / "train", "1.5"), "subset is 1.5; it must be a fraction"),
        ((image_folder / "train" / "class0", "0.1"), "has no two sub-folders of images"),
        ((image_folder / "train", "list.txt"), "subset is 'list.txt', which is not a file"),
    ):
        result = make(*arguments, "--output", tmp_path / "lists")
        assert result.returncode == 1
        assert result.stderr.startswith("mscn subset: ")
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
