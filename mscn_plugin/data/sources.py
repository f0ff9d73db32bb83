"""The sources of images that ``DATA_SOURCES`` and ``LABEL_SOURCES`` can name, beside VISSL's own.

A new source is a class below :class:`ImageSource`: from then on configurations can name it, and
checks, training, evaluations and reports take its images and labels. ``MSCN.DATA`` takes what a
source says the splits of.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from mscn_plugin.data.arrays import ARRAYS, EXTENSIONS
from mscn_plugin.data.image_folder import (
    FOLDER,
    PHOTOGRAPHS,
    WANTED,
    Contents,
    Extensions,
    Splits,
    contents,
    held_out_fifth,
    image_extensions,
    shared_place,
    split_folders,
)
from mscn_plugin.data.image_source import SOURCES, ImageSource
from mscn_plugin.data.packed import TarSource, root_of
from mscn_plugin.data.parquet import ParquetSource
from mscn_plugin.data.photographs import build_photographs
from mscn_plugin.errors import ConfigError

__all__ = [
    "SOURCES",
    "ArrayFolderSource",
    "ImageFolderSource",
    "ImageSource",
    "ParquetSource",
    "TarSource",
]


ARRAYS_HINT = (
    "mscn/arrays trains on arrays, with config.MSCN.CHANNELS=<the number of their channels>"
)
_HINTS = (
    (frozenset(EXTENSIONS), ARRAYS_HINT),
    (
        frozenset((".gz", ".tgz", ".bz2", ".xz", ".zst", ".zip", ".rar", ".7z")),
        "unpack compressed archives first: an image is read from any place of a plain .tar",
    ),
)
"""Kinds of files that tell what was meant where there are no images, and what helps."""


def _listed(path: str, extensions: Extensions = ()) -> Contents:
    """The images of a folder, which there must be and which must be readable; else ValueError."""
    if not os.path.isdir(path):
        raise ValueError(f"is not a folder; it must be a {WANTED}")
    try:
        os.listdir(path)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    return contents(path, extensions)


class ImageFolderSource(ImageSource):
    """A folder of image files, with a sub-folder per class where it has labels."""

    name = FOLDER
    lists = True
    unlabeled = "has no two sub-folders of images"

    @classmethod
    def contents(cls, path: str) -> Contents:
        found = _listed(path)
        if not found.images:
            hints = [hint for kinds, hint in _HINTS if kinds & found.left_out.keys()]
            raise ValueError(
                f"holds no images ({', '.join(image_extensions())}{found.left_out_in_words()}); it "
                f"must be a {'; '.join((WANTED, *hints))}"
            )
        return found

    @classmethod
    def open(cls, path: str, image: str) -> Image.Image:
        return Image.open(image)

    @classmethod
    def content(cls, path: str, image: str) -> bytes:
        return Path(image).read_bytes()


class ArrayFolderSource(ImageSource):
    """A folder of arrays, with a sub-folder per class where it has labels."""

    name = ARRAYS
    lists = True
    unlabeled = "has no two sub-folders of arrays"

    @classmethod
    def contents(cls, path: str) -> Contents:
        found = _listed(path, EXTENSIONS)
        if not found.images:
            raise ValueError(
                f"holds no arrays ({', '.join(EXTENSIONS)}{found.left_out_in_words()}), which "
                "config.MSCN.CHANNELS requires; for pictures it must be null"
            )
        return found

    @classmethod
    def open(cls, path: str, image: str) -> Image.Image:
        """Not for arrays, which are not pictures: :func:`read_array` reads them."""
        raise TypeError(f"{image} is an array, and no picture")


def find_splits(data: str, key: str, channels: int | None = None) -> Splits:
    """The training and validation images of what an option or configuration key names.

    Args:
        data: a folder of images, of shards or of Parquet files, a file of these or a pattern, or
            ``photographs``.
        key: the option or key.
        channels: ``config.MSCN.CHANNELS``; where it is given, ``data`` must be a folder of arrays.

    Raises:
        ConfigError: it is none of these, cannot be read, or has validation images alone.
    """
    if channels is not None and data == PHOTOGRAPHS:
        raise ConfigError(
            f"{key} is {data!r}, which are pictures, and config.MSCN.CHANNELS {channels}: name a "
            "folder of arrays, or set CHANNELS to null"
        )
    path = build_photographs() if data == PHOTOGRAPHS else Path(data).expanduser().absolute()
    endings = () if channels is None else (*image_extensions(), *EXTENSIONS)
    try:
        for source in SOURCES.values():
            splits = source.splits(str(path) if "://" not in data else data, endings)
            if splits is not None and channels is None:
                return splits
            if splits is not None:
                raise ValueError(
                    f"holds packed images; with config.MSCN.CHANNELS {channels} it must be a "
                    "folder of arrays"
                )
    except OSError as error:
        raise ConfigError(f"{key} is {data!r}, which cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{key} is {data!r}, which {error}") from None
    if path.is_dir():
        try:
            if channels is None:
                return split_folders(path)
            return dataclasses.replace(split_folders(path, EXTENSIONS), source=ARRAYS)
        except ValueError as error:
            raise ConfigError(f"{key} is {data!r}; {error}") from None
    raise ConfigError(f"{key} is {data!r}, which is not a folder; it must be a {WANTED}")


def contents_of(splits: Splits, val: bool = False) -> Contents:
    """The images of a split, of which there must be some.

    Raises:
        ConfigError: there are none, or they cannot be read.
    """
    path = str(splits.val if val else splits.train)
    try:
        return SOURCES[splits.source].contents(path)
    except ValueError as error:
        raise ConfigError(f"{path} {error}") from None


def measured_images(data: str, key: str, channels: int | None = None) -> str:
    """Say on which images of a data set evaluations are measured, of how many classes.

    Args:
        data, key, channels: as for :func:`find_splits`.

    Raises:
        ConfigError: it has no labels, its splits share images or their classes differ, or
            :func:`find_splits` fails.
    """
    splits = find_splits(data, key, channels)
    train = contents_of(splits)
    if not train.labeled:
        raise ConfigError(
            f"{key} is {data!r}, and {train.folder} {SOURCES[splits.source].unlabeled}; an "
            "evaluation needs labels"
        )
    chance = f"chance {100 / len(train.classes):.1f}"
    if splits.val is None:
        kept, held_out = map(len, held_out_fifth(len(train.images)))
        return (
            f"{held_out} of the {len(train.images)} images of {len(train.classes)} classes in "
            f"{train.folder}, held out from the classifiers, which learn from the other {kept}; a "
            f"trunk that was pre-trained on the folder has seen them, without labels; {chance}"
        )
    val = contents_of(splits, val=True)
    shared = shared_place(train, val)
    if shared is not None:
        raise ConfigError(
            f"{key} is {data!r}, whose {shared} is in {train.folder}, too: accuracies would be "
            "those of training images; put others there"
        )
    different = difference_of_classes(train.classes, train.folder, val.classes, val.folder)
    if different is not None:
        raise ConfigError(
            f"{key} is {data!r}, whose splits must have the same classes; {different}"
        )
    return f"{val.in_words()}; the classifiers learn from {train.in_words()}; {chance}"


def difference_of_classes(
    train: Sequence[str], where: str, val: Sequence[str], val_where: str
) -> str | None:
    """Why a label would not mean the same class in both splits, in words, or None.

    Args:
        train, val: names of the classes by their labels.
        where, val_where: the folders or files that have them.
    """
    odd = sorted(set(train) ^ set(val))
    if odd:
        return f"{val_where if odd[0] in train else where} has no {odd[0]!r}"
    for label, (name, val_name) in enumerate(zip(train, val)):
        if name != val_name:
            return f"class {label} is {name!r} in {where} and {val_name!r} in {val_where}"
    return None


def open_listed(path: str) -> Image.Image:
    """An image by its name in :class:`Contents` alone, as lists of images have it."""
    found = None if os.path.isfile(path) else root_of(os.path.dirname(path))
    return found[0].open(found[1], path) if found else Image.open(path)


def size_listed(path: str) -> int:
    """Bytes of an image by its name alone; -1 where they are not known."""
    try:
        return os.stat(path).st_size
    except OSError:
        found = root_of(os.path.dirname(path))
        return found[0].size(found[1], path) if found else -1
