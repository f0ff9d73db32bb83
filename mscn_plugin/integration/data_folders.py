"""From ``config.MSCN.DATA`` to VISSL's data keys, and a check of the folders that result."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, Iterator, Optional

from torchvision.datasets.folder import IMG_EXTENSIONS
from vissl.data.dataset_catalog import VisslDatasetCatalog

from mscn_plugin.data.photographs import build_photographs
from mscn_plugin.data.readable_images import printable
from mscn_plugin.data.train_subset import check_fraction, class_names, train_subset, write_subset
from mscn_plugin.errors import ConfigError, with_path

PHOTOGRAPHS = "photographs"
_KEY = "config.MSCN.DATA"


def resolve(cfg: Any) -> None:
    """Point ``DATA.TRAIN`` and ``DATA.TEST`` to the folders that ``MSCN.DATA`` names.

    ``MSCN.DATA`` is an ImageFolder (one sub-folder per class), a folder that holds ``train`` and
    ``val`` (or ``test``) ImageFolders, ``photographs``, or empty, which leaves VISSL's own keys
    as they are. Labels come from the sub-folders' names; only online evaluation looks at them.

    Raises:
        ConfigError: a folder is missing, unreadable, or holds no images.
    """
    if cfg.MSCN.DATA:
        train, val = _train_and_val(str(cfg.MSCN.DATA))
        _use_folder(cfg.DATA.TRAIN, train)
        _use_folder(cfg.DATA.TEST, val)
    _check_split(cfg, "TRAIN")
    if cfg.DATA.TEST.DATA_SOURCES:
        _check_split(cfg, "TEST")


def take_subset(cfg: Any) -> None:
    """Let ``DATA.TRAIN`` read the images that ``MSCN.TRAIN_SUBSET`` asks for.

    Their list is written to the checkpoint folder, in VISSL's format; all else has been checked.

    Raises:
        ConfigError: a wrong value, or training images that are no folder.
    """
    if _takes_all(cfg):
        return
    subset, train = cfg.MSCN.TRAIN_SUBSET, cfg.DATA.TRAIN
    if list(train.DATA_SOURCES) != ["disk_folder"] or not train.DATA_PATHS:
        raise ConfigError(
            f"config.MSCN.TRAIN_SUBSET is {subset!r}, which takes a part of a folder; "
            f"config.DATA.TRAIN.DATA_SOURCES is {list(train.DATA_SOURCES)}: set {_KEY}"
        )
    images = with_path("config.MSCN", train_subset, train.DATA_PATHS[0], subset)
    _check_number(cfg, len(images[0]))
    paths, labels = write_subset(Path(cfg.CHECKPOINT.DIR), *images)
    train.DATA_SOURCES = train.LABEL_SOURCES = ["disk_filelist"]
    train.DATA_PATHS, train.LABEL_PATHS = [str(paths)], [str(labels)]


def check_enough_images(cfg: Any) -> None:
    """Check that an epoch over a folder has at least one batch.

    Raises:
        ConfigError: it has fewer images than all ranks take at once, and drops the rest.
    """
    train = cfg.DATA.TRAIN
    if list(train.DATA_SOURCES) == ["disk_folder"] and train.DATA_PATHS and _takes_all(cfg):
        _check_number(cfg, sum(1 for _ in _images(Path(train.DATA_PATHS[0]))))


def _check_number(cfg: Any, images: int) -> None:
    train, distributed = cfg.DATA.TRAIN, cfg.DISTRIBUTED
    needed = train.BATCHSIZE_PER_REPLICA * distributed.NUM_NODES * distributed.NUM_PROC_PER_NODE
    if train.DROP_LAST and not cfg.TEST_ONLY and images < needed:
        per_rank = train.BATCHSIZE_PER_REPLICA
        raise ConfigError(
            f"config.DATA.TRAIN.BATCHSIZE_PER_REPLICA is {per_rank}, {needed} images in all "
            f"processes, but the training data has {images}: it must be at most "
            f"{images * per_rank // needed}"
        )


def _takes_all(cfg: Any) -> bool:
    subset = cfg.MSCN.TRAIN_SUBSET
    return not isinstance(subset, str) and with_path("config.MSCN", check_fraction, subset) == 1


def _train_and_val(name: str) -> Any:
    folder = build_photographs() if name == PHOTOGRAPHS else Path(name).expanduser().absolute()
    if not folder.is_dir():
        raise ConfigError(f"{_KEY} is {name!r}, which is not a folder; it must be a {_WANTED}")
    if not (folder / "train").is_dir():
        return folder, None
    val = next((folder / split for split in ("val", "test") if (folder / split).is_dir()), None)
    return folder / "train", val


_WANTED = "folder with one sub-folder of images per class, or with train/ and val/ of that kind"


def _use_folder(split: Any, folder: Optional[Path]) -> None:
    present = [folder] if folder else []
    split.DATA_SOURCES = split.LABEL_SOURCES = ["disk_folder" for _ in present]
    split.DATA_PATHS = split.LABEL_PATHS = [str(path) for path in present]
    split.DATASET_NAMES = ["image_folder" for _ in present]
    split.COPY_TO_LOCAL_DISK = False  # VISSL's copying of a folder fails


def _check_split(cfg: Any, name: str) -> None:
    split = cfg.DATA[name]
    key = f"config.DATA.{name}"
    if not split.DATA_SOURCES:
        raise ConfigError(
            f"{key}.DATA_SOURCES is empty: add {_KEY}=<{_WANTED}>, or {_KEY}={PHOTOGRAPHS} for "
            "the pictures that come with the installed packages"
        )
    if not split.DATA_PATHS and split.DATA_SOURCES != ["synthetic"]:
        for dataset in split.DATASET_NAMES:
            if not VisslDatasetCatalog.has_data(dataset):
                raise ConfigError(
                    f"{key}.DATASET_NAMES names {dataset!r}, which VISSL's dataset catalog does "
                    f"not have, and {key}.DATA_PATHS is empty: add {_KEY}=<{_WANTED}>"
                )
    for source, path in zip(split.DATA_SOURCES, split.DATA_PATHS):
        if source == "disk_folder":
            _check_image_folder(_KEY if cfg.MSCN.DATA else f"{key}.DATA_PATHS", path)


def _check_image_folder(key: str, path: str) -> None:
    folder = Path(path)
    if not folder.is_dir():
        raise ConfigError(f"{key} names {path!r}, which is not a folder; it must be a {_WANTED}")
    try:
        classes = class_names(folder)
    except OSError as error:
        raise ConfigError(f"{key} names {path!r}, which cannot be read: {error.strerror}") from None
    if not classes:
        raise ConfigError(f"{key} names {path!r}, which has no sub-folders; it must be a {_WANTED}")
    for name in classes:
        if name.startswith("."):
            raise ConfigError(
                f"{key} names {path!r}, whose sub-folder {name!r} is hidden and would count as a "
                "class: remove it, or give it another name"
            )
        if next(_images(folder / name), None) is None:
            raise ConfigError(
                f"{key} names {path!r}, whose sub-folder {name!r} holds no images "
                f"({', '.join(IMG_EXTENSIONS)}): remove it, or fill it"
            )


def _images(folder: Path) -> Iterator[str]:
    """Names of the images of a folder; folders in it that cannot be read are warned of."""
    for _, _, names in os.walk(folder, followlinks=True, onerror=_warn_of_unreadable):
        yield from (name for name in names if name.lower().endswith(IMG_EXTENSIONS))


def _warn_of_unreadable(error: OSError) -> None:
    logging.warning(f"left out a folder that cannot be read: {printable(str(error))}")
