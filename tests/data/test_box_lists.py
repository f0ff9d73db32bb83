"""Lists of boxes: where they lie, what their lines say, and of which images."""

from __future__ import annotations

from pathlib import Path

import pytest

from mscn_plugin import ConfigError
from mscn_plugin.data.box_lists import FILES, Images, boxes_of_images, find_boxes, read_boxes
from mscn_plugin.data.image_folder import Splits

PATHS = ["/d/val/a/1.png", "/d/val/b/1.png", "/d/val/b/2.png"]


@pytest.fixture
def write(tmp_path):
    def write_list(text, name="boxes.csv"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write_list


@pytest.mark.parametrize(
    "text",
    [
        "image,x0,y0,x1,y1\nval/a/1.png,0,2,30.5,40\n./b/2.png,1,1,1,9\n",
        "val/a/1.png\t0\t2\t30.5\t40\n\nb/2.png\t1\t1\t1\t9",
        '\ufeff"val/a/1.png", 0, 2, 30.5, 40\r\nb/2.png,1,1,1,9\r\n',
        "val/a/1.png\tn01\t0\t2\t30.5\t40\nb/2.png\tn02\t1\t1\t1\t9\n",  # Tiny ImageNet's
    ],
)
def test_a_list_is_of_commas_or_tabs(write, text):
    boxes = read_boxes(write(text))
    assert [box.name for box in boxes] == ["val/a/1.png", "b/2.png"]
    assert [box.corners for box in boxes] == [(0, 2, 30.5, 40), (1, 1, 1, 9)]


@pytest.mark.parametrize(
    "line",
    [
        *("a.png,0,0,9", "a.png,9,0,8,9", "a.png,0,9,9,8", "a.png,0,0,nan,9", "a.png,0,0,inf,9"),
        *("a.png,0,0,nine,9", ",0,0,9,9", "a.png,n,1,0,0,9,9", "image,x,y,w,h", "a.png;0;0;9;9"),
    ],
)
def test_a_wrong_line_is_named(write, line):
    with pytest.raises(ConfigError, match=r"boxes.csv, line 2, is .*; it must be image, x0") as one:
        read_boxes(write(f"1.png,0,0,9,9\n{line}\n"))
    assert "\n" not in str(one.value)


def test_what_is_no_list_is_said(write, tmp_path):
    for file in (tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigError, match="the list of boxes .* cannot be read"):
            read_boxes(file)
    file = tmp_path / "x.csv"
    file.write_bytes(b"\xff\xfe,1,2,3,4\n")
    with pytest.raises(ConfigError, match=r"x\.csv, line 1, names '\\\\xff"):
        boxes_of_images(file, read_boxes(file), Images(PATHS), [])
    # A header of other columns, such as width and height, is not taken for one of corners.
    with pytest.raises(ConfigError, match="line 1, is 'image,x,y,w,h'"):
        read_boxes(write("image,x,y,w,h\n1.png,0,0,9,9\n"))


def test_images_are_named_by_the_end_of_their_paths(write):
    boxes = read_boxes(
        write("/d/val/a/1.png,0,0,1,1\nb/1.png,0,0,2,2\n2.png,0,0,3,3\n0.png,0,0,4,4")
    )
    found = boxes_of_images(Path("x"), boxes, Images(PATHS), ["/d/train/a/0.png"])
    assert {place: box.corners[2] for place, box in found.items()} == {0: 1, 1: 2, 2: 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2.png,0,0,1,1\nl/b/2.png,0,0,1,1", "line 2, names 'l/b/2.png', and no image of the data"),
        ("2.png,0,0,1,1\n3.png,0,0,1,1", "line 2, names '3.png', and no image of the data has"),
        ("1.png,0,0,1,1", "line 1, names '1.png', and /d/val/a/1.png and /d/val/b/1.png both end"),
        ("2.png,0,0,1,1\nb/2.png,0,0,1,1", "line 2, names 'b/2.png', which has a box in line 1"),
    ],
)
def test_names_of_no_image_of_several_and_twice_are_said(write, text, message):
    file = write(text)
    with pytest.raises(ConfigError, match=message):
        boxes_of_images(file, read_boxes(file), Images(PATHS), [])


def test_the_list_lies_in_the_validation_folder_or_beside_it(tmp_path):
    train, val = tmp_path / "data" / "train", tmp_path / "data" / "val" / "images"
    for folder in (train, val):
        folder.mkdir(parents=True)
    splits = Splits(tmp_path / "data", train, val, ())
    for other in (tmp_path / FILES[0], train / FILES[0]):  # beside the data, and of training
        other.touch()
    assert find_boxes(splits) is None
    (tmp_path / "data" / "val_boxes.tsv").touch()
    assert find_boxes(splits) == tmp_path / "data" / "val_boxes.tsv"
    (val.parent / "val_annotations.txt").touch()
    assert find_boxes(splits) == val.parent / "val_annotations.txt"
    assert find_boxes(Splits(train, train, None, ())) == train / FILES[0]
