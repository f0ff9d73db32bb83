"""Shared memory between a loader's workers and the trainer, which a container may have little of.

A worker hands its batches over through /dev/shm. PyTorch moves them there in a thread, whose error
is lost, and the trainer waits forever: here the collator does it, whose error reaches it.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch.utils.data import get_worker_info

from mscn_plugin.errors import ConfigError, RunError

Samples = TypeVar("Samples")
Batch = TypeVar("Batch")

FOLDER = "/dev/shm"
_PREFETCHED = 2
"""Batches that each worker of PyTorch's loader has ready, its default."""
_SPARE = 2**20
"""Bytes for the semaphores of queues and the like."""
_REMEDY = (
    "give the container more (docker run --shm-size=8g), or set "
    "config.DATA.NUM_DATALOADER_WORKERS=0, or fewer workers"
)


def collate_for_trainer(collate: Callable[[Samples], Batch], samples: Samples) -> Batch:
    """The batch that ``collate`` makes of ``samples``, in shared memory where a worker makes it.

    Raises:
        RunError: there is no room for it, or no file descriptor.
    """
    batch = collate(samples)
    if get_worker_info() is not None:
        with _handing_over():
            for tensor in _tensors(batch):
                tensor.share_memory_()
    return batch


def empty_for_trainer(size: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """A tensor to be filled, in shared memory where a worker makes it: a batch is written once.

    Raises:
        RunError: there is no room for it, or no file descriptor.
    """
    if get_worker_info() is None:
        return torch.empty(size, dtype=dtype)
    with _handing_over():
        storage = torch.UntypedStorage._new_shared(math.prod(size) * dtype.itemsize)
        return torch.empty(0, dtype=dtype).set_(storage).view(size)


@contextlib.contextmanager
def _handing_over() -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:
        if os.strerror(errno.EMFILE) in str(error):
            raise RunError(
                "a loader's worker has no file descriptor left to hand a batch over: raise the "
                "limit (ulimit -n 65536), or set config.DATA.NUM_DATALOADER_WORKERS=0"
            ) from error
        raise RunError(
            f"a loader's worker could not hand a batch over: {FOLDER} has {_free()} left "
            f"({str(error).splitlines()[0]}); {_REMEDY}"
        ) from error


def check_shared_memory(batch_bytes: int, loaders: int, workers: int) -> None:
    """Compare what training loaders need at most with what is free.

    Args:
        batch_bytes: of one batch of one loader.
        loaders: on this machine, one for each rank.
        workers: of each loader.

    Raises:
        ConfigError: it is not enough; the message has both numbers.
    """
    if not workers or not os.path.isdir(FOLDER):
        return
    needed = loaders * workers * _PREFETCHED * batch_bytes + _SPARE
    if shutil.disk_usage(FOLDER).free < needed:
        raise ConfigError(
            f"config.DATA.NUM_DATALOADER_WORKERS is {workers}, whose batches need up to "
            f"{needed / 2**20:.0f} MB of shared memory, and {FOLDER} has {_free()} left; {_REMEDY}"
        )


def _free() -> str:
    return f"{shutil.disk_usage(FOLDER).free / 2**20:.2g} MB"


def _tensors(content: object) -> Iterator[torch.Tensor]:
    """The tensors of a batch, in the containers and dataclasses that collators use."""
    if isinstance(content, torch.Tensor):
        yield content
        return
    if hasattr(content, "__dataclass_fields__"):
        content = vars(content)
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, (list, tuple)):
        for part in content:
            yield from _tensors(part)
