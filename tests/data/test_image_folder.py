"""What of a folder is an image, a class and a split."""

from __future__ import annotations

import errno
import os
import re
from types import SimpleNamespace

import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from mscn_plugin.data.image_folder import (
    _is_folder,
    class_names,
    contents,
    fingerprint,
    held_out_fifth,
    image_extensions,
    split_folders,
    sub_folders,
)
from mscn_plugin.data.sources import find_splits
from mscn_plugin.errors import ConfigError


@pytest.fixture
def tree(tmp_path):
    """Make files, by their paths in a folder; returns the folder."""

    def make(*files, name="data"):
        folder = tmp_path / name
        for file in files:
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        return folder

    return make


CLASSES = ("a/1.png", "a/2.jpg", "b/1.JPEG")


def test_an_ordinary_folder_is_torchvisions(tree):
    folder = tree(*CLASSES, "a/more/0.png", "a/more.d/3.png", "c/1.webp", "b/deep/er/1.bmp")
    theirs = ImageFolder(str(folder))
    assert contents(folder).images == theirs.samples
    assert class_names(folder) == contents(folder).classes == theirs.classes == ["a", "b", "c"]
    assert contents(folder).left_out == {}


def test_hidden_folders_and_twins_are_left_out_at_any_depth(tree):
    plain = contents(tree(*CLASSES)).images
    folder = tree(
        ".ipynb_checkpoints/x.png", "__MACOSX/a/._1.png", "@eaDir/1.jpg", "$RECYCLE.BIN/x.png",
        "lost+found/1.png", "a/.ipynb_checkpoints/1-checkpoint.png", "a/@eaDir/1.jpg", "a/._1.png",
    )  # fmt: skip
    found = contents(folder)
    assert found.images == plain
    assert class_names(folder) == found.classes == ["a", "b"]
    assert found.left_out["hidden folder .ipynb_checkpoints"] == 2
    assert found.left_out["hidden file .png"] == 1
    assert "left out: hidden folder .ipynb_checkpoints (2), hidden folder @eaDir (2)" in (
        found.in_words()
    )


def test_figures_of_runs_are_no_images(tree, monkeypatch):
    """``cd my_images; mscn train .`` took them for images, and their folder for a class."""
    runs = ("train_config.yaml", "log.txt", "masked_views.png", "evaluation/results.png")
    runs = [f"runs/{name}/{file}" for name in ("data", "train") for file in runs]
    for files in (CLASSES, ("1.png", "2.png", "more/3.png")):
        plain = contents(tree(*files, name=files[0][0]))
        more = ("a/run/train_config.yaml", "a/run/log.txt", "a/run/0.png")
        folder = tree(*runs, *more, name=files[0][0])
        found = contents(folder)
        assert (found.images, found.classes) == (plain.images, plain.classes)
        assert "folder of a run data (1), folder of a run run (1)" in found.in_words()
        assert class_names(folder) == plain.classes
        assert split_folders(folder).train == folder
    # A run in the place of training data, and a class that holds a configuration.
    tree("train/train_config.yaml", "train/log.txt", "train/x.png", "b/train_config.yaml", name="a")
    assert sub_folders(folder.parent / "a") == ["a", "b", "runs"]
    around = ("../train_config.yaml", "../log.txt")
    inner = tree(*CLASSES, *around, name="around/data")  # images below a run
    assert len(contents(inner).images) == 3
    assert len(contents(folder / "runs" / "data").images) == 2  # asked for by name


@pytest.mark.parametrize("target", ["..", ".", "../..", "../../elsewhere"])
def test_a_link_to_a_folder_around_it_brings_no_image_again(tree, tmp_path, monkeypatch, target):
    folder = tree(*CLASSES)
    plain = contents(folder).images
    (tmp_path / "elsewhere").symlink_to(tmp_path)
    for place in ("a/up", "a/again", "b/up"):
        (folder / place).symlink_to(target)
    (folder / "here").symlink_to(".")
    found = contents(folder)
    assert found.images == plain
    assert class_names(folder) == found.classes == ["a", "b"]
    assert found.left_out == {
        f"link to a folder that holds it {name}": number
        for name, number in (("up", 2), ("again", 1), ("here", 1))
    }
    assert split_folders(folder).train == folder
    monkeypatch.chdir(folder)
    assert [path for path, _ in contents(".").images] == [f"./{file}" for file in CLASSES]


def test_a_link_in_a_circle_takes_no_other_image_away(tree):
    """It is an image that cannot be read, as a link that leads nowhere is."""
    folder = tree(*CLASSES)
    for name, target in (("0.png", "0.png"), ("a.png", "nowhere"), ("round", "round")):
        (folder / "a" / name).symlink_to(target)
    names = [os.path.basename(path) for path, _ in contents(folder).images]
    assert names == ["0.png", "1.png", "2.jpg", "a.png", "1.JPEG"]
    assert class_names(folder) == ["a", "b"]
    assert sub_folders(folder / "a") == []


def test_a_class_that_cannot_be_reached_is_not_passed_over():
    """All labels behind it would be others."""

    def denied():
        raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(PermissionError):
        _is_folder(SimpleNamespace(is_dir=denied))


def test_links_to_other_folders_are_followed(tree, tmp_path):
    elsewhere = tree("2/b/1.png", "2/c/2.png", name="elsewhere")
    folder = tree("a/1.png")
    (folder / "b").symlink_to(elsewhere / "2" / "b")
    (folder / "a" / "c").symlink_to("../../elsewhere/2/c")
    (elsewhere / "2" / "c" / "back").symlink_to(folder / "a")
    found = contents(folder)
    assert [(os.path.relpath(path, folder), label) for path, label in found.images] == [
        ("a/1.png", 0), ("a/c/2.png", 0), ("b/1.png", 1),
    ]  # fmt: skip
    assert found.left_out == {"link to a folder that holds it back": 1}


def test_other_files_are_counted_by_kind(tree):
    found = contents(tree(*CLASSES, "a/1.heic", "b/2.HEIC", "b/notes.txt", "c/readme", "4.png"))
    assert found.left_out == {
        ".heic": 2,
        ".txt": 1,
        "file without an extension": 1,
        "sub-folder without images c": 1,
        "image beside the classes' folders": 1,
    }
    assert found.in_words().startswith("3 images of 2 classes in ")
    assert ".heic (2)" in found.in_words()


def test_endings_that_pillow_reads_here_are_images(tmp_path):
    assert {".jpg", ".jfif", ".jpe"} <= set(image_extensions())
    assert ".heic" not in image_extensions()
    for extension in set(image_extensions()) - {".ppm", ".pgm"}:
        path = tmp_path / f"x{extension}"
        Image.new("RGB", (8, 8), "red").save(path)
        with Image.open(path) as image:
            assert image.size == (8, 8)


def test_fewer_than_two_classes_are_images_without_labels(tree):
    for name, files in (
        ("flat", ["1.png", "2.png"]),
        ("one", ["all/1.png", "all/2.png"]),
        ("both", ["all/1.png", "2.png"]),
        ("detection", ["images/1.png", "images/2.png", "labels/1.txt"]),
    ):
        found = contents(tree(*files, name=name))
        assert not found.labeled
        assert [label for _, label in found.images] == [0, 0]
        assert "2 images without labels in " in found.in_words()


SPLITS = [
    ("train", "val", ()),
    ("train", "valid", ("test",)),
    ("train", "validation", ("test",)),
    ("Train", "Val", ("Test",)),
    ("train", "test", ()),
    ("training", "testing", ()),
    ("training_set", "test_set", ()),
    ("TRAIN", "VALID", ("extra",)),
    ("train2017", "val2017", ("test2017",)),
]


@pytest.mark.parametrize(("train", "val", "unused"), SPLITS)
def test_the_usual_names_of_splits_are_taken(tree, train, val, unused):
    files = [f"{split}/{file}" for split in (train, val, *unused) for file in CLASSES]
    splits = split_folders(tree(*files))
    assert (splits.train.name, splits.val.name) == (train, val)
    assert tuple(splits.unused) == unused
    said = splits.in_words()
    assert f"{train} for training, {val} for validation" in said
    assert all(f"not used: {name}" in said for name in unused)


@pytest.mark.parametrize(
    ("files", "train", "val"),
    [
        (CLASSES, ".", None),
        (["1.png"], ".", None),
        # A class that is called as a split is.
        (["train/1.png", "bus/1.png", "car/1.png"], ".", None),
        (["train/train/1.png", "train/bus/1.png"], "train", None),
        (["test/1.png", "other/1.png"], ".", None),
        # No labels in what else could be validation: the next one, or none.
        (["train/a/1.png", "train/b/1.png", "test/1.png"], "train", None),
        (["train/a/1.png", "train/b/1.png", "test/unknown/1.png"], "train", None),
        (["train/a/1.png", "train/b/1.png", "val/1.png", "test/a/1.png"], "train", "test"),
        (["train/a/1.png", "train/b/1.png", "val/a/1.png"], "train", "val"),
        (["train/1.png", "test/1.png"], "train", None),
        (["train/a/1.png", "train/b/1.png", "unlabeled/1.png"], "train", None),
        # A folder around the data set.
        (["x/train/a/1.png", "x/train/b/1.png", "x/val/a/1.png"], "x/train", "x/val"),
        (["x/y/a/1.png", "x/y/b/1.png", "__MACOSX/x/1.png"], "x/y", None),
        (["train/train/a/1.png", "train/train/b/1.png"], "train/train", None),
        (["all/1.png"], ".", None),
    ],
)
def test_what_is_no_split_is_not_taken_for_one(tree, files, train, val):
    folder = tree(*files)
    splits = split_folders(folder)
    assert splits.train == folder / train
    assert splits.val == (val and folder / val)


@pytest.mark.parametrize("train", ["trian/", None])
def test_validation_without_training_images_is_refused(tree, train):
    """Else splits would be classes."""
    files = [f"val/{file}" for file in CLASSES] + [f"{train}{file}" for file in CLASSES if train]
    folder = tree(*files)
    message = f"KEY is '{folder}'; {folder} holds val/ with folders of images and no train/"
    with pytest.raises(ConfigError, match=re.escape(message)):
        find_splits(str(folder), "KEY")


def test_every_fifth_image_is_held_out():
    kept, held_out = held_out_fifth(32)
    assert len(held_out) == 7
    assert sorted([*kept, *held_out]) == list(range(32))


def test_the_fingerprint_sees_names_sizes_and_their_number():
    base = fingerprint(["a/1", "b/2"], [3, 4])
    assert fingerprint(["a/1", "b/2"], [3, 4]) == base
    assert fingerprint(["a/1", "b/3"], [3, 4])["names"] != base["names"]
    assert fingerprint(["a/1b", "/2"], [3, 4])["names"] != base["names"]
    assert fingerprint(["a/1", "b/2"], [34, 4])["sizes"] != base["sizes"]
    assert fingerprint([os.fsdecode(b"\xff")], [1])["number"] == 1
