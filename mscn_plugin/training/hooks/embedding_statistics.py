"""Statistics of the embedding, which show a collapse."""

from __future__ import annotations

import collections
import logging
from collections.abc import Iterator

import torch
from classy_vision.generic.distributed_util import all_reduce_mean, is_primary
from torch import Tensor
from torch.nn import functional as F
from vissl.utils.io import save_file

from mscn_plugin.losses.byol import BYOLLoss
from mscn_plugin.training.hooks.base import (
    MSCNHook,
    is_logging_step,
    masks_of,
    steps_of_schedules,
)
from mscn_plugin.training.hooks.tracking import add_scalars
from mscn_plugin.types import Task

_TINY = 1e-12
COLLAPSED = 0.1
"""Spread of an embedding, as a part of an even one, below which it counts as collapsed."""
WINDOW = 10
"""Means over this many logged steps are judged: single batches of a healthy run look collapsed."""
NOT_TOLD_APART = 0.03
"""By which part of the way to 1 the similarity of an image's views must exceed that of others."""
FEW_DIMENSIONS = 1.01
"""An embedding that is spread in fewer dimensions lies on a line, but for 0.5% of its variance.

A line has 1.000. ``mscn/byol_quickstart`` (seed 0), which learns (kNN 33.3 after its 12 epochs,
19.4 untrained), has little more: in its second half at least 1.028 over :data:`WINDOW` steps and
1.016 in a single one, its predictor's output 1.080 and 1.050, of 64.
"""


def embedding_statistics(embeddings: Tensor, num_masks: list[int]) -> dict[str, Tensor]:
    """Describe a batch of embeddings.

    Args:
        embeddings: ``[(K0 + K1) * B, D]`` in the collator's order, not normalized, B at least 2.
        num_masks: ``[K0, K1]``.

    Returns:
        Four scalars: ``std``, the standard deviation over the samples of the L2-normalized
        embedding, averaged over its dimensions (1/sqrt(D) where the embeddings are spread over
        the sphere, 0 where they have collapsed to a point); ``positive_similarity`` and
        ``negative_similarity``, the mean cosine of cross-branch pairs of the same image and of
        different images, each from -1 to 1; ``dimensions``, in how many of them the embeddings
        are spread, by the participation ratio ``(sum of l)^2 / sum of l^2`` of their covariance's
        eigenvalues ``l`` (from 1 on a line to D evenly; 0 at a point).
    """
    # The hook is called inside of the step's autocast, where the product of two sums over the
    # batch would leave the range of float16.
    with torch.autocast(embeddings.device.type, enabled=False):
        z = F.normalize(embeddings.detach().float(), dim=1)
        num_images = len(z) // sum(num_masks)
        masks = z.view(sum(num_masks), num_images, -1)
        # The mean over pairs of masks factors into means over the masks of each branch.
        means = [branch.mean(dim=0) for branch in masks.split(num_masks)]
        positive = (means[0] * means[1]).sum(dim=1).sum()
        everything = means[0].sum(dim=0) @ means[1].sum(dim=0)
        centered = z - z.mean(dim=0)
        # Of the two products the smaller one; both have the covariance's eigenvalues.
        tall = len(centered) > centered.shape[1]
        product = centered.T @ centered if tall else centered @ centered.T
        trace = product.diagonal().sum()
    return {
        "std": z.std(dim=0).mean(),
        "positive_similarity": positive / num_images,
        "negative_similarity": (everything - positive) / (num_images * (num_images - 1)),
        "dimensions": trace.square() / product.square().sum().clamp(min=_TINY),
    }


class EmbeddingStatisticsHook(MSCNHook):
    """Logs :func:`embedding_statistics` at VISSL's log frequency, averaged over the ranks.

    The embedding is the model's output; with MoCo that and the keys of the other branch; with
    BYOL the target network's projection, and beside it the predictor's output (``prediction_...``).
    They go to the log, to tracking (``Embedding/...``) and, one JSON line each, to
    ``embedding_statistics.json`` in the checkpoint folder. A collapse is warned of.
    """

    def __init__(self) -> None:
        super().__init__()
        self.watches: dict[str, CollapseWatch] = {}

    def on_loss_and_meter(self, task: Task) -> None:
        output = task.last_batch.model_output
        if not (task.train and is_logging_step(task) and isinstance(output, Tensor)):
            return
        values: dict[str, dict[str, float]] = {}
        for prefix, embeddings, num_masks in embeddings_of(task):
            sets = sum(num_masks)
            if embeddings.dim() != 2 or len(embeddings) % sets or len(embeddings) // sets < 2:
                return
            statistics = embedding_statistics(embeddings, num_masks)
            values[prefix] = {k: all_reduce_mean(value).item() for k, value in statistics.items()}
        if not is_primary():
            return
        flat = {prefix + k: value for prefix, of in values.items() for k, value in of.items()}
        text = ", ".join(f"{name} {value:.4f}" for name, value in flat.items())
        spread = output.shape[1] ** -0.5
        logging.info(f"embedding: {text} (std {spread:.4f} when spread evenly, 0 when collapsed)")
        for prefix, of in values.items():
            watch = self.watches.setdefault(prefix, CollapseWatch(PATIENCE[prefix]))
            for seen in watch.look(of, spread, settled=is_settled(task), late=is_late(task)):
                logging.warning(
                    f"iteration {task.iteration}: {NAMES[prefix]} {seen}; the loss can fall "
                    "without anything being learned: try a lower learning rate; BYOL needs heads "
                    "with use_bias False and BASE_MODEL_NAME mscn_branchwise_model"
                )
        line = {"iteration": task.iteration, **flat}
        save_file(line, f"{task.checkpoint_folder}/embedding_statistics.json", verbose=False)
        add_scalars(task, "Embedding", flat, task.iteration)


NAMES = {"": "the embedding", "prediction_": "the output of BYOL's predictor"}
"""What is described, by the prefixes of :func:`embeddings_of`."""


PATIENCE = {"": 2, "prediction_": WINDOW}
"""At how many logged steps in a row a point is one; a healthy predictor is near one for a while."""


class CollapseWatch:
    """Recognizes the kinds of collapse in the statistics of logged steps.

    Each kind is reported once, and again if it comes back. What a healthy network shows in its
    first steps is judged by the means over :data:`WINDOW` steps of a settled run.

    Args:
        patience: at how many steps in a row the embedding must be a point.
    """

    def __init__(self, patience: int = 2) -> None:
        self.patience = patience
        self.points = 0
        self.window: collections.deque[dict[str, float]] = collections.deque(maxlen=WINDOW)
        self.reported: set[str] = set()

    def look(
        self, values: dict[str, float], even: float, settled: bool, late: bool
    ) -> Iterator[str]:
        """Yield what is wrong with the embedding and has not been reported.

        Args:
            values: of :func:`embedding_statistics`.
            even: ``std`` of an even spread, ``D ** -0.5``.
            settled: whether the first steps are over.
            late: whether one dimension may be judged; a network learns one after the other.
        """
        relative = values["std"] / even
        self.points = self.points + 1 if relative < COLLAPSED else 0
        if settled:
            self.window.append(values)
        found = {}
        if self.points >= self.patience:
            found["point"] = (
                f"has collapsed to a point: its standard deviation is {relative:.1%} of that of an "
                "even spread"
            )
        elif len(self.window) == WINDOW:
            mean = {key: sum(v[key] for v in self.window) / WINDOW for key in values}
            same, others = mean["positive_similarity"], mean["negative_similarity"]
            if not told_apart(same, others):
                found["not told apart"] = (
                    f"does not tell images apart: views of one image are as similar ({same:.3f}) "
                    f"as those of different ones ({others:.3f})"
                )
            if late and mean["dimensions"] < FEW_DIMENSIONS:
                found["line"] = (
                    f"has collapsed to a line: it is spread in {mean['dimensions']:.2f} of "
                    f"{even**-2:.0f} dimensions"
                )
        yield from (text for kind, text in found.items() if kind not in self.reported)
        self.reported = set(found)


def told_apart(same: float, others: float) -> bool:
    """Whether views of one image are more similar than those of others, by :data:`NOT_TOLD_APART`.

    Args:
        same: mean similarity of an image's views, from -1 to 1.
        others: that of different images.
    """
    return same - others >= NOT_TOLD_APART * (1 - others)


def is_late(task: Task) -> bool:
    """Whether half of the run is over."""
    step, steps = steps_of_schedules(task)
    return step >= steps / 2


def is_settled(task: Task) -> bool:
    """Whether an epoch, or in short runs a tenth of the run, is over."""
    step, steps = steps_of_schedules(task)
    return step >= min(steps // task.num_train_phases, steps / 10)


def embeddings_of(task: Task) -> Iterator[tuple[str, Tensor, list[int]]]:
    """What to describe of a batch: a prefix of the names, the embeddings, and ``[K0, K1]``."""
    output, num_masks = task.last_batch.model_output, masks_of(task)
    if isinstance(task.loss, BYOLLoss):
        assert task.loss.projections is not None
        yield "", task.loss.projections, task.loss.target_masks
        yield "prediction_", output, num_masks
    elif "data_momentum" in task.last_batch.sample:
        yield "", torch.cat([output, task.loss.key]), [1, 1]
    else:
        yield "", output, num_masks
