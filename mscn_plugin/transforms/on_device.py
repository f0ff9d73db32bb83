"""The end of the view pipeline as one stage on the training device.

Normalization, filter, masks and noise, and the standard augmentations before them, are the same few
operations for every pixel. The loader's workers stop before them: they send each view once, as
uint8, with the masks and the augmentations as a few numbers, and this stage does the rest for the
whole batch, after the copy to the device and before the training step, hence outside of autocast.
What travels is a quarter of two float32 views, whatever the number of masks; of arrays it is the
two views, which are float32 in the files' own units; with the crops on the device, the picture.

Shape shorthand: B images, V = 2 branches, K0 and K1 masks, C, H, W channels, height, width.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import torch
from classy_vision.generic.util import recursive_copy_to_device
from torch import Tensor

from mscn_plugin.data.decoding import SAMPLED_CROPS
from mscn_plugin.masking import high_pass
from mscn_plugin.transforms.augmentations import Crop, DeviceStep, augment
from mscn_plugin.transforms.buffers import ReusedBuffers
from mscn_plugin.transforms.collate import COLLATOR, BatchLayout, mask_batch
from mscn_plugin.transforms.sampled_views import SAMPLED, is_known, steps_of
from mscn_plugin.transforms.transforms import MSCNHighPass, settings_of
from mscn_plugin.types import Config

STAGE = ("ToTensor", "Normalize", "MSCNHighPass")
"""Transforms that the stage stands for, in their order; the first alone is necessary.

Arrays are tensors from the beginning, without ``ToTensor``, and any of the others begins the stage.
"""

COLLATORS = {COLLATOR: "mscn_mask_drawing_collator"}
"""Collators whose masks the stage applies, and what the workers run in their place."""


@dataclasses.dataclass(frozen=True)
class DeviceViews:
    """What the stage does; the arguments are those of the transforms that it replaces.

    Attributes:
        mean: per channel, as a part of ``unit``.
        std: per channel, as a part of ``unit``, above 0.
        sigma: width of the high-pass filter in pixels; 0: no filter.
        layout: how the batch is handed to the trainer.
        augmentations: what comes before all of it, with the parameters that the workers sampled;
            the first may be the crop.
        unit: of mean and std: of pictures the white of 8 bits, of arrays 1.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    sigma: float = 0.0
    layout: BatchLayout = dataclasses.field(default_factory=BatchLayout)
    augmentations: tuple[DeviceStep, ...] = ()
    unit: float = 255.0

    def filtered(self, views: Tensor) -> Tensor:
        """Normalize and filter raw views ``[..., C, H, W]``: float32 on the same device."""
        mean, std = (_in_pixels(v, self.unit, views.device) for v in (self.mean, self.std))
        normalized = views.to(torch.float32, copy=True).sub_(mean).div_(std)
        return high_pass(normalized, self.sigma)

    @torch.no_grad()
    def __call__(
        self,
        batch: dict[str, Any],
        device: str | torch.device,
        empty: Callable[..., Tensor] = torch.empty,
    ) -> dict[str, Any]:
        """Turn a batch of the sampling collator into one of the masking collator, on ``device``.

        Args:
            batch: ``data`` ``[V, B, C, H, W]``, uint8 or of arrays float32, see
                :func:`~mscn_plugin.transforms.collate.mscn_mask_drawing_collator`.
            device: where to; the batch may be there already.
            empty: makes the tensor for the masked views, as ``torch.empty`` does.

        Returns:
            What :func:`~mscn_plugin.transforms.collate.mscn_multimask_collator` returns: the same
            views as its own to 1e-5, given the same augmented views, masks and noise.
        """
        batch = recursive_copy_to_device(batch, non_blocking=True, device=torch.device(device))
        if self.augmentations:
            parameters = batch["augmentations"]
            views = batch["data"].expand(len(parameters), *batch["data"].shape[1:])
            augmented = augment(views.flatten(0, 1), parameters.flatten(0, 1), self.augmentations)
            batch = {**batch, "data": augmented.unflatten(0, views.shape[:2])}
        return mask_batch(batch, self.layout, self.filtered, empty)


@functools.cache
@torch.inference_mode(False)  # what is cached must serve training, too
def _in_pixels(values: tuple[float, ...], unit: float, device: torch.device) -> Tensor:
    """Parts of ``unit`` as ``[C, 1, 1]`` in the views' own units; cached, so copied once."""
    return unit * torch.tensor(values).view(-1, 1, 1).to(device)


class DeviceViewsLoader:
    """A loader, or its iterator, whose batches have passed ``stage``; all else is as it was.

    VISSL asks both for their length.
    """

    def __init__(
        self,
        dataloader: Any,
        stage: DeviceViews,
        device: str | torch.device,
        buffers: ReusedBuffers | None = None,
    ) -> None:
        self.dataloader = dataloader
        self.stage = stage
        self.device = device
        self.buffers = buffers or ReusedBuffers()

    def __iter__(self) -> DeviceViewsLoader:
        return DeviceViewsLoader(iter(self.dataloader), self.stage, self.device, self.buffers)

    def __next__(self) -> dict[str, Any]:
        return self.stage(next(self.dataloader), self.device, self.buffers.empty)

    def __len__(self) -> int:
        return len(self.dataloader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dataloader, name)


def split_pipeline(train: Config, arrays: bool = False) -> tuple[Config, DeviceViews]:
    """Divide a ``DATA.TRAIN`` between workers and device.

    Args:
        train: the section of a VISSL configuration; it is not changed.
        arrays: whether the images are arrays (``MSCN.CHANNELS``).

    Returns:
        The section for the workers, and the stage for the device.

    Raises:
        ValueError: the stage cannot stand for the end of this pipeline; the message starts with
            the key that is in its way.
    """
    if train.COLLATE_FUNCTION not in COLLATORS:
        raise ValueError(
            f"COLLATE_FUNCTION is {train.COLLATE_FUNCTION}; it must be {' or '.join(COLLATORS)}"
        )
    names = [transform["name"] for transform in train.TRANSFORMS]
    stages = STAGE[1:] if arrays else STAGE
    begins = stages if arrays else STAGE[:1]
    start = next((place for place, name in enumerate(names) if name in begins), len(names))
    parts = {transform["name"]: settings_of(transform) for transform in train.TRANSFORMS[start:]}
    if not parts or names[start:] != [name for name in stages if name in parts]:
        absent = "one may be" if arrays else "the last two may be"
        raise ValueError(
            f"TRANSFORMS ends in {', '.join(names[start:] or names[-1:])}; it must end in "
            f"{', '.join(stages)}, of which {absent} absent"
        )
    normalize = parts.get("Normalize", {"mean": [0.0], "std": [1.0]})
    lists: list[Any] = [normalize.get(key) for key in ("mean", "std")]
    if len(normalize) != 2 or not all(isinstance(values, list) for values in lists):
        raise ValueError(
            f"TRANSFORMS[{names.index('Normalize')}] is Normalize with {normalize}; it must have "
            "mean and std, each a list with one value per channel"
        )
    stage = DeviceViews(
        mean=tuple(map(float, lists[0])),
        std=tuple(map(float, lists[1])),
        sigma=MSCNHighPass(**parts["MSCNHighPass"]).sigma if "MSCNHighPass" in parts else 0.0,
        layout=BatchLayout.of(train.COLLATE_FUNCTION_PARAMS),
        unit=1.0 if arrays else 255.0,
    )
    workers = copy.deepcopy(train)
    to_tensors = [] if arrays else [{"name": "PILToTensor"}]
    workers.TRANSFORMS = [*workers.TRANSFORMS[:start], *to_tensors]
    workers.COLLATE_FUNCTION = COLLATORS[train.COLLATE_FUNCTION]
    return workers, stage


def split_augmentations(train: Config, stage: DeviceViews) -> tuple[Config, DeviceViews]:
    """Leave the standard augmentations to the device, too.

    Args:
        train: the workers' section by :func:`split_pipeline`; it is not changed.
        stage: the one that belongs to it.

    Returns:
        The section with the augmentations' parameters sampled, and the stage that applies them;
        both as they were where there are no augmentations.

    Raises:
        ValueError: between the augmentations stands what the stage does not know; the message
            starts with its key.
    """
    transforms = train.TRANSFORMS[:-1]  # PILToTensor comes after them
    names = [transform["name"] for transform in transforms]
    known = [is_known(transform) for transform in transforms]
    if True not in known:
        return train, stage
    first = known.index(True)
    for index in range(first, len(names)):
        if not known[index]:
            raise ValueError(
                f"TRANSFORMS[{index}] is {names[index]}, which is applied by the loader's workers "
                f"alone, after {names[first]}"
            )
    workers, moved = copy.deepcopy(train), copy.deepcopy(transforms[first:])
    workers.TRANSFORMS = [*transforms[:first], {"name": SAMPLED, "transforms": moved}]
    parts = tuple(part for step in steps_of(moved) for part in step.augmentations)
    return workers, dataclasses.replace(stage, augmentations=parts)


def split_crops(train: Config, stage: DeviceViews) -> tuple[Config, DeviceViews]:
    """Leave the crops to the device, too: of an image the workers hand over the whole picture.

    Args:
        train: the workers' section by :func:`split_augmentations`; it is not changed.
        stage: the one that belongs to it.

    Returns:
        The section that samples the crops' boxes as well, and the stage that crops.

    Raises:
        ValueError: the pipeline does not begin with such crops, or the workers would apply
            something to them; the message starts with the key.
    """
    names = [transform["name"] for transform in train.TRANSFORMS]
    if names[:2] != ["ImgReplicatePil", "RandomResizedCrop"]:
        raise ValueError(
            f"TRANSFORMS begins with {', '.join(names[:2])}; it must begin with ImgReplicatePil, "
            "RandomResizedCrop"
        )
    if names[2:] not in (["PILToTensor"], [SAMPLED]):
        raise ValueError(
            f"TRANSFORMS[2] is {names[2]}, which is applied by the loader's workers, after the "
            "crops"
        )
    replicate, crop, last = train.TRANSFORMS
    settings = settings_of(crop)
    fields = [field.name for field in dataclasses.fields(Crop)]
    for key, value in settings.items():
        if key not in fields:
            raise ValueError(
                f"TRANSFORMS[1] has {key}: {value}; the device's crops know {', '.join(fields)}"
            )
    if "size" not in settings:
        raise ValueError("TRANSFORMS[1] has no size")
    workers = copy.deepcopy(train)
    workers.TRANSFORMS = [
        {
            "name": SAMPLED_CROPS,
            **settings_of(replicate),
            "crop": settings,
            "transforms": copy.deepcopy(last.get("transforms", [])),
        }
    ]
    augmentations = (Crop.of(settings), *stage.augmentations)
    return workers, dataclasses.replace(stage, augmentations=augmentations)
