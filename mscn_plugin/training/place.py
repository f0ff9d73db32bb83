"""Where in its epochs a run resumes, also with another number of steps in an epoch than before.

VISSL infers it from the iteration and the current number of steps per epoch, which changes with
other images, another batch or other processes.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

PLACE_KEY = "mscn_place"
"""Where ``mscn_task`` puts ``{"step": ..., "per_epoch": ...}`` in a ``classy_state_dict``."""


@dataclasses.dataclass(frozen=True)
class Place:
    """A place in a run.

    Attributes:
        epochs: that are done.
        batch: of the epoch under way, the first one that is not.
        per_epoch: steps in an epoch.
    """

    epochs: int
    batch: int
    per_epoch: int

    @property
    def step(self) -> int:
        """Steps to this place in a run that has had :attr:`per_epoch` from its start."""
        return self.epochs * self.per_epoch + self.batch


def place_of(checkpoint: dict[str, Any], per_epoch: int, within_epoch: bool) -> Place:
    """Where a run with ``per_epoch`` steps in an epoch resumes from a checkpoint.

    Within an epoch that is the same share of it. One line of the log says that the steps have
    changed.

    Args:
        checkpoint: of VISSL's trainer.
        per_epoch: the current number of steps in an epoch.
        within_epoch: whether it was written there, for checkpoints of VISSL's own task.
    """
    iteration, epochs = checkpoint["iteration"], checkpoint["train_phase_idx"] + 1
    state = checkpoint["classy_state_dict"]
    if PLACE_KEY in state:
        before = state[PLACE_KEY]["per_epoch"]
        done = state[PLACE_KEY]["step"] - epochs * before
    elif within_epoch:
        logging.warning(
            "the checkpoint was written within an epoch, by VISSL's own task, and does not state "
            f"how many iterations that has; it has {per_epoch} now, and starts over"
        )
        return Place(epochs, 0, per_epoch)
    else:
        before, done = iteration // epochs, 0
    place = Place(epochs, done * per_epoch // before, per_epoch)
    if before != per_epoch:
        changed = f"an epoch has {per_epoch} iterations now, and {before} in the checkpoint"
        logging.info(
            f"{changed}: rates and momenta follow the epochs, of which {epochs} are done, and "
            f"the count of iterations continues from {iteration}"
        )
        if done:
            logging.warning(
                f"{changed}: the epoch resumes at its batch {place.batch}, and some of its images "
                "may come twice or not at all"
            )
    return place
