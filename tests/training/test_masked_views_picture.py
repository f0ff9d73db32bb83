from __future__ import annotations

import pytest
import torch

pytestmark = pytest.mark.usefixtures("registered")


def test_one_image_per_row_and_one_view_per_column():
    from mscn_plugin.training.masked_views_picture import grid_of_views

    # View v of image i has the value (10 v + i) / 100 in all of its 56 x 56 pixels.
    values = torch.tensor([[10 * v + i for i in range(5)] for v in range(4)]) / 100.0
    views = values.flatten()[:, None, None, None].expand(-1, 3, 56, 56)
    grid = grid_of_views(views, num_views=4, num_images=3)
    assert grid.shape == (3, 3 * (112 + 2) + 2, 4 * (112 + 2) + 2)
    for i in range(3):
        for v in range(4):
            tile = grid[:, 2 + 114 * i : 114 * (i + 1), 2 + 114 * v : 114 * (v + 1)]
            expected = 0.5 + float(values[v, i]) / (2 * float(values[3, i]))
            torch.testing.assert_close(tile, torch.full_like(tile, expected))


def test_no_information_is_mid_grey():
    from mscn_plugin.training.masked_views_picture import grid_of_views

    grid = grid_of_views(torch.zeros(4, 3, 8, 8), num_views=2, num_images=2)
    assert float(grid[0, 4, 4]) == 0.5
