"""The embeddings of a batch of masked views, branch by branch and mask by mask."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from mscn_plugin.losses.registry import gather_from_all


def check_shapes(*branches: Iterable[Tensor]) -> None:
    """Check that all masks of all ``branches`` have embeddings ``[B, D]`` of the same B images.

    Others would be paired with wrong images: a batch of one image with all of the others.

    Raises:
        ValueError: the shapes differ, or are none of embeddings.
    """
    shapes = [[tuple(mask.shape) for mask in branch] for branch in branches]
    different = {shape for branch in shapes for shape in branch}
    if len(different) != 1 or len(*different) != 2:
        raise ValueError(
            f"the branches' embeddings have shapes {', '.join(map(str, shapes))}; all must be "
            "[B, D] of the same B images"
        )


def split_by_branch(embeddings: Tensor, num_masks: Sequence[int]) -> list[list[Tensor]]:
    """Return ``[(K0 + K1) * B, D]``, in the collator's order, as two lists of ``[B, D]``.

    Raises:
        ValueError: K0 + K1 does not divide the number of embeddings.
    """
    sets = sum(num_masks)
    if len(embeddings) % sets:
        raise ValueError(
            f"the loss got {len(embeddings)} embeddings, which {sets} masks "
            f"(num_masks {list(num_masks)}) do not divide: collator and loss must agree"
        )
    masks = list(embeddings.split(len(embeddings) // sets))
    return [masks[: num_masks[0]], masks[num_masks[0] :]]


def gather_by_branch(embeddings: Tensor, num_masks: Sequence[int]) -> list[list[Tensor]]:
    """:func:`split_by_branch` with the images of all ranks: two lists of ``[N, D]``.

    Gradients flow back to the ranks that the embeddings come from. Image ``rank * B + b`` is image
    b of that rank.
    """
    ranks = gather_from_all(embeddings).split(len(embeddings))
    by_rank = [split_by_branch(part, num_masks) for part in ranks]
    return [[torch.cat(masks) for masks in zip(*branch)] for branch in zip(*by_rank)]
