"""Which rank is the first, and messages between ranks that do not use the GPUs.

NCCL is for tensors of the training step: its watchdog ends a job whose ranks wait for ten minutes,
which a classifier on ImageNet's features takes, and a value that comes through it is known only
when all work before it on the GPU is done.
"""

from __future__ import annotations

import datetime
import os
from typing import Any

import torch
import torch.distributed as dist
from classy_vision.generic.distributed_util import is_distributed_training_run

_WAIT = datetime.timedelta(days=30)
"""For the slowest evaluation; a rank that dies ends the others all the same."""


def is_first_rank(node_id: int = 0) -> bool:
    """Whether this process is a run's first rank, or starts it.

    ``RANK`` says so, of ``torchrun`` or of VISSL, whose launcher sets it also in the process that
    starts a node's ranks. Before that the node does: SLURM's number of it under ``srun``, which
    VISSL uses, too, else the one that VISSL is given.

    Args:
        node_id: VISSL's argument of this name.
    """
    if "RANK" in os.environ:
        return os.environ["RANK"] == "0"
    if "SLURM_STEP_NODELIST" in os.environ:
        return os.environ.get("SLURM_NODEID", "0") == "0"
    return node_id == 0


class Ranks:
    """All processes of a run, connected by gloo; one process needs no connection.

    To be made by all ranks at the same point, after ``torch.distributed`` is initialized.
    """

    def __init__(self) -> None:
        self.group: Any = None
        if is_distributed_training_run():
            self.group = dist.new_group(backend="gloo", timeout=_WAIT)
        self._vote: torch.Tensor | None = None
        self._counting: Any = None

    def wait(self) -> None:
        """Return when all ranks have arrived here, however long one of them takes."""
        if self.group is not None:
            dist.barrier(self.group)

    def anyone_asked(self, asked: int) -> int:
        """The largest request of any rank, as of the previous call: the same answer on all ranks.

        The votes are counted while the next step runs, so that no step waits for them. Every rank
        calls this once a step. One process has its answer at once.

        Args:
            asked: a number above 0, such as a signal's, or 0 for no request.
        """
        if self.group is None:
            return asked
        answer = 0
        if self._vote is not None:
            self._counting.wait()
            answer = int(self._vote.item())
        self._vote = torch.tensor(asked)
        self._counting = dist.all_reduce(
            self._vote, op=dist.ReduceOp.MAX, group=self.group, async_op=True
        )
        return answer
