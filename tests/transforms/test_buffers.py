from __future__ import annotations

import pytest
import torch

from mscn_plugin.transforms.buffers import KEPT, ReusedBuffers

SIZE = (4, 3, 8, 8)


def address(tensor):
    return tensor.untyped_storage().data_ptr()


def test_memory_that_nobody_has_is_used_again():
    buffers = ReusedBuffers()
    first = buffers.empty(SIZE)
    assert (first.shape, first.dtype) == (SIZE, torch.float32)
    place = address(first)
    del first
    for _ in range(3):
        again = buffers.empty(SIZE)
        assert address(again) == place
        assert again.shape == SIZE
        del again
    assert buffers.empty((2, 3, 8, 8)).shape == (2, 3, 8, 8)


def saved_for_backward(tensor):
    return (tensor * torch.ones(1, requires_grad=True)).sum()


@pytest.mark.parametrize(
    "user",
    [
        lambda tensor: tensor,
        lambda tensor: tensor[1:],
        lambda tensor: tensor.detach(),
        lambda tensor: tensor.numpy(),
        lambda tensor: memoryview(tensor.numpy()),
        saved_for_backward,
        lambda tensor: {"data": [tensor.split(2)[1]]},
    ],
)
def test_memory_that_somebody_has_is_not(user):
    buffers = ReusedBuffers()
    first = buffers.empty(SIZE)
    place, used = address(first), user(first)
    del first
    later = [buffers.empty(SIZE) for _ in range(3)]
    assert place not in map(address, later)
    del used


def test_what_another_process_reads_is_not():
    buffers = ReusedBuffers()
    first = buffers.empty(SIZE).share_memory_()
    place = address(first)
    del first
    assert address(buffers.empty(SIZE)) != place


def test_no_more_is_kept_than_a_step_needs():
    buffers = ReusedBuffers()
    held = [buffers.empty(SIZE) for _ in range(5)]
    del held
    assert len(buffers._kept) == KEPT


def test_accelerators_keep_their_own_memory():
    buffers = ReusedBuffers()
    assert buffers.empty(SIZE, device="meta").device.type == "meta"
    assert not buffers._kept
