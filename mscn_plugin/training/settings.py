"""The ``MSCN`` section of a configuration: what ``mscn_task`` adds to VISSL."""

from __future__ import annotations

import functools
import operator
from typing import Any, Dict

from mscn_plugin.errors import ConfigError, suggestion

DEFAULTS: Dict[str, Any] = {
    # An ImageFolder, a folder that holds train/ and val/ (or test/) ImageFolders, "photographs"
    # for the pictures that ship with scikit-image and scikit-learn, or "" for DATA.* as given.
    "DATA": "",
    # Accuracy of the frozen trunk on labelled images while pre-training goes on.
    "ONLINE_EVALUATION": {
        "EVERY_NUM_EPOCHS": 10,  # also after the last epoch; 0: never
        "NETWORK": "online",  # whose trunk; "target": that of byol_loss's target network
        "NUM_NEIGHBORS": 20,  # k of kNN
        "TEMPERATURE": 0.07,  # of kNN's votes, as in VISSL's and DINO's kNN
        "MAX_TRAIN_IMAGES": 10000,  # labelled images that kNN and probe learn from
        "MAX_VAL_IMAGES": 10000,  # images that they are tested on
    },
    "PICTURE_IMAGES": 6,  # images in the picture of masked views; 0: no picture
    "PROGRESS_BAR": "auto",  # True, False, or "auto": where the output is a terminal
    # Normalisation, filter and masks on the training device, from uint8 views, in place of the
    # loader's workers: True, False, or "auto": wherever the pipeline allows it.
    "DEVICE_VIEWS": "auto",
    # OpenCV's jitter and blur and reduced-size JPEG decoding in place of VISSL's: True, False.
    "FAST_AUGMENTATIONS": True,
    "CHANNELS_LAST": False,  # memory format of the model; True, False
    "COMPILE_TRUNK": False,  # torch.compile of the trunk, from PyTorch 2.3; True, False
}

_SWITCHES = {  # allowed values
    "PROGRESS_BAR": (True, False, "auto"),
    "DEVICE_VIEWS": (True, False, "auto"),
    "FAST_AUGMENTATIONS": (True, False),
    "CHANNELS_LAST": (True, False),
    "COMPILE_TRUNK": (True, False),
    "ONLINE_EVALUATION.NETWORK": ("online", "target"),
}

_WHOLE_NUMBERS = {  # smallest allowed value
    "ONLINE_EVALUATION.EVERY_NUM_EPOCHS": 0,
    "ONLINE_EVALUATION.NUM_NEIGHBORS": 1,
    "ONLINE_EVALUATION.MAX_TRAIN_IMAGES": 2,
    "ONLINE_EVALUATION.MAX_VAL_IMAGES": 1,
    "PICTURE_IMAGES": 0,
}


def complete_settings(cfg: Any) -> None:
    """Fill the missing keys of ``cfg.MSCN`` with :data:`DEFAULTS` and check the others.

    Raises:
        ConfigError: an unknown key, or a value outside of its range.
    """
    if "MSCN" not in cfg:
        cfg["MSCN"] = {}
    _complete("config.MSCN", cfg["MSCN"], DEFAULTS)
    cfg["MSCN"] = type(cfg)(cfg["MSCN"])
    settings = cfg["MSCN"]

    def value_of(key: str) -> Any:
        return functools.reduce(operator.getitem, key.split("."), settings)

    for key, smallest in _WHOLE_NUMBERS.items():
        value = value_of(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < smallest:
            raise ConfigError(
                f"config.MSCN.{key} is {value!r}; it must be a whole number of at least {smallest}"
            )
    temperature = settings["ONLINE_EVALUATION"]["TEMPERATURE"]
    if not isinstance(temperature, (int, float)) or not temperature > 0:
        raise ConfigError(
            f"config.MSCN.ONLINE_EVALUATION.TEMPERATURE is {temperature!r}; it must be above 0"
        )
    for key, allowed in _SWITCHES.items():
        # By type, too: 0 and 1 equal False and True.
        value = value_of(key)
        if not any(value == v and type(value) is type(v) for v in allowed):
            options = " or ".join(map(str, allowed))
            raise ConfigError(f"config.MSCN.{key} is {value!r}; it must be {options}")


def _complete(path: str, section: Any, defaults: Dict[str, Any]) -> None:
    for key in section:
        if key not in defaults:
            raise ConfigError(f"{path}.{key} is not a key of MSCN; {suggestion(key, defaults)}")
    for key, default in defaults.items():
        if isinstance(default, dict):
            section.setdefault(key, {})
            _complete(f"{path}.{key}", section[key], default)
        else:
            section.setdefault(key, default)
