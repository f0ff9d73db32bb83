"""Counts images that could not be read, and stops a run that has too many of them."""

from __future__ import annotations

import logging
from typing import Any, Set

import torch
from classy_vision.generic.distributed_util import all_reduce_sum, is_primary
from vissl.utils.io import save_file

from mscn_plugin.errors import RunError
from mscn_plugin.training.hook import MSCNHook


class UnreadableImagesHook(MSCNHook):
    """Says at the end of each epoch how many images were replaced; in the log and ``metrics.json``.

    Stops the run as soon as more than ``MSCN.MAX_UNREADABLE_SHARE`` of a rank's images of an epoch
    are: a folder that is no longer mounted would else become hours of other pictures.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unreadable: Set[int] = set()

    def on_phase_start(self, task: Any) -> None:
        self.unreadable = set()

    def on_loss_and_meter(self, task: Any) -> None:
        if not task.train:
            return
        sample = task.last_batch.sample
        index, valid = (_column(sample[key]) for key in ("data_idx", "data_valid"))
        self.unreadable.update(index[valid < 0].tolist())
        share, images = task.config.MSCN.MAX_UNREADABLE_SHARE, self._images(task)
        if len(self.unreadable) > share * images:
            raise RunError(
                f"config.MSCN.MAX_UNREADABLE_SHARE is {share:g}, and {len(self.unreadable)} of the "
                f"{images} images of an epoch could not be read, such as {self._example(task)}; "
                "earlier checkpoints are kept; +config.MSCN.MAX_UNREADABLE_SHARE=<share> allows "
                "more"
            )

    def on_phase_end(self, task: Any) -> None:
        if not task.train:
            return
        counts = torch.tensor([len(self.unreadable), self._images(task)], dtype=torch.float64)
        unreadable, images = map(int, all_reduce_sum(counts.to(task.device)).tolist())
        if not unreadable or not is_primary():
            return
        example = f", such as {self._example(task)}" if self.unreadable else ""
        logging.warning(
            f"epoch {task.train_phase_idx}: {unreadable} of {images} images "
            f"({100 * unreadable / images:.2g}%) could not be read and were replaced{example}"
        )
        line = {"train_phase_idx": task.train_phase_idx, "unreadable_images": unreadable}
        save_file(line, f"{task.checkpoint_folder}/metrics.json", verbose=False)

    def _images(self, task: Any) -> int:
        return len(task.dataloaders["train"].sampler)

    def _example(self, task: Any) -> str:
        return task.datasets["train"].path_of(min(self.unreadable))


def _column(values: Any) -> torch.Tensor:
    parts = values if isinstance(values, list) else [values]
    return torch.cat([torch.as_tensor(part).flatten() for part in parts])
