from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest
import torch.distributed as dist
import torch.multiprocessing as mp

from mscn_plugin.training.ranks import is_first_rank

STEPS = 4


@pytest.mark.parametrize(
    ("variables", "node_id", "is_first"),
    [
        ({}, 0, True),  # one machine
        ({}, 1, False),  # the second of two that are started by hand
        ({"RANK": "0"}, 0, True),  # torchrun, or behind VISSL's launcher
        ({"RANK": "8"}, 0, False),
        ({"SLURM_STEP_NODELIST": "n[1-2]", "SLURM_NODEID": "0"}, 0, True),  # srun
        ({"SLURM_STEP_NODELIST": "n[1-2]", "SLURM_NODEID": "1"}, 0, False),
        ({"SLURM_STEP_NODELIST": "n[1-2]", "SLURM_NODEID": "1", "RANK": "0"}, 0, True),
        # One of four tasks on one node, each with a run of its own.
        ({"SLURM_STEP_NODELIST": "n1", "SLURM_NODEID": "0", "SLURM_PROCID": "3"}, 0, True),
    ],
)
def test_the_first_rank_is_known_before_vissl_says_it(monkeypatch, variables, node_id, is_first):
    for name in ("RANK", "SLURM_STEP_NODELIST", "SLURM_NODEID", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_first_rank(node_id) is is_first


def worker(rank, folder):
    from classy_vision.generic.distributed_util import set_cpu_device

    from mscn_plugin.training.ranks import Ranks

    set_cpu_device()
    address = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    ranks = Ranks()
    # The second rank alone is asked, during the second step, and remembers it.
    answers = [ranks.anyone_asked(15 if rank == 1 and step >= 1 else 0) for step in range(STEPS)]
    ranks.wait()
    with open(f"{folder}/{rank}.json", "w") as file:
        json.dump(answers, file)
    dist.destroy_process_group()


@pytest.mark.process
def test_all_ranks_end_one_step_after_one_was_asked(registered, tmp_path):
    from conftest import run_python

    run_python(__file__, tmp_path)
    for rank in (0, 1):
        answers = json.loads((tmp_path / f"{rank}.json").read_text())
        assert answers == [0, 0, 15, 15]


def test_one_process_ends_at_once(registered):
    from mscn_plugin.training.ranks import Ranks

    ranks = Ranks()
    ranks.wait()
    assert ranks.anyone_asked(15) == 15
    assert ranks.anyone_asked(0) == 0


class Iterator:
    """Stands for a loader's iterator, whose workers end with it."""

    def __init__(self, ended):
        self.ended = ended

    def __del__(self):
        self.ended.append(True)


def test_workers_end_where_the_loader_keeps_their_iterator(registered):
    from mscn_plugin.training.hooks.checkpoints import end_workers

    ended = []
    loader = SimpleNamespace(_iter=Iterator(ended))  # VISSL's, for GPUs
    task = SimpleNamespace(data_iterator=loader, dataloaders={"train": loader})
    del loader
    end_workers(task)
    assert ended


if __name__ == "__main__":
    mp.spawn(worker, sys.argv[1:], nprocs=2)
