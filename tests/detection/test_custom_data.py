"""Detection data of the user's own, and the evaluators that judge them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from detection_fixtures import write_coco, write_voc

from mscn_plugin.detection.custom_data import DetectionData
from mscn_plugin.errors import ConfigError


@pytest.fixture
def voc(detectron2, tmp_path):
    write_voc(tmp_path / "voc", {"train": 0, "val": 10})
    return tmp_path / "voc"


@pytest.fixture
def coco(tmp_path):
    return write_coco(tmp_path / "coco")


def test_voc_layout(voc):
    data = DetectionData.read(voc)
    assert data.layout == "voc"
    assert len(data.classes) == 20
    assert data.classes == sorted(data.classes)
    assert data.splits == {"train": ("train",), "val": ("val",)}
    assert not data.has_masks


def test_vocs_own_lists(voc):
    lists = voc / "ImageSets" / "Main"
    (lists / "train.txt").rename(lists / "trainval.txt")
    (lists / "val.txt").rename(lists / "test.txt")
    assert DetectionData.read(voc).splits == {"train": ("trainval",), "val": ("test",)}


def test_coco_layout(coco):
    data = DetectionData.read(coco)
    assert (data.layout, data.classes, data.has_masks) == ("coco", ["fish", "fowl"], True)
    assert data.dataset_names == {"train": "custom_coco_train", "val": "custom_coco_val"}


@pytest.mark.parametrize(
    ("annotations", "images"),
    [
        ("annotations/instances_{}2017.json", "{}2017"),
        ("annotations/instances_{}.json", "images/{}"),
        ("annotations/{}.json", "images"),
    ],
)
def test_cocos_own_names(tmp_path, annotations, images):
    folder = write_coco(tmp_path, annotations, images)
    assert DetectionData.read(folder).splits["val"] == (
        str(folder / annotations.format("val")),
        str(folder / images.format("val")),
    )


def test_objects_without_masks(coco):
    change(coco / "annotations" / "val.json", lambda c: c["annotations"][0].pop("segmentation"))
    assert not DetectionData.read(coco).has_masks


def change(file, function):
    content = json.loads(file.read_text())
    function(content)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<pose>Unspecified</pose>", "", "<object> has no pose"),
        ("<difficult>0", "<difficult>no", "invalid literal"),
        ("<xmax>70<", "<xmax>70.5<", "invalid literal"),
        ("<xmax>70<", "<xmax>11<", "is empty"),
        ("<height>128</height>", "", "<annotation> has no size/height"),
        ("</annotation>", "", "no element found"),
    ],
)
def test_annotations_that_would_stop_the_last_iteration(voc, old, new, message):
    file = voc / "Annotations" / "000013.xml"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=f"000013.xml is no annotation file of VOC .*{message}"):
        DetectionData.read(voc)


def remove(path):
    return lambda folder: (folder / path).unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("JPEGImages/000003.jpg"), "000003.jpg is missing, which train.txt names"),
        (remove("Annotations/000003.xml"), "000003.xml is no annotation file"),
        (remove("ImageSets/Main/val.txt"), "no val.txt or test.txt"),
        (
            lambda folder: (folder / "ImageSets/Main/val.txt").write_text("000010\n"),
            "val.txt must name .* at least two",
        ),
        (
            lambda folder: (folder / "ImageSets/Main/val.txt").write_text("000010 1\n000011 -1\n"),
            "val.txt must name one image in a line",
        ),
        (lambda folder: shutil.rmtree(folder / "Annotations"), "is no detection data"),
    ],
)
def test_gaps_in_voc(voc, damage, message):
    damage(voc)
    with pytest.raises(ConfigError, match=message):
        DetectionData.read(voc)


def in_val(function):
    return lambda folder: change(folder / "annotations" / "val.json", function)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("val/000000000004.jpg"), "000000000004.jpg is missing, which val.json names"),
        (remove("annotations/val.json"), "nothing for 'val'; looked for val.json, instances_val"),
        (lambda folder: shutil.rmtree(folder / "train"), "looked for train, train2017, images/"),
        (in_val(lambda c: c.pop("categories")), "no annotation file of COCO .'categories'"),
        (in_val(lambda c: c["annotations"][0].update(category_id=1)), "unknown category"),
        (in_val(lambda c: c["annotations"][0].update(image_id=99)), "unknown category or image"),
        (in_val(lambda c: c["annotations"][0].update(bbox=[1, 2])), "no box of four"),
        (in_val(lambda c: c["annotations"][0].pop("area")), "no area"),
        (in_val(lambda c: c["annotations"].clear()), "val.json has no objects"),
        (in_val(lambda c: c["categories"].pop()), "unknown category"),
        (in_val(lambda c: c["categories"][0].update(name="frog")), "have other categories"),
        (lambda f: (f / "annotations/val.json").write_text("{"), "no annotation file of COCO"),
        (lambda f: (f / "annotations/val.json").write_text("[]"), "no annotation file of COCO"),
    ],
)
def test_gaps_in_coco(coco, damage, message):
    damage(coco)
    with pytest.raises(ConfigError, match=message):
        DetectionData.read(coco)


@pytest.mark.parametrize("layout", ["voc", "coco"])
def test_the_truth_as_predictions_has_an_ap_of_100(detection_tool, layout, request, tmp_path):
    """Guards names, boxes, masks and classes on the way to the evaluators of VISSL's tool."""
    from detectron2.config import get_cfg
    from detectron2.data import DatasetCatalog, MetadataCatalog

    data = DetectionData.read(request.getfixturevalue(layout))
    data.register()
    name = data.dataset_names["val"]
    try:
        cfg = get_cfg()
        cfg.OUTPUT_DIR = str(tmp_path)
        evaluator = detection_tool["Trainer"].build_evaluator(cfg, name)
        evaluator.reset()
        for record in DatasetCatalog.get(name):
            evaluator.process([record], [{"instances": truth(record, layout == "coco")}])
        result = evaluator.evaluate()
    finally:
        for registered in data.dataset_names.values():
            DatasetCatalog.remove(registered)
            MetadataCatalog.remove(registered)
    for task in ("bbox", "segm") if layout == "coco" else ("bbox",):
        for metric in ("AP", "AP50", "AP75"):
            assert result[task][metric] == pytest.approx(100, abs=1e-6)


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
