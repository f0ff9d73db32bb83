"""The ``MSCN`` section of a configuration, which ``mscn_task`` adds to VISSL: :data:`SCHEMA`.

A new key is one line there. The defaults of the shipped configs, the check of values, the resume of
checkpoints (:mod:`mscn_plugin.checkpoints.fingerprint`) and docs/configuration.md follow from it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mscn_plugin.allowed import (
    FRACTION,
    POSITIVE,
    SWITCH,
    TEXT,
    Allowed,
    checked_by,
    one_of,
    whole,
)
from mscn_plugin.data.arrays import LAYOUTS, MAX_CHANNELS
from mscn_plugin.data.decoding import check_pixel_range
from mscn_plugin.errors import ConfigError, check_known
from mscn_plugin.masking import check_sigma
from mscn_plugin.masking.high_pass import MIN_SIGMA
from mscn_plugin.masking.kinds import cell_sides
from mscn_plugin.models.classifiers import EVALUATIONS
from mscn_plugin.types import Config, is_number, is_whole, section_like


class Key(NamedTuple):
    """One key of the section.

    Attributes:
        default: its value where a configuration has none.
        allowed: its values.
        comment: what it is, for the reference page.
        weights: whether it changes the weights of a run. Where it does, a run with another value is
            another run, which does not resume from the checkpoints of this one.
    """

    default: Any
    allowed: Allowed
    comment: str
    weights: bool = True


Section = Mapping[str, Key | Mapping[str, Key]]


def _is_channel(value: Any) -> bool:
    return is_whole(value) and 0 <= value < MAX_CHANNELS


SWITCH_OR_AUTO = one_of(True, False, "auto")
FOLDER = Allowed(  # whether it is one is seen where its images are looked for
    "a folder of images, photographs, or empty", lambda value: True
)
SUBSET = Allowed(
    "a fraction above 0 and at most 1, or the path of a text file that lists images",
    lambda value: 0 < value <= 1 if is_number(value) else isinstance(value, str) and value != "",
)
FILLED_IN = Allowed(
    "left alone: each start fills it in", lambda value: value is None or isinstance(value, dict)
)
SIGMA = checked_by(
    f"null, 0 or at least {MIN_SIGMA} pixels", lambda value: value is None or check_sigma(value)
)
PIXELS = checked_by("null, or the values of black and white, such as [0, 4095]", check_pixel_range)
CHANNELS = Allowed(
    f"null, or a whole number from 1 to {MAX_CHANNELS}",
    lambda value: value is None or (is_whole(value) and 1 <= value <= MAX_CHANNELS),
)
SHOWN = Allowed(
    "null, or a list of one or three channels, counted from 0",
    lambda value: (
        value is None
        or (isinstance(value, list) and len(value) in (1, 3) and all(map(_is_channel, value)))
    ),
)
CELL_SIZE = checked_by(
    "null, or a whole number of at least 1, or a list of two, [height, width]",
    lambda value: value is None or cell_sides("", value),
)
SERVICES = ("wandb", "mlflow")
SOME_SERVICES = Allowed(
    f"a list of some of {', '.join(SERVICES)}, or empty",
    lambda value: (
        isinstance(value, list)
        and all(service in SERVICES for service in value)
        and len(set(value)) == len(value)
    ),
)
NAME = Allowed("text, not empty", lambda value: isinstance(value, str) and value.strip() != "")
SOME_EVALUATIONS = Allowed(
    f"a list of some of {', '.join(EVALUATIONS)}",
    lambda value: isinstance(value, list) and bool(value) and all(v in EVALUATIONS for v in value),
)

SCHEMA: Section = {
    "DATA": Key(
        "",
        FOLDER,
        "the images: in one folder, in a sub-folder for each class, or in `train/` and `val/` (or "
        "`valid/`, `test/`) of that kind; packed by `mscn pack`, or shards and Parquet files of "
        "others, by their folder or a pattern; photographs: pictures that ship with scikit-image "
        "and scikit-learn; empty: VISSL's `DATA.*` as given",
    ),
    "CACHE": Key(
        "none",
        one_of("none", "memory"),
        "memory: each training image is decoded once, and kept in memory that the processes of a "
        "machine share; refused where it has no room for them",
        weights=False,
    ),
    "TRAIN_SUBSET": Key(
        1.0,
        SUBSET,
        "which of the training images to use: a share of each class, drawn once, or those that the "
        "file lists, one per line, such as SimCLR's `1percent.txt`",
    ),
    "TRAINING_IMAGES": Key(
        None, FILLED_IN, "number of the training images, and hashes of their names and sizes"
    ),
    "PIXEL_RANGE": Key(
        None,
        PIXELS,
        "of pictures of more than 8 bits per channel, `[0, 4095]` for 12 bits in files of 16; "
        "null: 0 and 65535 for integers of 16 bits",
    ),
    "CHANNELS": Key(
        None,
        CHANNELS,
        "null: images are pictures, decoded to RGB of 8 bits; a number: they are arrays of so many "
        "channels, `.npy`, `.npz`, TIFF and PNG files, whose values stay as they are",
    ),
    "ARRAY_LAYOUT": Key(
        "auto",
        one_of(*LAYOUTS),
        "of arrays of three dimensions: `[C, H, W]` or `[H, W, C]`; auto: by `CHANNELS`, refused "
        "where both fit",
    ),
    "STATISTICS": Key(
        "",
        TEXT,
        "the file of `mscn statistics` from which `Normalize` with `mean: null, std: null` takes "
        "its values; empty: `statistics.json` in the folder of `DATA`",
        weights=False,
    ),
    "MAX_UNREADABLE_SHARE": Key(
        0.1,
        FRACTION,
        "share of an epoch's images above which unreadable ones stop a run",
        weights=False,
    ),
    "DEVICE_VIEWS": Key(
        "auto",
        SWITCH_OR_AUTO,
        "normalization, filter, masks and noise on the training device, from uint8 views, in place "
        "of the loader's workers; auto: wherever the pipeline allows it",
    ),
    "AUGMENT_ON": Key(
        "auto",
        one_of("worker", "device", "auto"),
        "where flips, jitter, grayscale, blur and solarization are applied: in the loader's "
        "workers, or on the training device, from parameters that the workers sample; auto: on the "
        "device if it is a GPU and the pipeline allows it",
    ),
    "CROP_ON": Key(
        "worker",
        one_of("worker", "device"),
        "where crops are made: in the loader's workers; or on the training device, from whole "
        "pictures, which must be in memory (`CACHE`) and of one size; for small ones, whose crops "
        "cost much",
    ),
    "FAST_AUGMENTATIONS": Key(
        True,
        SWITCH,
        "the same crops, jitter and blur by OpenCV, and reduced-size JPEG decoding, in place of "
        "VISSL's by Pillow",
    ),
    "CHANNELS_LAST": Key(False, SWITCH, "`channels_last` as the memory format of the model"),
    "COMPILE_TRUNK": Key(False, SWITCH, "`torch.compile` of the trunk"),
    "RESUME_CHANGED": Key(
        False, SWITCH, "resume from checkpoints of another configuration or seed", weights=False
    ),
    "PICTURE_IMAGES": Key(
        6, whole(0), "images in the picture of masked views; 0: no picture", weights=False
    ),
    "PICTURE_CHANNELS": Key(
        None,
        SHOWN,
        "of arrays, which channels pictures show: one as gray, three as red, green and blue, "
        "counted from 0; null: the first three, of one or two the first",
        weights=False,
    ),
    "PROGRESS_BAR": Key(
        "auto",
        SWITCH_OR_AUTO,
        "show a progress bar; auto: where the output is a terminal",
        weights=False,
    ),
    "TRACKING": Key(
        [],
        SOME_SERVICES,
        "services that the run is logged to in addition to TensorBoard: Weights & Biases, MLflow",
        weights=False,
    ),
    "TRACKING_PROJECT": Key("mscn", NAME, "W&B's project, MLflow's experiment", weights=False),
    "TRACKING_NAME": Key(
        "", TEXT, "the run's name there; empty: that of its folder", weights=False
    ),
    "TRACKING_DIR": Key(
        "",
        TEXT,
        "folder of W&B's files and of MLflow's `mlflow.db`; empty: what `WANDB_DIR` and "
        "`MLFLOW_TRACKING_URI` say, or else the run's folder",
        weights=False,
    ),
    # Accuracy of the frozen trunk on labeled images during pre-training.
    "ONLINE_EVALUATION": {
        "EVERY_NUM_EPOCHS": Key(
            10,
            whole(0),
            "epochs from one to the next, and after the last epoch; 0: never",
            weights=False,
        ),
        "NETWORK": Key(
            "online",
            one_of("online", "target"),
            "the network whose trunk is evaluated; target: the target network of `byol_loss`",
            weights=False,
        ),
        "NUM_NEIGHBORS": Key(20, whole(1), "k of kNN", weights=False),
        "TEMPERATURE": Key(
            0.07,
            POSITIVE,
            "temperature of kNN's votes, as in VISSL's and DINO's kNN",
            weights=False,
        ),
        "MAX_TRAIN_IMAGES": Key(
            10000,
            whole(2),
            "labeled images that kNN and the linear probe learn from",
            weights=False,
        ),
        "MAX_VAL_IMAGES": Key(10000, whole(1), "images that they are tested on", weights=False),
    },
    "PRETRAINING_SIGMA": Key(
        None,
        SIGMA,
        "in evaluations: sigma of the high-pass filter in the pre-training of the checkpoint, "
        "pixels; null: the checkpoint states it",
    ),
    "FROZEN_EVALUATIONS": Key(
        ["knn", "svm"],
        SOME_EVALUATIONS,
        "in evaluations: what `engine_name=mscn_frozen_features` does with features; few_labels: "
        "kNN and linear probe with 1% and 10% of the labels",
        weights=False,
    ),
    "BOXES": Key(
        "",
        TEXT,
        "in `engine_name=mscn_boxes`: the list of the objects' boxes; empty: `boxes.csv`, or under "
        "another of its names, in or beside the validation folder",
        weights=False,
    ),
    "OCCLUSION_IMAGES": Key(
        2000,
        whole(1),
        "in `engine_name=mscn_occlusion`: validation images, at most; above that a fixed random "
        "part",
        weights=False,
    ),
    "OCCLUSION_CELL_SIZE": Key(
        None,
        CELL_SIZE,
        "there: side of a cell in pixels, or `[height, width]`; null: a seventh of the image's "
        "side, as the paper's 32 of 224 (Table 6), whatever the run's masks have",
        weights=False,
    ),
}


def is_pretraining(cfg: Config) -> bool:
    """Whether a configuration's task is ``mscn_task``."""
    return bool(cfg.TRAINER.TASK_NAME == "mscn_task")


def num_processes(cfg: Config) -> int:
    """How many processes a run has on all of its nodes."""
    processes: int = cfg.DISTRIBUTED.NUM_NODES * cfg.DISTRIBUTED.NUM_PROC_PER_NODE
    return processes


def defaults(section: Section = SCHEMA) -> dict[str, Any]:
    """The section with all keys at their defaults."""
    return {
        name: copy.copy(entry.default) if isinstance(entry, Key) else defaults(entry)
        for name, entry in section.items()
    }


def all_keys(section: Section = SCHEMA, path: str = "") -> Iterator[tuple[str, Key]]:
    """All keys with their dotted names, ``ONLINE_EVALUATION.NETWORK`` for instance."""
    for name, entry in section.items():
        if isinstance(entry, Key):
            yield f"{path}{name}", entry
        else:
            yield from all_keys(entry, f"{path}{name}.")


def with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """A copy of a run's configuration with all keys of ``MSCN``, none of them checked.

    A run of an earlier version lacks those that were added since; one of a later version may have
    others.

    Args:
        config: the ``config`` part, as ``train_config.yaml`` holds it.
    """
    completed = copy.deepcopy(config)
    _fill(completed.setdefault("MSCN", {}), SCHEMA)
    return completed


def _fill(section: Any, schema: Section) -> None:
    if not isinstance(section, dict):
        return
    for name, entry in schema.items():
        if isinstance(entry, Key):
            section.setdefault(name, copy.copy(entry.default))
        else:
            _fill(section.setdefault(name, {}), entry)


def complete_settings(cfg: Config) -> None:
    """Fill the missing keys of ``cfg.MSCN`` with their defaults and check the others.

    Raises:
        ConfigError: an unknown key, or a value that is not allowed.
    """
    if "MSCN" not in cfg:
        cfg["MSCN"] = {}
    _fill(cfg["MSCN"], SCHEMA)
    _check("config.MSCN", cfg["MSCN"], SCHEMA)
    cfg["MSCN"] = section_like(cfg, cfg["MSCN"])


def _check(path: str, section: Any, schema: Section) -> None:
    if not isinstance(section, dict):
        raise ConfigError(f"{path} is {section!r}; it must be a section")
    check_known(path, section, schema, "MSCN")
    for name, entry in schema.items():
        if isinstance(entry, Key):
            entry.allowed.check(f"{path}.{name}", section[name])
        else:
            _check(f"{path}.{name}", section[name], entry)
