"""The multimask collator (section 4.5, Figure 5): K masked versions of each of two views.

Masks are sampled, then applied. In a loader's worker one step follows the other; with
:mod:`mscn_plugin.transforms.on_device` the worker samples and the training device applies.

Shape shorthand: B images, V = 2 branches, K0 and K1 masks, C, H, W channels, height, width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from vissl.data.collators import register_collator

from mscn_plugin.data.shared_memory import empty_for_trainer
from mscn_plugin.masking.apply import apply_in_chunks
from mscn_plugin.masking.per_branch import (
    NUM_BRANCHES,
    NumMasks,
    mask_distributions,
    masks_per_branch,
)
from mscn_plugin.transforms.opencv import opencv
from mscn_plugin.transforms.sampled_views import SampledView
from mscn_plugin.types import Config

COLLATOR = "mscn_multimask_collator"
_PER_VIEW = ("label", "data_valid", "data_idx")


@dataclasses.dataclass(frozen=True)
class BatchLayout:
    """How the masked views are handed to VISSL's trainer; by default as one tensor ``data``.

    Attributes:
        split_branches: ``data`` is a list with one tensor per branch, which with
            :class:`~mscn_plugin.models.branchwise.BranchwiseModel` passes the network branch
            by branch, as in BYOL, and with ``MODEL.SINGLE_PASS_EVERY_CROP: True`` the trunk; else
            both share the batch statistics, as in SimCLR. Not stated in the paper.
        momentum_branch: ``data`` is branch 0 alone, and branch 1 is ``data_momentum``, as VISSL's
            MoCo hook expects it.
        view_per_mask: each mask has a view of its own, with an augmentation of its own ("generates
            multiple views", Figure 5; "similar to multicrops", section 4.5): an image has
            K0 + K1 views, those of branch 0 first. Else the masks of a branch share its view.
        unmasked_views: beside the masked views, ``unmasked_views`` holds both views of each
            image without masks, ``[V * B, C, H, W]``, or a list like ``data``.
    """

    split_branches: bool = False
    momentum_branch: bool = False
    unmasked_views: bool = False
    view_per_mask: bool = False

    def __post_init__(self) -> None:
        if self.split_branches and self.momentum_branch:
            raise ValueError(
                "split_branches is True; with momentum_branch, which hands over the branches apart "
                "in another way, it must be False"
            )
        if self.unmasked_views and self.view_per_mask:
            raise ValueError(
                "view_per_mask is True; with unmasked_views (byol_loss's target_input: unmasked) "
                "it must be False: that target sees one view for each branch"
            )

    @classmethod
    def of(cls, settings: dict[str, Any]) -> BatchLayout:
        """The layout that the collator's ``settings`` describe among others."""
        return cls(**{k: v for k, v in settings.items() if k in LAYOUT_SETTINGS})


LAYOUT_SETTINGS = tuple(field.name for field in dataclasses.fields(BatchLayout))
"""The keys by which the collator's layout is described."""


def num_masks_of(train: Config) -> NumMasks:
    """``num_masks`` of a ``DATA.TRAIN`` as it is given: K, ``[K0, K1]``, or 1 without masks."""
    if train.COLLATE_FUNCTION != COLLATOR:
        return 1
    num_masks: NumMasks = train.COLLATE_FUNCTION_PARAMS.get("num_masks", 2)
    return num_masks


def masks_of_branches(train: Config) -> list[int]:
    """``[K0, K1]`` of a ``DATA.TRAIN``: how many masked views each branch has of an image."""
    return masks_per_branch(num_masks_of(train))


def num_views_of(train: Config) -> int:
    """How many augmented views of an image the collator of a ``DATA.TRAIN`` takes."""
    if not (train.COLLATE_FUNCTION_PARAMS or {}).get("view_per_mask"):
        return NUM_BRANCHES
    return sum(masks_of_branches(train))


@register_collator(COLLATOR)
def mscn_multimask_collator(
    batch: list[dict[str, Any]],
    num_masks: NumMasks = 2,
    **settings: object,
) -> dict[str, Any]:
    """Mask the two views of each image K times.

    The views must be tensors of one size, already augmented, normalized and high-pass filtered
    (``MSCNHighPass``); each image has masks of its own.

    Args:
        batch: B samples of VISSL, ``sample["data"]`` the two views ``[C, H, W]`` of an image, or
            K0 + K1 of them with ``view_per_mask``.
        num_masks: K, or ``[K0, K1]``. The number is not stated in the paper; 2 doubles the
            number of views, K = 1 turns multimasks off.
        settings: see :class:`~mscn_plugin.masking.MaskDistribution`; each one value for both
            branches or a list of two. And those of :class:`BatchLayout`, each True or False.

    Returns:
        VISSL's batch. ``data`` is ``[(K0 + K1) * B, C, H, W]`` in the order branch 0 mask 0 (all
        images), branch 0 mask 1, ..., branch 1 mask 0, ...; ``label``, ``data_valid`` and
        ``data_idx`` follow the same order. A :class:`BatchLayout` changes it.

    Raises:
        ValueError: a setting is wrong, the images do not have two views, or cells or boxes are
            larger than the images.
    """
    sampled = mscn_mask_drawing_collator(batch, num_masks, **settings)
    return mask_batch(sampled, BatchLayout.of(settings))


@register_collator("mscn_mask_drawing_collator")
def mscn_mask_drawing_collator(
    batch: list[dict[str, Any]], num_masks: NumMasks = 2, **settings: object
) -> dict[str, Any]:
    """The first step of :func:`mscn_multimask_collator`: unmasked views and sampled masks.

    Returns:
        A batch without repetitions: ``data`` the views ``[V, B, C, H, W]`` of any dtype, or, where
        views are still to be cropped from them, the pictures ``[1, B, C, H, W]``,
        ``augmentations`` float32 ``[V, B, P]``, the parameters of those that are still to be
        applied, if there are any, ``masks`` a list with the
        :class:`~mscn_plugin.masking.MaskParameters` of each branch (``K * B`` masks, mask 0 of all
        images first), ``label``, ``data_valid`` and ``data_idx`` ``[V, B]``.
        Its size in bytes does not grow with K but for the masks, some 300 bytes each.

    Raises:
        ValueError: as :func:`mscn_multimask_collator`.
    """
    counts = masks_per_branch(num_masks, NUM_BRANCHES)
    num_views = sum(counts) if BatchLayout.of(settings).view_per_mask else NUM_BRANCHES
    masks_of = {k: v for k, v in settings.items() if k not in LAYOUT_SETTINGS}
    distributions = mask_distributions(NUM_BRANCHES, masks_of)
    of_branches: list[Sequence[Any]] = list(
        zip(*(_views_of(sample, num_views) for sample in batch))
    )
    parameters, size = None, None
    if isinstance(of_branches[0][0], SampledView):
        parameters = torch.tensor([[view.parameters for view in images] for images in of_branches])
        first, size = of_branches[0][0].pixels, of_branches[0][0].size
        if all(images[0].pixels is first for images in of_branches):
            of_branches = of_branches[:1]  # one picture, from which all views will be cropped
        of_branches = [[view.pixels for view in images] for images in of_branches]
    views = _stacked(of_branches)
    channels, *sides = views.shape[2:]
    collated: dict[str, Any] = {
        key: torch.as_tensor([[sample[key][v] for sample in batch] for v in range(num_views)])
        for key in _PER_VIEW
    }
    collated["data"] = views
    if parameters is not None:
        collated["augmentations"] = parameters
    collated["masks"] = [
        masks.sample(count * len(batch), size or sides, channels)
        for count, masks in zip(counts, distributions)
    ]
    return collated


def mask_batch(
    batch: dict[str, Any],
    layout: BatchLayout = BatchLayout(),
    prepare: Callable[[Tensor], Tensor] = lambda views: views,
    empty: Callable[..., Tensor] = torch.empty,
) -> dict[str, Any]:
    """The second step of :func:`mscn_multimask_collator`, on the device of ``batch["data"]``.

    Args:
        batch: what :func:`mscn_mask_drawing_collator` returns.
        layout: how the result is laid out.
        prepare: what comes before the masks: from views ``[b, C, H, W]`` to float32 ones.
        empty: makes the tensor for the masked views, as ``torch.empty`` does.
    """
    views = batch["data"]
    num_images = views.shape[1]
    counts = [len(masks) // num_images for masks in batch["masks"]]
    data = empty((sum(counts) * num_images, *views.shape[2:]), device=views.device)
    branches = list(data.split([count * num_images for count in counts]))
    unmasked = data.new_empty(views.shape) if layout.unmasked_views else None
    views_of = views.split(counts) if layout.view_per_mask else views.split(1)
    for index, (of_branch, masks, branch) in enumerate(zip(views_of, batch["masks"], branches)):
        images = of_branch.flatten(0, 1)
        prepared = None if unmasked is None else unmasked[index]
        apply_in_chunks(images, masks, branch.view(-1, *images.shape), prepare, prepared)
    in_data = counts[:1] if layout.momentum_branch else counts
    repeats = [1] * sum(in_data) if layout.view_per_mask else in_data
    collated: dict[str, list[Any]] = {
        key: [torch.cat([column.repeat(k) for column, k in zip(batch[key], repeats)])]
        for key in _PER_VIEW
    }
    collated["data"] = [branches if layout.split_branches else data]
    if layout.momentum_branch:
        collated["data"], collated["data_momentum"] = [[branch] for branch in branches]
    if unmasked is not None:
        collated["unmasked_views"] = [
            list(unmasked) if layout.split_branches else unmasked.flatten(0, 1)
        ]
    return collated


def _stacked(of_branches: Sequence[Sequence[Tensor]]) -> Tensor:
    """The views of all branches as ``[V, B, C, H, W]``, where the trainer can read them."""
    first = of_branches[0][0]
    size = (len(of_branches), len(of_branches[0]), *first.shape)
    views = empty_for_trainer(size, first.dtype)
    for images, of_branch in zip(of_branches, views):
        for image, out in zip(images, of_branch):
            if image.shape != first.shape:
                raise ValueError(
                    f"views of {tuple(first.shape)} and {tuple(image.shape)} cannot be one batch: "
                    "crop or resize them to one size"
                )
            pixels = image.permute(1, 2, 0)
            if image.dtype == torch.uint8 and pixels.is_contiguous() and not image.is_contiguous():
                opencv().split(pixels.numpy(), list(out.numpy()))  # a quarter of PyTorch's time
            else:
                out.copy_(image)
    return views


def _views_of(sample: dict[str, Any], num_views: int) -> list[Any]:
    views: list[Any] = sample["data"]
    if len(views) != num_views:
        raise ValueError(
            f"mscn_multimask_collator got {len(views)} views of an image; it needs {num_views}: "
            f"ImgReplicatePil with num_times: {num_views}"
        )
    return views
