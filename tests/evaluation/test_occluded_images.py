"""Which pixels are hidden, on which side of the filter, and by what."""

from __future__ import annotations

import pytest
import torch

from mscn_plugin.evaluation.definitions import CONDITIONS
from mscn_plugin.evaluation.occluded_images import hidden_pixels, versions
from mscn_plugin.masking import high_pass

SIZE = (3, 56, 56)


def hidden(shape, share, indices, cell_size=8):
    return hidden_pixels(shape, share, cell_size, indices, SIZE)


@pytest.mark.parametrize("shape", ["cells", "channels", "box"])
@pytest.mark.parametrize("share", [0.15, 0.3, 0.5, 0.7])
def test_the_share_is_hidden_that_is_said(shape, share):
    pixels = hidden(shape, share, range(300))
    # Whole pixels make a box of 40 x 40, or 51%, of 50%.
    assert pixels.float().mean() == pytest.approx(share, abs=0.011)
    same = (pixels == pixels[:, :1]).flatten(1).all(dim=1).float().mean()
    assert same < 0.05 if shape == "channels" else same == 1
    # All places are hidden equally often but for a box, which covers the middle more often.
    if shape != "box":
        assert (pixels.float().mean(dim=0) - share).abs().max() < 0.12


def test_cells_have_a_height_and_a_width():
    rows = hidden("cells", 0.5, range(8), cell_size=[8, 56])
    assert torch.equal(rows[..., :1].expand_as(rows), rows)
    assert rows.float().mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("shape", ["cells", "channels", "box"])
def test_masks_are_an_images_own_and_grow(shape):
    masks = {share: hidden(shape, share, range(8)) for share in (0.15, 0.3, 0.5, 0.7)}
    for share, pixels in masks.items():
        torch.manual_seed(1)
        assert torch.equal(hidden(shape, share, [5, 2]), pixels[[5, 2]])
        assert not torch.equal(pixels[0], pixels[1])
    if shape != "box":
        assert (masks[0.15] <= masks[0.3]).all()
        assert (masks[0.3] <= masks[0.7]).all()


def validation_versions(images, indices, sigma):
    return {name: shown.seen for name, shown in versions("test", images, indices, sigma, 8)}


def test_what_is_hidden_is_behind_the_filter_or_in_front_of_it():
    images, indices = torch.randn(3, *SIZE) + 1, [4, 0, 9]
    found = validation_versions(images, indices, 1.25)
    assert next(iter(found)) == "test"
    assert len(found) == 1 + 4 * len(CONDITIONS)
    clean = high_pass(images, 1.25)
    assert torch.equal(found["test"], clean)
    cells, box = hidden("cells", 0.3, indices), hidden("box", 0.3, indices)
    assert torch.equal(found["cells-zeros-30"], clean.masked_fill(cells, 0))
    assert torch.equal(found["box-zeros-30"], clean.masked_fill(box, 0))
    gray = high_pass(images.masked_fill(box, 0), 1.25)
    assert torch.equal(found["picture-box-gray-30"], gray)
    noise = found["cells-noise-30"]
    assert torch.equal(noise[~cells], clean[~cells])
    assert noise[cells].std() == pytest.approx(0.225, rel=0.05)
    # Without a filter what is behind it is the picture, and in any batch an image is hidden alike.
    plain = validation_versions(images, indices, 0.0)
    assert torch.equal(plain["cells-zeros-50"], plain["picture-cells-gray-50"])
    noise = plain["picture-box-noise-30"][box]
    assert noise.std() == pytest.approx(1, rel=0.05)
    assert noise.mean() == pytest.approx(0, abs=0.05)
    alone = validation_versions(images[2:], indices[2:], 1.25)
    for name, version in found.items():
        torch.testing.assert_close(alone[name], version[2:])


def test_the_picture_goes_with_it_where_nothing_was_hidden_behind_the_filter():
    images, indices = torch.randn(3, *SIZE) + 1, [4, 0, 9]
    shown = dict(versions("test", images, indices, 1.25, 8))
    pictures = {name: picture for name, (_, picture) in shown.items() if picture is not None}
    in_the_picture = [name for name, c in CONDITIONS.items() if not c.filtered]
    assert {name.rpartition("-")[0] for name in pictures} == {"", *in_the_picture}
    assert torch.equal(pictures["test"], images)
    box = hidden("box", 0.3, indices)
    assert torch.equal(pictures["picture-box-gray-30"], images.masked_fill(box, 0))
    for name, picture in pictures.items():
        assert torch.equal(shown[name].seen, high_pass(picture, 1.25))


def test_training_images_are_whole():
    images = torch.randn(2, *SIZE)
    ((name, shown),) = versions("train", images, [0, 1], 0.0, 8)
    assert name == "train"
    assert torch.equal(shown.seen, images)
    assert torch.equal(shown.picture, images)
