"""Where a loader's workers have too little shared memory, the run ends and says what to do."""

from __future__ import annotations

import functools
import pickle
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader

from mscn_plugin import ConfigError
from mscn_plugin.data import shared_memory
from mscn_plugin.data.shared_memory import (
    check_shared_memory,
    collate_for_trainer,
    empty_for_trainer,
)
from mscn_plugin.errors import RunError, message_of


def collate(samples):
    return {"data": [torch.stack(samples)], "masks": [SimpleNamespace()]}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            "unable to allocate shared memory(shm) for file </torch_1>: No space left on device "
            "(28)",
            "--shm-size=8g), or set config.DATA.NUM_DATALOADER_WORKERS=0",
        ),
        ("unable to open </torch_1>: Too many open files (24)", "ulimit -n"),
    ],
)
def test_a_worker_without_room_ends_the_run(monkeypatch, error, said):
    """PyTorch's own queue would drop the batch, and the trainer wait for it."""

    def refuse(tensor):
        raise RuntimeError(error)

    monkeypatch.setattr(torch.Tensor, "share_memory_", refuse)  # a forked worker has it, too
    loader = DataLoader(
        [torch.zeros(3)] * 4,
        batch_size=2,
        num_workers=1,
        collate_fn=functools.partial(collate_for_trainer, collate),
        multiprocessing_context="fork",
    )
    with pytest.raises(RunError) as raised:
        list(loader)
    assert said in message_of(raised.value)
    assert "\n" not in message_of(raised.value)


def test_without_workers_nothing_is_shared():
    (batch,) = DataLoader(
        [torch.zeros(3)] * 2,
        batch_size=2,
        collate_fn=functools.partial(collate_for_trainer, collate),
    )
    assert not batch["data"][0].is_shared()


def test_vissls_loaders_have_it(registered):
    import vissl.data

    collator = vissl.data.get_collator("simclr_collator", {})
    assert collator.func is collate_for_trainer
    assert pickle.loads(pickle.dumps(collator)).func is collate_for_trainer  # for spawned workers


def test_the_need_is_compared_at_the_start(monkeypatch):
    monkeypatch.setattr(
        shared_memory.shutil, "disk_usage", lambda _: SimpleNamespace(free=64 * 2**20)
    )
    check_shared_memory(2**24, loaders=8, workers=0)
    check_shared_memory(2**24, loaders=1, workers=1)
    with pytest.raises(ConfigError, match=r"WORKERS is 8, .* up to 257 MB .* has 64 MB .*shm-size"):
        check_shared_memory(2**24, loaders=1, workers=8)


@pytest.mark.hydra
def test_the_need_of_a_configuration(compose, batch_folder, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "mscn_plugin.config.checks.machine.check_shared_memory", lambda *a: seen.append(a)
    )
    page = ("config=mscn/quickstart", f"config.MSCN.DATA={batch_folder}")
    pixels = 3 * 56 * 56
    for more, batch_bytes in (
        ((), 2 * pixels),  # both views, uint8
        (("config.MSCN.DEVICE_VIEWS=False",), 4 * pixels * 4),  # K = 2 masks of each, float32
    ):
        config = compose(*page, *more, "config.DATA.NUM_DATALOADER_WORKERS=3")
        images = config.DATA.TRAIN.BATCHSIZE_PER_REPLICA
        assert seen[-1] == (images * batch_bytes, config.DISTRIBUTED.NUM_PROC_PER_NODE, 3)


def fill(samples):
    batch = empty_for_trainer((len(samples), 3), torch.uint8)
    for row, sample in zip(batch, samples):
        row.copy_(sample)
    return batch


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_is_written_where_the_trainer_reads_it(workers):
    samples = [torch.full((3,), n) for n in range(4)]
    loader = DataLoader(samples, 2, num_workers=workers, collate_fn=fill)
    for number, batch in enumerate(loader):
        assert batch.tolist() == [[2 * number] * 3, [2 * number + 1] * 3]
        assert batch.is_shared() == (workers > 0)


def test_a_batch_without_room_is_an_error(monkeypatch):
    def refuse(*sizes, **options):
        raise RuntimeError("unable to allocate shared memory(shm): No space left on device (28)")

    monkeypatch.setattr(torch.UntypedStorage, "_new_shared", refuse)
    monkeypatch.setattr(shared_memory, "get_worker_info", lambda: SimpleNamespace())
    with pytest.raises(RunError, match="could not hand a batch over.*shm-size"):
        empty_for_trainer((2, 3), torch.uint8)
