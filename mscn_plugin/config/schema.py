"""The ``MSCN`` section of a configuration: what ``mscn_task`` adds to VISSL."""

from __future__ import annotations

import copy
import functools
import operator
from typing import Any, Dict

from mscn_plugin.data.decoding import check_pixel_range
from mscn_plugin.errors import ConfigError, suggestion, with_path
from mscn_plugin.masking import check_sigma
from mscn_plugin.models.classifiers import EVALUATIONS

DEFAULTS: Dict[str, Any] = {
    # A folder of images, one with a sub-folder for each class, one that holds train/ and val/ (or
    # valid/, test/) of that kind, "photographs" for the pictures that ship with scikit-image and
    # scikit-learn, or "" for DATA.* as given.
    "DATA": "",
    # Filled in at each start: number of the training images, and hashes of their names and sizes.
    "TRAINING_IMAGES": None,
    # Of the training images, which: a fraction of each class drawn once (1.0: all), or the path of
    # a text file that lists images, one on a line, such as SimCLR's 1percent.txt.
    "TRAIN_SUBSET": 1.0,
    # Sigma of the high-pass filter in the pre-training of the checkpoint that is evaluated, pixels;
    # null: the checkpoint says it.
    "PRETRAINING_SIGMA": None,
    # What engine_name=mscn_frozen_features does with features: knn, svm, logistic_regression.
    "FROZEN_EVALUATIONS": ["knn", "svm"],
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
    # Values of black and white in pictures of more than 8 bits per channel, such as [0, 4095] for
    # 12 bits in files of 16; null: 0 and 65535 for integers of 16 bits (mscn_plugin.data.decoding).
    "PIXEL_RANGE": None,
    # Share of an epoch's images that may be unreadable, 0 to 1; more of them stop the run.
    "MAX_UNREADABLE_SHARE": 0.1,
    # Go on from the checkpoints of a run of another configuration or seed: True, False.
    "RESUME_CHANGED": False,
    "CHANNELS_LAST": False,  # memory format of the model; True, False
    "COMPILE_TRUNK": False,  # torch.compile of the trunk; True, False
}

_SWITCHES = {  # allowed values
    "PROGRESS_BAR": (True, False, "auto"),
    "DEVICE_VIEWS": (True, False, "auto"),
    "FAST_AUGMENTATIONS": (True, False),
    "RESUME_CHANGED": (True, False),
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
    share = settings["MAX_UNREADABLE_SHARE"]
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
        raise ConfigError(
            f"config.MSCN.MAX_UNREADABLE_SHARE is {share!r}; it must be a number from 0 to 1"
        )
    temperature = settings["ONLINE_EVALUATION"]["TEMPERATURE"]
    number = isinstance(temperature, (int, float)) and not isinstance(temperature, bool)
    if not number or not 0 < temperature < float("inf"):
        raise ConfigError(
            f"config.MSCN.ONLINE_EVALUATION.TEMPERATURE is {temperature!r}; it must be above 0"
        )
    sigma = settings["PRETRAINING_SIGMA"]
    try:
        settings["PRETRAINING_SIGMA"] = None if sigma is None else check_sigma(sigma)
    except ValueError:
        raise ConfigError(
            f"config.MSCN.PRETRAINING_SIGMA is {sigma!r}; it must be null or at least 0 pixels"
        ) from None
    with_path("config.MSCN", check_pixel_range, settings["PIXEL_RANGE"])
    evaluations = settings["FROZEN_EVALUATIONS"]
    if not evaluations or not isinstance(evaluations, list) or set(evaluations) - set(EVALUATIONS):
        raise ConfigError(
            f"config.MSCN.FROZEN_EVALUATIONS is {evaluations!r}; it must list some of "
            f"{', '.join(EVALUATIONS)}"
        )
    for key, allowed in _SWITCHES.items():
        # By type, too: 0 and 1 equal False and True.
        value = value_of(key)
        if not any(value == v and type(value) is type(v) for v in allowed):
            options = " or ".join(map(str, allowed))
            raise ConfigError(f"config.MSCN.{key} is {value!r}; it must be {options}")


def _complete(path: str, section: Any, defaults: Dict[str, Any]) -> None:
    if not isinstance(section, dict):
        raise ConfigError(f"{path} is {section!r}; it must be a section")
    for key in section:
        if key not in defaults:
            raise ConfigError(f"{path}.{key} is not a key of MSCN; {suggestion(key, defaults)}")
    for key, default in defaults.items():
        if isinstance(default, dict):
            section.setdefault(key, {})
            _complete(f"{path}.{key}", section[key], default)
        else:
            section.setdefault(key, copy.copy(default))
