"""The sizes at which an experiment can be run: the paper's, minutes on a CPU or a GPU, and seconds.

The small ones keep the paper's geometry: pictures, cells, boxes and sigma are a quarter of the
paper's, so that there are 7 x 7 cells.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from mscn_plugin.experiments.definitions import Experiment

_SIZES = ("RandomResizedCrop", "Resize", "CenterCrop")
_FOLDER = "mscn/trajectory"


@dataclasses.dataclass(frozen=True)
class Scale:
    """A size of run.

    Attributes:
        overlay: config that sets trunk, optimizer and length in place of the paper's, or None.
        factor: of pictures, cells and sigma to the paper's.
    """

    overlay: str | None = None
    factor: float = 1.0

    def overrides(self, experiment: Experiment, config: dict[str, Any], seed: int) -> list[str]:
        """Everything after ``config=``, for VISSL's tool.

        Args:
            config: the ``config`` part of the experiment's config, as composed.
        """
        collator = config["DATA"]["TRAIN"]["COLLATE_FUNCTION_PARAMS"]
        given = dict(experiment.settings)
        if self.factor != 1:
            given["cell_size"] = given.get("cell_size", collator["cell_size"])
            for key in {"cell_size", "focal_size"} & given.keys():
                given[key] = self._scaled(given[key])
        # A value that the config has is not named: two tables share the run.
        changed = {key: value for key, value in given.items() if value != collator.get(key)}
        return [
            *([f"+config/{self.overlay}"] if self.overlay else []),
            *self._geometry(experiment, config),
            *(
                f"config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS.{key}={_as_override(value)}"
                for key, value in changed.items()
            ),
            f"config.SEED_VALUE={seed}",
        ]

    def _scaled(self, pixels: Any) -> Any:
        """A number of pixels at this scale, or a list of such."""
        if isinstance(pixels, list):
            return [self._scaled(part) for part in pixels]
        return max(1, round(pixels * self.factor))

    def _geometry(self, experiment: Experiment, config: dict[str, Any]) -> list[str]:
        overrides = []
        for split in ("TRAIN", "TEST"):
            for index, transform in enumerate(config["DATA"][split]["TRANSFORMS"]):
                path = f"config.DATA.{split}.TRANSFORMS.{index}"
                if transform["name"] in _SIZES and self.factor != 1:
                    overrides.append(f"{path}.size={round(transform['size'] * self.factor)}")
                if transform["name"] == "MSCNHighPass":
                    sigma = experiment.sigma or transform["sigma"]
                    if sigma * self.factor != transform["sigma"]:
                        overrides.append(f"{path}.sigma={sigma * self.factor:g}")
        return overrides


def config_of(experiment: Experiment) -> str:
    """The config, as VISSL's tool is given it."""
    return f"{_FOLDER}/{experiment.config}"


def _as_override(value: Any) -> str:
    return str(value).replace(" ", "") if isinstance(value, list) else f"{value:g}"


SCALES = {
    "paper": Scale(),
    **{name: Scale(f"mscn/scale={name}", 0.25) for name in ("small", "study", "gpu", "smoke")},
}
"""Scales by name."""
