"""Views of arrays keep the files' units, in the workers as on the device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from array_folders import write_arrays

pytestmark = pytest.mark.usefixtures("registered")


def transformed(sections, image):
    from vissl.data.ssl_transforms import get_transform

    sample = {"data": [image], "label": [0], "data_valid": [1], "data_idx": [0]}
    return get_transform(sections)(sample)["data"]


def test_a_ramp_of_all_levels_passes_crop_flip_and_normalization():
    ramp = torch.arange(65536.0).reshape(1, 256, 256)
    crop = {"name": "MSCNRandomResizedCrops", "size": 256, "scale": [1, 1], "ratio": [1, 1]}
    flip = {"name": "RandomHorizontalFlip", "p": 1.0}
    views = transformed([crop, flip], ramp)
    assert len(views) == 2
    assert all(torch.equal(view.flip(-1), ramp) for view in views)
    normalize = {"name": "Normalize", "mean": [32768.0], "std": [0.5]}
    (view, _) = transformed([crop, normalize], ramp)
    assert torch.equal(view, (ramp - 32768) * 2)


def test_crops_of_arrays_are_those_of_a_picture():
    """The same numbers are drawn, and bytes differ by their rounding alone."""
    from PIL import Image

    from mscn_plugin.transforms.opencv import MSCNRandomResizedCrops

    pixels = np.random.RandomState(0).randint(0, 256, (70, 90, 3), dtype=np.uint8)
    crops = MSCNRandomResizedCrops(size=32, tensors=True)
    torch.manual_seed(3)
    expected = crops(Image.fromarray(pixels))
    torch.manual_seed(3)
    views = crops(torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1).contiguous())
    for view, other in zip(views, expected):
        assert view.dtype == torch.float32
        torch.testing.assert_close(view, other.float(), atol=1.01, rtol=0)


@pytest.mark.parametrize(
    ("channels", "kind", "ending"),
    [(1, "uint8", ".npy"), (4, "uint16", ".tif"), (13, "float32", ".npy")],
)
def test_the_device_makes_what_the_workers_make(compose, once, channels, kind, ending):
    from vissl.data.collators import get_collator

    from mscn_plugin.data.readable_images import dataset_of
    from mscn_plugin.transforms.loader_pipeline import loader_config

    folder = once(f"{kind}_of_{channels}", lambda f: write_arrays(f, channels, kind, ending))
    overrides = ("config=mscn/arrays", f"config.MSCN.DATA={folder}")
    overrides += (f"config.MSCN.CHANNELS={channels}", "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=8")
    config = compose(*overrides)
    batches = []
    for on_device in (False, True):
        config.MSCN.DEVICE_VIEWS = on_device
        workers, stage = loader_config(config)
        assert (stage is not None) == on_device
        dataset = dataset_of(workers, "TRAIN")
        dataset.epoch = 2
        train = workers.DATA.TRAIN
        samples = [dataset[index] for index in range(8)]
        assert [sample["data_valid"][0] for sample in samples] == [1] * 8
        torch.manual_seed(1)
        batch = get_collator(train.COLLATE_FUNCTION, train.COLLATE_FUNCTION_PARAMS)(samples)
        batches.append(stage(batch, "cpu") if stage else batch)
    (in_workers,), (on_device,) = (batch["data"] for batch in batches)
    assert in_workers.shape == (4 * 8, channels, 56, 56)
    assert 0.3 < in_workers.std() < 1.5  # normalized, whatever the files' units
    torch.testing.assert_close(on_device, in_workers, atol=1e-5, rtol=0)


def test_the_device_augments_no_arrays(compose, once):
    from mscn_plugin.errors import ConfigError

    folder = once("uint8_of_1", lambda folder: write_arrays(folder, 1, "uint8"))
    overrides = ("config=mscn/arrays", f"config.MSCN.DATA={folder}", "config.MSCN.CHANNELS=1")
    overrides += ("config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=8", "config.MSCN.AUGMENT_ON=device")
    with pytest.raises(ConfigError, match="AUGMENT_ON is device, but config.MSCN.CHANNELS is 1, "):
        compose(*overrides)
