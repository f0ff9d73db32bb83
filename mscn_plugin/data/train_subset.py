"""A part of an image folder's labels: a fraction of each class, or a public list of images.

Which images the paper's 1% (section 5.1) are is not stated. A.3 follows Barlow Twins, whose 1% and
10% are the lists that SimCLR's authors published (``1percent.txt``, ``10percent.txt``). Without
them, the same number of images of each class is drawn by a fixed seed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mscn_plugin.data.image_folder import Contents
from mscn_plugin.files import replacing

TRAIN_SUBSET, HELD_OUT = "train_subset", "held_out"
"""Names of the lists of images that :func:`write_lists` writes into the folders of runs."""


def train_subset(
    available: Contents,
    subset: object,
    seed: int = 0,
    held_out: Sequence[tuple[str, int]] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Images of a training folder, with their labels.

    Args:
        available: the images to choose from.
        subset: a fraction in (0, 1]: of each class that part, at least one image, drawn with
            ``seed``; or the path of a text file with one image on a line, named by its file name
            or by its path inside of the folder.
        held_out: more images of the folder, which a list may name, and which are not taken.

    Returns:
        Paths ``[N]`` as text and labels ``[N]``, int64, sorted by path. Every class of
        ``available`` is present.

    Raises:
        ValueError: the fraction is out of range, the list names an image that the folder does not
            have, or has twice, or a class has none; the message starts with ``TRAIN_SUBSET``.
    """
    folder, images = Path(available.folder), available.images
    if isinstance(subset, str):
        listed = _listed(folder, [*images, *held_out], Path(subset).expanduser())
        chosen = sorted(set(listed).difference(held_out))
        if len(chosen) < len(listed):
            logging.warning(
                f"config.MSCN.TRAIN_SUBSET lists {len(listed)} images, of which "
                f"{len(listed) - len(chosen)} are held out for validation: left out"
            )
    else:
        chosen = _drawn(images, check_fraction(subset), seed)
    missing = sorted({label for _, label in images} - {label for _, label in chosen})
    if missing or not chosen:
        of_class = f" of class {available.classes[missing[0]]!r}" if available.labeled else ""
        to_train = " that is not held out" if held_out else ""
        raise ValueError(
            f"TRAIN_SUBSET is {subset!r}, which has no image{of_class}{to_train} in {folder}; it "
            "must have one of each"
        )
    return as_arrays(chosen)


def as_arrays(images: Sequence[tuple[str, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Paths and labels as VISSL's lists have them, sorted by path."""
    paths, labels = zip(*sorted(images))
    return np.array(paths), np.array(labels, dtype=np.int64)


def check_fraction(subset: object) -> float:
    """Return ``subset`` if it is a fraction, else raise ValueError."""
    if isinstance(subset, (int, float)) and not isinstance(subset, bool) and 0 < subset <= 1:
        return float(subset)
    raise ValueError(
        f"TRAIN_SUBSET is {subset!r}; it must be a fraction above 0 and at most 1, or the path "
        "of a text file that lists images"
    )


def _drawn(images: Sequence[tuple[str, int]], fraction: float, seed: int) -> list[tuple[str, int]]:
    ordered = sorted(images)
    labels = np.array([label for _, label in ordered])
    return [ordered[place] for place in share_of_each_class(labels, fraction, seed)]


def share_of_each_class(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Places of a share of each class's images, at least one of each, drawn with ``seed``.

    Args:
        labels: int ``[N]``.
        share: above 0, at most 1.
    """
    random = np.random.RandomState(seed)
    drawn = []
    for label in np.unique(labels):
        places = random.permutation(np.flatnonzero(labels == label))
        drawn.append(places[: max(1, round(share * len(places)))])
    return np.sort(np.concatenate(drawn))


def _listed(
    folder: Path, images: Sequence[tuple[str, int]], listing: Path
) -> list[tuple[str, int]]:
    if not listing.is_file():
        raise ValueError(f"TRAIN_SUBSET is {str(listing)!r}, which is not a file")
    known: dict[str, tuple[str, int]] = {}
    twice = set()
    for path, label in images:
        inside = os.path.relpath(path, folder).replace(os.sep, "/")
        for name in {os.path.basename(path), inside}:
            if name in known:
                twice.add(name)
            known[name] = (path, label)
    lines = listing.read_text(encoding="utf-8-sig", errors="surrogateescape").split("\n")
    names = [line.strip() for line in lines if line.strip()]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"TRAIN_SUBSET is {str(listing)!r}, which lists {unknown[0]!r}: no image of {folder}"
        )
    for name in names:
        if name in twice:
            raise ValueError(
                f"TRAIN_SUBSET is {str(listing)!r}, which lists {name!r}: {folder} has several of "
                "that name; it must be the path inside of the folder"
            )
    return sorted({known[name] for name in names})


def images_file(name: str) -> str:
    """The file of a list's images."""
    return f"{name}_images.npy"


def write_lists(
    output: Path, name: str, paths: np.ndarray, labels: np.ndarray
) -> tuple[Path, Path]:
    """Write ``<name>_images.npy`` and ``<name>_labels.npy``, for VISSL's ``disk_filelist``."""
    output.mkdir(parents=True, exist_ok=True)
    files = output / images_file(name), output / f"{name}_labels.npy"
    for path, array in zip(files, (paths, labels)):
        with replacing(path) as file:
            np.save(file, array, allow_pickle=False)
    return files


def read_list(path: str) -> np.ndarray:
    """The entries of a list of VISSL's ``disk_filelist``, read without running code.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no array of text or numbers, or no ``.npy`` file: VISSL would unpickle it.
    """
    if not path.endswith(".npy"):
        raise ValueError("it is no .npy file")
    try:
        entries = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError):
        entries = None
    if not isinstance(entries, np.ndarray) or entries.ndim == 0:
        raise ValueError("it is damaged, or no array of text or numbers")
    return entries
