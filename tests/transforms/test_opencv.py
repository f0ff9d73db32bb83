"""The fast augmentations against VISSL's: same random numbers, same pictures to a few levels."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, stats
from skimage import color, data

pytestmark = pytest.mark.usefixtures("registered")

VISSLS = [
    {"name": "ImgReplicatePil", "num_times": 2},
    {"name": "RandomResizedCrop", "size": 96},
    {"name": "RandomHorizontalFlip", "p": 0.5},
    {"name": "ImgPilColorDistortion", "strength": 1.0},
    {"name": "ImgPilGaussianBlur", "p": 0.5, "radius_min": 0.1, "radius_max": 2.0},
]


def views_of(pipeline, image, seed):
    from vissl.data.ssl_transforms import get_transform

    transform = get_transform(copy.deepcopy(pipeline))
    sample = {"data": [image], "label": [3], "data_valid": [1], "data_idx": [5]}
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    result = transform(sample)
    assert result["label"] == [3, 3]
    return [np.asarray(view).astype(float) for view in result["data"]]


def fast(pipeline):
    from mscn_plugin.transforms.opencv import with_fast_augmentations

    return with_fast_augmentations(pipeline)


def photograph(width=320, height=240) -> Image.Image:
    return Image.fromarray(data.astronaut()).resize((width, height))


@pytest.fixture
def jpeg(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.fromarray(data.astronaut()).save(path, quality=95)
    return path


def test_the_whole_pipeline_is_vissls_to_a_few_levels():
    image = photograph()
    differences = []
    for seed in range(40):
        states, both = [], []
        for pipeline in (VISSLS, fast(VISSLS)):
            both.append(views_of(pipeline, image, seed))
            states.append((torch.rand(1).item(), np.random.rand(), random.random()))
        assert states[0] == states[1]
        differences += [np.abs(theirs - ours).mean() for theirs, ours in zip(*both)]
    assert np.mean(differences) < 1  # of 255 levels; 0.5 was measured
    assert max(differences) < 4


def test_the_distribution_is_vissls():
    """Different seeds: level, contrast, colorfulness and sharpness of the views."""
    image = photograph(160, 120)
    features = [
        lambda v: v.mean(),
        lambda v: v.std(),
        lambda v: color.rgb2hsv(v / 255)[..., 1].mean(),
        lambda v: color.rgb2hsv(v / 255)[..., 0].mean(),
        lambda v: np.log(ndimage.laplace(v.mean(2)).std()),
    ]
    pipeline = [*VISSLS[:1], {"name": "RandomResizedCrop", "size": 32}, *VISSLS[2:]]
    samples = [
        [views_of(steps, image, seed)[0] for seed in range(start, start + 400)]
        for steps, start in ((pipeline, 0), (fast(pipeline), 1000))
    ]
    for feature in features:
        theirs, ours = ([feature(view) for view in views] for views in samples)
        assert stats.ks_2samp(theirs, ours).pvalue > 1e-3


def exact_hue(pixels, factor):
    hsv = color.rgb2hsv(pixels / 255)
    hsv[..., 0] = (hsv[..., 0] + factor) % 1
    return color.hsv2rgb(hsv) * 255


def test_each_adjustment_against_pillow_and_arithmetic():
    from torchvision.transforms import functional as F

    from mscn_plugin.transforms import opencv as fast

    image = photograph(112, 112)
    pixels = np.asarray(image)
    for factor in np.linspace(0.2, 1.8, 9):
        for name, limit in (("brightness", 0), ("contrast", 1), ("saturation", 1)):
            theirs = np.asarray(getattr(F, f"adjust_{name}")(image, factor)).astype(int)
            ours = getattr(fast, f"_{name}")(pixels, factor).astype(int)
            assert np.abs(theirs - ours).max() <= limit, (name, factor)
    factors = np.linspace(-0.2, 0.2, 41)
    exact = np.stack([exact_hue(pixels, factor) for factor in factors])
    theirs = np.stack([np.asarray(F.adjust_hue(image, factor)) for factor in factors])
    ours = np.stack([fast._hue(pixels, factor) for factor in factors])
    assert np.abs(ours - exact).mean() < np.abs(theirs - exact).mean()
    assert np.abs(ours - exact).mean() < 0.5


def test_blur_is_a_gaussian():
    from mscn_plugin.transforms.opencv import MSCNGaussianBlur

    pixels = np.asarray(photograph(112, 112))
    for sigma in (0.1, 0.7, 2.0):
        blur = MSCNGaussianBlur(p=1.0, radius_min=sigma, radius_max=sigma)
        exact = ndimage.gaussian_filter(pixels.astype(float), (sigma, sigma, 0), mode="nearest")
        assert np.abs(np.asarray(blur(Image.fromarray(pixels))) - exact).mean() < 0.6
    sharp = MSCNGaussianBlur(p=1.0, radius_min=0.0, radius_max=0.0)
    assert np.array_equal(sharp(Image.fromarray(pixels)), pixels)


@pytest.mark.parametrize("interpolation", [0, 1, 2, 3])
def test_without_reduction_crops_are_torchvisions_to_a_level(jpeg, interpolation):
    """Nearest, Lanczos, bilinear, bicubic."""
    crop = {"name": "RandomResizedCrop", "size": 224, "interpolation": interpolation}
    steps = [{"name": "ImgReplicatePil"}, crop]
    for seed in range(10):
        theirs = views_of(steps, Image.open(jpeg).convert("RGB"), seed)
        ours = views_of(fast(steps), Image.open(jpeg), seed)
        assert all(np.abs(a - b).max() <= 1 for a, b in zip(theirs, ours))


@pytest.mark.parametrize("size", [96, 40])
def test_tensors_are_the_pictures(jpeg, size):
    """Crops, flip, jitter, gray and blur, without Pillow in between; of a reduced picture, too."""
    from mscn_plugin.transforms.opencv import with_tensors

    steps = [VISSLS[0], {"name": "RandomResizedCrop", "size": size}, *VISSLS[2:]]
    pipeline = [*fast(steps), {"name": "PILToTensor"}]
    assert [t["name"] for t in with_tensors(pipeline)] == [t["name"] for t in fast(steps)]
    for seed in range(30):
        pictures = views_of(pipeline, Image.open(jpeg), seed)
        tensors = views_of(with_tensors(pipeline), Image.open(jpeg), seed)
        for a, b in zip(pictures, tensors):
            assert a.shape == b.shape == (3, size, size)
            assert np.abs(a - b).mean() < 0.1  # gray is rounded otherwise here and there


def test_tensors_only_where_all_take_them():
    from mscn_plugin.transforms.opencv import with_tensors

    for pipeline in ([*fast(VISSLS), {"name": "Pad", "padding": 1}], VISSLS):
        assert with_tensors(pipeline) == pipeline


@pytest.mark.parametrize("side", [512, 509])
@pytest.mark.parametrize(("size", "reduction"), [(300, 1), (224, 2), (100, 4), (64, 4), (32, 8)])
def test_large_crops_are_decoded_at_a_reduced_size(tmp_path, side, size, reduction, monkeypatch):
    """Whole-image crops. The picture stays the same to the antialiasing."""
    from PIL import JpegImagePlugin

    jpeg = tmp_path / "photo.jpg"
    Image.fromarray(data.astronaut()[:side, :side]).save(jpeg, quality=95)
    scale = {"scale": [0.9, 1.0], "ratio": [1.0, 1.0]}
    steps = [{"name": "ImgReplicatePil"}, {"name": "RandomResizedCrop", "size": size, **scale}]
    decoded = []
    load = JpegImagePlugin.JpegImageFile.load_prepare
    monkeypatch.setattr(
        JpegImagePlugin.JpegImageFile,
        "load_prepare",
        lambda self: (decoded.append(self.size), load(self))[1],
    )
    theirs = views_of(steps, Image.open(jpeg).convert("RGB"), 0)
    decoded.clear()
    ours = views_of(fast(steps), Image.open(jpeg), 0)
    # The whole picture is decoded by torchvision.
    assert decoded[:1] == ([(-(-side // reduction),) * 2] if reduction > 1 else [])
    for a, b in zip(theirs, ours):
        assert np.abs(a - b).mean() < 4
        # Not displaced: any shift by a pixel is farther away than the picture itself.
        here = np.abs(a - b).mean()
        assert all(np.abs(np.roll(a, 1, axis=axis) - b).mean() > 2 * here for axis in (0, 1))


def test_one_small_crop_keeps_the_whole_resolution(jpeg, monkeypatch):
    from mscn_plugin.transforms import opencv

    crops = opencv.MSCNRandomResizedCrops(size=64)
    boxes = iter([(0, 0, 512, 512), (100, 100, 80, 80)])
    monkeypatch.setattr(opencv, "sample_box", lambda *args: next(boxes))
    monkeypatch.setattr(Image.Image, "draft", None)
    small = crops(Image.open(jpeg))[1]
    expected = Image.open(jpeg).crop((100, 100, 180, 180)).resize((64, 64), Image.BILINEAR)
    assert np.abs(np.asarray(small).astype(int) - np.asarray(expected)).max() <= 1


@pytest.mark.parametrize("mode", ["L", "CMYK", "P"])
def test_other_modes_become_rgb(tmp_path, mode):
    path = tmp_path / ("x.png" if mode == "P" else "x.jpg")
    photograph().convert(mode).save(path)
    steps = [{"name": "ImgReplicatePil"}, {"name": "RandomResizedCrop", "size": 56}]
    theirs = views_of(steps, Image.open(path).convert("RGB"), 0)
    ours = views_of(fast(steps), Image.open(path), 0)
    assert all(np.abs(a - b).max() <= 1 for a, b in zip(theirs, ours))


def test_gray_pictures_are_jittered_by_torchvision():
    from mscn_plugin.transforms.opencv import MSCNColorDistortion

    assert MSCNColorDistortion()(photograph().convert("L")).mode == "L"


def test_keys_that_vissl_ignores_are_left_out():
    assert fast([{**VISSLS[3], "comment": 1}]) == [{"name": "MSCNColorDistortion", "strength": 1.0}]


def test_a_truncated_file_is_named(jpeg):
    from mscn_plugin.data.readable_images import UnreadableImageError
    from mscn_plugin.transforms.opencv import MSCNRandomResizedCrops

    jpeg.write_bytes(jpeg.read_bytes()[:5000])
    with pytest.raises(UnreadableImageError, match="photo.jpg"):
        MSCNRandomResizedCrops(size=224)(Image.open(jpeg))


def test_only_what_they_stand_for_is_replaced():
    names = [t["name"] for t in fast(VISSLS)]
    assert names == [
        "MSCNRandomResizedCrops",
        "RandomHorizontalFlip",
        "MSCNColorDistortion",
        "MSCNGaussianBlur",
    ]
    assert fast(VISSLS[1:])[0]["name"] == "RandomResizedCrop"
    assert fast([{"name": "Resize", "size": 8}]) == [{"name": "Resize", "size": 8}]
    assert VISSLS[0]["name"] == "ImgReplicatePil"
