"""VOC07+12 and COCO as they are published."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image

from mscn_plugin.detection.published_data import check_published
from mscn_plugin.errors import ConfigError


@pytest.fixture
def copy(datasets, tmp_path):
    return shutil.copytree(datasets, tmp_path / "copy")


def test_pictures_of_voc(copy):
    digest = check_published("voc", copy)
    assert check_published("voc", copy) == digest
    (copy / "VOC2012" / "JPEGImages" / "000021.jpg").unlink()
    file = copy / "VOC2007" / "JPEGImages" / "000012.jpg"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ConfigError, match="2 x picture cannot be read: .*000012.jpg .*000021.jpg"):
        check_published("voc", copy)
    (copy / "VOC2012" / "Annotations" / "000021.xml").write_text("<")
    with pytest.raises(ConfigError, match=r"VOC2012/ImageSets/Main/trainval.txt cannot be read"):
        check_published("voc", copy)


@pytest.mark.parametrize(
    ("dataset", "picture"),
    [("voc", "VOC2007/JPEGImages/000012.jpg"), ("coco", "coco/val2017/000000000012.jpg")],
)
def test_the_digest_is_of_annotations_and_pictures(copy, dataset, picture):
    digests = [check_published(dataset, copy)]
    Image.new("RGB", (160, 128)).save(copy / picture)
    digests.append(check_published(dataset, copy))
    if dataset == "voc":
        file = copy / "VOC2007" / "Annotations" / "000012.xml"
        file.write_text(file.read_text().replace("<xmax>70", "<xmax>71"))
        digests.append(check_published(dataset, copy))
    assert len(set(digests)) == len(digests)
    assert check_published(dataset, copy) == digests[-1]


def test_pictures_of_coco(copy):
    digest = check_published("coco", copy)
    file = copy / "coco" / "annotations" / "instances_val2017.json"
    content = json.loads(file.read_text())
    content["annotations"].pop()
    file.write_text(json.dumps(content))
    assert check_published("coco", copy) != digest
    content["images"][0]["width"] = 161
    file.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"1 x picture has another size .*161 x 128"):
        check_published("coco", copy)
