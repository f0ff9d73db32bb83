"""The augmentations of a batch against VISSL's own, one picture at a time by Pillow."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps
from scipy import stats
from skimage import color, data
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as F

from mscn_plugin.transforms.augmentations import (
    ColorJitter,
    Crop,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Solarize,
    augment,
    sample_box,
)

JITTER = ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8)
DRAWS = 10_000


def photograph(side=64) -> Image.Image:
    return Image.fromarray(data.astronaut()).resize((side, side))


def batch(*pictures):
    return torch.stack([torch.from_numpy(np.array(p)).permute(2, 0, 1) for p in pictures])


def augmented(augmentation, picture, *parameters):
    (view,) = augment(batch(picture), torch.tensor([parameters]).float(), [augmentation])
    return view.permute(1, 2, 0).numpy().astype(int)


def seed(value):
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)


SIMCLRS, WHOLE = ((0.08, 1.0), (3 / 4, 4 / 3)), ((1.0, 1.0), (1.0, 1.0))


@pytest.mark.parametrize("height", [3, 10, 64, 500])
@pytest.mark.parametrize("width", [3, 64, 375, 500])
@pytest.mark.parametrize("ranges", [SIMCLRS, WHOLE, ((0.9, 1.0), (3 / 4, 4 / 3))])
def test_boxes_are_torchvisions_draw_for_draw(height, width, ranges):
    """Those in the middle of pictures into which none fits among them."""
    extent, (scale, ratio) = torch.empty(1, height, width), ranges
    seed(0)
    theirs = [RandomResizedCrop.get_params(extent, list(scale), list(ratio)) for _ in range(200)]
    state = torch.get_rng_state()
    seed(0)
    assert [sample_box(height, width, scale, ratio) for _ in range(200)] == theirs
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("size", [(56, 56), (20, 33), (90, 70)])
def test_crops_are_torchvisions_to_a_level(size):
    pictures = batch(*(photograph(64).rotate(20 * n) for n in range(40)))[..., :50]
    crop = Crop(size)
    seed(0)
    boxes = [crop.sample(64, 50) for _ in pictures]
    views = augment(pictures, torch.tensor(boxes), [crop])
    assert views.shape == (40, 3, *size)
    for picture, box, view in zip(pictures, boxes, views):
        theirs = F.resized_crop(picture, *map(int, box), list(size), antialias=True)
        assert (view.int() - theirs.int()).abs().max() <= 1


def test_the_smallest_box_is_one_pixel():
    pictures = batch(photograph(16))
    (view,) = augment(pictures, torch.tensor([[5.0, 7.0, 1.0, 1.0]]), [Crop((8, 8))])
    assert torch.equal(view, pictures[0, :, 5:6, 7:8].expand(-1, 8, 8))


ADJUSTMENTS = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)


def jittered_by_pillow(picture, parameters):
    for place in range(4):
        which = parameters[4:].index(place)
        picture = ADJUSTMENTS[which](picture, parameters[which])
    return np.asarray(picture).astype(int)


@pytest.mark.parametrize("which", range(3))
def test_brightness_contrast_and_saturation_are_pillows_to_a_level(which):
    picture = photograph()
    for factor in np.linspace(0.2, 1.8, 9).tolist():
        parameters = list(JITTER.neutral)
        parameters[which] = factor
        distance = np.abs(
            augmented(JITTER, picture, *parameters)
            - np.asarray(ADJUSTMENTS[which](picture, factor))
        )
        assert distance.max() <= 1
        assert distance.mean() < 0.3


def test_hue_is_exact():
    picture = photograph()
    for shift in (-0.2, -0.07, 0.11, 0.5):
        hsv = color.rgb2hsv(np.asarray(picture) / 255)
        hsv[..., 0] = (hsv[..., 0] + shift) % 1
        parameters = (1, 1, 1, shift, 0, 1, 2, 3)
        distance = np.abs(augmented(JITTER, picture, *parameters) - 255 * color.hsv2rgb(hsv))
        assert distance.max() < 0.51


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_each_order_is_pillows(order):
    picture = photograph()
    for factors in ((1.7, 0.4, 1.6, 0.1), (0.5, 1.8, 0.3, -0.2)):
        parameters = (*factors, *order)
        distance = np.abs(
            augmented(JITTER, picture, *parameters) - jittered_by_pillow(picture, parameters)
        )
        assert distance.mean() < 3  # Pillow's hue is rounded to 256 hues and saturations


@pytest.mark.parametrize("sigma", [0.05, 0.3, 0.6, 1.0, 1.4, 2.0, 3.5])
def test_blur_is_pillows(sigma):
    for picture in (photograph(), Image.fromarray(data.astronaut()[:40, :70])):
        theirs = np.asarray(picture.filter(ImageFilter.GaussianBlur(sigma)))
        ours = augmented(GaussianBlur(1, 0, 3.5), picture, sigma)
        assert np.abs(ours - theirs).mean() < 0.7
        assert np.abs(ours - theirs).max() <= 3


def test_flip_gray_and_solarization_are_pillows():
    picture = photograph()
    assert np.array_equal(augmented(HorizontalFlip(), picture, 1), np.asarray(F.hflip(picture)))
    gray = np.asarray(F.to_grayscale(picture, 3)).astype(int)
    assert np.abs(augmented(Grayscale(), picture, 1) - gray).max() <= 1
    for threshold in (0, 1, 100, 255, 256):
        solarized = np.asarray(ImageOps.solarize(picture, threshold))
        assert np.array_equal(augmented(Solarize(), picture, threshold), solarized)


ALL = [HorizontalFlip(), JITTER, Grayscale(0.2), GaussianBlur(), Solarize(0.2)]


def sampled(augmentations, count):
    return torch.tensor(
        [[number for one in augmentations for number in one.sample()] for _ in range(count)]
    )


def test_a_view_has_parameters_of_its_own():
    """Those of another view, and how many are worked on at a time, change nothing."""
    from mscn_plugin.transforms import augmentations

    pictures = batch(*(photograph(40).rotate(20 * n) for n in range(12)))
    before, parameters = pictures.clone(), sampled(ALL, 12)
    together = augment(pictures, parameters, ALL)
    assert torch.equal(pictures, before)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(augmentations.CHUNKS, "cpu", 1)
        assert torch.equal(augment(pictures, parameters, ALL), together)
    order = torch.randperm(12)
    assert torch.equal(augment(pictures[order], parameters[order], ALL), together[order])


def test_neutral_parameters_change_nothing():
    pictures = torch.randint(0, 256, (8, 3, 30, 30), dtype=torch.uint8)
    neutral = torch.tensor([[number for one in ALL for number in one.neutral]]).expand(8, -1)
    assert torch.equal(augment(pictures, neutral, ALL), pictures)


def test_gray_pictures_stay_gray():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(200, 3, -1, -1)
    for view in augment(levels, sampled([JITTER, GaussianBlur()], 200), [JITTER, GaussianBlur()]):
        assert torch.equal(view[0], view[1])
        assert torch.equal(view[0], view[2])


def test_only_bytes_are_taken():
    with pytest.raises(TypeError, match="augment needs uint8 views, got torch.float32"):
        augment(torch.zeros(1, 3, 8, 8), torch.zeros(1, 1), [HorizontalFlip()])


@pytest.mark.parametrize("device", ["meta"])
def test_an_accelerator_never_waits_for_the_host(device, monkeypatch):
    """Meta tensors have no values: an operation that needs one on the host fails on them."""
    import contextlib

    monkeypatch.setattr(torch, "autocast", lambda *a, **k: contextlib.nullcontext())
    views = torch.empty(5, 3, 24, 24, dtype=torch.uint8, device=device)
    parameters = torch.cat([torch.ones(5, 4), sampled(ALL, 5)], dim=1).to(device)
    result = augment(views, parameters, [Crop((16, 16)), *ALL])
    assert (result.shape, result.dtype) == ((5, 3, 16, 16), torch.uint8)
    assert result.device == views.device


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_agrees():
    crop = Crop((48, 48))
    pictures, parameters = batch(*(photograph(56) for _ in range(100))), sampled(ALL, 100)
    boxes = torch.tensor([crop.sample(56, 56) for _ in pictures])
    arguments = pictures, torch.cat([boxes, parameters], dim=1)
    expected = augment(*arguments, [crop, *ALL])
    with torch.autocast("cuda"):
        result = augment(*(part.cuda() for part in arguments), [crop, *ALL])
    different = (result.cpu() != expected).float().mean()
    assert different < 1e-3


def features(views):
    """Level, contrast, colorfulness, hue and sharpness of uint8 ``[N, 3, H, W]``."""
    pixels = views.float() / 255
    red, green, blue = pixels.mean(dim=(2, 3)).unbind(1)
    gray = pixels.mean(dim=1)
    contrast = gray.std(dim=(1, 2))
    top, bottom = pixels.amax(dim=1), pixels.amin(dim=1)
    chroma = torch.stack([3**0.5 * (green - blue), 2 * red - green - blue])
    return {
        "level": gray.mean((1, 2)),
        "contrast": contrast,
        "saturation": ((top - bottom) / top.clamp(min=1 / 255)).mean((1, 2)),
        "hue": torch.atan2(*chroma).where(chroma.norm(dim=0) > 0.02, 9.0),
        "sharpness": gray.diff(dim=1).abs().mean((1, 2)) / contrast.clamp(min=1e-3),
    }


def unequal(theirs, ours):
    """Features whose distributions differ by Kolmogorov and Smirnov's test."""
    # In hundredths: a fifth of the views has no jitter, and they are equal but for rounding.
    pairs = {name: [np.rint(100 * f[name].numpy()) for f in (theirs, ours)] for name in theirs}
    return [name for name, pair in pairs.items() if stats.ks_2samp(*pair).pvalue < 1e-3]


def our_draws(augmentations):
    seed(1)
    views = batch(photograph(16)).expand(DRAWS, -1, -1, -1)
    return features(augment(views, sampled(augmentations, DRAWS), augmentations))


@pytest.fixture(scope="module")
def vissls_draws():
    """Views of one picture by VISSL's own transforms."""
    from vissl.data.ssl_transforms.img_pil_color_distortion import ImgPilColorDistortion
    from vissl.data.ssl_transforms.img_pil_gaussian_blur import ImgPilGaussianBlur
    from vissl.data.ssl_transforms.img_pil_random_solarize import ImgPilRandomSolarize

    seed(0)
    picture = photograph(16)
    transforms = {
        "color": ImgPilColorDistortion(1.0),
        "blur": ImgPilGaussianBlur(0.5, 0.1, 2.0),
        "solarization": ImgPilRandomSolarize(0.2),
    }
    return {
        name: features(batch(*(transform(picture) for _ in range(DRAWS))))
        for name, transform in transforms.items()
    }


@pytest.mark.parametrize(
    ("name", "augmentations"),
    [
        ("color", [JITTER, Grayscale(0.2)]),
        ("blur", [GaussianBlur()]),
        ("solarization", [Solarize(0.2)]),
    ],
)
def test_the_distribution_is_vissls(vissls_draws, name, augmentations):
    assert not unequal(vissls_draws[name], our_draws(augmentations))


def test_other_strengths_are_other_distributions(vissls_draws):
    """What the test above can tell."""
    weaker = our_draws([ColorJitter(0.7, 0.7, 0.6, 0.17, p=0.8), Grayscale(0.2)])
    different = unequal(vissls_draws["color"], weaker)
    assert {"level", "contrast", "saturation", "hue"} <= set(different)
    assert "sharpness" in unequal(vissls_draws["blur"], our_draws([GaussianBlur(0.5, 0.1, 1.8)]))
    assert "level" in unequal(vissls_draws["solarization"], our_draws([Solarize(0.25)]))


def test_pickled_and_equal():
    """Workers get them by pickling."""
    import pickle

    assert pickle.loads(pickle.dumps(ALL)) == ALL
