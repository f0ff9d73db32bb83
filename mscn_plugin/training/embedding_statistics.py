"""Statistics of the embedding, in which a collapse is seen and not guessed."""

from __future__ import annotations

import logging
from typing import Any, Dict, Iterator, List, Tuple

import torch
from classy_vision.generic.distributed_util import all_reduce_mean, is_primary
from torch import Tensor
from torch.nn import functional as F
from vissl.utils.io import save_file

from mscn_plugin.losses.byol_loss import BYOLLoss
from mscn_plugin.training.hook import MSCNHook, add_scalars, is_logging_step, masks_of

COLLAPSED = 0.1
"""Spread of an embedding, as a part of an even one, below which it counts as collapsed."""


def embedding_statistics(embeddings: Tensor, num_masks: List[int]) -> Dict[str, Tensor]:
    """Describe a batch of embeddings.

    Args:
        embeddings: ``[(K0 + K1) * B, D]`` in the collator's order, not normalised, B at least 2.
        num_masks: ``[K0, K1]``.

    Returns:
        Three scalars: ``std``, the standard deviation over the samples of the L2-normalised
        embedding, averaged over its dimensions (1/sqrt(D) where the embeddings are spread over
        the sphere, 0 where they have collapsed); ``positive_similarity`` and
        ``negative_similarity``, the mean cosine of cross-branch pairs of the same image and of
        different images, each from -1 to 1.
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
    return {
        "std": z.std(dim=0).mean(),
        "positive_similarity": positive / num_images,
        "negative_similarity": (everything - positive) / (num_images * (num_images - 1)),
    }


class EmbeddingStatisticsHook(MSCNHook):
    """Logs :func:`embedding_statistics` at VISSL's log frequency, averaged over the ranks.

    The embedding is the model's output; with MoCo that and the keys of the other branch; with
    BYOL the target network's projection, and beside it the predictor's output (``prediction_...``).
    They go to the log, to TensorBoard (``Embedding/...``) and, one JSON line each, to
    ``embedding_statistics.json`` in the checkpoint folder. A collapse is warned of.
    """

    def __init__(self) -> None:
        super().__init__()
        self.low = 0

    def on_loss_and_meter(self, task: Any) -> None:
        output = task.last_batch.model_output
        if not (task.train and is_logging_step(task) and isinstance(output, Tensor)):
            return
        values = {}
        for prefix, embeddings, num_masks in embeddings_of(task):
            sets = sum(num_masks)
            if embeddings.dim() != 2 or len(embeddings) % sets or len(embeddings) // sets < 2:
                return
            for name, value in embedding_statistics(embeddings, num_masks).items():
                values[prefix + name] = all_reduce_mean(value).item()
        if not is_primary():
            return
        text = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
        spread = output.shape[1] ** -0.5
        logging.info(f"embedding: {text} (std {spread:.4f} when spread evenly, 0 when collapsed)")
        self._warn_of_collapse(task.iteration, values["std"] / spread)
        line = {"iteration": task.iteration, **values}
        save_file(line, f"{task.checkpoint_folder}/embedding_statistics.json", verbose=False)
        add_scalars(task, "Embedding", values, task.iteration)

    def _warn_of_collapse(self, iteration: int, relative: float) -> None:
        """Warn once each time that the spread falls below :data:`COLLAPSED` twice in a row."""
        self.low = self.low + 1 if relative < COLLAPSED else 0
        if self.low == 2:
            logging.warning(
                f"the embedding has collapsed: at iteration {iteration} its standard deviation is "
                f"{relative:.1%} of that of an even spread, and the loss can fall without anything "
                "being learnt; try a lower learning rate, and the conditions of BYOL in the README"
            )


def embeddings_of(task: Any) -> Iterator[Tuple[str, Tensor, List[int]]]:
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
