"""Statistics over 10,000 samples; tolerances are five standard errors."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from mscn_plugin.masking import MaskDistribution, MaskParameters

SAMPLES = 10_000


def within(observed: float, probability: float, samples: int = SAMPLES) -> bool:
    return abs(observed - probability) <= 5 * math.sqrt(probability * (1 - probability) / samples)


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.15, 0.3, 0.5, 0.9])
@pytest.mark.parametrize(
    ("size", "cell_size"), [((224, 224), 32), ((56, 80), 8), ((50, 30), 8), ((50, 30), [25, 4])]
)
def test_dropped_fraction_of_cells_is_the_ratio(ratio, size, cell_size):
    masks = MaskDistribution(ratio=ratio, cell_size=cell_size)
    cells = masks.sample(SAMPLES, size).dropped_cells[:, 0].flatten(1)
    height, width = cell_size if isinstance(cell_size, list) else (cell_size, cell_size)
    num_cells = math.ceil(size[0] / height) * math.ceil(size[1] / width)
    assert cells.shape[1] == num_cells
    counts = cells.sum(dim=1)
    # Only the two whole numbers around n * ratio occur, in the proportion that gives the mean.
    low = math.floor(num_cells * ratio + 1e-9)
    assert set(counts.tolist()) <= {low, low + 1}
    assert within(float((counts - low).float().mean()), num_cells * ratio - low)


def test_every_cell_falls_equally_often():
    cells = MaskDistribution(ratio=0.3).sample(SAMPLES, (224, 224)).dropped_cells[:, 0].float()
    assert all(within(float(p), 0.3) for p in cells.mean(dim=0).flatten())


def test_cells_are_chosen_without_replacement_and_without_correlation():
    cells = (
        MaskDistribution(ratio=0.5, cell_size=112).sample(SAMPLES, (224, 224)).dropped_cells[:, 0]
    )
    assert (cells.flatten(1).sum(dim=1) == 2).all()
    pairs = [tuple(sample.flatten().tolist()) for sample in cells]
    for pattern in set(itertools.permutations([True, True, False, False])):
        assert within(pairs.count(pattern) / SAMPLES, 1 / 6)


def test_grid_mask_is_made_of_whole_cells():
    masks = MaskDistribution(ratio=0.3, cell_size=32, focal_probability=0.0)
    sampled = masks.sample(20, (224, 224))
    keep = sampled.keep()
    assert keep.shape == (20, 3, 224, 224)
    assert keep.dtype == torch.bool
    cells = keep.view(20, 3, 7, 32, 7, 32).float().mean(dim=(3, 5))
    assert torch.equal(cells, (~sampled.dropped_cells).float())


def test_cells_that_do_not_divide_the_image_are_cut_at_the_far_borders():
    sampled = MaskDistribution(ratio=0.5, cell_size=8, focal_probability=0).sample(50, (20, 30))
    assert sampled.dropped_cells.shape == (50, 3, 3, 4)
    keep = sampled.keep()
    for row, column in itertools.product(range(20), range(30)):
        expected = ~sampled.dropped_cells[:, :, row // 8, column // 8]
        assert torch.equal(keep[:, :, row, column], expected)


def test_cells_have_a_height_and_a_width():
    settings = {"ratio": 0.5, "cell_size": [16, 5], "channelwise_probability": 0}
    sampled = MaskDistribution(focal_probability=0, **settings).sample(50, (50, 31))
    assert sampled.dropped_cells.shape == (50, 3, 4, 7)
    for row, column in itertools.product(range(50), range(31)):
        expected = ~sampled.dropped_cells[:, :, row // 16, column // 5]
        assert torch.equal(sampled.keep()[:, :, row, column], expected)
    masks = MaskDistribution(focal="cells", focal_probability=1, **settings)
    boxes = masks.sample(SAMPLES, (48, 30)).kept_boxes[:, 0]
    assert (boxes % torch.tensor([16, 5, 16, 5]) == 0).all()
    area = (boxes[:, 2] * boxes[:, 3]) / (48 * 30)
    assert float(area.mean()) == pytest.approx(0.5, abs=5 * float(area.std()) / 100)


def test_a_cell_of_equal_sides_is_a_square_one():
    def hidden(cell_size):
        generator = torch.Generator().manual_seed(0)
        masks = MaskDistribution(cell_size=cell_size, focal="cells")
        return masks.sample(50, (56, 40), generator=generator).hidden()

    assert torch.equal(hidden(8), hidden([8, 8]))


def test_focal_mask_keeps_one_box_of_the_stated_size_at_a_uniform_place():
    sampled = MaskDistribution(ratio=0.15, focal_probability=1.0).sample(SAMPLES, (224, 224))
    tops, lefts, heights, widths = sampled.kept_boxes[:, 0].unbind(dim=1)
    assert set(heights.tolist()) == set(widths.tolist()) == {207}
    for corner in (tops, lefts):
        counts = np.bincount(corner.numpy(), minlength=18) / SAMPLES
        assert len(counts) == 18
        assert all(within(share, 1 / 18) for share in counts)
    keep = sampled[:10].keep()
    for sample, (top, left, height, width) in zip(keep, sampled.kept_boxes[:10, 0].tolist()):
        expected = np.zeros((224, 224), dtype=bool)
        expected[top : top + height, left : left + width] = True
        assert np.array_equal(sample[0].numpy(), expected)
    assert float(keep.float().mean()) == pytest.approx(0.85, abs=0.005)


def test_focal_size_is_the_side_of_the_box():
    sampled = MaskDistribution(focal_size=200, focal_probability=1.0).sample(10, (224, 256))
    assert (sampled.kept_boxes[..., 2:] == 200).all()
    assert (sampled.keep().flatten(2).sum(dim=2) == 200 * 200).all()


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.4, 1.0])
def test_probabilities_of_focal_and_channelwise_masks(probability):
    masks = MaskDistribution(focal_probability=probability, channelwise_probability=probability)
    sampled = masks.sample(SAMPLES, (56, 56))
    assert within(float(sampled.focal.float().mean()), probability)
    assert within(float(sampled.channelwise.float().mean()), probability)
    both = (sampled.focal & sampled.channelwise).float().mean()
    assert within(float(both), probability**2)


def test_channelwise_masks_are_independent_and_shared_masks_equal():
    masks = MaskDistribution(ratio=0.3, focal_probability=0.0, channelwise_probability=0.5)
    sampled = masks.sample(SAMPLES, (224, 224))
    shared = sampled.dropped_cells[~sampled.channelwise]
    assert torch.equal(shared, shared[:, :1].expand_as(shared))
    independent = sampled.dropped_cells[sampled.channelwise]
    for first, second in itertools.combinations(range(3), 2):
        both = (independent[:, first] & independent[:, second]).float().mean(dim=0)
        assert all(within(float(p), 0.09, len(independent)) for p in both.flatten())


@pytest.mark.parametrize("groups", [{"optical": [0, 2], "radar": [3, 1, 4]}, [[0, 2], [3, 1, 4]]])
def test_channels_of_a_group_share_a_mask_and_groups_are_independent(groups):
    masks = MaskDistribution(
        ratio=0.3,
        cell_size=28,
        focal_probability=0.0,
        channelwise_probability=0.5,
        channel_groups=groups,
    )
    sampled = masks.sample(SAMPLES, (56, 56), channels=5)
    cells = sampled.dropped_cells
    assert torch.equal(cells[:, [0, 3, 3]], cells[:, [2, 1, 4]])
    shared, independent = cells[~sampled.channelwise], cells[sampled.channelwise]
    assert torch.equal(shared[:, 0], shared[:, 1])
    both = (independent[:, 0] & independent[:, 1]).float().mean(dim=0)
    assert all(within(float(p), 0.09, len(independent)) for p in both.flatten())
    for kind in ("focal", "band"):
        one_kind = {"focal_probability": 0.0, f"{kind}_probability": 1.0}
        masks = MaskDistribution(channelwise_probability=1, channel_groups=groups, **one_kind)
        hidden = masks.sample(200, (56, 56), channels=5).hidden()
        assert torch.equal(hidden[:, [0, 3, 3]], hidden[:, [2, 1, 4]])
        differ = (hidden[:, 0] != hidden[:, 1]).flatten(1).any(dim=1)
        assert float(differ.float().mean()) > 0.9


def test_a_channel_in_each_group_is_what_no_groups_are():
    def hidden(groups):
        generator = torch.Generator().manual_seed(0)
        masks = MaskDistribution(channel_groups=groups)
        return masks.sample(50, (56, 56), generator=generator).hidden()

    assert torch.equal(hidden(None), hidden([[0], [1], [2]]))


@pytest.mark.parametrize(
    "groups",
    [
        *(3, "optical", {}, [], [[]], [0, 1], {"optical": 0}, [["0"]], [[True]]),
        *([[0, 1], [1]], [[1, 2]], [[0], [2]], [[0, -1]], [[0.0, 1]]),
    ],
)
def test_every_channel_must_be_in_one_group(groups):
    with pytest.raises(ValueError, match="^channel_groups is .* every channel .* exactly one"):
        MaskDistribution(channel_groups=groups)


@pytest.mark.parametrize("channels", [2, 4])
def test_groups_must_be_of_the_images_channels(channels):
    masks = MaskDistribution(channel_groups={"optical": [0, 1], "radar": [2]})
    with pytest.raises(ValueError, match=f"^channel_groups is .* the images have {channels} chan"):
        masks.sample(1, (56, 56), channels)


def test_samples_are_independent_of_each_other():
    cells = MaskDistribution(ratio=0.3).sample(SAMPLES, (224, 224)).dropped_cells[:, 0].flatten(1)
    both = (cells[0::2] & cells[1::2]).float().mean(dim=0)
    assert all(within(float(p), 0.09, SAMPLES // 2) for p in both)


def test_generator_makes_masks_reproducible():
    masks = MaskDistribution()

    def sampled(seed: int) -> torch.Tensor:
        return masks.sample(8, (224, 224), generator=torch.Generator().manual_seed(seed)).keep()

    assert torch.equal(sampled(1), sampled(1))
    assert not torch.equal(sampled(1), sampled(2))


def test_parts_of_the_parameters_join_to_the_whole():
    sampled = MaskDistribution().sample(6, (56, 56))
    joined = MaskParameters.cat([sampled[:2], sampled[2:3], sampled[3:]])
    assert len(joined) == 6
    assert torch.equal(joined.keep(), sampled.keep())
    with pytest.raises(ValueError, match="one image size"):
        MaskParameters.cat([sampled, MaskDistribution().sample(1, (64, 64))])
    with pytest.raises(ValueError, match="the same kinds"):
        MaskParameters.cat([sampled, MaskDistribution(cell_size=28).sample(1, (56, 56))])


def test_earlier_names_hold():
    from mscn_plugin import masking

    assert masking.MaskDraw is MaskParameters
    assert masking.fill is masking.apply_masks
    assert len(MaskDistribution().draw(2, (56, 56))) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ratio", 1.2),
        ("ratio", 1.0),
        ("ratio", -0.1),
        ("ratio", float("nan")),
        ("ratio", "0.3"),
        ("focal_probability", -0.1),
        ("channelwise_probability", 1.1),
        ("cell_size", 0),
        ("cell_size", 3.5),
        ("cell_size", True),
        ("cell_size", [8]),
        ("cell_size", [8, 8, 8]),
        ("cell_size", [8, 0]),
        ("cell_size", [8, 2.5]),
        ("cell_size", "8x8"),
        ("cell_size", None),
        ("band_probability", 2),
        ("row_bands", -1),
        ("column_bands", 1.5),
        ("row_band_size", 0),
        ("column_band_size", 2.5),
        ("focal_size", 0),
        ("noise_std", -1),
        ("noise_std", float("inf")),
        ("noise_std", True),
        ("channelwise_probability", np.bool_(True)),
        ("row_bands", np.float64(2.0)),
        ("focal", "cell"),
        ("ratio_rounding", None),
    ],
)
def test_refuses_values_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"^{name} is "):
        MaskDistribution(**{name: value})


def test_takes_numbers_of_numpy():
    settings = {
        "ratio": np.float32(0.25),
        "cell_size": [np.int64(8), np.int32(14)],
        "row_bands": np.int64(1),
        "channel_groups": [[np.int64(0), 1], [2]],
    }
    masks = MaskDistribution(band_probability=np.float64(0.2), **settings)
    plain = MaskDistribution(
        ratio=0.25, cell_size=[8, 14], row_bands=1, channel_groups=[[0, 1], [2]],
        band_probability=0.2,
    )  # fmt: skip
    one, other = (
        m.sample(20, (56, 56), generator=torch.Generator().manual_seed(0)).hidden()
        for m in (masks, plain)
    )
    assert torch.equal(one, other)


def test_refuses_cells_and_boxes_larger_than_the_image():
    with pytest.raises(ValueError, match="cell_size is 60; .* at most .* 56"):
        MaskDistribution(cell_size=60).sample(1, (56, 80))
    with pytest.raises(ValueError, match="focal_size is 57"):
        MaskDistribution(focal_size=57).sample(1, (56, 80))
    MaskDistribution(cell_size=[56, 80]).sample(1, (56, 80))
    for cell_size in ([57, 8], [8, 81]):
        with pytest.raises(ValueError, match=r"cell_size is .*image's, 56, .* at most 80"):
            MaskDistribution(cell_size=cell_size).sample(1, (56, 80))


@pytest.mark.parametrize(("ratio", "number"), [(0.15, 7), (0.3, 15), (0.5, 25)])
def test_the_number_of_dropped_cells_can_be_the_same_in_all_masks(ratio, number):
    """ "A fixed 30% masking ratio" (4.3); 24.5 cells are rounded up."""
    masks = MaskDistribution(ratio=ratio, ratio_rounding="nearest")
    cells = masks.sample(2000, (224, 224)).dropped_cells[:, 0]
    assert (cells.flatten(1).sum(dim=1) == number).all()
    assert all(within(float(p), number / 49, 2000) for p in cells.float().mean(dim=0).flatten())


@pytest.mark.parametrize("ratio", [0.0, 0.15, 0.3, 0.9])
def test_focal_mask_can_keep_a_block_of_whole_cells(ratio):
    """ "A special case of a random grid mask" (Figure 3), of the box's area in the mean."""
    masks = MaskDistribution(ratio=ratio, focal="cells", focal_probability=1.0)
    sampled = masks.sample(SAMPLES, (224, 224))
    tops, lefts, *sides = (sampled.kept_boxes[:, 0] / 32).unbind(dim=1)
    exact = 7 * math.sqrt(1 - ratio)
    for corner, side in ((tops, sides[0]), (lefts, sides[1])):
        assert set(side.tolist()) <= {math.floor(exact), math.floor(exact) + 1}
        assert within(float((side == math.floor(exact)).float().mean()), 1 - exact % 1)
        for length in side.unique().tolist():  # any place is as likely as any other
            places, number = corner[side == length], int((side == length).sum())
            for place in range(7 - int(length) + 1):
                share = float((places == place).float().mean())
                assert within(share, 1 / (8 - length), number)
    area = (sides[0] * sides[1]) / 49
    assert float(area.mean()) == pytest.approx(1 - ratio, abs=5 * float(area.std()) / 100 + 1e-6)
    cells = sampled[:50].keep().view(50, 3, 7, 32, 7, 32).float().mean(dim=(3, 5))
    assert set(cells.flatten().tolist()) <= {0.0, 1.0}


def test_a_block_of_cells_is_as_large_as_focal_size_in_the_mean_and_fits():
    settings = {"focal": "cells", "focal_probability": 1.0, "cell_size": 8}
    boxes = MaskDistribution(focal_size=20, **settings).sample(SAMPLES, (30, 30)).kept_boxes
    assert set(boxes[..., 2:].flatten().tolist()) == {16, 24}
    assert within(float((boxes[:, 0, 2] == 24).float().mean()), 0.5)
    assert int((boxes[..., :2] + boxes[..., 2:]).max()) == 32  # the last cells are cut
    cut = MaskDistribution(ratio=0.3, **settings).sample(SAMPLES, (30, 30)).kept_boxes[:, 0]
    area = (cut[:, 2] * cut[:, 3]) / 32**2  # cells that are cut count as whole
    assert float(area.mean()) == pytest.approx(0.7, abs=5 * float(area.std()) / 100)
    none = MaskDistribution(ratio=0.0, **settings).sample(100, (30, 50))
    assert not none.num_hidden().any()
    least = MaskDistribution(ratio=0.99, **settings).sample(100, (56, 56)).kept_boxes
    assert (least[..., 2:] == 8).all()
