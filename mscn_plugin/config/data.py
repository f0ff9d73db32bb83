"""From ``config.MSCN.DATA`` to VISSL's data keys, and a check of what they name."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from vissl.data.dataset_catalog import VisslDatasetCatalog, get_data_files

from mscn_plugin.config import frozen_parameters
from mscn_plugin.config.arrays import check_sources
from mscn_plugin.config.checks.cache import check_cache
from mscn_plugin.config.checks.evaluation import (
    check_classes,
    evaluates_online,
    is_evaluation,
    makes_lists,
)
from mscn_plugin.config.checks.transforms import Size, check_sizes
from mscn_plugin.config.hydra_overrides import is_overridden
from mscn_plugin.data.arrays import AmbiguousLayoutError, ArrayFormat, read_array
from mscn_plugin.data.decoding import UnreadableImageError, reading, to_rgb
from mscn_plugin.data.image_folder import (
    PHOTOGRAPHS,
    WANTED,
    Contents,
    fingerprint,
    held_out_fifth,
    holds_images,
    spread_paths,
)
from mscn_plugin.data.index import IndexedImages
from mscn_plugin.data.sources import ARRAYS_HINT, SOURCES, find_splits, open_listed, size_listed
from mscn_plugin.data.train_subset import (
    HELD_OUT,
    TRAIN_SUBSET,
    as_arrays,
    check_fraction,
    read_list,
    train_subset,
    write_lists,
)
from mscn_plugin.errors import ConfigError, with_path
from mscn_plugin.schema import is_pretraining, num_processes
from mscn_plugin.types import Config

_KEY = "config.MSCN.DATA"
_IMAGENET = 1000
"""Classes of ImageNet-1K."""
_LOOKED_AT = 16  # images of a folder, evenly spaced, before anything starts

Folders = dict[str, list[Contents]]
"""The image folders of the splits ``TRAIN`` and ``TEST``."""
_LookedAt = tuple[str, str, list[str], Callable[[str], Image.Image]]
Images = tuple[np.ndarray, np.ndarray]
"""Paths and labels, as VISSL's lists have them."""


class ImageLists(NamedTuple):
    """Images that are read from lists in the place of a folder; None: all of the folder."""

    train: Images | None
    val: Images | None


def find_images(cfg: Config) -> ImageLists:
    """Resolve ``MSCN.DATA``, check the classes, and choose the images.

    Raises:
        ConfigError: as :func:`resolve`, :func:`choose_images`, classes that do not agree, images in
            ``CHECKPOINT.DIR``, or images whose sizes no transform makes one.
    """
    folders = resolve(cfg)
    _check_run_folder(cfg, folders)
    sizes = check_first_images(cfg, folders)
    check_classes(cfg, folders)
    _check_sizes(cfg, sizes)
    if cfg.MSCN.DATA not in ("", PHOTOGRAPHS):  # later steps may have another working directory
        cfg.MSCN.DATA = str(Path(str(cfg.MSCN.DATA)).absolute())
    return choose_images(cfg, folders)


def _check_run_folder(cfg: Config, folders: Folders) -> None:
    """Refuse images in the run's own folder, where its figures would be among them."""
    run = cfg.CHECKPOINT.DIR
    for found in (*folders["TRAIN"], *folders["TEST"]):
        if holds_images(run, found):
            raise ConfigError(
                f"config.CHECKPOINT.DIR is {run!r}, which holds images of {found.folder!r}: the "
                "run's figures would be among them; it must be a folder of its own, such as "
                f"{os.path.join(found.folder, 'runs', os.path.basename(run))!r}"
            )


def _check_sizes(cfg: Config, sizes: dict[str, set[Size]]) -> None:
    """Check that images get one size by the transforms that they pass.

    Those of ``TEST`` are passed by training images as well, in an online evaluation and where an
    evaluation holds some of them out.
    """
    check_sizes(cfg, "TRAIN", sizes["TRAIN"])
    online, evaluation = evaluates_online(cfg) and cfg.DATA.TRAIN.LABEL_SOURCES, is_evaluation(cfg)
    if online or evaluation:
        check_sizes(cfg, "TEST", sizes["TEST"])
    if online or (evaluation and not cfg.DATA.TEST.DATA_SOURCES):
        check_sizes(cfg, "TEST", sizes["TRAIN"])


def check_first_images(cfg: Config, folders: Folders) -> dict[str, set[Size]]:
    """Read a few images of each folder and list: what is wrong with all is wrong with the keys.

    Returns:
        The sizes of those of each split.

    Raises:
        ConfigError: the layout of an array is ambiguous, or none can be read.
    """
    form, pixel_range = ArrayFormat.of(cfg), cfg.MSCN.PIXEL_RANGE
    sizes: dict[str, set[Size]] = {split: set() for split in folders}
    for split, where, images, opened in _first_images(cfg, folders):
        problems = []
        for path in images:
            try:
                if form:
                    height, width = read_array(path, form).shape[1:]
                else:
                    with reading(path):
                        width, height = to_rgb(opened(path), pixel_range).size
                sizes[split].add((width, height))
            except UnreadableImageError as error:
                if isinstance(error.__cause__, AmbiguousLayoutError):
                    raise ConfigError(str(error)) from None
                problems.append(str(error))
        if len(problems) == len(images):
            kind = "arrays" if form else "images"
            tiff = not form and any(path.lower().endswith((".tif", ".tiff")) for path in images)
            raise ConfigError(
                f"none of {len(images)} {kind} of {where} can be read: {problems[0]}"
                + (f"; TIFFs of other channels than RGB are arrays: {ARRAYS_HINT}" if tiff else "")
            )
    return sizes


def _first_images(cfg: Config, folders: Folders) -> Iterator[_LookedAt]:
    """Of each folder and list: its split and path, paths of a few images, and what opens one."""
    for split, of_split in folders.items():
        sources, found = list(cfg.DATA[split].DATA_SOURCES), iter(of_split)
        for source, path in zip(sources, _data_paths(cfg, split) if sources else ()):
            if source in SOURCES:
                listed = next(found)
                images = spread_paths(listed.images, _LOOKED_AT)
                opened = functools.partial(SOURCES[source].open, listed.folder)
                yield split, listed.folder, images, opened
            elif source == "disk_filelist":
                entries = read_list(path)
                few = list(map(str, entries[:: -(-len(entries) // _LOOKED_AT)]))
                yield split, path, _with_new_prefix(cfg, split, few), open_listed


def _with_new_prefix(cfg: Config, split: str, paths: list[str]) -> list[str]:
    """Paths of a list of images, as VISSL reads them."""
    old, new = cfg.DATA[split].REMOVE_IMG_PATH_PREFIX, cfg.DATA[split].NEW_IMG_PATH_PREFIX
    if not old:
        return paths
    return [path.replace(old, new) if path.startswith(old) else path for path in paths]


def resolve(cfg: Config) -> Folders:
    """Point ``DATA.TRAIN`` and ``DATA.TEST`` to the images that ``MSCN.DATA`` names.

    ``MSCN.DATA`` is what :func:`~mscn_plugin.data.sources.find_splits` takes, or empty, which
    leaves VISSL's own keys as they are. Where a split has no labels its ``LABEL_SOURCES`` are
    emptied: pre-training needs none.

    Raises:
        ConfigError: a folder or list is missing, unreadable, or holds no images; an evaluation's
            images have no labels.
    """
    if cfg.MSCN.DATA:
        splits = find_splits(str(cfg.MSCN.DATA), _KEY, cfg.MSCN.CHANNELS)
        _use_folder(cfg, "TRAIN", splits.source, splits.train)
        _use_folder(cfg, "TEST", splits.source, splits.val)
    folders = {"TRAIN": _check_split(cfg, "TRAIN"), "TEST": []}
    if cfg.DATA.TEST.DATA_SOURCES:
        folders["TEST"] = _check_split(cfg, "TEST")
    return folders


def choose_images(cfg: Config, folders: Folders) -> ImageLists:
    """Choose what ``MSCN.TRAIN_SUBSET`` selects, and what an evaluation without ``val/`` takes.

    Such an evaluation is tested on the fifth of the training images that an online evaluation
    holds out, and learns from the others. ``mscn_task`` gets the fingerprint of its training images
    in ``MSCN.TRAINING_IMAGES``, and so does an evaluation.

    Raises:
        ConfigError: a wrong subset, too few training images for one batch, or fewer images than
            ``DATA_LIMIT``.
    """
    train = val = None
    held_out: list[tuple[str, int]] = []
    takes_all, holds_out = _takes_all(cfg), is_evaluation(cfg) and not cfg.DATA.TEST.DATA_SOURCES
    if not takes_all or holds_out:
        available = _only_folder(cfg, folders)
        if holds_out:
            images = available.images
            kept, held_out = ([images[i] for i in part] for part in held_out_fifth(len(images)))
            available = dataclasses.replace(available, images=kept)
            train, val = as_arrays(kept), as_arrays(held_out)
        if not takes_all:
            warn_of_drawn_labels(cfg, len(available.classes or ()))
            subset = cfg.MSCN.TRAIN_SUBSET
            train = with_path("config.MSCN", train_subset, available, subset, held_out=held_out)
    take_stock(cfg, folders, train)
    number = _num_validation_images(cfg, folders) if val is None else len(val[0])
    if number is not None:
        _check_limit(cfg, "TEST", number, folders, val)
    return ImageLists(train, val)


def warn_of_drawn_labels(cfg: Config, num_classes: int) -> None:
    """Warn that a drawn part of ImageNet's labels is not that of published numbers."""
    subset = cfg.MSCN.TRAIN_SUBSET
    if is_evaluation(cfg) and not isinstance(subset, str) and num_classes == _IMAGENET:
        logging.warning(
            f"config.MSCN.TRAIN_SUBSET is {subset}: that part of each class's images is drawn by a "
            "fixed seed. Published numbers of 1% and 10% of ImageNet's labels, those of A.3's "
            "protocol among them, are of SimCLR's lists: config.MSCN.TRAIN_SUBSET=<1percent.txt>, "
            "of imagenet_subsets/ of github.com/google-research/simclr"
        )


def take_stock(cfg: Config, folders: Folders, chosen: Images | None = None) -> None:
    """Check the number of training images, and note their fingerprint for a later start.

    Args:
        chosen: of the images, where not all are taken.

    Raises:
        ConfigError: an epoch has no batch: fewer images than all ranks take, and the rest dropped;
            or there are fewer than ``DATA_LIMIT``.
    """
    cfg.MSCN["TRAINING_IMAGES"] = None
    paths: Sequence[Any] | None = None if chosen is None else chosen[0].tolist()
    packed = _only_packed(cfg, folders) if chosen is None else None
    if chosen is None:
        paths = packed or _training_paths(cfg, folders)
    if paths is None:
        if cfg.MSCN.CACHE == "memory":
            raise ConfigError(
                "config.MSCN.CACHE is memory, which needs images that are files; "
                f"config.DATA.TRAIN.DATA_SOURCES is {list(cfg.DATA.TRAIN.DATA_SOURCES)}"
            )
        frozen_parameters.infer_and_check(cfg, None)
        return
    _check_limit(cfg, "TRAIN", len(paths), folders, chosen)
    _check_number(cfg, len(paths))
    frozen_parameters.infer_and_check(cfg, len(paths))
    _check_neighbors(cfg, len(paths))
    check_cache(cfg, paths)
    if is_pretraining(cfg) or is_evaluation(cfg):
        found = packed.origin.fingerprint if packed else _fingerprint(folders, list(paths))
        cfg.MSCN["TRAINING_IMAGES"] = dict(found)


def _fingerprint(folders: Folders, paths: list[str]) -> dict[str, Any]:
    roots = tuple(os.path.join(folder.folder, "") for folder in folders["TRAIN"])
    names = [path[len(next(filter(path.startswith, roots), "")) :] for path in paths]
    return fingerprint(names, list(map(size_listed, paths)))


def use_lists(cfg: Config, lists: ImageLists) -> None:
    """Write lists of chosen images to the checkpoint folder, for VISSL to read them."""
    for split, name, images in (
        ("TRAIN", TRAIN_SUBSET, lists.train),
        ("TEST", HELD_OUT, lists.val),
    ):
        if images is not None:
            data = cfg.DATA[split]
            paths, labels = write_lists(Path(cfg.CHECKPOINT.DIR), name, *images)
            data.DATA_SOURCES, data.DATA_PATHS = ["disk_filelist"], [str(paths)]
            data.LABEL_SOURCES = ["disk_filelist"] if cfg.DATA.TRAIN.LABEL_SOURCES else []
            data.LABEL_PATHS, data.DATASET_NAMES = [str(labels)], ["image_list"]


def _only_folder(cfg: Config, folders: Folders) -> Contents:
    """The folder of which a part is taken."""
    if not makes_lists(cfg):
        raise ConfigError(
            f"config.MSCN.TRAIN_SUBSET is {cfg.MSCN.TRAIN_SUBSET!r}, which takes a part of a "
            f"folder; config.DATA.TRAIN.DATA_SOURCES is {list(cfg.DATA.TRAIN.DATA_SOURCES)}: set "
            f"{_KEY}"
        )
    return folders["TRAIN"][0]


def _only_packed(cfg: Config, folders: Folders) -> IndexedImages | None:
    """The training images, where they are all those of one index."""
    if len(cfg.DATA.TRAIN.DATA_SOURCES) != 1 or not folders["TRAIN"]:
        return None
    images = folders["TRAIN"][0].images
    return images if isinstance(images, IndexedImages) else None


def _training_paths(cfg: Config, folders: Folders) -> list[str] | None:
    """The files of all training images, or None where VISSL alone knows them."""
    train, paths = cfg.DATA.TRAIN, [path for f in folders["TRAIN"] for path, _ in f.images]
    for source, file in zip(train.DATA_SOURCES, _data_paths(cfg, "TRAIN")):
        if source == "disk_filelist":
            paths += map(str, read_list(file))
        elif source not in SOURCES:
            return None
    return _with_new_prefix(cfg, "TRAIN", paths)


def _num_validation_images(cfg: Config, folders: Folders) -> int | None:
    """How many ``DATA.TEST`` has; None where there are none, or VISSL alone knows them."""
    sources = list(cfg.DATA.TEST.DATA_SOURCES)
    if not sources or not {"disk_filelist", *SOURCES}.issuperset(sources):
        return None
    listed = (
        len(read_list(file))
        for source, file in zip(sources, _data_paths(cfg, "TEST"))
        if source == "disk_filelist"
    )
    return sum(listed, start=sum(len(found.images) for found in folders["TEST"]))


def _check_limit(
    cfg: Config, split: str, images: int, folders: Folders, chosen: Images | None
) -> None:
    """Check that a split has the images that ``DATA_LIMIT`` needs; VISSL draws them in workers.

    Args:
        images: their number.
        chosen: of the images, where not all are taken; labels come with those of training.
    """
    data, key = cfg.DATA[split], f"config.DATA.{split}.DATA_LIMIT"
    limit, skipped = data.DATA_LIMIT, data.DATA_LIMIT_SAMPLING.SKIP_NUM_SAMPLES
    if images - skipped < limit:
        kind = "training" if split == "TRAIN" else "validation"
        behind = " without the SKIP_NUM_SAMPLES" if skipped else ""
        raise ConfigError(
            f"{key} is {limit}; it must be -1, which takes all, or at most the number of {kind} "
            f"images{behind}, {images - skipped}"
        )
    if limit <= 0 or not data.DATA_LIMIT_SAMPLING.IS_BALANCED:
        return
    if not (cfg.DATA.TRAIN if chosen else data).LABEL_SOURCES:
        raise ConfigError(
            f"{key}_SAMPLING.IS_BALANCED is True, which needs labels; it must be False"
        )
    labels = chosen[1] if chosen else _labels(cfg, split, folders)
    if labels is None:
        return
    there = np.unique(labels, return_counts=True)[1]
    classes, smallest = len(there), int(there.min())
    # As VISSL shares out both numbers: what does not divide goes to the first classes.
    place = np.arange(classes)
    taken, left_out = (n // classes + (place < n % classes) for n in (limit, skipped))
    if limit < classes or (taken + left_out > there).any():
        most = classes * (smallest - math.ceil(skipped / classes))
        raise ConfigError(
            f"{key} is {limit}, and {key}_SAMPLING.IS_BALANCED takes as many images of each of "
            f"{classes} classes, of which the smallest has {smallest}: it must be -1, "
            f"which takes all{f', or from {classes} to {most}' if most >= classes else ''}"
        )


def _labels(cfg: Config, split: str, folders: Folders) -> np.ndarray | None:
    """A split's labels, one for each image; None where VISSL alone knows them."""
    source, paths = cfg.DATA[split].LABEL_SOURCES[0], cfg.DATA[split].LABEL_PATHS
    if source in SOURCES and folders[split]:
        return folders[split][0].labels()
    if source == "disk_filelist" and paths and isinstance(paths[0], str):
        labels = read_list(paths[0])
        return labels if labels.ndim == 1 else None
    return None


def _check_number(cfg: Config, images: int) -> None:
    train = cfg.DATA.TRAIN
    processes = num_processes(cfg)
    needed = train.BATCHSIZE_PER_REPLICA * processes
    limited = 0 < train.DATA_LIMIT < images
    images = train.DATA_LIMIT if limited else images
    alone = -(-images // processes) % train.BATCHSIZE_PER_REPLICA == 1
    if is_pretraining(cfg) and alone and not (train.DROP_LAST or cfg.TEST_ONLY):
        raise ConfigError(
            f"config.DATA.TRAIN.BATCHSIZE_PER_REPLICA is {train.BATCHSIZE_PER_REPLICA} and "
            f"DROP_LAST False: of {images} images in {processes} processes the last batch has one, "
            "which has no other to be compared with: it must be another number, or DROP_LAST True"
        )
    if train.DROP_LAST and not cfg.TEST_ONLY and images < needed:
        per_rank = train.BATCHSIZE_PER_REPLICA
        raise ConfigError(
            f"config.DATA.TRAIN.BATCHSIZE_PER_REPLICA is {per_rank}, {needed} images in all "
            f"processes, but the training data has {images}"
            f"{' (config.DATA.TRAIN.DATA_LIMIT)' if limited else ''}: it must be at most "
            f"{images * per_rank // needed}"
        )


def _check_neighbors(cfg: Config, images: int) -> None:
    """Check that an online evaluation has the neighbors that its kNN needs."""
    train, test, online = cfg.DATA.TRAIN, cfg.DATA.TEST, cfg.MSCN.ONLINE_EVALUATION
    if not evaluates_online(cfg) or cfg.TEST_ONLY or not train.LABEL_SOURCES or not test.TRANSFORMS:
        return
    images = train.DATA_LIMIT if train.DATA_LIMIT > 0 else images
    if not (test.DATA_SOURCES and test.LABEL_SOURCES):
        images = len(held_out_fifth(images)[0])
    learned = min(images, online.MAX_TRAIN_IMAGES)
    if learned < online.NUM_NEIGHBORS:
        limit = " (MAX_TRAIN_IMAGES)" if learned < images else ""
        raise ConfigError(
            f"config.MSCN.ONLINE_EVALUATION.NUM_NEIGHBORS is {online.NUM_NEIGHBORS}; it must be at "
            f"most the number of images that the online evaluation learns from, {learned}{limit}"
        )


def _takes_all(cfg: Config) -> bool:
    subset = cfg.MSCN.TRAIN_SUBSET
    return not isinstance(subset, str) and with_path("config.MSCN", check_fraction, subset) == 1


def _use_folder(cfg: Config, name: str, source: str, folder: Path | None) -> None:
    """Let a split read a folder or pattern by a source, or nothing.

    Raises:
        ConfigError: the user has given another value of a key that this replaces.
    """
    split, present = cfg.DATA[name], [folder] if folder else []
    ours = {
        "DATA_PATHS": [str(path) for path in present],
        "LABEL_PATHS": [str(path) for path in present],
        "DATA_SOURCES": [source for _ in present],
        "LABEL_SOURCES": [source for _ in present],
        "DATASET_NAMES": ["image_folder" for _ in present],
        "COPY_TO_LOCAL_DISK": False,  # VISSL's copying of a folder fails
    }
    for key, value in ours.items():
        given = split[key]
        # Configs fill the keys that are no paths, with what is meant where MSCN.DATA is empty.
        is_given = bool(given) if key.endswith("PATHS") else is_overridden(f"DATA.{name}.{key}")
        if is_given and given != value:
            raise ConfigError(
                f"config.DATA.{name}.{key} is {given!r} and {_KEY} {str(cfg.MSCN.DATA)!r}, which "
                f"sets it to {value!r}: give one of the two alone ({_KEY}='' for VISSL's own keys)"
            )
        split[key] = value


def _data_paths(cfg: Config, split: str) -> list[str]:
    """Folders and lists of a split, also those that VISSL's catalog knows by name."""
    return list(cfg.DATA[split].DATA_PATHS) or get_data_files(split, cfg.DATA)[0]


def _check_split(cfg: Config, name: str) -> list[Contents]:
    split, key = cfg.DATA[name], f"config.DATA.{name}"
    if not split.DATA_SOURCES:
        raise ConfigError(
            f"{key}.DATA_SOURCES is empty: add {_KEY}=<{WANTED}>, or {_KEY}={PHOTOGRAPHS} for "
            "the pictures that come with the installed packages"
        )
    _check_sources(key, split)
    if not split.DATA_PATHS and split.DATA_SOURCES != ["synthetic"]:
        for dataset in split.DATASET_NAMES:
            if not VisslDatasetCatalog.has_data(dataset):
                raise ConfigError(
                    f"{key}.DATASET_NAMES names {dataset!r}, which VISSL's dataset catalog does "
                    f"not have, and {key}.DATA_PATHS is empty: add {_KEY}=<{WANTED}>"
                )
    check_sources(cfg, name)
    if split.DATA_PATHS and not split.LABEL_PATHS:
        if "disk_filelist" in split.LABEL_SOURCES:
            _go_without_labels(cfg, name, f"{key}.LABEL_PATHS is empty")
        split.LABEL_PATHS = list(split.DATA_PATHS)  # else VISSL looks for labels in its catalog
    folders, paths_key = [], _KEY if cfg.MSCN.DATA else f"{key}.DATA_PATHS"
    for source, path in zip(split.DATA_SOURCES, _data_paths(cfg, name)):
        if source in SOURCES:
            folders.append(contents_of(paths_key, source, path))
        elif source == "disk_filelist":
            _check_list(paths_key, path)
    _check_labels(cfg, name, folders)
    return folders


def contents_of(key: str, source: str, path: str) -> Contents:
    """What a source holds at a path that the configuration's ``key`` names.

    Raises:
        ConfigError: no images.
    """
    try:
        return SOURCES[source].contents(path)
    except ValueError as error:
        raise ConfigError(f"{key} names {path!r}, which {error}") from None


def _check_sources(key: str, split: Any) -> None:
    for other in ("DATASET_NAMES", "DATA_PATHS", "LABEL_SOURCES"):
        values = split[other]
        if len(values) != len(split.DATA_SOURCES) and (values or other == "DATASET_NAMES"):
            raise ConfigError(
                f"{key}.{other} is {list(values)}; it must have as many entries as "
                f"{key}.DATA_SOURCES, {len(split.DATA_SOURCES)}"
            )


def _check_labels(cfg: Config, name: str, folders: list[Contents]) -> None:
    """Check the labels of a split, or let it be one without where there are none."""
    split, key, paths = cfg.DATA[name], f"config.DATA.{name}", _data_paths(cfg, name)
    by_folder = iter(folders)
    # Validation images of one class are wrong, not unlabeled: the classes' check says so.
    needed = 2 if name == "TRAIN" else 1
    for place, (data, labels) in enumerate(zip(split.DATA_SOURCES, split.LABEL_SOURCES)):
        folder = next(by_folder) if data in SOURCES else None
        if labels in SOURCES and labels != data:
            _go_without_labels(cfg, name, f"{key}.LABEL_SOURCES is {labels} with {data}")
        elif labels in SOURCES and folder and len(folder.classes) < needed:
            where = f"{_KEY if cfg.MSCN.DATA else key + '.DATA_PATHS'} names {folder.folder!r}"
            _go_without_labels(cfg, name, f"{where}, which {SOURCES[data].unlabeled}")
        elif labels == "disk_filelist" and split.LABEL_PATHS:
            images = len(folder.images) if folder else len(read_list(paths[place]))
            files = split.LABEL_PATHS[place]  # several where an image has several labels
            for file in files if isinstance(files, list) else [files]:
                _check_list(f"{key}.LABEL_PATHS", file, images)


def _go_without_labels(cfg: Config, name: str, reason: str) -> None:
    if is_evaluation(cfg):
        raise ConfigError(f"{reason}, and an evaluation needs labels")
    cfg.DATA[name].LABEL_SOURCES = []


def _check_list(key: str, path: str, images: int | None = None) -> None:
    """Check a file of ``disk_filelist``; ``images`` is how many entries it must have."""
    try:
        entries = len(read_list(path))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{key} names {path!r}, which cannot be read as a list ({error}); it must be a .npy "
            "file with a path or a label for each image"
        ) from None
    if entries == 0 or (images is not None and images != entries):
        wanted = f"one for each of the {images} images" if images else "at least one"
        raise ConfigError(
            f"{key} names {path!r}, which has {entries} entries; it must have {wanted}"
        )
