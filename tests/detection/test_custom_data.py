"""Detection data of the user's own: layouts, defects, and the evaluators that judge them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from detection_fixtures import boxes_of, write_coco, write_voc
from PIL import Image

from mscn_plugin.detection import custom_data
from mscn_plugin.detection.custom_data import DetectionData
from mscn_plugin.errors import ConfigError

SIZE = (40, 30)


def picture(file, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(len(file.name) + ord(file.stem[-1])).randint(0, 256, (30, 40, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(file, **options)


def xml(file, *objects, size=SIZE, filename=None, flags="", head=""):
    """An XML file of VOC with objects ``(name, xmin, ymin, xmax, ymax)``."""
    file.parent.mkdir(parents=True, exist_ok=True)
    parts = [f"<filename>{filename}</filename>"] if filename else []
    parts += [f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"] if size else []
    for name, *corners in objects:
        sides = zip(("xmin", "ymin", "xmax", "ymax"), corners)
        box = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
        parts.append(f"<object><name>{name}</name>{flags}<bndbox>{box}</bndbox></object>")
    file.write_text(f"{head}<annotation>{''.join(parts)}</annotation>")


CAT, DOG = ("cat", 2, 3, 12, 13), ("dog", 5, 5, 20, 25)


def pairs(folder, names, suffix=".jpg", annotations=None):
    """Pictures with a cat and a dog, their XML beside them or in another folder."""
    for name in names:
        picture(folder / f"{name}{suffix}")
        xml((annotations or folder) / f"{name}.xml", CAT, DOG)


def coco_file(file, names, start=1, categories=((1, "cat"), (2, "dog")), **image):
    """A JSON file of COCO with one object of each class in each picture."""
    file.parent.mkdir(parents=True, exist_ok=True)
    images, objects = [], []
    for index, name in enumerate(names, start):
        entry = {"id": index, "file_name": name, "width": SIZE[0], "height": SIZE[1], **image}
        images.append(entry)
        for place, (identity, _) in enumerate(categories):
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": index,
                    "category_id": identity,
                    "bbox": [2 + 10 * place, 3, 8, 9],
                    "area": 72,
                    "iscrowd": 0,
                }
            )
    content = {
        "images": images,
        "annotations": objects,
        "categories": [{"id": identity, "name": name} for identity, name in categories],
    }
    file.write_text(json.dumps(content))


def coco_split(folder, split, names, **more):
    for name in names:
        picture(folder / split / name)
    coco_file(folder / split / "_annotations.coco.json", names, **more)


def change(file, function):
    content = json.loads(file.read_text())
    function(content)
    file.write_text(json.dumps(content))


@pytest.fixture
def voc(detectron2, tmp_path):
    write_voc(tmp_path / "voc", {"train": 0, "val": 10})
    return tmp_path / "voc"


@pytest.fixture
def coco(tmp_path):
    return write_coco(tmp_path / "coco")


def files(data, split):
    return [str(picture.file.relative_to(data.folder)) for picture in data.splits[split]]


def test_voc_layout(voc):
    data = DetectionData.read(voc)
    assert data.layout == "voc"
    assert len(data.classes) == data.num_evaluated == 20
    assert data.classes == sorted(data.classes)
    assert files(data, "val") == [f"JPEGImages/{index:06d}.jpg" for index in range(10, 20)]
    assert not data.has_masks
    assert data.notes == ["- annotations of VOC; train: 10 pictures, val: 10"]


@pytest.mark.parametrize("names", [("trainval", "test"), ("Train", "valid")])
def test_other_names_of_lists(voc, names):
    lists = voc / "ImageSets" / "Main"
    for old, new in zip(("train", "val"), names):
        (lists / f"{old}.txt").rename(lists / f"{new}.txt")
    data = DetectionData.read(voc)
    assert [len(pictures) for pictures in data.splits.values()] == [10, 10]


def test_lists_with_extensions_bom_and_repeated_lines(tmp_path):
    pairs(tmp_path / "JPEGImages", "abcd", annotations=tmp_path / "Annotations")
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_bytes(b"\xef\xbb\xbfa.jpg\r\nb.jpg\r\nb.jpg\r\n")
    (lists / "val.txt").write_text("c\nd\n")
    (lists / "trainval.txt").write_text("a\nb\nc\nd\n")
    data = DetectionData.read(tmp_path)
    assert files(data, "train") == ["JPEGImages/a.jpg", "JPEGImages/b.jpg"]
    assert any("twice in a list" in line for line in data.notes)


def test_corners_at_half_pixels_are_rounded_up(tmp_path):
    pairs(tmp_path / "train", "ab")
    pairs(tmp_path / "val", "ab")
    xml(tmp_path / "train" / "a.xml", ("cat", 2.5, 3.5, 12.5, 13.49))
    data = DetectionData.read(tmp_path)
    assert data.splits["train"][0].objects[0].box == (2, 3, 13, 13)
    assert any("1 x corners of VOC that are not whole pixels" in line for line in data.notes)


def test_of_two_kinds_of_annotations_one_is_taken(tmp_path):
    roboflow_coco(tmp_path)
    xml(tmp_path / "annotations.xml")
    data = DetectionData.read(tmp_path)
    assert data.layout == "coco"
    assert "- annotations in XML and in JSON: those in XML are left out" in data.notes


def raccoons(root):
    """``annotations/*.xml`` beside ``images/``, without lists."""
    pairs(root / "images", "abcdefghij", ".png", root / "annotations")


def labelimg(root):
    pairs(root, "abcdefghij", ".JPG")


def roboflow_voc(root):
    pairs(root / "train", "abcdefgh", ".jpeg")
    pairs(root / "valid", "ab", ".jpeg")
    pairs(root / "test", "xy", ".jpeg")


def classification(root):
    """Folders of splits by the names that classification takes."""
    pairs(root / "train_images", "abcdefgh")
    pairs(root / "ValSet", "ab")


def split_folders_below(root):
    pairs(root / "images" / "train", "abcdefgh", annotations=root / "annotations" / "train")
    pairs(root / "images" / "val", "ab", annotations=root / "annotations" / "val")


def roboflow_coco(root):
    coco_split(root, "train", [f"{letter}.jpg" for letter in "abcdefgh"])
    # Roboflow's placeholder, and ids of its own in each split.
    coco_split(root, "valid", ["a.jpg", "b.jpg"], categories=((5, "dog"), (7, "cat")))
    change(
        root / "valid" / "_annotations.coco.json",
        lambda c: c["categories"].insert(0, {"id": 0, "name": "pets"}),
    )


def cvat(root):
    """One file of annotations for all pictures, in sub-folders."""
    names = [f"day{index % 2}/{letter}.jpg" for index, letter in enumerate("abcdefghij")]
    for name in names:
        picture(root / "images" / name)
    coco_file(root / "annotations" / "instances_default.json", names)


def split_folders_of_one_file(root):
    names = [*(f"train/{letter}.jpg" for letter in "abcdefgh"), "val/a.jpg", "val/b.jpg"]
    for name in names:
        picture(root / name)
    coco_file(root / "annotations.json", names)


def yolo(root):
    for split, letters in (("train", "abcdefgh"), ("valid", "ab")):
        for letter in letters:
            picture(root / split / "images" / f"{letter}.jpg")
            labels = root / split / "labels" / f"{letter}.txt"
            labels.parent.mkdir(exist_ok=True)
            labels.write_text("0 0.2 0.25 0.2 0.3\n1 0.1 0.1 0.5 0.1 0.5 0.6\n")
    (root / "data.yaml").write_text("names: [cat, dog]\nnc: 2\n")


@pytest.mark.parametrize(
    ("write", "layout", "val"),
    [
        (raccoons, "voc", None),
        (labelimg, "voc", None),
        (roboflow_voc, "voc", ["valid/a.jpeg", "valid/b.jpeg"]),
        (classification, "voc", ["ValSet/a.jpg", "ValSet/b.jpg"]),
        (split_folders_below, "voc", ["images/val/a.jpg", "images/val/b.jpg"]),
        (roboflow_coco, "coco", ["valid/a.jpg", "valid/b.jpg"]),
        (cvat, "coco", None),
        (split_folders_of_one_file, "coco", ["val/a.jpg", "val/b.jpg"]),
        (yolo, "coco", ["valid/images/a.jpg", "valid/images/b.jpg"]),
    ],
)
def test_layouts_as_published(tmp_path, write, layout, val):
    root = tmp_path / "inner" / "set"  # as a ZIP file unpacks
    write(root)
    data = DetectionData.read(tmp_path)
    assert (data.layout, data.classes) == (layout, ["cat", "dog"])
    assert (len(data.splits["train"]), len(data.splits["val"])) == (8, 2)
    assert any("annotations of" in line and "train: 8 pictures" in line for line in data.notes)
    assert any("every fifth" in line for line in data.notes) == (val is None)
    if val:
        assert files(data, "val") == [f"inner/set/{name}" for name in val]
    else:
        assert not set(files(data, "train")) & set(files(data, "val"))
        assert files(DetectionData.read(tmp_path), "val") == files(data, "val")
    first = data.splits["train"][0].objects
    assert [item.name for item in first] == ["cat", "dog"]


def test_a_split_of_its_own_file_gets_no_pictures_of_another_one(tmp_path):
    coco_split(tmp_path, "train", ["a.jpg", "b.jpg"])
    names = ["train/c.jpg", "val/m.jpg", "val/n.jpg"]
    for name in names:
        picture(tmp_path / name)
    coco_file(tmp_path / "instances_all.json", names)
    data = DetectionData.read(tmp_path)
    assert (files(data, "train"), files(data, "val")) == (["train/a.jpg", "train/b.jpg"], names[1:])
    assert "- 1 x picture of no split: left out: train/c.jpg" in data.notes


def test_boxes_of_yolo(tmp_path):
    yolo(tmp_path)
    cat, dog = DetectionData.read(tmp_path).splits["train"][0].objects
    assert cat.box == pytest.approx((4, 3, 12, 12))
    assert dog.box == pytest.approx((4, 3, 20, 18))
    assert dog.segmentation == [pytest.approx([4, 3, 20, 3, 20, 18])]


@pytest.mark.parametrize(
    ("annotations", "images"),
    [
        ("annotations/{}.json", "{}"),
        ("annotations/instances_{}2017.json", "{}2017"),
        ("annotations/instances_{}.json", "images/{}"),
        ("annotations/{}.json", "images"),
        ("{}.json", "{}"),
    ],
)
def test_cocos_own_names(tmp_path, annotations, images):
    folder = write_coco(tmp_path, annotations, images)
    data = DetectionData.read(folder)
    assert (data.layout, data.classes, data.has_masks) == ("coco", ["fish", "fowl"], True)
    names = [f"{images.format('val')}/{index:012d}.jpg" for index in range(4, 8)]
    assert files(data, "val") == names
    assert data.dataset_names == {"train": "custom_coco_train", "val": "custom_coco_val"}


def test_masks_of_a_part_of_the_objects_are_said(coco):
    change(coco / "annotations" / "val.json", lambda c: c["annotations"][0].pop("segmentation"))
    data = DetectionData.read(coco)
    assert not data.has_masks
    assert "- 15 of 16 objects have a mask: only boxes are trained" in "\n".join(data.notes)


def test_run_lengths(coco):
    pytest.importorskip("pycocotools")
    mask = {"size": [128, 160], "counts": [100, 400, 128 * 160 - 500]}
    in_val = coco / "annotations" / "val.json"
    change(in_val, lambda c: c["annotations"][0].update(segmentation=mask))
    data = DetectionData.read(coco)
    assert data.has_masks
    assert data.has_run_lengths
    for wrong in ({"size": [160, 128]}, {"counts": [1, 2]}, {"counts": "!"}, {"counts": None}):
        broken = {**mask, **wrong}
        change(in_val, lambda c, m=broken: c["annotations"][0].update(segmentation=m))
        with pytest.raises(ConfigError, match="1 x run lengths of a mask do not fit the picture"):
            DetectionData.read(coco)


def test_pictures_of_equal_names_in_folders_like_those_of_the_annotations(tmp_path):
    for name in "pq":
        pairs(tmp_path / "JPEGImages" / name, "abc", annotations=tmp_path / "Annotations" / name)
    data = DetectionData.read(tmp_path)
    for found in data.splits["train"] + data.splits["val"]:
        assert found.where == f"Annotations/{found.file.parent.name}/{found.file.stem}.xml"


def test_every_defect_of_voc_in_one_list(tmp_path):
    """Defects and repairs of one folder, each with its count; nothing else."""
    pairs(tmp_path / "train", "abcdefgh")
    pairs(tmp_path / "valid", "mn")
    train = tmp_path / "train"
    xml(train / "a.xml", CAT, ("cat", 7, 7, 7, 7), ("cat", "5", "5", "5.4", "6"))
    xml(train / "b.xml", ("cat", 20, 3, 12, 13), ("cat", "nan", 3, 12, 13), ("", 1, 1, 2, 2))
    xml(train / "c.xml", ("Cat", 2, 3, 12, 13), (" cat\n", 2, 3, 50, 13), ("cat", 80, 3, 90, 13))
    picture(train / "d.jpg", exif=orientation(6))
    xml(train / "d.xml", CAT, size=SIZE)
    xml(train / "e.xml", CAT, size=(80, 60))
    xml(train / "f.xml", CAT, size=(0, 0))
    (train / "g.jpg").write_bytes((train / "g.jpg").read_bytes()[:-200])
    (train / "h.jpg").write_text("no picture")
    xml(train / "i.xml", CAT)
    picture(train / "k.jpg")
    (train / "j.xml").write_text("<annotation><object>")
    entities = '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
    picture(train / "l.jpg")
    xml(train / "l.xml", ("&b;", 1, 1, 2, 2), head=entities)
    picture(train / "q.jpg")
    (train / "q.xml").write_bytes(
        "<annotation><name>Kätzchen</name></annotation>".encode("latin-1")
    )
    xml(train / "o.xml", CAT, flags="<difficult>perhaps</difficult>")
    Image.new("I;16", SIZE).save(train / "o.png")
    xml(tmp_path / "valid" / "m.xml", CAT, filename="another.jpg")
    xml(tmp_path / "valid" / "n.xml", ("bird", 1, 1, 9, 9))
    Image.new("RGBA", SIZE).save(tmp_path / "valid" / "n.jpg", "PNG")
    with pytest.raises(ConfigError) as raised:
        DetectionData.read(tmp_path)
    assert counted(raised.value) == {
        "XML file is not an annotation of VOC": 3,
        "XML file needs one picture of its name": 1,
        "object of VOC cannot be used": 4,
        "picture cannot be read": 2,
        "picture of 16 bits, of floats, or in Lab, which detectron2 would clip or not convert": 1,
        "picture is turned by its EXIF orientation, and annotated as if it were not": 1,
        "picture has another size than its annotation says": 1,
        "box outside of its image": 1,
        # Not refused:
        "<filename> is another than the file's": 1,
        "annotation without width and height": 1,
        "box sticks out of its image": 1,
        "class has no objects in train": 1,
        "class has no objects in val": 2,
        "classes differ in case or spaces alone, and are trained as different ones; rename them if "
        "they are one": 1,
        "class with spaces around or line breaks in its name": 1,
        "corners of VOC that are not whole pixels": 1,
        "file without XML": 1,
        "picture of train has no objects": 2,
        "transparent picture, of which detectron2 takes the colors alone": 1,
    }
    assert "defects to fix before training can start: 14" in str(raised.value)
    assert "'Cat' (1 objects), 'cat'" in str(raised.value)


def test_every_defect_of_coco_in_one_list(tmp_path):
    train = [f"{letter}.jpg" for letter in "abcdefgh"]
    coco_split(tmp_path, "train", train)
    coco_split(tmp_path, "valid", ["m.jpg", "n.jpg"])
    (tmp_path / "secret.jpg").write_bytes((tmp_path / "train" / "a.jpg").read_bytes())

    def damage(content):
        objects, images = content["annotations"], content["images"]
        for place, bbox in enumerate(
            (
                *([2, 3, 0, 9], [2, 3, -8, 9], [2, 3, float("nan"), 9], ["2", "3", "8", "9"]),
                *([2, 3, 8], ["left", 3, 8, 9], [39, 3, 8, 9], [60, 3, 8, 9], None),
            )
        ):
            objects[place]["bbox"] = bbox
        objects[9]["segmentation"] = [[1, 1, 5, 1, 5]]
        objects[10]["segmentation"] = [[1, 1, 5, 5]]
        objects[11]["id"] = objects[10]["id"]
        objects[12]["category_id"] = 77
        objects[13]["image_id"] = 88
        objects[14]["iscrowd"] = "yes"
        objects[15].pop("area")
        images.append(dict(images[0]))
        images.append({**images[0], "id": 50})
        images.append({**images[0], "id": 1, "file_name": "b.jpg"})
        images.append({**images[0], "id": 51, "file_name": "/etc/passwd"})
        images.append({**images[0], "id": 52, "file_name": "../../secret.jpg"})
        images.append({**images[0], "id": 53, "file_name": "missing.jpg"})
        images.append({**images[0], "id": 54, "file_name": "valid/m.jpg"})
        content["categories"].append({"id": 1, "name": "dogs"})
        content["categories"].append({"id": 3, "name": "dog"})
        content["categories"].append({"id": 4, "name": "Dog"})
        content["categories"].append({"id": 5})

    change(tmp_path / "train" / "_annotations.coco.json", damage)
    with pytest.raises(ConfigError) as raised:
        DetectionData.read(tmp_path)
    assert counted(raised.value) == {
        "categories share an id": 1,
        "category needs an id and a name": 1,
        "images share an id": 1,
        "image of COCO cannot be used": 2,
        "image of COCO needs one file": 1,
        "object of COCO cannot be used": 10,
        "box outside of its image": 1,
        "picture has several annotations in one split": 1,
        "picture is in train and in val, where AP would be of pictures that were trained": 1,
        # Not refused:
        "box sticks out of its image": 1,
        "categories have one name": 1,
        "category has no objects": 1,
        "empty box": 1,
        "image is listed twice": 1,
        "numbers of a box are written as text": 1,
        "object without area": 1,
        "objects without an id of their own": 1,
        "picture of train has no objects": 6,
    }


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: shutil.rmtree(root / "train"), "is not detection data: it needs annotations"),
        (
            lambda root: (root / "train" / "b.xml").unlink(),
            "fewer than 2 pictures.*train .0., val .1.",
        ),
        (lambda root: xml(root / "train" / "a.jpg.xml", CAT), "needs one picture of its name"),
        (lambda root: picture(root / "train" / "a.png"), r"a.jpg, train/a.png"),
        (
            lambda root: [xml(file) for file in (root / "train").glob("*.xml")],
            "split has no objects that count: add some: train, val",
        ),
        (lambda root: (root / "train").rename(root / "val"), "fewer than 2 pictures.*train .0."),
        (
            lambda root: xml(root / "train" / "a.xml", ("a/b", *CAT[1:]), ("a_b", 1, 1, 2, 2)),
            "differ in a slash alone",
        ),
    ],
)
def test_other_refusals(tmp_path, damage, message):
    pairs(tmp_path / "train", "ab")
    damage(tmp_path)
    with pytest.raises(ConfigError, match=message):
        DetectionData.read(tmp_path)


def test_boxes_by_two_corners_are_not_cocos(tmp_path):
    coco_split(tmp_path, "train", ["a.jpg", "b.jpg", "c.jpg"])
    coco_split(tmp_path, "valid", ["a.jpg", "b.jpg"])

    def corners(content):
        for item in content["annotations"]:
            item["bbox"] = [20, 10, 38, 28]

    change(tmp_path / "train" / "_annotations.coco.json", corners)
    with pytest.raises(ConfigError, match=r"read as \[left, upper, right, lower\].*, object 1"):
        DetectionData.read(tmp_path)


@pytest.mark.parametrize(
    ("boxes", "clipped"),
    [
        ([[4, 3, 32, 24]] * 5 + [[4, 3, 38, 24]], 1),  # large objects, and one sloppy box
        ([[2, 2, 42, 27]] * 6, 6),  # which stick out as corners, too
    ],
)
def test_large_boxes_of_coco_are_not_taken_for_corners(tmp_path, boxes, clipped):
    coco_split(tmp_path, "train", ["a.jpg", "b.jpg", "c.jpg"])
    coco_split(tmp_path, "valid", ["a.jpg", "b.jpg"])

    def enlarge(content):
        for item, box in zip(content["annotations"], boxes, strict=True):
            item["bbox"] = box

    change(tmp_path / "train" / "_annotations.coco.json", enlarge)
    data = DetectionData.read(tmp_path)
    assert any(f"{clipped} x box sticks out of its image: clipped" in line for line in data.notes)


@pytest.mark.parametrize("content", ["{", "[]", '{"images": 3}', "\xff", "[" * 100000])
def test_a_file_that_is_not_cocos(tmp_path, content):
    coco_split(tmp_path, "train", ["a.jpg", "b.jpg"])
    coco_split(tmp_path, "valid", ["a.jpg", "b.jpg"])
    (tmp_path / "valid" / "_annotations.coco.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match="1 x file is not an annotation file of COCO"):
        DetectionData.read(tmp_path)


def test_copies_across_the_splits_are_said(tmp_path):
    pairs(tmp_path / "train", "abc")
    pairs(tmp_path / "valid", "mn")
    shutil.copy(tmp_path / "train" / "b.jpg", tmp_path / "valid" / "m.jpg")
    notes = DetectionData.read(tmp_path).notes
    assert any("1 x picture of val is a copy of one of train" in line for line in notes)


def test_pictures_of_macos_of_hidden_folders_and_of_runs_are_none(tmp_path):
    pairs(tmp_path / "train", "abcd")
    (tmp_path / "train" / "._a.jpg").write_text("twin")
    xml(tmp_path / "train" / "._a.xml", CAT)
    xml(tmp_path / "__MACOSX" / "a.xml", CAT)
    pairs(tmp_path / ".cache", "de")
    pairs(tmp_path / "runs" / "first" / "detection_custom" / "converted_data", "fg")
    for name in ("train_config.yaml", "log.txt"):
        (tmp_path / "runs" / "first" / name).touch()
    data = DetectionData.read(tmp_path)
    assert sum(map(len, data.splits.values())) == 4


def test_the_digest_is_of_annotations_and_files(tmp_path):
    pairs(tmp_path / "train", "abcde")
    before = DetectionData.read(tmp_path).digest()
    assert DetectionData.read(tmp_path).digest() == before
    xml(tmp_path / "train" / "a.xml", CAT)
    changed = DetectionData.read(tmp_path).digest()
    picture(tmp_path / "train" / "b.jpg", quality=30)
    assert len({before, changed, DetectionData.read(tmp_path).digest()}) == 3


def test_a_folder_in_the_way_is_not_removed(tmp_path):
    pairs(tmp_path / "data" / "train", "abcd")
    data = DetectionData.read(tmp_path / "data")
    for _ in range(2):
        data.write(tmp_path / "run" / "converted_data")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["converted_data"]
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match="is in the way"):
        data.write(tmp_path / "other")


@pytest.mark.parametrize("layout", ["voc", "coco"])
def test_the_truth_as_predictions_has_an_ap_of_100(detection_tool, layout, request, tmp_path):
    """Guards names, boxes, masks and classes on the way to the evaluators of VISSL's tool.

    With what lowers AP if it is passed on: of VOC, a class that val lacks, one of which val has
    difficult objects alone, and a box of one pixel; of COCO, an object with the number 0, and a
    crowd without a mask.
    """
    from detectron2.config import get_cfg
    from detectron2.data import DatasetCatalog, MetadataCatalog

    folder = request.getfixturevalue(layout)
    if layout == "voc":
        file = folder / "Annotations" / "000000.xml"
        text = file.read_text()
        file.write_text(text.replace("<name>aeroplane", "<name>airship"))
        file = folder / "Annotations" / "000010.xml"
        text = file.read_text()
        box = "<bndbox><xmin>7</xmin><ymin>7</ymin><xmax>7</xmax><ymax>7</ymax></bndbox>"
        more = f"<object><name>bird</name>{box}</object>"
        more += f"<object><name>airship</name><difficult>1</difficult>{box}</object>"
        file.write_text(text.replace("</annotation>", f"{more}</annotation>"))
    else:
        change(folder / "annotations" / "val.json", lambda c: c["annotations"][0].update(id=0))
        add_a_crowd(folder / "annotations" / "val.json")
    data = DetectionData.read(folder)
    data.write(tmp_path / "converted")
    custom_data.register(tmp_path / "converted")
    name = data.dataset_names["val"]
    try:
        cfg = get_cfg()
        cfg.OUTPUT_DIR = str(tmp_path)
        evaluator = detection_tool["Trainer"].build_evaluator(cfg, name)
        evaluator.reset()
        for record in DatasetCatalog.get(name):
            evaluator.process([record], [{"instances": truth(record, layout == "coco")}])
        result = evaluator.evaluate()
        train = DatasetCatalog.get(data.dataset_names["train"])
        assert MetadataCatalog.get(data.dataset_names["train"]).thing_classes == data.classes
    finally:
        for registered in data.dataset_names.values():
            DatasetCatalog.remove(registered)
            MetadataCatalog.remove(registered)
    for task in ("bbox", "segm") if layout == "coco" else ("bbox",):
        for metric in ("AP", "AP50", "AP75"):
            assert result[task][metric] == pytest.approx(100, abs=1e-6)
    if layout == "voc":
        assert (data.classes[-1], data.num_evaluated) == ("airship", 20)
        boxes = {data.classes[o["category_id"]]: o["bbox"] for o in train[0]["annotations"]}
        assert tuple(boxes["airship"]) == boxes_of(0)[0][1]


def add_a_crowd(file, **more):
    """A region with many objects, whose box leaves the others alone."""

    def add(content):
        crowd = {**content["annotations"][0], "id": 99, "bbox": [0, 90, 60, 30], "iscrowd": 1}
        content["annotations"].append({**crowd, "segmentation": [], **more})

    change(file, add)


@pytest.mark.parametrize("more", [{}, {"iscrowd": 0, "ignore": 1}])
def test_a_crowd_without_a_mask_gets_its_box(coco, tmp_path, more):
    """COCO's evaluator asks for it after the last iteration."""
    add_a_crowd(coco / "annotations" / "val.json", **more)
    data = DetectionData.read(coco)
    assert data.has_masks
    assert any("1 x crowd without a mask: its box is taken for it" in line for line in data.notes)
    data.write(tmp_path / "written")
    objects = json.loads((tmp_path / "written" / "val.json").read_text())["annotations"]
    (crowd,) = (item for item in objects if item["iscrowd"])
    assert crowd["segmentation"] == [[0, 90, 60, 90, 60, 120, 0, 120]]


def truth(record, masks):
    """A record's annotations as the predictions of a detector."""
    from detectron2.structures import Boxes, BoxMode, Instances
    from detectron2.structures.masks import polygons_to_bitmask

    size = record["height"], record["width"]
    objects = record["annotations"]
    instances = Instances(size)
    boxes = [BoxMode.convert(o["bbox"], o["bbox_mode"], BoxMode.XYXY_ABS) for o in objects]
    instances.pred_boxes = Boxes(torch.tensor(boxes))
    instances.scores = torch.ones(len(objects))
    instances.pred_classes = torch.tensor([o["category_id"] for o in objects])
    if masks:
        masks = [
            polygons_to_bitmask(list(map(np.array, o["segmentation"])), *size) for o in objects
        ]
        instances.pred_masks = torch.from_numpy(np.stack(masks))
    return instances


def orientation(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def counted(error):
    """Count of each kind in the list of an error, by the kind's first words."""
    counts = {}
    for line in str(error).splitlines():
        if " x " in line:
            count, kind = line[2:].split(" x ", 1)
            counts[kind.split(":")[0]] = int(count)
    return counts
