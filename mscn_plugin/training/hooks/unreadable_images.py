"""Counts images that could not be read or came out nearly blank; stops a run with too many."""

from __future__ import annotations

import logging
from typing import Any

import torch
from classy_vision.generic.distributed_util import all_reduce_sum, is_primary
from vissl.utils.io import save_file

from mscn_plugin.data.readable_images import MAX_NAMED, NEARLY_BLANK, nearly_blank_warning
from mscn_plugin.errors import RunError
from mscn_plugin.training.hooks.base import MSCNHook
from mscn_plugin.types import Task


class UnreadableImagesHook(MSCNHook):
    """Reports after each epoch how many images were replaced; in the log and ``metrics.json``.

    Stops the run as soon as more than ``MSCN.MAX_UNREADABLE_SHARE`` of a rank's images of an epoch
    are: a folder that is no longer mounted would otherwise become hours of other pictures. Of an
    epoch within which a run was resumed it knows the images from there on, and reports the share of
    these; the limit stays a share of the whole epoch, for a few near its end would else stop each
    resumed run again.

    Images that come out nearly blank stay in. In the first epoch after a start the first few are
    named as they come, and all are counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unreadable: set[int] = set()
        self.nearly_blank: set[int] = set()
        self.watches_for_blank = True

    def on_phase_start(self, task: Task) -> None:
        self.unreadable = set()

    def on_loss_and_meter(self, task: Task) -> None:
        if not task.train:
            return
        sample = task.last_batch.sample
        index, valid = (_column(sample[key]) for key in ("data_idx", "data_valid"))
        self.unreadable.update(index[valid < 0].tolist())
        if self.watches_for_blank:
            self._watch_for_blank(task, set(index[valid == NEARLY_BLANK].tolist()))
        share = task.config.MSCN.MAX_UNREADABLE_SHARE
        images = task.dataloaders["train"].num_samples_of_epoch
        if len(self.unreadable) > share * images:
            raise RunError(
                f"config.MSCN.MAX_UNREADABLE_SHARE is {share:g}, and {len(self.unreadable)} of the "
                f"{images} images of an epoch could not be read{_since(task)}, such as "
                f"{self._example(task)}; earlier checkpoints are kept; "
                "config.MSCN.MAX_UNREADABLE_SHARE=<share> allows more"
            )

    def on_phase_end(self, task: Task) -> None:
        if not task.train:
            return
        images = task.dataloaders["train"].num_samples
        counts = [len(self.unreadable), len(self.nearly_blank), images]
        summed = torch.tensor(counts, dtype=torch.float64).to(task.device)
        unreadable, blank, images = map(int, all_reduce_sum(summed).tolist())
        if is_primary():
            example = f", such as {self._example(task)}" if self.unreadable else ""
            read = f"could not be read and were replaced{example}"
            self._report(task, "unreadable_images", unreadable, images, read)
            if self.watches_for_blank:
                self._report(task, "nearly_blank_images", blank, images, "came out nearly blank")
        self.watches_for_blank = False

    def _watch_for_blank(self, task: Task, blank: set[int]) -> None:
        for index in sorted(blank - self.nearly_blank)[
            : max(0, MAX_NAMED - len(self.nearly_blank))
        ]:
            if is_primary():
                logging.warning(nearly_blank_warning(task.datasets["train"].path_of(index)))
        self.nearly_blank |= blank

    def _report(self, task: Task, name: str, count: int, images: int, what: str) -> None:
        if not count:
            return
        share = f"{100 * count / images:.2g}%"
        epoch = f"epoch {task.train_phase_idx}{_since(task)}"
        logging.warning(f"{epoch}: {count} of {images} images ({share}) {what}")
        place = {"iteration": task.iteration, "train_phase_idx": task.train_phase_idx}
        line = {**place, name: count, "seen_images": images}
        save_file(line, f"{task.checkpoint_folder}/metrics.json", verbose=False)

    def _example(self, task: Task) -> str:
        return task.datasets["train"].path_of(min(self.unreadable))


def _since(task: Task) -> str:
    batch = task.dataloaders["train"].batch
    return f" from batch {batch} on" if batch else ""


def _column(values: Any) -> torch.Tensor:
    parts = values if isinstance(values, list) else [values]
    return torch.cat([torch.as_tensor(part).flatten() for part in parts])
