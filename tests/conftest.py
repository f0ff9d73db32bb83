"""Fixtures that many tests share."""

from __future__ import annotations

import os

import pytest
import torch

# Spawned workers and tools of the tests share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _one_thread_and_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def registered():
    """MSCN in VISSL's registries, and Classy Vision set to the CPU, on which the tests run."""
    import mscn_plugin
    from classy_vision.generic.distributed_util import set_cpu_device

    mscn_plugin.register()
    set_cpu_device()
