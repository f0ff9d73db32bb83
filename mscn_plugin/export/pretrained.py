"""The trunk of a checkpoint as every export starts from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from vissl.config import AttrDict

from mscn_plugin.checkpoints.io import (
    TRUSTED,
    CheckpointError,
    config_source,
    epochs_of,
    load_checkpoint,
    training_config,
    trunk_weights,
)
from mscn_plugin.checkpoints.sigma import pretraining_sigma, resolve_sigma
from mscn_plugin.config.checks.keys import vissl_defaults
from mscn_plugin.errors import ConfigError
from mscn_plugin.export.preprocessing import Preprocessing, preprocessing_of
from mscn_plugin.masking import high_pass
from mscn_plugin.models.sections import plain_name
from mscn_plugin.models.shapes import build_trunk
from mscn_plugin.models.timm_trunk import TimmSettings, is_timm

COUNTER = "num_batches_tracked"
"""Batch normalization's count of training steps, the one tensor that no output depends on."""


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A trunk with what an export must know of its pre-training.

    Attributes:
        trunk: VISSL's trunk in evaluation mode, on the CPU; it does not filter.
        model_config: VISSL's ``config.MODEL``, from which the trunk was built.
        sigma: of the high-pass filter in front of the trunk, in pixels; 0: there is none.
        preprocessing: of the images in front of the filter.
        config: the run's configuration, or None where it is not known.
        epochs: how many epochs the checkpoint has seen, or None.
    """

    trunk: nn.Module
    model_config: Any
    sigma: float
    preprocessing: Preprocessing
    config: dict[str, Any] | None
    epochs: int | None

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """VISSL's model behind the filter: what every export has to give.

        Args:
            images: ``[B, C, H, W]``, float32, normalized, not filtered.

        Returns:
            ``[B, F]``, the trunk's last output.
        """
        return self.trunk(high_pass(images, self.sigma), [])[-1].flatten(1)


def load_pretrained(
    path: Path,
    sigma: float | None = None,
    trusted: bool = False,
    size: int | None = None,
) -> Pretrained:
    """Load the trunk of a checkpoint of VISSL.

    Its architecture is read from the ``train_config.yaml`` beside it; without one it has to be a
    ResNet-50.

    Args:
        sigma: of pre-training's filter in pixels, for a checkpoint that does not state it.
        trusted: load by pickle, which can run code that the file holds.
        size: side of the images in pixels; None: that of the run's evaluation, else 224.

    Raises:
        CheckpointError: the file, or the configuration beside it, is not what it should be.
        ConfigError: sigma is missing or contradicts the checkpoint, or the size is none.
    """
    if size is not None and size < 1:
        raise ConfigError(f"--size is {size}; it must be at least 1 pixel")
    checkpoint = load_checkpoint(path, trusted, TRUSTED)
    weights = trunk_weights(checkpoint, path)
    source = config_source(path, checkpoint)
    config = training_config(path, checkpoint)
    try:
        model_config = model_config_of(config)
        preprocessing = preprocessing_of(config, size)
        stated = pretraining_sigma(checkpoint, config)
    except ConfigError as error:
        raise CheckpointError(f"{source}: {error}") from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{source} is not a configuration of VISSL ({error!r})") from None
    return Pretrained(
        trunk=_trunk(model_config, weights, path),
        model_config=model_config,
        sigma=resolve_sigma(path, stated, sigma),
        preprocessing=preprocessing,
        config=config,
        epochs=epochs_of(checkpoint),
    )


def model_config_of(config: dict[str, Any] | None) -> Any:
    """``config.MODEL`` of a run, or else VISSL's default, a ResNet-50; of a trunk as it is."""
    if config is None:
        config = vissl_defaults()
    model_config = AttrDict(config).MODEL
    model_config.TRUNK.NAME = plain_name(model_config.TRUNK.NAME)
    model_config.ACTIVATION_CHECKPOINTING.USE_ACTIVATION_CHECKPOINTING = False
    if is_timm(model_config):
        model_config.TRUNK.TIMM["WEIGHTS"] = None  # the checkpoint's take their place
    return model_config


def _trunk(model_config: Any, weights: dict[str, Tensor], path: Path) -> nn.Module:
    try:
        trunk = build_trunk(model_config).eval()
    except Exception as error:  # every trunk has its own way to refuse a configuration
        raise CheckpointError(
            f"{path} has a trunk {model_config.TRUNK.NAME!r} that VISSL cannot build ({error!r})"
        ) from None
    try:
        missing, unexpected = trunk.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        wrong = [str(error).splitlines()[-1].strip()]
    else:
        wrong = [f"{key} is missing" for key in missing if not key.endswith(COUNTER)]
        wrong += [f"{key} is not a name of this trunk" for key in unexpected]
    if wrong:
        raise CheckpointError(
            f"{path} does not hold the weights of a {describe(model_config)}, the trunk of its "
            f"run's configuration or, without one, VISSL's default: {wrong[0]}"
        )
    return trunk


def describe(model_config: Any) -> str:
    """A trunk in words: its name and, of a ResNet or of timm, all that makes its architecture."""
    trunk = model_config.TRUNK
    if is_timm(model_config):
        timm = TimmSettings.of(model_config)
        given = "".join(f", {key} {value}" for key, value in timm.arguments().items())
        return f"{trunk.NAME} (NAME {timm.name}{given}, INPUT_TYPE {model_config.INPUT_TYPE})"
    if trunk.NAME != "resnet":
        return str(trunk.NAME)
    keys = ("DEPTH", "GROUPS", "WIDTH_PER_GROUP", "WIDTH_MULTIPLIER", "NORM", "LAYER4_STRIDE")
    settings = ", ".join(f"{key} {trunk.RESNETS[key]}" for key in keys)
    return f"resnet ({settings}, INPUT_TYPE {model_config.INPUT_TYPE})"
