"""Sizes of images behind the transforms."""

from __future__ import annotations

import pytest
from vissl.config import AttrDict
from vissl.data.collators import COLLATOR_REGISTRY

from mscn_plugin.config.checks.transforms import check_sizes
from mscn_plugin.errors import ConfigError

SQUARES, PHOTOGRAPHS = {(64, 64), (96, 96)}, {(64, 48), (96, 96)}
TENSOR = {"name": "ToTensor"}
CROP = {"name": "CenterCrop", "size": 56}


def resize(*sides):
    return {"name": "Resize", "size": list(sides)}


@pytest.mark.parametrize(
    ("sizes", "transforms", "left"),
    [
        (PHOTOGRAPHS, [resize(56), CROP, TENSOR], None),
        (PHOTOGRAPHS, [{**CROP, "name": "center_crop"}, TENSOR], None),
        (PHOTOGRAPHS, [resize(56, 40), TENSOR], None),
        (PHOTOGRAPHS, [{"name": "OfTheUser"}, TENSOR], None),
        (SQUARES, [resize(56), TENSOR], None),
        ({(64, 48)}, [TENSOR], None),
        (PHOTOGRAPHS, [], None),
        (PHOTOGRAPHS, [{"name": "resize", "size": 56}, TENSOR], "56 x 56 and 74 x 56 pixels"),
        (SQUARES, [TENSOR], "64 x 64 and 96 x 96 pixels"),
    ],
)
def test_images_of_several_sizes_need_a_crop(sizes, transforms, left):
    batch = {"BATCHSIZE_PER_REPLICA": 8, "COLLATE_FUNCTION": "default_collate"}
    config = AttrDict({"DATA": {"TEST": {"TRANSFORMS": transforms, **batch}}})
    if left is None:
        check_sizes(config, "TEST", sizes)
        return
    with pytest.raises(ConfigError, match=f"DATA.TEST.TRANSFORMS leave images .* as {left}"):
        check_sizes(config, "TEST", sizes)


def test_batches_of_one_image_and_collators_of_a_users_own_are_trusted(monkeypatch):
    monkeypatch.setitem(COLLATOR_REGISTRY, "padding", lambda batch: batch)
    for size, collator in ((1, "default_collate"), (8, "padding")):
        batch = {"BATCHSIZE_PER_REPLICA": size, "COLLATE_FUNCTION": collator}
        config = AttrDict({"DATA": {"TEST": {"TRANSFORMS": [TENSOR], **batch}}})
        check_sizes(config, "TEST", PHOTOGRAPHS)
