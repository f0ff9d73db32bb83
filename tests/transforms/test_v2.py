from __future__ import annotations

import pytest
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

from mscn_plugin import HighPass, RandomMask
from mscn_plugin.masking import high_pass

SETTINGS = {"ratio": 0.4, "cell_size": 8, "focal_probability": 0.5}


@pytest.mark.parametrize(
    "settings",
    [SETTINGS, {"cell_size": [16, 4], "band_probability": 0.5, "channel_groups": [[0, 1], [2]]}],
)
def test_equals_vissls_transforms_bit_for_bit(registered, settings):
    from mscn_plugin.transforms.transforms import MSCNHighPass, MSCNMask

    image = torch.randn(3, 64, 64)
    ours = v2.Compose([HighPass(1.25), RandomMask(**settings)])
    for seed in range(20):
        torch.manual_seed(seed)
        observed = ours(image)
        torch.manual_seed(seed)
        assert torch.equal(observed, MSCNMask(**settings)(MSCNHighPass(1.25)(image)))


def test_works_behind_the_usual_pipeline_and_passes_all_else_through():
    pipeline = v2.Compose(
        [
            v2.ToImage(),
            v2.RandomResizedCrop(32),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5], [0.5]),
            HighPass(0.7),
            RandomMask(cell_size=8),
        ]
    )
    boxes = tv_tensors.BoundingBoxes([[1, 2, 30, 40]], format="XYXY", canvas_size=(50, 40))
    sample = {
        "image": Image.new("RGB", (40, 50), (10, 80, 150)),
        "label": 7,
        "scores": torch.tensor([0.1, 0.9]),
        "boxes": boxes,
    }
    result = pipeline(sample)
    assert type(result["image"]) is tv_tensors.Image
    assert result["image"].shape == (3, 32, 32)
    assert result["label"] == 7
    assert torch.equal(result["scores"], sample["scores"])
    assert type(result["boxes"]) is tv_tensors.BoundingBoxes


def test_each_image_of_a_batch_has_a_mask_of_its_own_and_the_stated_share_is_hidden():
    transform = RandomMask(ratio=0.3, cell_size=8, focal_probability=0.0, noise_std=0.0)
    masked = transform(torch.ones(10, 50, 3, 64, 64))
    assert masked.shape == (10, 50, 3, 64, 64)
    hidden = (masked == 0).flatten(2)
    assert float(hidden.float().mean()) == pytest.approx(0.3, abs=0.01)
    assert not torch.equal(hidden[0, 0], hidden[0, 1])


def test_images_of_one_call_share_masks_and_not_noise():
    transform = RandomMask(ratio=0.5, cell_size=8)
    pair = [tv_tensors.Image(torch.zeros(3, 64, 64)) for _ in range(2)]
    first, second = transform(pair)
    assert torch.equal(first != 0, second != 0)
    assert not torch.equal(first, second)


def test_the_names_before_torchvision_0_21_do_the_same():
    transform, image = RandomMask(cell_size=8, noise_std=0), torch.randn(3, 64, 64)
    params = transform._get_params([image])
    assert torch.equal(transform._transform(image, params), transform.transform(image, params))


def test_parameters_and_images_of_a_traced_program_are_images():
    image = torch.randn(3, 31, 33)
    expected = high_pass(image, 1.25)
    assert torch.equal(HighPass(1.25)(torch.nn.Parameter(image)), expected)
    network = torch.nn.Sequential(HighPass(1.25))
    exported = torch.export.export(network, (image,), strict=False).module()
    torch.testing.assert_close(exported(image), expected)


def test_passes_samples_without_images_through():
    assert RandomMask()({"label": 3}) == {"label": 3}


@pytest.mark.parametrize("transform", [HighPass(), RandomMask()])
def test_refuses_what_is_not_a_normalized_tensor(transform):
    name = type(transform).__name__
    with pytest.raises(TypeError, match=f"{name} needs a tensor .* after v2.Normalize"):
        transform(Image.new("RGB", (64, 64)))
    with pytest.raises(TypeError, match="floating-point images, got torch.uint8"):
        transform(torch.zeros(3, 64, 64, dtype=torch.uint8))
    with pytest.raises(ValueError, match="cell_size is 0"):
        RandomMask(cell_size=0)
    with pytest.raises(ValueError, match="sigma is -1"):
        HighPass(-1)
