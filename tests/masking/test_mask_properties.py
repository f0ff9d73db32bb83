"""What holds for any masks, whatever their settings; settings are chosen by hypothesis."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mscn_plugin.masking import MaskDistribution, apply_masks, high_pass

sides = st.integers(4, 40)
distributions = st.builds(
    MaskDistribution,
    ratio=st.floats(0, 0.95),
    cell_size=st.integers(1, 4) | st.tuples(st.integers(1, 4), st.integers(1, 4)),
    focal_probability=st.floats(0, 1),
    channelwise_probability=st.floats(0, 1),
    noise_std=st.floats(0, 2),
)


@settings(max_examples=150, deadline=None)
@given(distributions, sides, sides, st.integers(0, 5), st.integers(1, 4), st.integers(0, 2**31))
def test_masks_are_what_their_settings_say(masks, height, width, number, channels, seed):
    sampled = masks.sample(number, (height, width), channels, torch.Generator().manual_seed(seed))
    keep = sampled.keep()
    assert keep.shape == (number, channels, height, width)
    assert torch.equal(sampled.num_hidden(), (~keep).flatten(1).sum(1))
    cell = masks.cell_size if isinstance(masks.cell_size, tuple) else [masks.cell_size] * 2
    rows, columns = -(-height // cell[0]), -(-width // cell[1])
    for sample in range(number):
        if not sampled.channelwise[sample]:
            assert (keep[sample] == keep[sample, :1]).all()
        for mask in keep[sample].numpy():
            if sampled.focal[sample]:  # one box is kept
                ys, xs = np.nonzero(mask)
                assert mask.sum() == (np.ptp(ys) + 1) * (np.ptp(xs) + 1)
                assert (np.ptp(ys) + 1, np.ptp(xs) + 1) == (
                    masks.focal_side(height),
                    masks.focal_side(width),
                )
            else:  # whole cells fall, as many as the ratio says, give or take one
                cells = [
                    mask[r * cell[0] : (r + 1) * cell[0], c * cell[1] : (c + 1) * cell[1]]
                    for r in range(rows)
                    for c in range(columns)
                ]
                assert all(cell.all() or not cell.any() for cell in cells)
                fallen = sum(not cell.any() for cell in cells)
                assert abs(fallen - masks.ratio * rows * columns) < 1


@settings(max_examples=100, deadline=None)
@given(distributions, sides, st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**31))
def test_what_is_kept_is_kept_bit_for_bit_and_the_rest_is_noise(masks, side, images, k, seed):
    torch.manual_seed(seed)
    views = torch.randn(images, 3, side, side)
    sampled = masks.sample(images * k, (side, side), 3)
    masked, keep = apply_masks(views, sampled), sampled.keep()
    assert torch.equal(masked[keep], views.repeat(k, 1, 1, 1)[keep])
    if masks.noise_std == 0:
        assert not masked[~keep].any()


@settings(max_examples=60, deadline=None)
@given(st.floats(0.3, 4), sides, sides, st.floats(-5, 5), st.floats(-3, 3))
def test_the_filter_is_linear_and_blind_to_a_constant(sigma, height, width, constant, factor):
    images = torch.randn(2, 3, height, width)
    filtered = high_pass(images, sigma)
    torch.testing.assert_close(high_pass(images + constant, sigma), filtered, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        high_pass(factor * images, sigma), factor * filtered, atol=1e-4, rtol=1e-4
    )
