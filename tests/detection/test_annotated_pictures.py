"""Headers of pictures, compared with their annotations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscn_plugin.detection.annotated_pictures import (
    Annotation,
    Picture,
    check_files,
    number,
    read_header,
)
from mscn_plugin.detection.findings import Findings
from mscn_plugin.errors import ConfigError


def check(file, size, box=(0, 0, 1, 1)):
    findings = Findings()
    picture = Picture(file, "a.xml", size, [Annotation("cat", box, "a.xml, object 1")])
    check_files([picture], findings)
    return picture, findings


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_detectron2(detectron2, tmp_path, orientation):
    from detectron2.data.detection_utils import read_image

    exif = Image.Exif()
    exif[0x0112] = orientation
    for suffix in ("jpg", "png"):
        file = tmp_path / f"a.{suffix}"
        Image.new("RGB", (40, 30)).save(file, exif=exif)
        height, width = read_image(str(file), "RGB").shape[:2]
        assert read_header(file).size == (width, height)
        assert not check(file, (width, height))[1].refused
        refused = check(file, (40, 30))[1].refused
        assert bool(refused) == (orientation > 4)
        assert all("turned by its EXIF" in kind for kind in refused)
    Image.new("RGB", (40, 30)).save(tmp_path / "a.tif", exif=exif)
    refused = check(tmp_path / "a.tif", None)[1].refused
    assert bool(refused) == (orientation > 1)


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "gif", "webp", "tif"])
def test_truncated_files(tmp_path, suffix):
    pixels = np.random.RandomState(0).randint(0, 256, (60, 80, 3)).astype(np.uint8)
    file = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(file)
    assert not check(file, (80, 60))[1].refused
    content = file.read_bytes()
    for kept in (len(content) // 2, len(content) - 40, 30, 0):
        file.write_bytes(content[:kept])
        assert any("cannot be read" in kind for kind in check(file, (80, 60))[1].refused), kept


def test_a_jpeg_with_damaged_tables(tmp_path):
    file = tmp_path / "a.jpg"
    Image.new("RGB", (40, 30)).save(file)
    content = file.read_bytes()
    file.write_bytes(content[:180] + content[210:])
    assert any("cannot be read" in kind for kind in check(file, (40, 30))[1].refused)


def test_a_jpeg_with_more_behind_its_end_is_whole(tmp_path):
    file = tmp_path / "a.jpg"
    Image.new("RGB", (40, 30)).save(file)
    file.write_bytes(file.read_bytes() + b"a phone's own data")
    assert not check(file, (40, 30))[1].refused


@pytest.mark.parametrize("size", [None, (0, 0), (0, 30)])
def test_a_size_that_is_not_said_is_the_files(tmp_path, size):
    file = tmp_path / "a.jpg"
    Image.new("RGB", (40, 30)).save(file)
    picture, findings = check(file, size)
    assert picture.size == (40, 30)
    assert findings.notes() == [
        "- 1 x annotation without width and height: the file's are taken: a.xml"
    ]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 40, 30), (0, 0, 40, 30)),
        ((-1, -1, 0.5, 30.25), (0, 0, 0.5, 30)),
        ((5, 5, 5, 9), None),
        ((40, 0, 41, 9), "refused"),
        ((-5, 0, 0, 9), "refused"),
    ],
)
def test_boxes_are_fitted(tmp_path, box, expected):
    file = tmp_path / "a.jpg"
    Image.new("RGB", (40, 30)).save(file)
    picture, findings = check(file, (40, 30), box)
    boxes = [item.box for item in picture.objects]
    assert boxes == ([expected] if isinstance(expected, tuple) else [])
    assert bool(findings.refused) == (expected == "refused")


@pytest.mark.parametrize("value", [True, None, [], "a", "", "nan", float("inf")])
def test_what_is_no_number(value):
    with pytest.raises(ValueError):  # noqa: PT011
        number(value)


def test_a_list_of_findings_is_bounded():
    findings = Findings()
    for index in range(1000):
        findings.note("defect", f"file {index}")
        findings.refuse("fault", f"file {index}")
    assert findings.notes() == ["- 1000 x defect: file 0, file 1, file 2 and 997 more"]
    with pytest.raises(ConfigError, match="file 98, file 99 and 900 more"):
        findings.raise_refusals(Path("data"))
