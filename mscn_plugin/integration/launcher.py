"""Registration in the processes that VISSL starts.

Spawned ranks and SLURM jobs begin with an empty registry. VISSL's launcher looks its worker
function and its job class up by name in its own module; ours take their place there and register
before they hand over. They are pickled by reference, so that the child imports this module.
"""

from __future__ import annotations

from typing import Any

from vissl.utils import distributed_launcher

import mscn_plugin

_HOOKED = ("_distributed_worker", "_ResumableSlurmJob")
_missing = [name for name in _HOOKED if not hasattr(distributed_launcher, name)]
if _missing:
    raise RuntimeError(
        f"vissl.utils.distributed_launcher has no {' and no '.join(_missing)}: this VISSL is not "
        "0.1.6, and its worker processes would start without MSCN"
    )

_vissl_worker = distributed_launcher._distributed_worker


def distributed_worker(local_rank: int, *args: Any, **kwargs: Any) -> None:
    """VISSL's worker of one rank, with MSCN registered. The launcher passes ``local_rank``."""
    mscn_plugin.register()
    _vissl_worker(local_rank, *args, **kwargs)


class ResumableSlurmJob(distributed_launcher._ResumableSlurmJob):
    """VISSL's SLURM job, with MSCN registered in the job and in its requeued successors."""

    def __call__(self) -> None:
        mscn_plugin.register()
        super().__call__()

    def checkpoint(self) -> Any:
        import submitit

        job = ResumableSlurmJob(engine_name=self.engine_name, config=self.config)
        return submitit.helpers.DelayedSubmission(job)


def install() -> None:
    """Put worker and job into VISSL's launcher."""
    distributed_launcher._distributed_worker = distributed_worker
    distributed_launcher._ResumableSlurmJob = ResumableSlurmJob
