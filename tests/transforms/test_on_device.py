"""The stage on the device against the loader's workers."""

from __future__ import annotations

import contextlib
import copy

import pytest
import torch
from torch.utils.data import DataLoader

pytestmark = pytest.mark.usefixtures("registered")

NORMALIZE = {"name": "Normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
HIGH_PASS = {"name": "MSCNHighPass", "sigma": 1.25}


def train_section(tail, **params):
    from vissl.config import AttrDict

    head = [{"name": "ImgReplicatePil", "num_times": 2}, {"name": "RandomResizedCrop", "size": 56}]
    return AttrDict(
        {
            "TRANSFORMS": [*head, *tail],
            "COLLATE_FUNCTION": "mscn_multimask_collator",
            "COLLATE_FUNCTION_PARAMS": {"cell_size": 8, **params},
        }
    )


def samples_and_collator(train, pictures):
    """What the pipeline of ``train`` makes of ``pictures`` one by one, and what joins them."""
    from vissl.data.collators import get_collator
    from vissl.data.ssl_transforms import get_transform

    transform = get_transform(copy.deepcopy(train.TRANSFORMS))
    one = {"label": [7], "data_valid": [1], "data_idx": [0]}
    samples = [transform({"data": [image], **copy.deepcopy(one)}) for image in pictures]
    return samples, get_collator(train.COLLATE_FUNCTION, dict(train.COLLATE_FUNCTION_PARAMS))


def batch_of(train, pictures):
    samples, collator = samples_and_collator(train, pictures)
    return collator(samples)


@pytest.fixture
def pictures():
    import numpy as np
    from PIL import Image

    pixels = np.random.RandomState(0).randint(0, 256, (20, 80, 100, 3), dtype=np.uint8)
    return [Image.fromarray(image) for image in pixels]


@pytest.mark.parametrize("num_masks", [1, [1, 3], 4])
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize(
    "tail",
    [[NORMALIZE, HIGH_PASS], [NORMALIZE], [HIGH_PASS], [], [NORMALIZE, {"name": "MSCNHighPass"}]],
)
def test_agrees_with_the_workers(pictures, tail, split, num_masks):
    from mscn_plugin.transforms.on_device import split_pipeline

    train = train_section([{"name": "ToTensor"}, *tail], num_masks=num_masks, split_branches=split)
    before = copy.deepcopy(train)
    workers, stage = split_pipeline(train)
    assert train == before
    torch.manual_seed(5)
    expected = batch_of(train, pictures)
    torch.manual_seed(5)
    sent = batch_of(workers, pictures)
    result = stage(sent, "cpu")
    assert sent["data"].dtype == torch.uint8
    assert result.keys() == expected.keys()
    for key in ("label", "data_valid", "data_idx"):
        assert torch.equal(result[key][0], expected[key][0])
    torch.testing.assert_close(result["data"], expected["data"], atol=1e-5, rtol=0)


def test_cells_bands_and_groups_agree_with_the_workers(pictures):
    from mscn_plugin.transforms.on_device import split_pipeline

    masks = {
        "cell_size": [[14, 4], 8],
        "band_probability": [0.3, 0.5],
        "channel_groups": {"warm": [0, 1], "cold": [2]},
    }
    train = train_section([{"name": "ToTensor"}, NORMALIZE, HIGH_PASS], **masks)
    workers, stage = split_pipeline(train)
    torch.manual_seed(5)
    expected = batch_of(train, pictures)
    torch.manual_seed(5)
    sent = batch_of(workers, pictures)
    assert [of_branch.kinds[0].cell for of_branch in sent["masks"]] == [(14, 4), (8, 8)]
    result = stage(sent, "cpu")
    torch.testing.assert_close(result["data"], expected["data"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("chunk", [1, 10**12])
def test_the_order_does_not_depend_on_how_many_are_worked_on_at_a_time(
    pictures, chunk, monkeypatch
):
    """An accelerator takes the whole batch at once."""
    from mscn_plugin.masking import apply
    from mscn_plugin.transforms.on_device import split_pipeline

    tail = [{"name": "ToTensor"}, NORMALIZE, HIGH_PASS]
    workers, stage = split_pipeline(train_section(tail, num_masks=[1, 3], noise_std=0.0))
    sent = batch_of(workers, pictures)
    (expected,) = stage(sent, "cpu")["data"]
    monkeypatch.setattr(apply, "CPU_CHUNK", chunk)
    torch.testing.assert_close(stage(sent, "cpu")["data"][0], expected, atol=1e-6, rtol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_agrees_under_autocast(pictures):
    from mscn_plugin.transforms.on_device import split_pipeline

    tail = [{"name": "ToTensor"}, NORMALIZE, HIGH_PASS]
    workers, stage = split_pipeline(train_section(tail, num_masks=[1, 3], noise_std=0.0))
    sent = batch_of(workers, pictures)
    (expected,) = stage(sent, "cpu")["data"]
    with torch.autocast("cuda"):
        (data,) = stage({**sent, "data": sent["data"].pin_memory()}, "cuda")["data"]
    torch.testing.assert_close(data.cpu(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_an_accelerator_never_waits_for_the_host(pictures, dtype, monkeypatch):
    """Meta tensors have no values: an operation that needs one on the host fails on them."""
    monkeypatch.setattr(torch, "autocast", lambda *a, **k: contextlib.nullcontext())
    from mscn_plugin.transforms.on_device import split_pipeline

    tail = [{"name": "ToTensor"}, NORMALIZE, HIGH_PASS]
    workers, stage = split_pipeline(train_section(tail, num_masks=[1, 3]))
    sent = batch_of(workers, pictures)
    (data,) = stage({**sent, "data": sent["data"].to(dtype)}, "meta")["data"]
    assert data.device.type == "meta"
    assert data.dtype == torch.float32
    assert data.shape == (80, 3, 56, 56)


def test_what_travels_does_not_grow_with_the_masks(pictures):
    from mscn_plugin.transforms.on_device import split_pipeline

    def num_bytes(value):
        if isinstance(value, torch.Tensor):
            return value.numel() * value.element_size()
        if isinstance(value, (list, dict)):
            return sum(num_bytes(v) for v in (value.values() if isinstance(value, dict) else value))
        return sum(num_bytes(v) for v in vars(value).values() if not isinstance(v, (int, tuple)))

    tail = [{"name": "ToTensor"}, NORMALIZE, HIGH_PASS]
    sizes = []
    for num_masks in (1, 8):
        workers, _ = split_pipeline(train_section(tail, num_masks=num_masks))
        sizes.append(num_bytes(batch_of(workers, pictures)) / len(pictures))
    plain = 2 * 3 * 56 * 56 * 4
    assert sizes[0] < 0.30 * plain
    assert sizes[1] - sizes[0] < 2 * 7 * 500  # the draws, at another 14 masks of an image


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        ([], "ends in RandomResizedCrop"),
        ([{"name": "ToTensor"}, HIGH_PASS, NORMALIZE], "ends in ToTensor, MSCNHighPass, Normalize"),
        ([{"name": "ToTensor"}, NORMALIZE, {"name": "MSCNMask"}], "it must end in"),
        ([{"name": "ToTensor"}, {**NORMALIZE, "inplace": True}], "must have mean and std"),
        ([{"name": "ToTensor"}, {"name": "Normalize", "mean": [0.5]}], "must have mean and std"),
        (
            [{"name": "ToTensor"}, {"name": "Normalize", "mean": 0.5, "std": 0.5}],
            "each a list with one value per channel",
        ),
        ([{"name": "ToTensor"}, NORMALIZE, NORMALIZE], "ends in ToTensor, Normalize, Normalize"),
    ],
)
def test_says_what_is_in_its_way(tail, message):
    from mscn_plugin.transforms.on_device import split_pipeline

    with pytest.raises(ValueError, match=f"^TRANSFORMS.*{message}"):
        split_pipeline(train_section(tail))


def test_other_collators_stay_with_the_workers():
    from mscn_plugin.transforms.on_device import split_pipeline

    train = train_section([{"name": "ToTensor"}])
    train.COLLATE_FUNCTION = "simclr_collator"
    with pytest.raises(ValueError, match="^COLLATE_FUNCTION is simclr_collator"):
        split_pipeline(train)


def test_the_loader_forwards_all_else(pictures):
    from mscn_plugin.transforms.on_device import DeviceViewsLoader, split_pipeline

    workers, stage = split_pipeline(train_section([{"name": "ToTensor"}, NORMALIZE, HIGH_PASS]))
    samples, collator = samples_and_collator(workers, pictures)
    inner = DataLoader(samples, batch_size=8, collate_fn=collator, num_workers=1)
    loader = DeviceViewsLoader(inner, stage, "cpu")
    assert len(loader) == 3
    assert loader.sampler is inner.sampler
    assert loader.batch_size == 8
    assert len(iter(loader)) == 3
    for _ in range(2):
        assert [len(batch["data"][0]) for batch in loader] == [32, 32, 16]


def test_a_batch_that_is_held_stays_as_it_is(pictures):
    """The stage writes into the memory of batches that are gone, and into no other."""
    from mscn_plugin.transforms.on_device import DeviceViewsLoader, split_pipeline

    workers, stage = split_pipeline(train_section([{"name": "ToTensor"}, NORMALIZE, HIGH_PASS]))
    samples, collator = samples_and_collator(workers, pictures)
    inner = DataLoader(samples, batch_size=4, collate_fn=collator)
    held, copies, places = [], [], set()
    for number, batch in enumerate(DeviceViewsLoader(inner, stage, "cpu")):
        places.add(batch["data"][0].data_ptr())
        if number in (0, 3):
            held.append(batch["data"][0][2:])
            copies.append(held[-1].clone())
        del batch
    assert all(torch.equal(*pair) for pair in zip(held, copies))
    assert len(places) < 5
