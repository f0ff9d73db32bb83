"""detectron2 with MSCN's environment, a ResNet-50 checkpoint, and tiny data sets."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

CLASSES = [
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
]


@pytest.fixture(scope="session")
def detectron2():
    """The module, imported as in a process of VISSL's tool."""
    os.environ["DETECTRON2_ENV_MODULE"] = "mscn_plugin.detection.environment"
    import detectron2

    return detectron2


@pytest.fixture(scope="session")
def resnet_checkpoints(registered, tmp_path_factory):
    """Files of a ResNet-50 with moved statistics, as SimCLR's and as BYOL's runs save it."""
    from omegaconf import OmegaConf
    from vissl.config import AttrDict
    from vissl.utils.hydra_config import compose_hydra_configuration

    from mscn_plugin.evaluation.checkpoint import SIGMA_KEY
    from mscn_plugin.models.trunk_features import build_trunk

    cfg = compose_hydra_configuration(["config=mscn/simclr"])
    model = AttrDict(OmegaConf.to_container(cfg.config.MODEL))
    torch.manual_seed(0)
    trunk = build_trunk(model)
    for name, buffer in trunk.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.8, 1.2)
    folder = tmp_path_factory.mktemp("resnet")
    files = {}
    for method in ("simclr", "byol"):
        heads = {"0.clf.0.weight": torch.randn(8, 2048)}
        weights = {"trunk": trunk.state_dict(), "heads": heads}
        state = {"base_model": {"model": weights}, SIGMA_KEY: torch.tensor(5.0)}
        loss = {"target.trunk." + k: v + 1 for k, v in weights["trunk"].items()}
        files[method] = folder / f"{method}.torch"
        content = {"classy_state_dict": state, "loss": loss if method == "byol" else {}}
        torch.save(content, files[method])
    return files


def boxes_of(index):
    """Class and box (left, upper, right, lower) of the objects of a picture of 160 x 128 pixels."""
    first = (2 * index) % len(CLASSES)
    return [(first, (10, 12, 70, 80)), ((first + 1) % len(CLASSES), (80, 40, 150, 110))]


def picture(index):
    random = np.random.RandomState(index)
    pixels = random.randint(90, 120, (128, 160, 3))
    for label, (left, upper, right, lower) in boxes_of(index):
        pixels[upper:lower, left:right] = 12 * label, 255 - 12 * label, 128
    return Image.fromarray(pixels.astype(np.uint8))


def write_voc(folder, splits):
    """VOC's layout, with all 20 classes in every split of 10 pictures."""
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    for split, start in splits.items():
        names = [f"{index:06d}" for index in range(start, start + 10)]
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
        for index, name in zip(range(start, start + 10), names):
            picture(index).save(folder / "JPEGImages" / f"{name}.jpg")
            objects = "".join(
                f"<object><name>{CLASSES[label]}</name><difficult>0</difficult><bndbox>"
                f"<xmin>{l}</xmin><ymin>{u}</ymin><xmax>{r}</xmax><ymax>{b}</ymax></bndbox></object>"
                for label, (l, u, r, b) in boxes_of(index)
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
                    "category_id": category_ids[label % len(category_ids)],
                    "bbox": [left, upper, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "segmentation": [corners],
                }
            )
    return images, objects


@pytest.fixture(scope="session")
def datasets(tmp_path_factory):
    """Tiny VOC2007, VOC2012 and COCO, as ``DETECTRON2_DATASETS`` wants them."""
    root = tmp_path_factory.mktemp("datasets")
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
    return root
