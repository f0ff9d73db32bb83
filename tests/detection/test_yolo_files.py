"""YOLO's labels, and the splits that the files beside them state."""

from __future__ import annotations

import pytest
from detection_fixtures import picture

from mscn_plugin.detection.custom_data import DetectionData
from mscn_plugin.errors import ConfigError

BOX = "0 0.5 0.5 0.5 0.5\n"


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def pair(image, labels=None, text=BOX):
    """A picture and its file of labels, beside it or elsewhere."""
    image.parent.mkdir(parents=True, exist_ok=True)
    picture(len(str(image)) + ord(image.stem[-1])).save(image)
    write(labels or image.with_suffix(".txt"), text)


def images_and_labels(root, names, text=BOX):
    for name in names:
        pair(root / "images" / f"{name}.jpg", root / "labels" / f"{name}.txt", text)


def named(data):
    """Names of the pictures, by split."""
    return {
        split: [str(p.file.relative_to(data.folder)) for p in pictures]
        for split, pictures in data.splits.items()
    }


def noted(data, text):
    return [line for line in data.notes if text in line]


def cvat(root, splits):
    """CVAT's "YOLO 1.1", whose lists begin with a folder that is not there."""
    statement = ["classes = 1", "names = data/obj.names", "backup = backup/"]
    for split, names in splits.items():
        folder = f"obj_{split}_data"
        for name in names:
            pair(root / folder / f"{name}.png")
        write(root / f"{split}.txt", "".join(f"data/{folder}/{name}.png\n" for name in names))
        statement.append(f"{split} = data/{split}.txt")
    write(root / "obj.names", "cat\n")
    write(root / "obj.data", "\n".join(statement))


def test_cvat_says_the_split_by_folders_and_lists(tmp_path):
    cvat(tmp_path, {"train": "abcdef", "valid": "ab"})
    data = DetectionData.read(tmp_path)
    assert named(data)["val"] == ["obj_valid_data/a.png", "obj_valid_data/b.png"]
    assert len(data.splits["train"]) == 6
    assert not noted(data, "every fifth")
    (tmp_path / "obj.data").unlink()
    assert named(DetectionData.read(tmp_path)) == named(data)


def test_lists_go_before_names_of_folders(tmp_path):
    """As Darknet is used: all pictures in one folder, ``test.txt`` for validation."""
    cvat(tmp_path, {"train": "abcdef"})
    write(tmp_path / "train.txt", "".join(f"/home/me/obj_train_data/{n}.png\n" for n in "abcd"))
    write(tmp_path / "test.txt", "obj_train_data\\e.png\nobj_train_data\\f.png\n")
    write(tmp_path / "obj.data", "train=train.txt\nvalid=test.txt\nnames=obj.names\n")
    data = DetectionData.read(tmp_path)
    assert named(data)["val"] == ["obj_train_data/e.png", "obj_train_data/f.png"]
    assert len(data.splits["train"]) == 4


def test_a_complete_yaml_goes_before_an_obj_data(tmp_path):
    images_and_labels(tmp_path, "abcdef")
    write(tmp_path / "data.yaml", "names: [cat]\n")
    write(tmp_path / "obj.data", "train=old.txt\n")
    write(tmp_path / "old.txt", "images/a.jpg\nimages/b.jpg\n")
    assert sum(map(len, DetectionData.read(tmp_path).splits.values())) == 6


def test_lists_that_ultralytics_names(tmp_path):
    images_and_labels(tmp_path / "set", "abcdefghi")
    for split, names in {"train": "abcd", "val": "ef", "held": "gh"}.items():
        write(tmp_path / "set" / f"{split}.txt", "".join(f"./images/{n}.jpg\n" for n in names))
    yaml = "path: ../set\ntrain: [train.txt]\nval: val.txt\ntest: held.txt\nnames: {0: cat}\n"
    write(tmp_path / "set" / "data.yaml", yaml)
    data = DetectionData.read(tmp_path)
    assert named(data) == {
        "train": [f"set/images/{name}.jpg" for name in "abcd"],
        "val": ["set/images/e.jpg", "set/images/f.jpg"],
    }
    assert "- test: 2 pictures are left out" in data.notes
    assert noted(data, "1 x picture of no split: left out: set/images/i.jpg")
    (tmp_path / "set" / "val.txt").unlink()
    write(tmp_path / "set" / "data.yaml", yaml.replace("val: val.txt\n", ""))
    data = DetectionData.read(tmp_path)
    assert named(data)["val"] == ["set/images/g.jpg", "set/images/h.jpg"]
    assert noted(data, "test's are used")


def test_a_picture_that_is_gone_is_not_replaced_by_one_of_its_name(tmp_path):
    for split, names in (("train", "bcd"), ("val", "aefg")):
        images_and_labels(tmp_path, [f"{split}/{name}" for name in names])
    write(tmp_path / "classes.txt", "cat\n")
    for split, names in (("train", "abcd"), ("val", "efg")):
        lines = [f"./images/{split}/{name}.jpg" for name in names]
        write(tmp_path / f"{split}.txt", "\n".join(lines))
    data = DetectionData.read(tmp_path)
    assert named(data)["train"] == [f"images/train/{name}.jpg" for name in "bcd"]
    assert noted(data, "1 x line of a list names no picture that is there: left out: train.txt")


def test_lists_that_no_file_names(tmp_path):
    images_and_labels(tmp_path, ["train_1", "train_2", *"abcd"])
    write(tmp_path / "classes.txt", "cat\n")
    write(tmp_path / "train2017.txt", "images/train_1.jpg\nimages/c.jpg\nimages/d.jpg\n")
    write(tmp_path / "val2017.txt", "images/train_2.jpg\na.jpg\na.jpg\nmissing.jpg\nc.txt\n")
    data = DetectionData.read(tmp_path)
    assert named(data)["train"] == ["images/c.jpg", "images/d.jpg", "images/train_1.jpg"]
    assert named(data)["val"] == ["images/a.jpg", "images/train_2.jpg"]
    assert noted(data, "2 x line of a list names no picture that is there: left out: val2017.txt")
    assert noted(data, "1 x picture is twice in a list")
    assert noted(data, "1 x picture of no split: left out: images/b.jpg")


@pytest.mark.parametrize("names_in", ["data.yaml", "classes.txt"])
def test_folders_of_any_name_that_ultralytics_names(tmp_path, names_in):
    for folder, names in {"day": "abcd", "train": "ef", "night": "gh"}.items():
        images_and_labels(tmp_path, [f"{folder}/{name}" for name in names])
    write(tmp_path / "classes.txt", "cat\n")
    yaml = "train: [../images/day, images/train]\nval: /content/images/night\n"
    write(tmp_path / "data.yaml", yaml + ("names: [cat]\n" if names_in == "data.yaml" else ""))
    data = DetectionData.read(tmp_path)
    assert named(data)["val"] == ["images/night/g.jpg", "images/night/h.jpg"]
    assert len(data.splits["train"]) == 6


def test_what_is_stated_and_not_there_is_passed_over(tmp_path):
    """As in Roboflow's exports without a test split, where only ``images`` would be right."""
    for folder, names in {"train": "abcd", "valid": "ef"}.items():
        images_and_labels(tmp_path / folder, names)
    yaml = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnames: [cat]\n"
    write(tmp_path / "data.yaml", yaml)
    data = DetectionData.read(tmp_path)
    assert [len(pictures) for pictures in data.splits.values()] == [4, 2]
    assert noted(data, "1 x list or folder of a split is not there: ignored: data.yaml: test")


def test_one_folder_for_train_and_val_is_split(tmp_path):
    """Ultralytics' coco128.yaml."""
    images_and_labels(tmp_path, [f"train2017/{index}" for index in range(10)])
    write(tmp_path / "a.yaml", "train: images/train2017\nval: images/train2017\nnames: [cat]\n")
    data = DetectionData.read(tmp_path)
    assert [len(pictures) for pictures in data.splits.values()] == [8, 2]
    assert "- val is stated to be the pictures of train: ignored" in data.notes


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": "abcd", "val": "de"}, "1 x picture is in train and in val.*images/d.jpg"),
        ({"train": "abcd", "val": "xyz"}, r"split has fewer than 2 pictures.*val \(0\)"),
    ],
)
def test_lists_that_cannot_be_followed(tmp_path, lists, message):
    images_and_labels(tmp_path, "abcdefg")
    write(tmp_path / "classes.txt", "cat\n")
    for split, names in lists.items():
        write(tmp_path / f"{split}.txt", "".join(f"images/{name}.jpg\n" for name in names))
    with pytest.raises(ConfigError, match=message):
        DetectionData.read(tmp_path)


def test_a_line_of_two_pictures_is_refused(tmp_path):
    for folder in "pq":
        images_and_labels(tmp_path / folder, "abc")
    write(tmp_path / "data.yaml", "train: all.txt\nnames: [cat]\n")
    write(tmp_path / "all.txt", "images/a.jpg\np/images/b.jpg\nq/images/c.jpg\n")
    with pytest.raises(ConfigError, match=r"1 x line of a list means several.*'images/a.jpg'"):
        DetectionData.read(tmp_path)


def test_a_split_is_a_path(tmp_path):
    images_and_labels(tmp_path, "abcd")
    write(tmp_path / "data.yaml", "train: {images: 4}\nnames: [cat]\n")
    with pytest.raises(ConfigError, match=r"split must be a path.*data.yaml: train is {'images"):
        DetectionData.read(tmp_path)


def pose(root, shape, text):
    for split, names in {"train": "abcd", "val": "ef"}.items():
        images_and_labels(root, [f"{split}/{name}" for name in names], text)
    write(root / "data.yaml", f"kpt_shape: {shape}\nnames: [person]\n")


@pytest.mark.parametrize(
    ("shape", "points"),
    [("[2, 2]", "0.1 0.2 0.9 0.8"), ("[3, 3]", "0.1 0.2 2 0.9 0.8 1 0 0 0"), ("[5, 2]", "")],
)
def test_keypoints_are_no_polygon(tmp_path, shape, points):
    pose(tmp_path, shape, f"0 0.5 0.5 0.25 0.5 {points}\n")
    data = DetectionData.read(tmp_path)
    assert data.splits["train"][0].objects[0].box == (60, 32, 100, 96)
    assert not data.has_masks
    assert noted(data, "1 x labels with keypoints (kpt_shape): their boxes alone are taken")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("[4, 2]", "it has 8 numbers after the class; kpt_shape states 12"),
        ("[17]", r"kpt_shape must be two whole numbers above 0.*data.yaml \(\[17\]\)"),
    ],
)
def test_keypoints_of_another_number_are_refused(tmp_path, shape, message):
    pose(tmp_path, shape, "0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5\n")
    with pytest.raises(ConfigError, match=message):
        DetectionData.read(tmp_path)


def test_readmes_below_a_folder_named_labels_are_no_labels(tmp_path):
    root = tmp_path / "my_labels" / "data"
    images_and_labels(root / "train", "abcd")
    write(root / "data.yaml", "names: [cat]\n")
    write(root / "README.roboflow.txt", "hello")
    assert len(DetectionData.read(root).splits["train"]) == 2
    write(root / "train" / "labels" / "other.txt", BOX)
    with pytest.raises(ConfigError, match="needs one picture of its name.*train/labels/other.txt"):
        DetectionData.read(root)


def test_pictures_may_be_called_like_the_files_beside_the_labels(tmp_path):
    names = ["train", "val", "valid", "test", "readme", "classes", "other"]
    images_and_labels(tmp_path, names)
    lines = {"classes": "cat", "readme": "Of two cats.", "test": "The last two."}
    for name, line in lines.items():
        write(tmp_path / f"{name}.txt", f"{line}\n")
        write(tmp_path / "images" / f"{name}.txt", f"{line}\n")
    data = DetectionData.read(tmp_path)
    found = [picture for pictures in data.splits.values() for picture in pictures]
    assert sorted(picture.file.stem for picture in found) == sorted(names)
    assert [[item.name for item in picture.objects] for picture in found] == [["cat"]] * 7
    assert not noted(data, "background")


def test_the_list_of_classes_is_not_the_labels_of_a_picture(tmp_path):
    for name in ("classes", *"abc"):
        pair(tmp_path / "a" / f"{name}.jpg")
    write(tmp_path / "b" / "classes.txt", "cat\n")
    assert DetectionData.read(tmp_path).classes == ["cat"]


@pytest.mark.parametrize("folders", [("",), ("train", "val")])
def test_label_studio_writes_a_json_beside_its_labels(tmp_path, folders):
    for folder in folders:
        images_and_labels(tmp_path / folder, "abcd")
        write(tmp_path / folder / "classes.txt", "cat\n")
        write(tmp_path / folder / "notes.json", '{"categories": [{"id": 0, "name": "cat"}]}')
    data = DetectionData.read(tmp_path)
    assert data.classes == ["cat"]
    assert all(len(picture.objects) == 1 for picture in data.splits["train"])
    (line,) = noted(data, "JSON beside labels of YOLO")
    assert "notes.json" in line
    # One of COCO goes before the labels, as ever; what is wrong with it is said.
    write(tmp_path / folders[0] / "notes.json", '{"images": [], "annotations": []}')
    with pytest.raises(ConfigError, match="is not an annotation file of COCO.*'categories'"):
        DetectionData.read(tmp_path)


@pytest.mark.parametrize("names", ["", "names:\n"])
def test_names_that_are_missing_are_said(tmp_path, names):
    images_and_labels(tmp_path, "abcd")
    write(tmp_path / "data.yaml", f"train: images\nnc: 1\n{names}")
    with pytest.raises(ConfigError, match=r"data.yaml has no names of the classes; it must"):
        DetectionData.read(tmp_path)


def test_sequences_have_pictures_of_equal_names(tmp_path):
    for split in ("train", "val"):
        for sequence, class_ in (("a", 0), ("b", 1)):
            folder = f"{split}/{sequence}"
            text = BOX.replace("0", str(class_), 1)
            images_and_labels(tmp_path, [f"{folder}/{index:03}" for index in range(2)], text)
    write(tmp_path / "data.yaml", "names: [cat, dog]\n")
    data = DetectionData.read(tmp_path)
    assert [(found.file.parent.name, found.objects[0].name) for found in data.splits["train"]] == [
        ("a", "cat"),
        ("a", "cat"),
        ("b", "dog"),
        ("b", "dog"),
    ]
