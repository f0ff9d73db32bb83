"""A pre-training run, and the overrides that fit the configurations of evaluations to it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from mscn_plugin.checkpoints.io import (
    CheckpointError,
    config_source,
    epochs_of,
    load_checkpoint,
    training_config,
    trunk_weights,
)
from mscn_plugin.checkpoints.run_folder import checkpoint_of
from mscn_plugin.checkpoints.sigma import TRANSFORM, pretraining_sigma, resolve_sigma
from mscn_plugin.config.composed import composed
from mscn_plugin.config.hydra_overrides import hydra_override
from mscn_plugin.errors import ConfigError
from mscn_plugin.models.sections import layer_of, plain_name, sections_of
from mscn_plugin.schema import defaults
from mscn_plugin.transforms.stated import (
    BILINEAR,
    CROPS,
    crop_name,
    crop_size,
    interpolation_of,
    normalize_of,
    resize_for,
)
from mscn_plugin.types import value_at

_OF_IMAGES = ("PIXEL_RANGE", "CHANNELS", "ARRAY_LAYOUT")
"""Keys of ``config.MSCN`` that state how images are read: a run's evaluations read as it does."""
_INPUT_TYPE = "MODEL.INPUT_TYPE"
_LAYERS = "MODEL.FEATURE_EVAL_SETTINGS.LINEAR_EVAL_FEAT_POOL_OPS_MAP"


@dataclasses.dataclass(frozen=True)
class PretrainingRun:
    """What a pre-training run leaves that its evaluations depend on.

    Attributes:
        folder: where the checkpoint was looked for.
        checkpoint: the file; links are resolved.
        config: the run's configuration, or None where it is neither beside the file nor in it.
        sigma: of its high-pass filter in pixels, 0 without one.
        crop: height and width of its views in pixels, or None where they are not known.
        epochs: that the checkpoint has seen, or None where it does not state it.
    """

    folder: Path
    checkpoint: Path
    config: dict[str, Any] | None
    sigma: float
    crop: tuple[int, int] | None
    epochs: int | None = None

    @classmethod
    def of(cls, path: Path, sigma: float | None = None) -> PretrainingRun:
        """Read a checkpoint, or the newest one of the folder that ``path`` names.

        Args:
            sigma: of pre-training, where neither checkpoint nor configuration state it.

        Raises:
            CheckpointError: it is not a checkpoint, or states another sigma or none.
        """
        folder = (path if path.is_dir() else path.parent).absolute()
        path = checkpoint_of(path)
        checkpoint = load_checkpoint(path)
        trunk_weights(checkpoint, path)
        source, config = config_source(path, checkpoint), training_config(path, checkpoint)
        try:
            stated = pretraining_sigma(checkpoint, config)
            splits = [config["DATA"]["TRAIN"]["TRANSFORMS"]] if config else []
            splits.append(value_at(config, "DATA.TEST.TRANSFORMS") or [])
            crop = next(filter(None, map(crop_size, splits)), None)
            run = cls(folder, path, config, 0.0, crop, epochs_of(checkpoint))
            # As far as evaluations need it.
            _ = run.loss, run.data, _trunk_overrides(config, {}), normalize_of(config)
        except ConfigError as error:
            raise CheckpointError(f"{source}: {error}") from None
        except (AttributeError, KeyError, TypeError) as error:
            raise CheckpointError(f"{source} is not a configuration of VISSL ({error!r})") from None
        return dataclasses.replace(run, sigma=resolve_sigma(path, stated, sigma))

    @property
    def loss(self) -> str | None:
        """Name of the pre-training's loss."""
        return self.config["LOSS"]["name"] if self.config else None

    @property
    def data(self) -> str:
        """The folder that the run was pre-trained on, as ``config.MSCN.DATA`` named it."""
        return (self.config or {}).get("MSCN", {}).get("DATA") or ""

    @property
    def channels(self) -> int | None:
        """``config.MSCN.CHANNELS``, of images that are arrays."""
        channels: int | None = self._of_images.get("CHANNELS")
        return channels

    @property
    def _of_images(self) -> dict[str, Any]:
        section, known = (self.config or {}).get("MSCN") or {}, defaults()
        return {k: section[k] for k in _OF_IMAGES if section.get(k, known[k]) != known[k]}

    def overrides(self, config: str) -> list[str]:
        """Overrides that give ``mscn/benchmark/<config>`` the run's trunk, pixels and filter.

        Raises:
            ConfigError: the run's views are not square, or of a size that is not stated.
        """
        settings = composed(f"mscn/benchmark/{config}")
        overrides = [
            hydra_override("config.MODEL.WEIGHTS_INIT.PARAMS_FILE", self.checkpoint),
            hydra_override("config.MSCN.PRETRAINING_SIGMA", self.sigma),
        ]
        overrides += [hydra_override(f"config.MSCN.{k}", v) for k, v in self._of_images.items()]
        overrides += _trunk_overrides(self.config, settings["MODEL"]["TRUNK"])
        overrides += _layer_overrides(self.config, value_at(settings, _LAYERS) or [])
        input_type = value_at(self.config, _INPUT_TYPE)
        if input_type not in (None, value_at(settings, _INPUT_TYPE)):
            overrides.append(hydra_override(f"config.{_INPUT_TYPE}", input_type))
        side = self._side() if self.channels is None else None
        interpolations = self._interpolations()
        for split in ("TRAIN", "TEST"):
            transforms = [
                _fitted(transform, side, self.sigma, interpolations)
                for transform in settings["DATA"][split]["TRANSFORMS"]
                if transform["name"] != TRANSFORM or self.sigma
            ]
            if self.channels is not None:
                random = any(crop_name(t) == "RandomResizedCrop" for t in transforms)
                transforms = self._transforms_of_arrays("TRAIN" if random else "TEST")
            transforms = self._normalized(transforms)
            if transforms != settings["DATA"][split]["TRANSFORMS"]:
                overrides.append(hydra_override(f"config.DATA.{split}.TRANSFORMS", transforms))
        return overrides

    def _side(self) -> int | None:
        """Side of the evaluation's crop in pixels: that of the run's views."""
        if not value_at(self.config, "DATA.TRAIN.TRANSFORMS"):
            return None
        sides = set(self.crop or ())
        if len(sides) == 1:
            return sides.pop()
        stated = f"views of {self.crop[0]} x {self.crop[1]} pixels" if self.crop else "no crop"
        raise ConfigError(
            f"{config_source(self.checkpoint)}: config.DATA.TRAIN.TRANSFORMS states {stated}; "
            f"an evaluation needs the side of square views, by one of {', '.join(CROPS)}"
        )

    def _interpolations(self) -> dict[str, int]:
        """The run's, by the evaluation's transform that takes it, where it is not bilinear."""
        train, test = (
            value_at(self.config, f"DATA.{split}.TRANSFORMS") or [] for split in ("TRAIN", "TEST")
        )
        modes = {
            "RandomResizedCrop": interpolation_of(
                train, "RandomResizedCrop", "MSCNRandomResizedCrops"
            ),
            "Resize": interpolation_of(test, "Resize"),
        }
        return {name: mode for name, mode in modes.items() if mode != BILINEAR}

    def _transforms_of_arrays(self, split: str) -> list[dict[str, Any]]:
        """The run's own, for one unmasked view: those of A.2 are for pictures."""
        assert self.config is not None
        transforms = []
        for transform in self.config["DATA"][split]["TRANSFORMS"]:
            if transform["name"] == "MSCNRandomResizedCrops":
                kept = {k: v for k, v in transform.items() if k not in ("num_times", "tensors")}
                transform = {**kept, "name": "RandomResizedCrop"}
            if transform["name"] not in ("MSCNMask", TRANSFORM):
                transforms.append(transform)
        return [*transforms, *([{"name": TRANSFORM, "sigma": self.sigma}] if self.sigma else [])]

    def _normalized(self, transforms: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """``transforms`` with the mean and std of pre-training, or none where it had none."""
        if not value_at(self.config, "DATA.TRAIN.TRANSFORMS"):
            return transforms
        own = normalize_of(self.config)
        return [
            transform if own is None or transform["name"] != "Normalize" else {**transform, **own}
            for transform in transforms
            if own is not None or transform["name"] != "Normalize"
        ]


def _fitted(
    transform: dict[str, Any], crop: int | None, sigma: float, interpolations: dict[str, int]
) -> dict[str, Any]:
    """A transform of A.2 at the run's scale: 256 / 224 of the crop, cut to the crop."""
    if transform["name"] == TRANSFORM:
        return {**transform, "sigma": sigma}
    if transform["name"] in interpolations:
        transform = {**transform, "interpolation": interpolations[transform["name"]]}
    if crop and "size" in transform:
        return {**transform, "size": crop if transform["name"] != "Resize" else resize_for(crop)}
    return transform


def _trunk_overrides(config: dict[str, Any] | None, known: dict[str, Any]) -> list[str]:
    if config is None:
        return []
    trunk = config["MODEL"]["TRUNK"]
    # The transforms of an evaluation filter, in place of a filter inside of the trunk.
    overrides = [hydra_override("config.MODEL.TRUNK.NAME", plain_name(trunk["NAME"]))]
    for section in sections_of(trunk["NAME"]):
        there = known.get(section, {})
        for key, value in sorted((trunk.get(section) or {}).items()):
            path = f"{'' if key in there else '+'}config.MODEL.TRUNK.{section}.{key}"
            overrides.append(hydra_override(path, value))
    return overrides


def _layer_overrides(config: dict[str, Any] | None, known: list[list[Any]]) -> list[str]:
    """The evaluation's layers, each with its pooling, by the names that the run's trunk has."""
    if config is None:
        return []
    name = config["MODEL"]["TRUNK"]["NAME"]
    layers = [[layer_of(name, layer), pooling] for layer, pooling in known]
    return [] if layers == known else [hydra_override(f"config.{_LAYERS}", layers)]
