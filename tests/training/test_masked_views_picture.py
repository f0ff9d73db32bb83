from __future__ import annotations

import pytest
import torch

pytestmark = pytest.mark.usefixtures("registered")


def test_one_image_per_row_and_one_view_per_column():
    from mscn_plugin.training.masked_views_picture import grid_of_views

    # View v of image i has the value (10 v + i) / 100 in all of its 4 x 4 pixels.
    values = torch.tensor([[10 * v + i for i in range(5)] for v in range(4)]) / 100.0
    views = values.flatten()[:, None, None, None].expand(-1, 3, 4, 4)
    grid = grid_of_views(views, num_views=4, num_images=3)
    assert grid.shape == (3, 3 * (4 + 2) + 2, 4 * (4 + 2) + 2)
    tiles = [[float(grid[0, 2 + 6 * i, 2 + 6 * v]) for v in range(4)] for i in range(3)]
    scale = (values[:, :3].max() - 0.5 * 0).item()
    for i in range(3):
        for v in range(4):
            assert tiles[i][v] == pytest.approx(0.5 + float(values[v, i]) / (2 * scale), abs=1e-4)


def test_no_information_is_mid_grey():
    from mscn_plugin.training.masked_views_picture import grid_of_views

    grid = grid_of_views(torch.zeros(4, 3, 8, 8), num_views=2, num_images=2)
    assert float(grid[0, 4, 4]) == 0.5
