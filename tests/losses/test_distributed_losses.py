"""Losses and gradients of two ranks against those of one process with the whole batch."""

from __future__ import annotations

import sys

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

NUM_IMAGES, FEATURES, DIMENSIONS = 8, 12, 6
CASES = {
    "InfoNCE": ("mscn_info_nce_loss", {"num_masks": [1, 1]}),
    "InfoNCE of several masks": ("mscn_info_nce_loss", {"num_masks": [2, 3]}),
    "InfoNCE, all negatives": ("mscn_info_nce_loss", {"num_masks": [2, 2], "negatives": "all"}),
    "VICReg": ("vicreg_loss", {"num_masks": [1, 1]}),
    "VICReg of several masks": ("vicreg_loss", {"num_masks": [2, 3]}),
    "Barlow Twins": ("mscn_barlow_twins_loss", {"num_masks": [1, 1]}),
    "Barlow Twins of several masks": ("mscn_barlow_twins_loss", {"num_masks": [2, 3]}),
}
VISSLS = (
    "barlow_twins_loss",
    {"lambda_": 0.0051, "scale_loss": 0.024, "embedding_dim": DIMENSIONS},
)


def setting(num_masks):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(sum(num_masks), NUM_IMAGES, FEATURES, generator=generator)
    model = torch.nn.Linear(FEATURES, DIMENSIONS, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.randn(DIMENSIONS, FEATURES, generator=generator))
    return images, model


def of_ranks(rank, world_size, name, settings):
    """The mean loss and the gradient of ranks that share the images."""
    from classy_vision.losses import build_loss
    from vissl.config import AttrDict

    images, model = setting(settings.get("num_masks", [1, 1]))
    share = NUM_IMAGES // world_size
    mine = images[:, rank * share : (rank + 1) * share].reshape(-1, FEATURES)
    if world_size > 1:
        model = torch.nn.parallel.DistributedDataParallel(model)
    loss = build_loss(AttrDict({"name": name, **settings}))(model(mine), None)
    loss.backward()
    mean = loss.detach() / world_size
    if world_size > 1:
        dist.all_reduce(mean)
    (weight,) = model.parameters()
    return mean, weight.grad


def worker(rank, world_size, results):
    torch.set_num_threads(1)
    from classy_vision.generic.distributed_util import set_cpu_device

    import mscn_plugin

    mscn_plugin.register()
    set_cpu_device()
    address = f"file://{results}.rendezvous"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=world_size)
    cases = {**CASES, "VISSL's": VISSLS}
    measured = {case: of_ranks(rank, world_size, *cases[case]) for case in cases}
    if rank == 0:
        torch.save(measured, results)
    dist.destroy_process_group()


@pytest.fixture
def two_ranks(once):
    """Losses and gradients of all cases by two ranks."""
    from conftest import run_python

    def measure(folder):
        run_python(__file__, folder / "measured.pt")

    return torch.load(once("two_ranks", measure) / "measured.pt")


@pytest.mark.process
@pytest.mark.parametrize("case", CASES)
def test_two_ranks_are_one_process(registered, two_ranks, case):
    loss, gradient = two_ranks[case]
    expected, expected_gradient = of_ranks(0, 1, *CASES[case])
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-6, rtol=1e-5)


@pytest.mark.process
def test_vissls_barlow_twins_has_the_same_loss_and_half_the_gradient(two_ranks):
    loss, gradient = two_ranks["Barlow Twins"]
    theirs, their_gradient = two_ranks["VISSL's"]
    torch.testing.assert_close(loss, theirs, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(gradient, 2 * their_gradient, atol=1e-6, rtol=1e-4)


if __name__ == "__main__":
    mp.spawn(worker, (2, sys.argv[1]), nprocs=2)
