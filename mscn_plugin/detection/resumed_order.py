"""The order of the images after a resume: that of a run which was never interrupted.

detectron2's checkpoints do not hold its place in the order of the images, nor the state of its
random generators. So at each checkpoint both are reset, from ``SEED`` and the iteration, in the run
that continues as in one that is resumed there: on a CPU the two end with equal weights.
"""

from __future__ import annotations

from typing import Any

from detectron2.engine import DefaultTrainer, HookBase
from detectron2.engine.hooks import PreciseBN
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

from mscn_plugin.types import Config

_STRIDE = 1000  # of seeds between two iterations: more than there are ranks


class ResetAtCheckpoints(HookBase):
    """Seeds all generators and builds the loader again, wherever a checkpoint is.

    The last of the hooks: what an evaluation draws comes before it. Without ``SEED`` there is no
    run to be equal to, and nothing is done.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    def before_train(self) -> None:
        if self.trainer.start_iter > 0:
            self._reset(self.trainer.start_iter)

    def after_step(self) -> None:
        iteration = self.trainer.iter + 1
        if iteration % self.cfg.SOLVER.CHECKPOINT_PERIOD == 0 and iteration < self.trainer.max_iter:
            self._reset(iteration)

    def _reset(self, iteration: int) -> None:
        if self.cfg.SEED < 0:
            return
        seed = self.cfg.SEED + _STRIDE * iteration + comm.get_rank()
        seed_all_rng(seed % 2**31)
        trainer = self.trainer
        trainer._trainer.reset_data_loader(lambda: trainer.build_train_loader(self.cfg))
        for hook in trainer._hooks:
            if isinstance(hook, PreciseBN):
                hook._data_iter = None


def reset_at_checkpoints() -> None:
    """Give every trainer of this process the hook."""
    build = DefaultTrainer.build_hooks

    def build_hooks(trainer: Any) -> list[HookBase]:
        return [*build(trainer), ResetAtCheckpoints(trainer.cfg)]

    DefaultTrainer.build_hooks = build_hooks
