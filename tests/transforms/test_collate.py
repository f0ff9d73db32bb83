"""The multimask collator, and its two steps on worker and device, by the same assertions."""

from __future__ import annotations

import math
import pickle

import pytest
import torch

pytestmark = pytest.mark.usefixtures("registered")

SIZE = 64


@pytest.fixture(params=["worker", "device"])
def collate(request):
    """The collator on float views, or its drawing step on bytes with the stage on the device."""
    from vissl.data.collators import get_collator

    from mscn_plugin.transforms.collate import BatchLayout
    from mscn_plugin.transforms.on_device import DeviceViews

    def on_worker(batch, **settings):
        return get_collator("mscn_multimask_collator", {"cell_size": 8, **settings})(batch)

    def on_device(batch, **settings):
        batch = [{**s, "data": [view.to(torch.uint8) for view in s["data"]]} for s in batch]
        collator = get_collator("mscn_mask_drawing_collator", {"cell_size": 8, **settings})
        stage = DeviceViews(mean=(0.0,), std=(1 / 255,), layout=BatchLayout.of(settings))
        return stage(pickle.loads(pickle.dumps(collator(batch))), "cpu")

    return on_worker if request.param == "worker" else on_device


def constant_batch(num_images=4, size=SIZE):
    """Image i has the value 10 * (branch + 1) + i in every pixel of a branch's view."""
    return [
        {
            "data": [torch.full((3, size, size), 10.0 * (b + 1) + i) for b in range(2)],
            "label": [i, i],
            "data_valid": [1, 1],
            "data_idx": [100 + i, 100 + i],
        }
        for i in range(num_images)
    ]


@pytest.mark.parametrize(("num_masks", "counts"), [(1, [1, 1]), (2, [2, 2]), ([1, 3], [1, 3])])
def test_order_is_branch_then_mask_then_image(collate, num_masks, counts):
    batch = collate(constant_batch(), num_masks=num_masks)
    (data,) = batch["data"]
    assert data.shape == (sum(counts) * 4, 3, SIZE, SIZE)
    branches = [b for b, count in enumerate(counts) for _ in range(count)]
    expected = [10.0 * (b + 1) + i for b in branches for i in range(4)]
    assert data.flatten(1).median(dim=1).values.tolist() == pytest.approx(expected)
    for key, first in (("label", 0), ("data_idx", 100)):
        assert batch[key][0].tolist() == [first + i for _ in branches for i in range(4)]
    assert len(batch["data_valid"][0]) == len(data)


def test_branches_can_be_split(collate):
    (data,) = collate(constant_batch(), num_masks=[1, 3], split_branches=True)["data"]
    assert [branch.shape[0] for branch in data] == [4, 12]


def test_one_branch_can_be_the_momentum_encoders(collate):
    """As VISSL's MoCo hook expects it; labels are those of the other branch."""
    batch = collate(constant_batch(), num_masks=1, ratio=0.0, momentum_branch=True)
    for key, value in (("data", 10), ("data_momentum", 20)):
        (data,) = batch[key]
        assert data.flatten(1).median(dim=1).values.tolist() == [value + i for i in range(4)]
    assert batch["data_idx"][0].tolist() == [100, 101, 102, 103]


@pytest.mark.parametrize(("num_masks", "counts"), [(1, [1, 1]), (2, [2, 2]), ([1, 3], [1, 3])])
def test_each_mask_can_have_a_view_of_its_own(collate, num_masks, counts):
    """Figure 5: "generates multiple views", and masks on each; those of branch 0 come first."""
    views = sum(counts)
    samples = [
        {
            "data": [torch.full((3, SIZE, SIZE), 10.0 * (v + 1) + i) for v in range(views)],
            **{key: [first + i] * views for key, first in (("label", 0), ("data_idx", 100))},
            "data_valid": [1] * views,
        }
        for i in range(4)
    ]
    settings = {"num_masks": num_masks, "view_per_mask": True, "noise_std": 0.0, "ratio": [0, 0.3]}
    batch = collate(samples, **settings)
    (data,) = batch["data"]
    expected = [10.0 * (v + 1) + i for v in range(views) for i in range(4)]
    assert data.flatten(1).max(dim=1).values.tolist() == pytest.approx(expected)
    assert len(data) == views * 4
    hidden = (data == 0).flatten(1).float().mean(dim=1)
    assert hidden[: counts[0] * 4].max() == 0  # the settings are the branches'
    assert hidden[counts[0] * 4 :].min() > 0.1
    assert batch["label"][0].tolist() == list(range(4)) * views
    (split,) = collate(samples, split_branches=True, **settings)["data"]
    assert [len(branch) for branch in split] == [count * 4 for count in counts]
    with pytest.raises(ValueError, match=f"got 5 views of an image; it needs {views}"):
        collate([{**s, "data": [s["data"][0]] * 5} for s in samples], **settings)
    with pytest.raises(ValueError, match=r"view_per_mask is True; .* it must be False"):
        collate(samples, unmasked_views=True, **settings)


@pytest.mark.parametrize("split", [False, True])
def test_unmasked_views_can_come_along(collate, split):
    settings = {"num_masks": [1, 3], "split_branches": split, "ratio": 0.5}
    batch = collate(constant_batch(6), unmasked_views=True, **settings)
    (unmasked,) = batch["unmasked_views"]
    if split:
        unmasked = torch.cat(unmasked)
    expected = torch.tensor([10.0 * (b + 1) + i for b in range(2) for i in range(6)])
    torch.testing.assert_close(unmasked, expected.view(-1, 1, 1, 1).expand_as(unmasked))
    masked = torch.cat(batch["data"][0]) if split else batch["data"][0]
    assert len(masked) == 24
    assert "unmasked_views" not in collate(constant_batch(), **settings)


def test_settings_differ_between_branches(collate):
    settings = {"ratio": [0.0, 0.5], "noise_std": 0.0, "focal_probability": 0.0}
    (data,) = collate(constant_batch(64), num_masks=1, **settings)["data"]
    hidden = (data == 0).float().mean(dim=(1, 2, 3))
    assert hidden[:64].max() == 0
    assert float(hidden[64:].mean()) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("setting", "values"), [("focal_probability", [0.1, 0.6])])
def test_probabilities_hold_in_each_branch(collate, setting, values):
    batch = constant_batch(500, size=16)
    settings = {"ratio": 0.75, "cell_size": 4, "noise_std": 0.0, "channelwise_probability": 0.0}
    (data,) = collate(batch, num_masks=2, **settings, **{setting: values})["data"]
    keep = data[:, 0] != 0
    # Of 16 cells 12 fall; a focal mask keeps one box of 8 x 8 pixels in whole rows and columns.
    height = keep.any(dim=2).sum(dim=1)
    width = keep.any(dim=1).sum(dim=1)
    focal = (height == 8) & (width == 8) & (keep.flatten(1).sum(dim=1) == 64)
    for branch, probability in enumerate(values):
        share = float(focal[branch * 1000 : (branch + 1) * 1000].float().mean())
        # A grid mask is a contiguous block by chance in 9 of 1820 cases.
        expected = probability + (1 - probability) * 9 / math.comb(16, 4)
        assert share == pytest.approx(expected, abs=5 * math.sqrt(0.25 / 1000))


def test_the_masks_of_an_image_are_independent(collate):
    settings = {"ratio": 0.3, "noise_std": 0.0, "focal_probability": 0.0}
    (data,) = collate(constant_batch(500), num_masks=2, **settings)["data"]
    hidden = (data == 0)[:, 0, ::8, ::8].reshape(4, 500, -1).float()
    for first, second in ((0, 1), (0, 2), (2, 3)):
        both = (hidden[first] * hidden[second]).mean()
        assert float(both) == pytest.approx(0.09, abs=5 * math.sqrt(0.09 * 0.91 / (500 * 64)))


def test_noise_differs_between_branches(collate):
    settings = {"noise_std": [0.15, 0.30], "ratio": 0.5}
    (data,) = collate(constant_batch(64), num_masks=1, **settings)["data"]
    for branch, std in ((data[:64], 0.15), (data[64:], 0.30)):
        noise = branch[branch.abs() < 5]
        assert float(noise.std()) == pytest.approx(std, rel=0.02)


def test_survives_pickling_to_loader_workers():
    from vissl.data.collators import get_collator

    collator = get_collator("mscn_multimask_collator", {"cell_size": 8})
    (data,) = pickle.loads(pickle.dumps(collator))(constant_batch())["data"]
    assert len(data) == 16


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_masks": 0}, "num_masks is 0"),
        ({"num_masks": [2, 2, 2]}, "num_masks is"),
        ({"ratio": [0.1, 0.2, 0.3]}, "ratio is .* 2 branches"),
        ({"ratio": 1.2}, "ratio is 1.2"),
        ({"cell_size": 65}, "cell_size is 65; .* 64"),
        ({"rati": 0.2}, "rati is not a mask setting"),
    ],
)
def test_refuses_wrong_settings(collate, settings, message):
    with pytest.raises(ValueError, match=message):
        collate(constant_batch(), **settings)


def test_refuses_a_single_view(collate):
    batch = [{**sample, "data": sample["data"][:1]} for sample in constant_batch()]
    with pytest.raises(ValueError, match="needs 2"):
        collate(batch)


def test_pixels_in_bytes_are_refused_since_noise_would_be_0_in_them():
    from vissl.data.collators import get_collator

    batch = [{**s, "data": [view.byte() for view in s["data"]]} for s in constant_batch()]
    with pytest.raises(TypeError, match=r"floating-point images, got torch\.uint8"):
        get_collator("mscn_multimask_collator", {"cell_size": 8})(batch)


def test_branches_are_handed_over_apart_in_one_way(collate):
    with pytest.raises(ValueError, match="split_branches is True; with momentum_branch"):
        collate(constant_batch(), split_branches=True, momentum_branch=True)
