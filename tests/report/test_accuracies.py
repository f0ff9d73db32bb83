"""Accuracies stand beside what they are to beat, and the images that they were measured on."""

from __future__ import annotations

import json

import pytest

from mscn_plugin.report.accuracies import about_accuracies, accuracy_rows, images_in_short
from mscn_plugin.report.history import History

IMAGES = {
    "train": {"number": 32, "path": "/x/train"},
    "val": {"number": 12, "path": "/data/x/valid"},
    "held_out": False,
}
HELD_OUT = {**IMAGES, "val": {"number": 7, "path": "/x"}, "held_out": True}
LISTED = {**HELD_OUT, "val": {"number": 7, "path": "/runs/a/held_out_images.npy"}}


def line(epoch, knn, images=IMAGES, **more):
    return {
        "train_phase_idx": epoch,
        "online_evaluation": {"knn": knn, "linear_probe": knn + 1},
        "images": images,
        "chance": 25.0,
        "color_histogram": {"knn": 30.0, "linear_probe": 31.0},
        **more,
    }


def history(*lines):
    return History([], list(lines), [])


def test_every_baseline_stands_beside_the_trunk():
    rows = dict(accuracy_rows(history(line(-1, 20.0), line(0, 30.0), line(1, 40.0))))
    assert rows == {
        "pre-trained trunk, 2 epochs": {"knn": 40.0, "linear_probe": 41.0},
        "trunk before training, same input": {"knn": 20.0, "linear_probe": 21.0},
        "color histogram": {"knn": 30.0, "linear_probe": 31.0},
        "chance": {"knn": 25.0, "linear_probe": 25.0},
    }


def test_accuracies_on_other_images_are_not_set_beside_it():
    rows = dict(accuracy_rows(history(line(-1, 20.0, HELD_OUT), line(1, 40.0))))
    assert "trunk before training, same input" not in rows


@pytest.mark.parametrize("other", [None, {"neighbors": 20, "temperature": 0.5}])
def test_accuracies_by_another_knn_are_not_set_beside_it(tmp_path, other):
    """A run that was resumed with other settings, or begun by an earlier version."""
    knn = {"neighbors": 20, "temperature": 0.07}
    before = {"knn_settings": other} if other else {}
    for first, there in ((before, False), ({"knn_settings": knn}, True)):
        lines = line(-1, 20.0, **first), line(1, 40.0, knn_settings=knn)
        (tmp_path / "metrics.json").write_text("".join(json.dumps(one) + "\n" for one in lines))
        rows = dict(accuracy_rows(History.of(tmp_path)))
        assert ("trunk before training, same input" in rows) == there
        assert {"pre-trained trunk, 2 epochs", "color histogram", "chance"} <= rows.keys()


@pytest.mark.parametrize(
    ("images", "parts"),
    [
        (IMAGES, ["12 images of /data/x/valid", "from 32 images of /x/train", "chance 25.0"]),
        (HELD_OUT, ["7 images of /x that were held out", "32 others", "color histogram: kNN 30"]),
    ],
)
def test_the_images_are_named(images, parts):
    about = about_accuracies(history(line(0, 30.0, images)))
    assert about.startswith("Measured on ")
    assert all(part in about for part in parts)


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ([line(0, 30.0)], "12 validation images of x/valid, classifiers of 32"),
        ([line(0, 30.0), line(1, 30.0, HELD_OUT)], "7 held-out images of /x, classifiers of 32"),
        ([line(0, 30.0, LISTED)], "7 held-out images, classifiers of 32"),
        ([], "not known"),
    ],
)
def test_the_images_in_short(lines, text):
    assert images_in_short(lines) == text


def test_they_are_read_from_a_runs_folder(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps(line(0, 30.0)))
    assert "12 images of /data/x/valid" in about_accuracies(History.of(tmp_path))


def test_runs_without_them_say_so():
    assert about_accuracies(history()).startswith("The run has no online evaluation")
    old = {"train_phase_idx": 0, "online_evaluation": {"knn": 1.0, "linear_probe": 2.0}}
    assert "earlier version" in about_accuracies(history(old))
    assert list(dict(accuracy_rows(history(old)))) == ["pre-trained trunk, 1 epochs"]
