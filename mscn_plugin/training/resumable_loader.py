"""VISSL's loader, made to begin within an epoch."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from classy_vision.dataset import DataloaderAsyncGPUWrapper
from torch.utils.data import DataLoader

from mscn_plugin.data.parallel import signals_held_back
from mscn_plugin.data.seeding import seed_generators
from mscn_plugin.training.signals import SIGNALS, shield_loader_worker


class ResumableLoader:
    """VISSL's loader, or its iterator, that can begin within an epoch and seeds the process.

    Args:
        dataloader: PyTorch's, or one of VISSL's wrappers around it.
        seed: ``SEED_VALUE``.
        rank: of this process.
    """

    def __init__(self, dataloader: Any, seed: int, rank: int) -> None:
        self.dataloader = dataloader
        self.seed = seed
        self.rank = rank
        self.start(0, 0)
        loader = innermost(dataloader)
        # A DataLoader's samplers cannot be replaced, but that of its batch sampler can.
        self._kept = SkippingSampler(loader.batch_sampler.sampler)
        loader.batch_sampler.sampler = self._kept
        loader.worker_init_fn = functools.partial(_start_worker, loader.worker_init_fn)

    def start(self, epoch: int, batch: int) -> None:
        """Let the next iteration be that of ``epoch`` from ``batch`` on."""
        self.epoch, self.batch = epoch, batch

    def skip(self, batches: int) -> None:
        """Skip the epoch's first ``batches``, where the sampler cannot do it itself."""
        self._kept.first = batches * innermost(self.dataloader).batch_size

    @property
    def num_samples(self) -> int:
        """Samples of the epoch on this rank, from :attr:`batch` on."""
        skipped: int = self.batch * innermost(self.dataloader).batch_size
        return max(0, self.num_samples_of_epoch - skipped)

    @property
    def num_samples_of_epoch(self) -> int:
        """Samples of the whole epoch on this rank."""
        return len(self._kept)

    def __iter__(self) -> Iterator[Any]:
        self._seed_process(-1)
        iterator = copy.copy(self)
        with signals_held_back(SIGNALS):
            iterator.dataloader = iter(self.dataloader)
        return iterator

    def __next__(self) -> Any:
        batch = next(self.dataloader)
        if isinstance(self.dataloader, DataloaderAsyncGPUWrapper):
            record_stream(batch, torch.cuda.current_stream())
        self._seed_process(self.batch)
        self.batch += 1
        return batch

    def _seed_process(self, batch: int) -> None:
        seed_generators(self.seed, self.rank, self.epoch, batch)
        if torch.cuda.is_available():
            torch.cuda.manual_seed(torch.initial_seed())

    def __len__(self) -> int:
        return len(self.dataloader)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copying looks these up before there is a loader
            raise AttributeError(name)
        return getattr(self.dataloader, name)


def record_stream(content: Any, stream: Any) -> None:
    """Tell PyTorch that ``stream`` uses all that a batch holds on a GPU.

    VISSL's asynchronous loader allocates batches on a CUDA stream of its own. Without this the
    copy of a later batch could take the memory of one that the backward pass still reads.
    """
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, (list, tuple)):
        for part in content:
            record_stream(part, stream)
    elif hasattr(content, "record_stream"):
        content.record_stream(stream)


class SkippingSampler:
    """A sampler without its ``first`` samples; its length stays that of a whole epoch."""

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler
        self.first = 0

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(iter(self.sampler), self.first, None)

    def __len__(self) -> int:
        return len(self.sampler)


def innermost(dataloader: Any) -> Any:
    """The DataLoader inside of VISSL's and our wrappers."""
    while not isinstance(dataloader, DataLoader):
        dataloader = dataloader.dataloader
    return dataloader


def _start_worker(initialize: Callable[[int], None] | None, worker: int) -> None:
    if initialize is not None:
        initialize(worker)
    shield_loader_worker()
