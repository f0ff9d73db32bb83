from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from mscn_plugin.masking import high_pass

pytestmark = pytest.mark.usefixtures("registered")


def pipeline(*transforms):
    from vissl.data.ssl_transforms import get_transform

    return get_transform(list(transforms))


def sample(*images):
    return {
        "data": list(images),
        "label": [0] * len(images),
        "data_valid": [1] * len(images),
        "data_idx": [0] * len(images),
    }


def picture(size=64) -> Image.Image:
    pixels = np.random.RandomState(0).randint(0, 256, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_high_pass_through_vissls_registry_on_every_view():
    from torchvision.transforms.functional import to_tensor

    views = pipeline(
        {"name": "ImgReplicatePil", "num_times": 2},
        {"name": "ToTensor"},
        {"name": "MSCNHighPass", "sigma": 2.0},
    )(sample(picture()))["data"]
    assert len(views) == 2
    for view in views:
        torch.testing.assert_close(view, high_pass(to_tensor(picture()), 2.0), atol=0, rtol=0)


def test_evaluation_pipeline_with_one_image():
    transformed = pipeline(
        {"name": "Resize", "size": 64},
        {"name": "CenterCrop", "size": 56},
        {"name": "ToTensor"},
        {"name": "MSCNHighPass", "sigma": 1.25},
        {"name": "MSCNMask", "cell_size": 8, "ratio": 0.3, "noise_std": 0.0},
    )(sample(picture()))["data"]
    (view,) = transformed
    assert view.shape == (3, 56, 56)
    assert 0.1 < float((view == 0).float().mean()) < 0.5


def test_mask_settings_per_view():
    masks = pipeline({"name": "MSCNMask", "ratio": [0.0, 0.9], "noise_std": 0.0})
    first, second = masks(sample(torch.ones(3, 224, 224), torch.ones(3, 224, 224)))["data"]
    assert bool((first == 1).all())
    assert float(second.mean()) < 0.2


def test_mask_draws_afresh_for_every_call():
    mask = pipeline({"name": "MSCNMask"})
    first, second = (mask(sample(torch.ones(3, 224, 224)))["data"][0] for _ in range(2))
    assert not torch.equal(first, second)


def test_vissls_random_apply_serves_per_branch_augmentations():
    """Separate jitter and grayscale, each with its own probability per branch, need no new part."""
    gray, jittered = pipeline(
        {"name": "ImgReplicatePil", "num_times": 2},
        {
            "name": "ImgPilMultiCropRandomApply",
            "transforms": [{"name": "ColorJitter", "brightness": 0.8, "hue": 0.2}],
            "prob": [0.0, 1.0],
        },
        {
            "name": "ImgPilMultiCropRandomApply",
            "transforms": [{"name": "RandomGrayscale", "p": 1.0}],
            "prob": [1.0, 0.0],
        },
        {"name": "ToTensor"},
    )(sample(picture()))["data"]
    assert torch.equal(gray[0], gray[1])
    assert not torch.equal(jittered[0], jittered[1])


def test_transforms_survive_pickling():
    transform = pipeline({"name": "MSCNHighPass"}, {"name": "MSCNMask", "ratio": [0.1, 0.2]})
    again = pickle.loads(pickle.dumps(transform))
    views = again(sample(torch.rand(3, 224, 224), torch.rand(3, 224, 224)))["data"]
    assert [view.shape for view in views] == [(3, 224, 224)] * 2


@pytest.mark.parametrize("name", ["MSCNHighPass", "MSCNMask"])
def test_pictures_are_refused_with_the_place_to_stand(name):
    with pytest.raises(TypeError, match="place it after ToTensor"):
        pipeline({"name": name})(sample(picture()))


def test_wrong_settings_are_refused_when_the_transform_is_built():
    with pytest.raises(ValueError, match="sigma is -1"):
        pipeline({"name": "MSCNHighPass", "sigma": -1})
    with pytest.raises(ValueError, match="ratio is 1.2"):
        pipeline({"name": "MSCNMask", "ratio": 1.2})
    with pytest.raises(ValueError, match="ratios is not a mask setting"):
        pipeline({"name": "MSCNMask", "ratios": 0.2})
