"""The collator on any batch: order, shapes and what is untouched; drawn by hypothesis."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("registered")


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 5),
    st.lists(st.integers(1, 3), min_size=2, max_size=2),
    st.integers(8, 20),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_views_keep_their_places(images, num_masks, side, split, unmasked, seed):
    from mscn_plugin.transforms.collate import mscn_multimask_collator

    torch.manual_seed(seed)
    batch = [
        {
            "data": [torch.full((3, side, side), 10.0 * index + view) for view in range(2)],
            "label": [index, index],
            "data_valid": [1, 1],
            "data_idx": [100 + index, 100 + index],
        }
        for index in range(images)
    ]
    collated = mscn_multimask_collator(
        batch,
        num_masks,
        ratio=0.3,
        cell_size=4,
        noise_std=0.0,
        split_branches=split,
        unmasked_views=unmasked,
    )
    (data,) = collated["data"]
    data = torch.cat(list(data)) if split else data
    assert data.shape == (sum(num_masks) * images, 3, side, side)
    views = [view for view, count in enumerate(num_masks) for _ in range(count)]
    expected = [10 * index + view for view in views for index in range(images)]
    for tile, value in zip(data, expected):
        assert set(tile.unique().tolist()) <= {0.0, float(value)}
    assert collated["label"][0].tolist() == list(range(images)) * sum(num_masks)
    assert collated["data_idx"][0].tolist() == [100 + i for i in range(images)] * sum(num_masks)
    assert ("unmasked_views" in collated) == unmasked
