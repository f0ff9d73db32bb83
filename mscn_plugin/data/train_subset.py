"""A part of an image folder's labels: a fraction of each class, or a public list of images.

The paper's 1% (A.3) and the 10% of other work are the lists that SimCLR's authors published
(``1percent.txt``, ``10percent.txt``). Who does not have them draws the same number of images of
each class by a fixed seed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict, List, Tuple, Union

import numpy as np
from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

from mscn_plugin.files import replacing

FILES = "train_subset_images.npy", "train_subset_labels.npy"


def class_names(folder: Union[str, Path]) -> List[str]:
    """The sub-folders of an image folder; a class's label is its place in this list."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())


def train_subset(
    folder: Union[str, Path], subset: Any, seed: int = 0
) -> Tuple[np.ndarray, np.ndarray]:
    """Images of a training folder, with their labels.

    Args:
        folder: one sub-folder of images per class.
        subset: a fraction in (0, 1]: of each class that part, at least one image, drawn with
            ``seed``; or the path of a text file with one image on a line, named by its file name
            or by its path inside of the folder.

    Returns:
        Paths ``[N]`` as text and labels ``[N]``, int64, sorted by path. Every class is present.

    Raises:
        ValueError: the fraction is out of range, the list names an image that the folder does not
            have, or a class has none; the message starts with ``TRAIN_SUBSET``.
    """
    names = class_names(folder)
    images = make_dataset(str(folder), {c: i for i, c in enumerate(names)}, IMG_EXTENSIONS)
    if isinstance(subset, str):
        chosen = _listed(Path(folder), images, Path(subset).expanduser())
    else:
        chosen = _drawn(images, check_fraction(subset), seed)
    missing = sorted(set(range(len(names))) - {label for _, label in chosen})
    if missing:
        raise ValueError(
            f"TRAIN_SUBSET is {subset!r}, which has no image of class {names[missing[0]]!r} in "
            f"{folder}; it must have one of each"
        )
    paths, labels = zip(*sorted(chosen))
    return np.array(paths), np.array(labels, dtype=np.int64)


def check_fraction(subset: Any) -> float:
    """Return ``subset`` if it is a fraction, else raise ValueError."""
    number = isinstance(subset, (int, float)) and not isinstance(subset, bool)
    if not number or not 0 < subset <= 1:
        raise ValueError(
            f"TRAIN_SUBSET is {subset!r}; it must be a fraction above 0 and at most 1, or the path "
            "of a text file that lists images"
        )
    return float(subset)


def _drawn(images: List[Tuple[str, int]], fraction: float, seed: int) -> List[Tuple[str, int]]:
    random = np.random.RandomState(seed)
    of_class: Dict[int, List[str]] = {}
    for path, label in sorted(images):
        of_class.setdefault(label, []).append(path)
    return [
        (paths[index], label)
        for label, paths in sorted(of_class.items())
        for index in random.permutation(len(paths))[: max(1, round(fraction * len(paths)))]
    ]


def _listed(folder: Path, images: List[Tuple[str, int]], listing: Path) -> List[Tuple[str, int]]:
    if not listing.is_file():
        raise ValueError(f"TRAIN_SUBSET is {str(listing)!r}, which is not a file")
    known = {}
    for path, label in images:
        for name in (os.path.basename(path), os.path.relpath(path, folder).replace(os.sep, "/")):
            known[name] = (path, label)
    lines = listing.read_text(encoding="utf-8").split("\n")
    names = [line.strip() for line in lines if line.strip()]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"TRAIN_SUBSET is {str(listing)!r}, which lists {unknown[0]!r}: no image of {folder}"
        )
    return sorted({known[name] for name in names})


def write_subset(output: Path, paths: np.ndarray, labels: np.ndarray) -> Tuple[Path, Path]:
    """Write the two ``.npy`` files of VISSL's ``disk_filelist`` into the folder ``output``."""
    output.mkdir(parents=True, exist_ok=True)
    files = []
    for name, array in zip(FILES, (paths, labels)):
        with replacing(output / name) as file:
            np.save(file, array, allow_pickle=False)
        files.append(output / name)
    return files[0], files[1]
