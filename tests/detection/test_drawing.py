"""Where drawings go, and whose names of classes they bear."""

from __future__ import annotations

import json

import pytest

from mscn_plugin.detection.drawing import class_names, drawings
from mscn_plugin.errors import ConfigError


def test_pictures_of_one_name_are_kept_apart(tmp_path):
    names = ("in/a/x.jpg", "in/a/x.png", "in/b/x.jpg", "in/.hidden/y.jpg", "other/x.jpg", "x.jpg")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    images = [tmp_path / name for name in ("in", "other/x.jpg", "x.jpg", "in/b/x.jpg")]
    targets = drawings(images, tmp_path / "out")
    assert {
        str(file.relative_to(tmp_path)): str(target.relative_to(tmp_path / "out"))
        for file, target in targets.items()
    } == {
        "in/a/x.jpg": "a/x.jpg.png",
        "in/a/x.png": "a/x.png.png",
        "in/b/x.jpg": "b/x.png",
        "other/x.jpg": "x.jpg.png",
        "x.jpg": "x.jpg_2.png",
    }
    (tmp_path / "x.png").touch()
    with pytest.raises(ConfigError, match=r"x.png is a picture to draw on"):
        drawings([tmp_path / "x.png"], tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="empty has no pictures"):
        drawings([tmp_path / "empty"], tmp_path / "out")


@pytest.mark.parametrize(
    ("names", "message"),
    [(["a"], "has 1 names of classes, but the detector has 2"), (None, "has no names of classes")],
)
def test_names_of_another_detector(detectron2, tmp_path, names, message):
    from detectron2.config import get_cfg

    if names:
        (tmp_path / "classes.json").write_text(json.dumps(names))
    cfg = get_cfg()
    cfg.DATASETS.TEST = ("unknown",)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 2
    with pytest.raises(ConfigError, match=message):
        class_names(tmp_path, cfg)
