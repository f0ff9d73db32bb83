"""A kind of mask is a class: one of a test's own stands beside grid and focal masks."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from mscn_plugin.masking import MaskDistribution, MaskParameters, apply_masks
from mscn_plugin.masking.kinds import FocalMask, GridMask


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


def test_kinds_are_equal_where_they_hide_the_same_for_the_same_parameters():
    assert GridMask(0.1, 8) == GridMask(0.3, 8) != GridMask(0.1, 9)
    assert FocalMask(0.1, None) == FocalMask(0.3, 40)
    first, second = (MaskDistribution(ratio=ratio).sample(2, (64, 64)) for ratio in (0.1, 0.3))
    assert len(MaskParameters.cat([first, second])) == 4


def test_parameters_travel_as_batches_do():
    sampled = WithColumns().sample(4, (64, 64))
    moved = sampled.to(torch.device("cpu"), non_blocking=True)
    assert torch.equal(moved.hidden(), sampled.hidden())
    assert torch.equal(sampled[torch.tensor([3, 1])].hidden(), sampled.hidden()[[3, 1]])
