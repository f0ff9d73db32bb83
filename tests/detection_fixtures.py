"""detectron2 with MSCN's environment, a ResNet-50 checkpoint, and tiny data sets."""

from __future__ import annotations

import json
import os
import runpy

import numpy as np
import pytest
from conftest import TINY
from PIL import Image


@pytest.fixture(scope="session")
def detectron2():
    """The module, imported as in a process of VISSL's tool."""
    from mscn_plugin.detection.environment import MODULE, setup_environment

    os.environ["DETECTRON2_ENV_MODULE"] = MODULE
    detectron2 = pytest.importorskip("detectron2")
    from detectron2.config.defaults import _C

    if "MSCN" not in _C.MODEL:  # imported by an earlier test
        setup_environment()
    return detectron2


@pytest.fixture(scope="session")
def detection_tool(detectron2):
    """What VISSL's detection tool defines; its head is registered, which it must be only once."""
    from mscn_plugin.detection.launch import TOOL

    return runpy.run_path(str(TOOL))


@pytest.fixture(scope="session")
def detection_config(detectron2):
    """The configuration of a page of configs/detection, changed by keys and values."""
    from detectron2.config import get_cfg

    from mscn_plugin.config.folder import config_folder

    def configuration(name, *options):
        cfg = get_cfg()
        cfg.merge_from_file(str(config_folder() / "detection" / f"{name}.yaml"))
        cfg.merge_from_list(list(options))
        return cfg

    return configuration


@pytest.fixture(scope="session")
def resnet_runs(image_folder, pretrain):
    """Folders of a SimCLR and a BYOL run of one iteration of a ResNet-50, by the method."""
    heads = "{dims:[null,16,8],use_bn:true,use_relu:true}"
    pages = {
        "simclr": ("quickstart", f"[[mlp,{heads}]]"),
        "byol": ("byol_quickstart", f"[[mlp,{heads}],[mlp,{heads.replace('null', '8')}]]"),
    }
    folders = {}
    for method, (page, params) in pages.items():
        folders[method] = pretrain(
            f"resnet_run_of_{method}",
            *(f"config=mscn/{page}", *TINY, f"config.MSCN.DATA={image_folder}"),
            *("config.MODEL.TRUNK.NAME=resnet", f"config.MODEL.HEAD.PARAMS={params}"),
            "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
            *("config.DATA.TRAIN.DATA_LIMIT=2", "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=2"),
        )
    return folders


def boxes_of(index):
    """Class of 20 and box (left, upper, right, lower) of the objects of a 160 x 128 picture."""
    first = (2 * index) % 20
    return [(first, (10, 12, 70, 80)), (first + 1, (80, 40, 150, 110))]


def picture(index):
    random = np.random.RandomState(index)
    pixels = random.randint(90, 120, (128, 160, 3))
    for label, (left, upper, right, lower) in boxes_of(index):
        pixels[upper:lower, left:right] = 12 * label, 255 - 12 * label, 128
    return Image.fromarray(pixels.astype(np.uint8))


def write_voc(folder, splits):
    """VOC's layout, with all 20 classes in every split of 10 pictures."""
    from detectron2.data.datasets.pascal_voc import CLASS_NAMES

    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    for split, start in splits.items():
        names = [f"{index:06d}" for index in range(start, start + 10)]
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
        for index, name in zip(range(start, start + 10), names):
            picture(index).save(folder / "JPEGImages" / f"{name}.jpg")
            objects = "".join(
                f"<object><name>{CLASS_NAMES[label]}</name><pose>Unspecified</pose>"
                "<truncated>0</truncated><difficult>0</difficult><bndbox>"
                f"<xmin>{box[0] + 1}</xmin><ymin>{box[1] + 1}</ymin>"
                f"<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
                for label, box in boxes_of(index)
            )
            (folder / "Annotations" / f"{name}.xml").write_text(
                "<annotation><size><width>160</width><height>128</height><depth>3</depth></size>"
                f"{objects}</annotation>"
            )


def coco_annotations(start, count, category_ids):
    images, objects = [], []
    for index in range(start, start + count):
        images.append({"id": index, "file_name": f"{index:012d}.jpg", "width": 160, "height": 128})
        for label, (left, upper, right, lower) in boxes_of(index):
            width, height = right - left, lower - upper
            corners = [left, upper, right, upper, right, lower, left, lower]
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": index,
                    "category_id": category_ids[label],
                    "bbox": [left, upper, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "segmentation": [corners],
                }
            )
    return images, objects


def write_coco(folder, annotations="annotations/{}.json", images="{}"):
    """COCO's layout with the classes fish and fowl."""
    categories = [{"id": 7, "name": "fowl"}, {"id": 3, "name": "fish"}]
    for split, start in (("train", 0), ("val", 4)):
        file = folder / annotations.format(split)
        file.parent.mkdir(parents=True, exist_ok=True)
        (folder / images.format(split)).mkdir(parents=True, exist_ok=True)
        pictures, objects = coco_annotations(start, 4, [3, 7] * 10)
        for index in range(start, start + 4):
            picture(index).save(folder / images.format(split) / f"{index:012d}.jpg")
        content = {"images": pictures, "annotations": objects, "categories": categories}
        file.write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="session")
def datasets(detectron2, once):
    """Tiny VOC2007, VOC2012 and COCO, as ``DETECTRON2_DATASETS`` wants them."""
    return once("datasets", write_datasets)


def write_datasets(root):
    write_voc(root / "VOC2007", {"trainval": 0, "test": 10})
    write_voc(root / "VOC2012", {"trainval": 20})
    (root / "coco" / "annotations").mkdir(parents=True)
    from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES

    things = [c for c in COCO_CATEGORIES if c["isthing"]]
    categories = [{"id": c["id"], "name": c["name"]} for c in things]
    for split, start, count in (("train2017", 0, 10), ("val2017", 10, 4)):
        (root / "coco" / split).mkdir()
        images, objects = coco_annotations(start, count, [c["id"] for c in categories[:20]])
        for index in range(start, start + count):
            picture(index).save(root / "coco" / split / f"{index:012d}.jpg")
        (root / "coco" / "annotations" / f"instances_{split}.json").write_text(
            json.dumps({"images": images, "annotations": objects, "categories": categories})
        )
