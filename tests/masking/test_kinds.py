"""A kind of mask is a class: one of a test's own stands beside grid and focal masks."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from mscn_plugin.masking import MaskDistribution, MaskParameters, apply_masks
from mscn_plugin.masking.kinds import BandMask, FocalMask, GridMask


@dataclasses.dataclass(frozen=True)
class ColumnMask:
    """Hides one column of pixels; its rows do not repeat because each is given by itself."""

    def check_size(self, size):
        pass

    def sample(self, shape, size, generator):
        return torch.randint(size[1], shape, generator=generator)

    def hidden_rows(self, parameters, size):
        columns = torch.arange(size[1]) == parameters[..., None, None]
        return columns.expand(-1, -1, *size), torch.arange(size[0]).expand(*parameters.shape, -1)


@dataclasses.dataclass(frozen=True)
class WithColumns(MaskDistribution):
    column_probability: float = 0.5

    def kinds(self):
        return (*super().kinds(), (ColumnMask(), self.column_probability))


def test_a_third_kind_is_chosen_by_its_probability_and_hides_what_it_says():
    masks = WithColumns(ratio=0.3, focal_probability=0.2, noise_std=0.0)
    sampled = masks.sample(4000, (64, 64))
    chosen, columns = sampled.of(ColumnMask)
    shares = [float(sampled.of(kind)[0].float().mean()) for kind in (GridMask, FocalMask)]
    assert [*shares, float(chosen.float().mean())] == pytest.approx([0.3, 0.2, 0.5], abs=0.04)
    hidden = sampled[:100].hidden()
    for sample in chosen[:100].nonzero().flatten().tolist():
        for mask, column in zip(hidden[sample], columns[sample].tolist()):
            expected = torch.zeros(64, 64, dtype=torch.bool)
            expected[:, column] = True
            assert torch.equal(mask, expected)
    assert torch.equal(sampled[:100].num_hidden(), hidden.flatten(1).sum(dim=1))
    masked = apply_masks(torch.ones(100, 3, 64, 64), sampled[:100])
    assert torch.equal(masked, (~hidden).float())


def test_the_other_kinds_do_not_notice_a_third_one():
    settings = {"ratio": 0.3, "focal_probability": 0.4}
    plain, more = (
        kind(**settings).sample(50, (64, 64), generator=torch.Generator().manual_seed(0))
        for kind in (MaskDistribution, WithColumns)
    )
    assert torch.equal(plain.dropped_cells, more.dropped_cells)
    assert torch.equal(plain.kept_boxes, more.kept_boxes)
    focal = more.focal
    assert torch.equal(plain.hidden()[focal], more.hidden()[focal])


def test_a_kind_that_cannot_be_chosen_takes_no_random_number():
    torch.manual_seed(0)
    WithColumns(column_probability=0.0).sample(5, (64, 64))
    after = torch.rand(())
    torch.manual_seed(0)
    MaskDistribution().sample(5, (64, 64))
    assert torch.equal(after, torch.rand(()))


def test_its_settings_are_checked_like_all_others():
    with pytest.raises(ValueError, match=r"column_probability is 1.5; .* a probability"):
        WithColumns(column_probability=1.5)
    with pytest.raises(ValueError, match=r"0.7 and column_probability 0.5 are together above 1"):
        WithColumns(focal_probability=0.7)
    with pytest.raises(ValueError, match=r"^focal_probability 0.4 and band_probability 0.7 are"):
        MaskDistribution(band_probability=0.7)


def test_kinds_are_equal_where_they_hide_the_same_for_the_same_parameters():
    assert GridMask(0.1, 8) == GridMask(0.3, 8) != GridMask(0.1, 9)
    assert GridMask(0.1, 8) == GridMask(0.1, [8, 8]) != GridMask(0.1, [8, 9])
    assert FocalMask(0.1, None) == FocalMask(0.3, 40)
    assert BandMask(0.1) == BandMask(0.3, row_size=40) != BandMask(0.1, rows=1)
    first, second = (MaskDistribution(ratio=ratio).sample(2, (64, 64)) for ratio in (0.1, 0.3))
    assert len(MaskParameters.cat([first, second])) == 4


def bands(number=10_000, size=(48, 80), **settings):
    """What masks of bands hide of one channel, bool ``[N, H, W]``."""
    masks = MaskDistribution(cell_size=8, focal_probability=0, band_probability=1, **settings)
    sampled = masks.sample(number, size, channels=1)
    assert torch.equal(sampled.num_hidden(), sampled.hidden().flatten(1).sum(dim=1))
    return sampled.hidden()[:, 0]


def test_bands_are_whole_rows_and_columns():
    sampled = MaskDistribution(focal_probability=0, band_probability=1).sample(50, (48, 80), 2)
    chosen, parameters = sampled.of(BandMask)
    assert chosen.all()
    assert parameters.shape == (50, 2, 4, 2)
    for hidden, of_mask in zip(sampled.hidden().flatten(0, 1), parameters.flatten(0, 1).tolist()):
        expected = torch.zeros(48, 80, dtype=torch.bool)
        for place, (start, length) in enumerate(of_mask):
            lines = expected if place < 2 else expected.T
            lines[[line % len(lines) for line in range(start, start + length)]] = True
        assert torch.equal(hidden, expected)


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (1, 1), (0, 2), (3, 0)])
@pytest.mark.parametrize("ratio", [0.15, 0.7])
def test_bands_hide_the_ratio_in_the_mean_and_every_place_as_often(ratio, rows, columns):
    hidden = bands(ratio=ratio, size=(24, 40), row_bands=rows, column_bands=columns).float()
    shares = hidden.mean(dim=(1, 2))
    assert float(shares.mean()) == pytest.approx(ratio, abs=5 * float(shares.std()) / 100)
    error = 5 * (ratio * (1 - ratio) / 10_000) ** 0.5
    assert float((hidden.mean(dim=0) - ratio).abs().max()) < error
    if rows == columns == 1:  # each band hides the same share of its axis
        share = 1 - (1 - ratio) ** 0.5
        assert float((hidden == 1).all(dim=2).float().mean()) == pytest.approx(share, abs=0.02)


def test_sizes_of_bands_are_uniform_up_to_the_stated_one():
    masks = MaskDistribution(
        focal_probability=0, band_probability=1, row_band_size=8, column_band_size=80
    )
    _, parameters = masks.sample(10_000, (48, 80), 1).of(BandMask)
    starts, sizes = parameters[:, 0].unbind(dim=2)
    for places, side in ((starts[:, 0], 48), (starts[:, 2], 80)):
        assert (places.bincount(minlength=side) / 10_000 - 1 / side).abs().max() < 0.01
    counts = sizes[:, 1].bincount() / 10_000
    assert len(counts) == 9
    assert (counts - torch.tensor([1, *[2] * 7, 1]) / 16).abs().max() < 0.015
    assert sizes[:, 3].max() <= 80
    assert float(sizes[:, 3].float().mean()) == pytest.approx(40, abs=1.2)


def test_bands_that_do_not_fit_are_refused():
    bands(1, row_band_size=48, column_band_size=80)
    with pytest.raises(ValueError, match="^row_band_size is 49; it must be .* height, 48"):
        bands(1, row_band_size=49)
    with pytest.raises(ValueError, match="^column_band_size is 81; it must be .* width, 80"):
        bands(1, column_band_size=81)
    with pytest.raises(ValueError, match=r"^ratio is 0.8; with .* 1 \+ 1 bands .* at most 0.75"):
        bands(1, ratio=0.8, row_bands=1, column_bands=1)
    bands(1, ratio=0.8, row_bands=1, column_bands=1, row_band_size=9, column_band_size=9)
    with pytest.raises(ValueError, match="^row_bands is 0, and column_bands, too"):
        MaskDistribution(row_bands=0, column_bands=0)


def test_parameters_travel_as_batches_do():
    sampled = WithColumns().sample(4, (64, 64))
    moved = sampled.to(torch.device("cpu"), non_blocking=True)
    assert torch.equal(moved.hidden(), sampled.hidden())
    assert torch.equal(sampled[torch.tensor([3, 1])].hidden(), sampled.hidden()[[3, 1]])
