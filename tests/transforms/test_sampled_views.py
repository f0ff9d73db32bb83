"""Augmentations sampled in the worker and applied behind it, against VISSL's transforms."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

pytestmark = pytest.mark.usefixtures("registered")

CROPS = [{"name": "ImgReplicatePil", "num_times": 2}, {"name": "RandomResizedCrop", "size": 48}]
SIMCLR = [
    {"name": "RandomHorizontalFlip", "p": 0.5},
    {"name": "ImgPilColorDistortion", "strength": 1.0, "ignored": 1},
    {"name": "ImgPilGaussianBlur", "p": 0.5, "radius_min": 0.1, "radius_max": 2.0},
]
BYOL = [
    {"name": "RandomHorizontalFlip", "p": 0.5},
    {"name": "ImgPilColorDistortion", "strength": 0.5},
    {
        "name": "ImgPilMultiCropRandomApply",
        "transforms": [
            {"name": "ImgPilGaussianBlur", "p": 1.0, "radius_min": 0.1, "radius_max": 2.0}
        ],
        "prob": [1.0, 0.1],
    },
    {
        "name": "ImgPilMultiCropRandomApply",
        "transforms": [{"name": "ImgPilRandomSolarize", "p": 1.0}, {"name": "RandomGrayscale"}],
        "prob": [0.0, 0.2],
    },
]
OTHERS = [
    {"name": "ColorJitter", "brightness": [0.5, 1.2], "hue": 0.1},
    {"name": "RandomGrayscale", "p": 0.3},
    {"name": "ImgPilRandomColorJitter", "strength": 0.7, "p": 0.6},
    {"name": "MSCNColorDistortion"},
    {"name": "ImgPilRandomSolarize", "p": 0.4},
    {"name": "MSCNGaussianBlur", "p": 0.7},
    {"name": "RandomHorizontalFlip"},
]
ALWAYS_OR_NEVER = [
    *(
        {"name": name, "p": p}
        for p in (1.0, 0.0)
        for name in (
            "ImgPilRandomColorJitter",
            "RandomHorizontalFlip",
            "ImgPilGaussianBlur",
            "ImgPilRandomSolarize",
            "RandomGrayscale",
        )
    ),
    {"name": "ColorJitter"},
    {
        "name": "ImgPilMultiCropRandomApply",
        "transforms": [{"name": "ImgPilRandomColorJitter", "strength": 0.2, "p": 1.0}],
        "prob": [0.0, 1.0],
    },
]


def train_section(transforms, **settings):
    from vissl.config import AttrDict

    return AttrDict(
        {
            "TRANSFORMS": copy.deepcopy([*CROPS, *transforms, {"name": "ToTensor"}]),
            "COLLATE_FUNCTION": "mscn_multimask_collator",
            "COLLATE_FUNCTION_PARAMS": {"cell_size": 8, **settings},
        }
    )


def split(train):
    from mscn_plugin.transforms.on_device import split_augmentations, split_pipeline

    workers, stage = split_pipeline(train)
    return workers, stage, *split_augmentations(workers, stage)


def batch_of(train, seed, count=16):
    """The batch of a worker, and the random numbers that come behind it."""
    from vissl.data.collators import get_collator
    from vissl.data.ssl_transforms import get_transform

    picture = Image.fromarray(data.astronaut()).resize((120, 100))
    transform = get_transform(copy.deepcopy(train.TRANSFORMS))
    collator = get_collator(train.COLLATE_FUNCTION, dict(train.COLLATE_FUNCTION_PARAMS))
    for generator in (random.seed, np.random.seed, torch.manual_seed):
        generator(seed)
    one = {"label": [7], "data_valid": [1], "data_idx": [0]}
    samples = [transform({"data": [picture], **copy.deepcopy(one)}) for _ in range(count)]
    batch = collator(samples)
    return batch, (random.random(), np.random.rand(), torch.rand(1).item())


@pytest.mark.parametrize(
    "transforms",
    [SIMCLR, BYOL, OTHERS, ALWAYS_OR_NEVER],
    ids=["simclr", "byol", "others", "always or never"],
)
def test_a_seed_gives_the_views_and_masks_of_the_workers_transforms(transforms):
    train = train_section(transforms, num_masks=[1, 2])
    before = copy.deepcopy(train)
    by_worker, stage, by_device, augmenting = split(train)
    assert train == before
    expected, following = batch_of(by_worker, 3)
    sent, following_too = batch_of(by_device, 3)
    assert following == following_too
    assert torch.equal(sent["masks"][1].dropped_cells, expected["masks"][1].dropped_cells)
    torch.manual_seed(9)
    (theirs,) = stage(expected, "cpu")["data"]
    torch.manual_seed(9)
    (ours,) = augmenting(sent, "cpu")["data"]
    distance = 255 * (theirs - ours).abs().mean((1, 2, 3))
    assert distance.mean() < 1  # of 255 levels, Pillow's rounding of hue and blur
    assert distance.max() < 6


@pytest.mark.parametrize("settings", [{"num_masks": [1, 2]}, {"view_per_mask": True}])
@pytest.mark.parametrize("transforms", [[], SIMCLR, BYOL], ids=["crops alone", "simclr", "byol"])
def test_crops_on_the_device_are_the_workers(transforms, settings):
    from mscn_plugin.transforms.on_device import split_crops

    train = train_section(transforms, **settings)
    if "view_per_mask" in settings:
        train.TRANSFORMS[0]["num_times"] = 4
        train.TRANSFORMS[2:-1] = [step for step in train.TRANSFORMS[2:-1] if "prob" not in step]
    _, _, workers, stage = split(train)
    before = copy.deepcopy(workers)
    by_device, cropping = split_crops(workers, stage)
    assert workers == before
    expected, following = batch_of(workers, 3)
    sent, following_too = batch_of(by_device, 3)
    assert following == following_too
    assert torch.equal(sent["masks"][1].dropped_cells, expected["masks"][1].dropped_cells)
    assert sent["data"].shape == (1, 16, 3, 100, 120)  # once, for all views
    torch.manual_seed(9)
    (theirs,) = stage(expected, "cpu")["data"]
    torch.manual_seed(9)
    (ours,) = cropping(sent, "cpu")["data"]
    assert ours.shape == theirs.shape
    distance = 255 * (theirs - ours).abs()
    assert distance.mean() < 0.5
    if not transforms:  # a level more can turn a dark pixel's hue, or be solarized
        assert distance.max() < 1.01


def test_crops_take_the_settings_that_vissl_and_torchvision_take():
    from mscn_plugin.transforms.on_device import split_crops

    train = train_section([])
    del train.TRANSFORMS[0]["num_times"]  # VISSL's is 2
    for size in (48, [48], [48, 40]):
        train.TRANSFORMS[1]["size"] = size
        workers, stage = split_crops(*split(train)[2:])
        sent, _ = batch_of(workers, 0)
        sides = (size[0], size[-1]) if isinstance(size, list) else (size, size)
        assert stage(sent, "cpu")["data"][0].shape[2:] == sides
    del train.TRANSFORMS[1]["size"]
    with pytest.raises(ValueError, match=r"^TRANSFORMS\[1\] has no size"):
        split_crops(*split(train)[2:])


@pytest.mark.parametrize(
    ("crop", "before", "named"),
    [
        ({"interpolation": 3}, [], r"TRANSFORMS\[1\] has interpolation: 3; .* size, scale, ratio"),
        ({}, [{"name": "RandomRotation", "degrees": 5}], r"begins with RandomRotation, ImgRep"),
    ],
)
def test_crops_that_stay_the_workers(crop, before, named):
    from mscn_plugin.transforms.on_device import split_crops

    train = train_section(SIMCLR)
    train.TRANSFORMS[1].update(crop)
    train.TRANSFORMS[:0] = before
    with pytest.raises(ValueError, match=named):
        split_crops(*split(train)[2:])


def test_what_travels_is_a_few_numbers_more():
    _, _, by_device, _ = split(train_section(SIMCLR))
    sent, _ = batch_of(by_device, 0)
    assert sent["data"].dtype == torch.uint8
    assert sent["augmentations"].shape == (2, 16, 11)
    assert sent["augmentations"].dtype == torch.float32


def test_each_branch_has_its_probabilities():
    """BYOL's blur of branch 1, and its solarization."""
    _, _, by_device, stage = split(train_section(BYOL))
    sent, _ = batch_of(by_device, 0, count=200)
    blur, solarization = sent["augmentations"][..., 10], sent["augmentations"][..., 11]
    assert (blur[0] > 0).all()
    assert 0.03 < (blur[1] > 0).float().mean() < 0.2
    assert (solarization[0] == 256).all()
    assert 0.1 < (solarization[1] != 256).float().mean() < 0.3
    assert len(stage.augmentations) == 6


def test_without_augmentations_all_stays():
    workers, stage, same, same_stage = split(train_section([]))
    assert (same, same_stage) == (workers, stage)


@pytest.mark.parametrize(
    ("transforms", "named"),
    [
        (
            [SIMCLR[0], {"name": "Pad", "padding": 2}, SIMCLR[1]],
            r"TRANSFORMS\[3\] is Pad, which",
        ),
        ([*SIMCLR, {"name": "RandomRotation", "degrees": 3}], r"TRANSFORMS\[5\] is RandomRotation"),
        (
            [SIMCLR[0], {**BYOL[2], "transforms": [{"name": "Pad", "padding": 2}]}],
            r"TRANSFORMS\[3\] is ImgPilMultiCropRandomApply",
        ),
        (
            [SIMCLR[0], {"name": "ColorJitter", "transform_type": "augly"}],
            r"TRANSFORMS\[3\] is ColorJitter",
        ),
    ],
)
def test_names_the_transform_that_is_in_the_way(transforms, named):
    with pytest.raises(ValueError, match=f"^{named}"):
        split(train_section(transforms))


def test_what_stands_before_the_augmentations_is_the_workers():
    _, _, by_device, _ = split(train_section([{"name": "Pad", "padding": 4}, *SIMCLR]))
    names = [transform["name"] for transform in by_device.TRANSFORMS]
    assert names == ["ImgReplicatePil", "RandomResizedCrop", "Pad", "MSCNSampleAugmentations"]
    assert batch_of(by_device, 0)[0]["data"].shape[-2:] == (56, 56)
