from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mscn_plugin.masking import MaskDistribution
from mscn_plugin.training import resumable_loader as seeding
from mscn_plugin.training.resumable_loader import ResumableLoader, seed_generators


def draws():
    return random.random(), float(np.random.rand()), float(torch.rand(1))


def test_a_place_gives_the_same_numbers_whatever_was_drawn_before():
    seed_generators(3, 1, 4)
    first = draws()
    draws()
    seed_generators(3, 1, 4)
    assert draws() == first


def test_places_and_generators_do_not_share_numbers():
    seen = []
    for place in [(0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0, 0), (0, 0, -1), (0, 0)]:
        seed_generators(*place)
        seen += draws()
    assert len({round(value, 6) for value in seen}) == len(seen)


def test_numbers_over_places_are_uniform():
    from scipy import stats

    values = []
    for index in range(2000):
        seed_generators(0, 0, index)
        values.append(draws())
    for column in zip(*values):
        assert stats.kstest(column, "uniform").pvalue > 1e-3
    correlations = np.corrcoef(np.array(values).T)
    assert np.abs(correlations - np.eye(3)).max() < 0.1


class Noise(Dataset):
    """Samples that draw, seeded as those of MSCN's dataset are."""

    epoch = 0

    def __len__(self):
        return 12

    def __getitem__(self, index):
        seed_generators(0, self.epoch, index)
        return torch.rand(3)


def collate(samples):
    """A batch that draws by itself, as masks are drawn."""
    return torch.stack([*samples, torch.rand(3)])


def epoch_of(workers, first, sampler=None):
    dataset = Noise()
    loader = DataLoader(dataset, 4, num_workers=workers, collate_fn=collate, sampler=sampler)
    resumable = ResumableLoader(loader, seed=5, rank=0)
    resumable.start(0, first)
    resumable.skip(first)
    return [(batch, torch.rand(2)) for batch in resumable], len(resumable)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_and_what_is_drawn_behind_them_depend_on_the_place_alone(workers):
    whole, length = epoch_of(0, 0)
    torch.rand(100)
    rest, length_of_rest = epoch_of(workers, 1)
    assert (len(whole), len(rest)) == (3, 2)
    assert length == length_of_rest == 3
    for one, other in zip(whole[1:], rest):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_an_epoch_that_was_finished_has_no_batches_left():
    assert epoch_of(0, 3)[0] == []


def test_an_epoch_that_begins_within_has_the_samples_of_its_rest():
    loader = ResumableLoader(DataLoader(Noise(), 5), seed=5, rank=0)
    remaining = []
    for batch in (0, 1, 3):
        loader.start(0, batch)
        remaining.append(loader.num_samples)
    assert remaining == [12, 7, 0]
    assert loader.num_samples_of_epoch == 12


def test_ranks_draw_other_noise():
    def drawn(rank):
        loader = ResumableLoader(DataLoader(Noise(), 4), seed=5, rank=rank)
        return [float(torch.rand(1)) for _ in loader]

    assert not set(drawn(0)) & set(drawn(1))


def test_all_of_a_batch_is_kept_for_the_stream_that_uses_it(monkeypatch):
    """VISSL's asynchronous loader allocates batches on a stream of its own."""
    recorded = []

    class Asynchronous:
        """Classy Vision's wrapper, without the GPU that it asks for."""

        def __init__(self, dataloader):
            self.dataloader = dataloader

        def __iter__(self):
            self.batches = iter(self.dataloader)
            return self

        def __next__(self):
            images = next(self.batches)
            masks = [MaskDistribution().sample(2, (64, 64))]
            return {"data": [[images[:2]], images], "masks": masks}

    monkeypatch.setattr(seeding, "DataloaderAsyncGPUWrapper", Asynchronous)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: "this stream")
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda *call: recorded.append(call))
    loader = DataLoader(Noise(), 4, collate_fn=collate)
    batch = next(iter(ResumableLoader(Asynchronous(loader), seed=5, rank=0)))
    masks = batch["masks"][0]
    expected = [batch["data"][0][0], batch["data"][1], *masks.sampled, *vars(masks).values()]
    expected = [value for value in expected if isinstance(value, torch.Tensor)]
    assert len(expected) > 5
    assert {stream for _, stream in recorded} == {"this stream"}
    assert {id(tensor) for tensor, _ in recorded} == {id(tensor) for tensor in expected}
