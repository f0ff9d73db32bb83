"""Gradients of two ranks against those of one process with the whole batch."""

from __future__ import annotations

import json
import sys

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

NUM_IMAGES, FEATURES, DIMENSIONS = 8, 12, 6


def setting(num_masks):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(sum(num_masks), NUM_IMAGES, FEATURES, generator=generator)
    model = torch.nn.Linear(FEATURES, DIMENSIONS, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.randn(DIMENSIONS, FEATURES, generator=generator))
    return images, model


def loss_of(num_masks, negatives):
    from mscn_plugin.losses.info_nce import MSCNInfoNCELoss

    return MSCNInfoNCELoss(num_masks=num_masks, negatives=negatives)


def worker(rank, world_size, num_masks, negatives, results):
    torch.set_num_threads(1)
    from classy_vision.generic.distributed_util import set_cpu_device

    set_cpu_device()
    address = f"file://{results}.rendezvous"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=world_size)
    images, model = setting(num_masks)
    model = torch.nn.parallel.DistributedDataParallel(model)
    share = NUM_IMAGES // world_size
    mine = images[:, rank * share : (rank + 1) * share].reshape(-1, FEATURES)
    loss = loss_of(num_masks, negatives)(model(mine), None)
    loss.backward()
    mean = loss.detach() / world_size
    dist.all_reduce(mean)
    if rank == 0:
        torch.save((mean, model.module.weight.grad), results)
    dist.destroy_process_group()


@pytest.mark.process
@pytest.mark.parametrize(
    ("num_masks", "negatives"), [([1, 1], "pair"), ([2, 3], "pair"), ([2, 2], "all")]
)
def test_two_ranks_are_one_process(registered, tmp_path, num_masks, negatives):
    from conftest import run_python

    results = tmp_path / "gradient.pt"
    run_python(__file__, json.dumps(num_masks), negatives, results)
    loss, gradient = torch.load(results)

    images, model = setting(num_masks)
    reference = loss_of(num_masks, negatives)(model(images.reshape(-1, FEATURES)), None)
    reference.backward()
    torch.testing.assert_close(loss, reference.detach(), atol=1e-6, rtol=0)
    torch.testing.assert_close(gradient, model.weight.grad, atol=1e-6, rtol=0)


if __name__ == "__main__":
    mp.spawn(worker, (2, json.loads(sys.argv[1]), *sys.argv[2:]), nprocs=2)
