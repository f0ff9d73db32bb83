"""Takes synthetic images through a configuration's transforms, collators and model.

Parts that do not fit together, a list where a tensor is expected, heads that do not chain, fail at
the first batch: here that is a batch of a few small images, in the launching process. The model has
shapes and no values wherever the trunk allows it, so that nothing is computed.

Shape shorthand: B images, V views of an image, C, H, W channels, height, width.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import logging
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from classy_vision.generic.util import recursive_copy_to_device
from PIL import Image
from torch import Tensor
from vissl.data.collators import get_collator
from vissl.data.ssl_transforms import get_transform
from vissl.models import build_model

from mscn_plugin.config.checks.build import begins_with_a_key, refusal
from mscn_plugin.config.checks.loss import LOSSES
from mscn_plugin.errors import ConfigError
from mscn_plugin.models.shapes import of_shapes, trunk_features
from mscn_plugin.schema import is_pretraining
from mscn_plugin.transforms.collate import masks_of_branches
from mscn_plugin.types import Config

_IMAGES = 4
"""B. Even, as collators that mix pairs of images want it."""
_MARGIN = 16
"""Pixels by which the images are larger than the largest size that a transform names."""
_TWO_VIEWS = ("simclr_info_nce_loss", "barlow_twins_loss")
"""Losses of VISSL that compare the first half of the embeddings with the second."""


def check_first_batch(cfg: Config) -> None:
    """Make a first batch of both splits, and take the training one through the model.

    Args:
        cfg: a configuration that VISSL has completed; it is not changed.

    Raises:
        ConfigError: a step fails; names its key and gives its own message as the reason.
    """
    with _without_side_effects():
        if cfg.DATA.TEST.DATA_SOURCES:
            _first_batch(cfg, "TEST")
        batch = _first_batch(cfg, "TRAIN")
        outputs = _model_outputs(cfg, batch)
    _check_views(cfg, outputs)


def _first_batch(cfg: Config, split: str) -> dict[str, Any]:
    data = cfg.DATA[split]
    side, channels = _image_size(data.TRANSFORMS), cfg.MSCN.CHANNELS
    samples = [_sample(index, side, channels) for index in range(_IMAGES)]
    for index, section in enumerate(data.TRANSFORMS):
        path, name = f"config.DATA.{split}.TRANSFORMS[{index}]", section["name"]
        try:
            transform = get_transform([copy.deepcopy(section)])
            samples = [transform(sample) for sample in samples]
        except Exception as error:
            raise refusal(path, dict(section), name, error) from error
    path, settings = f"config.DATA.{split}.COLLATE_FUNCTION", data.COLLATE_FUNCTION_PARAMS or {}
    try:
        collate = get_collator(data.COLLATE_FUNCTION, settings)
        batch: dict[str, Any] = collate(samples)
    except Exception as error:
        if begins_with_a_key(error, settings):
            raise ConfigError(f"{path}_PARAMS.{error}") from error
        names = ", ".join(section["name"] for section in data.TRANSFORMS) or "no transform"
        name = f"{data.COLLATE_FUNCTION} after {names}"
        raise refusal(path, data.COLLATE_FUNCTION, name, error) from error
    for key in ("INPUT_KEY_NAMES", "TARGET_KEY_NAMES"):
        if not data[key] or not set(data[key]) <= set(batch):
            raise ConfigError(
                f"config.DATA.{split}.{key} is {list(data[key])}; it must name what "
                f"{data.COLLATE_FUNCTION} hands over: {', '.join(sorted(batch))}"
            )
    return batch


def _sample(index: int, side: int, channels: int | None) -> dict[str, Any]:
    """What VISSL's dataset hands to the transforms for one image of noise, side x side.

    Args:
        channels: ``MSCN.CHANNELS``; None: of a picture.
    """
    random = np.random.RandomState(index)
    if channels is None:
        image: Any = Image.fromarray(random.randint(0, 256, (side, side, 3), dtype=np.uint8))
    else:
        image = torch.from_numpy(random.rand(channels, side, side).astype(np.float32))
    return {
        "data": [image],
        "label": [index % 2],
        "data_valid": [1],
        "data_idx": [index],
    }


def _image_size(transforms: list[dict[str, Any]]) -> int:
    sizes: list[int] = []
    for section in transforms:
        for key in ("size", "size_crops", "crop_size_image", "crop_size_patches"):
            value = section.get(key, 0)
            sizes.extend(value if isinstance(value, (list, tuple)) else [value])
    return max([*(size for size in sizes if isinstance(size, int)), 32]) + _MARGIN


def _model_outputs(cfg: Config, batch: dict[str, Any]) -> list[Any]:
    """The model's outputs for the first batch, of VISSL's input keys, as tensors of shapes."""
    model_config = copy.deepcopy(cfg.MODEL)
    names = [str(model_config.TRUNK.NAME), *(str(head[0]) for head in model_config.HEAD.PARAMS)]
    if not model_config.HEAD.PARAMS or any("fsdp" in name for name in names):
        return []  # features alone; or what needs the other processes
    mapped = model_config.MULTI_INPUT_HEAD_MAPPING
    first = {key: value[0] for key, value in batch.items() if isinstance(value, list)}
    data = first if mapped else first[cfg.DATA.TRAIN.INPUT_KEY_NAMES[0]]

    def ask() -> list[Any]:
        model = build_model(copy.deepcopy(model_config), cfg.OPTIMIZER)
        names = [name for name, _ in model.named_parameters()]
        _check_frozen(cfg, names)
        device = next(model.parameters()).device
        inputs = recursive_copy_to_device(data, non_blocking=False, device=device)
        outputs: list[Any] = model(inputs)
        if outputs is None:  # what VISSL's model returns, and an error in the log
            raise ValueError("the heads are not as many as the features of the trunk")
        return outputs

    try:
        return of_shapes(ask)
    except Exception as error:
        if cfg.MACHINE.DEVICE == "gpu" and not _runs_here(model_config):
            return []  # a trunk of the user's that needs a GPU, which the ranks will have
        heads = [list(head) for head in model_config.HEAD.PARAMS]
        path = f"config.MODEL with the trunk {model_config.TRUNK.NAME} and HEAD.PARAMS"
        raise refusal(path, heads, f"a batch of {_shapes(data)}", error) from error


def _check_frozen(cfg: Config, names: list[str]) -> None:
    """Check the names of parameters that are not to be trained; VISSL ignores unknown ones.

    Those that are frozen for a time are looked up in what wraps the model, by another prefix.
    """
    if not is_pretraining(cfg):
        return
    for_a_time = [name for name, _ in cfg.MODEL.TEMP_FROZEN_PARAMS_ITER_MAP]
    for key, frozen, known in (
        ("NON_TRAINABLE_PARAMS", cfg.MODEL.NON_TRAINABLE_PARAMS, names),
        ("TEMP_FROZEN_PARAMS_ITER_MAP", for_a_time, [f"module.{name}" for name in names]),
    ):
        for name in frozen:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0) or known[:1]
                raise ConfigError(
                    f"config.MODEL.{key} names {name!r}, which is not a parameter of the model; "
                    f"did you mean {near[0]}?"
                )


def _runs_here(model_config: Any) -> bool:
    """Whether the trunk by itself takes an image in this process, without a GPU."""
    try:
        return trunk_features(model_config) > 0
    except Exception:
        return False


def _shapes(data: Any) -> str:
    if isinstance(data, Tensor):
        return " x ".join(map(str, data.shape))
    if isinstance(data, dict):
        return ", ".join(f"{key}: {_shapes(value)}" for key, value in data.items())
    return ", ".join(map(_shapes, data)) if isinstance(data, (list, tuple)) else "numbers"


def _check_views(cfg: Config, outputs: list[Any]) -> None:
    """Check that the embeddings are as many as the loss takes for the views of an image."""
    name = cfg.LOSS.name
    if not outputs or not isinstance(outputs[0], Tensor):
        return
    if name in LOSSES:
        views = sum(masks_of_branches(cfg.DATA.TRAIN))
    elif name in _TWO_VIEWS:
        views = 2
    else:
        return
    if len(outputs[0]) != views * _IMAGES:
        raise ConfigError(
            f"config.DATA.TRAIN makes {len(outputs[0]) / _IMAGES:g} embeddings of an image, and "
            f"config.LOSS.name {name} takes {views}: TRANSFORMS must begin with ImgReplicatePil, "
            f"num_times 2, and COLLATE_FUNCTION must keep both views; it is "
            f"{cfg.DATA.TRAIN.COLLATE_FUNCTION}"
        )


@contextlib.contextmanager
def _without_side_effects() -> Iterator[None]:
    """Restore the random generators, and silence what parts log when they are built."""
    states = random.getstate(), np.random.get_state()
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            random.seed(0)
            np.random.seed(0)
            torch.manual_seed(0)
            yield
    finally:
        logging.disable(disabled)
        random.setstate(states[0])
        np.random.set_state(states[1])
