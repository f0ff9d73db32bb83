"""What in a folder is an image, a class and a split: one answer for training and evaluations."""

from __future__ import annotations

import dataclasses
import errno
import functools
import hashlib
import itertools
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from re import Pattern
from typing import Any

import numpy as np
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from mscn_plugin.data.decoding import printable
from mscn_plugin.data.index import IndexedImages

FOLDER = "disk_folder"
"""Name of the source of image folders, VISSL's."""
PHOTOGRAPHS = "photographs"
"""In the place of a folder: the pictures that come with the installed packages."""
WANTED = (
    "folder of images, better with one sub-folder of images per class, or with train/ and val/ of "
    "that kind"
)
_MORE_EXTENSIONS = (".avif", ".gif", ".jfif", ".jp2", ".jpe")  # where this Pillow reads them
_OF_SYSTEMS = (
    *("#recycle", "#snapshot", "$recycle.bin", "@eadir", "@recently-snapshot", "@recycle", "@tmp"),
    *("__macosx", "__pycache__", "lost+found", "system volume information"),
)
"""Names of folders that operating systems leave, in lower case."""
_OF_A_RUN = ("train_config.yaml", "log.txt")
"""What VISSL writes to a run's folder before there is any picture in it."""
_SUFFIX = r"(ing|ation)?[-_ ]?(set|images|data|\d{4})?"
TRAIN, VAL, TEST = (
    re.compile(name + _SUFFIX, re.IGNORECASE) for name in ("train", "(val|valid|dev)", "test")
)
SPLIT_NAMES = (TRAIN, VAL, TEST)
_MAX_LINKS = 40  # one after the other, as many as Linux follows
_MAX_KINDS = 8  # kinds of left-out files in one message

Extensions = tuple[str, ...]
"""Endings of the files that are taken, in lower case; empty: :func:`image_extensions`."""


@functools.cache
def image_extensions() -> tuple[str, ...]:
    """Endings, in lower case, of the files that are taken for images."""
    readable = Image.registered_extensions()
    return (*IMG_EXTENSIONS, *(e for e in _MORE_EXTENSIONS if e in readable))


def is_hidden(name: str) -> bool:
    """Whether a file or folder is not the user's: ``.ipynb_checkpoints``, ``._twin.jpg``."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def is_run(folder: str | Path) -> bool:
    """Whether a folder is that of a run, whose pictures are figures: ``mscn train .`` makes one."""
    return all(os.path.isfile(os.path.join(folder, name)) for name in _OF_A_RUN)


@dataclasses.dataclass
class Contents:
    """An image folder, as every reader of this package sees it.

    Where two or more sub-folders hold images these are the classes, and images beside them are
    left out. Else all images of the folder are taken, without labels.

    Attributes:
        folder: its path.
        classes: names of the sub-folders with images, sorted; a label is a place in this list.
        images: path and label of each image, in the order of torchvision's ImageFolder; of packed
            images those that they were packed from have.
        left_out: kinds of what was not taken, with their numbers.
        links: paths of images that are links themselves.
    """

    folder: str
    classes: list[str]
    images: Sequence[tuple[str, int]]
    left_out: dict[str, int]
    links: Sequence[str] = ()

    @property
    def labeled(self) -> bool:
        """Whether there are classes to tell apart."""
        return len(self.classes) > 1

    def labels(self) -> np.ndarray:
        """The images' labels, int64 ``[N]``."""
        if isinstance(self.images, IndexedImages):
            labels: np.ndarray = self.images.origin.labels.astype(np.int64)
            return labels
        return np.array([label for _, label in self.images], dtype=np.int64)

    def in_words(self) -> str:
        """How many images there are of how many classes, where, and what was left out."""
        labels = f"of {len(self.classes)} classes" if self.labeled else "without labels"
        return f"{len(self.images)} images {labels} in {self.folder}{self.left_out_in_words()}"

    def left_out_in_words(self) -> str:
        """The end of a sentence that says what was left out, empty where nothing was."""
        kinds = sorted(self.left_out.items(), key=lambda kind: (-kind[1], kind[0]))
        named = ", ".join(f"{kind} ({number})" for kind, number in kinds[:_MAX_KINDS])
        more = f", and {len(kinds) - _MAX_KINDS} other kinds" if len(kinds) > _MAX_KINDS else ""
        return f"; left out: {named}{more}" if kinds else ""


def contents(folder: str | Path, extensions: Extensions = ()) -> Contents:
    """List the images of a folder; folders in it that cannot be read are warned of."""
    left_out: dict[str, int] = Counter()
    links: list[str] = []
    found: dict[str, list[str]] = {}
    for root, paths in _images(str(folder), left_out, links, extensions or image_extensions()):
        top = "" if root == str(folder) else os.path.relpath(root, folder).split(os.sep)[0]
        found.setdefault(top, []).extend(paths)
    for name in [name for name, paths in found.items() if name and not paths]:
        del found[name]
        left_out[f"sub-folder without images {name}"] += 1
    loose = found.pop("", [])
    classes = sorted(found)
    if len(classes) > 1 and loose:
        left_out["image beside the classes' folders"] += len(loose)
        loose = []
    images = [(path, 0) for path in loose]
    images += [(path, label) for label, name in enumerate(classes) for path in found[name]]
    return Contents(str(folder), classes, images, dict(left_out), links)


def shared_place(train: Contents, val: Contents) -> str | None:
    """A folder or file of the validation images that holds training images; None: there is none.

    Links and ways of writing a path make no difference. Single images are only compared where some
    are links: the listing knows, and no other file is looked up.
    """
    known = {os.path.realpath(place) for place in _places(train)}
    place = next((place for place in _places(val) if os.path.realpath(place) in known), None)
    if place is not None or not (train.links or val.links):
        return place
    known = {real for _, real in _real_paths(train)}
    return next((path for path, real in _real_paths(val) if real in known), None)


def _real_paths(found: Contents) -> Iterator[tuple[str, str]]:
    """Path of each image, and that of the file that it is or leads to.

    As ``os.path.realpath``, with as few look-ups as there are folders and links.
    """
    real_folder, links = functools.cache(os.path.realpath), set(found.links)
    for path, _ in found.images:
        folder, name = os.path.split(path)
        real = os.path.join(real_folder(folder), name)
        for _ in range(_MAX_LINKS if path in links else 0):
            try:
                folder, name = os.path.split(os.path.join(folder, os.readlink(real)))
            except OSError:  # the end, which is no link
                break
            folder = real_folder(folder)
            real = os.path.join(folder, name)
        yield path, real


def holds_images(folder: str | Path, found: Contents) -> bool:
    """Whether images of a folder are in another one, by whatever links."""
    place, of_all = Path(os.path.realpath(folder)), os.path.realpath(found.folder)
    if isinstance(found.images, IndexedImages) or not place.is_relative_to(of_all):
        return False  # shards are not pictures; and the images may be anywhere below a run
    return any(Path(os.path.realpath(inner)).is_relative_to(place) for inner in _places(found))


def _places(found: Contents) -> list[str]:
    """The folders, or the large files, that hold the images."""
    if isinstance(found.images, IndexedImages):
        origin = found.images.origin
        return [os.path.join(origin.folder, shard.name) for shard in origin.shards]
    return sorted({os.path.dirname(path) for path, _ in found.images})


def _images(
    folder: str, left_out: dict[str, int], links: list[str], extensions: Extensions
) -> Iterator[tuple[str, list[str]]]:
    """The folder and those in it, each with its images' paths, sorted.

    Args:
        left_out: counts what is left out.
        links: gets the paths of images that are links.
    """
    found, pending = [], [folder]
    while pending:
        here, images = pending.pop(), []
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    extension = os.path.splitext(entry.name)[1].lower()
                    is_image = extension in extensions
                    if _is_folder(entry):
                        if is_hidden(entry.name):
                            left_out[f"hidden folder {entry.name}"] += 1
                        elif _leads_back(entry):
                            left_out[f"link to a folder that holds it {entry.name}"] += 1
                        elif is_run(entry.path):
                            left_out[f"folder of a run {entry.name}"] += 1
                        else:
                            pending.append(entry.path)
                    elif is_hidden(entry.name):
                        if is_image:
                            left_out[f"hidden file {extension}"] += 1
                    elif is_image:
                        images.append(entry.path)
                        if entry.is_symlink():
                            links.append(entry.path)
                    else:
                        left_out[extension or "file without an extension"] += 1
        except OSError as error:
            logging.warning(f"left out a folder that cannot be read: {printable(str(error))}")
        found.append((here, sorted(images)))
    yield from sorted(found, key=lambda folder: folder[0])


def class_names(folder: str | Path, extensions: Extensions = ()) -> list[str]:
    """``Contents.classes`` of a folder, without listing its images."""
    return [name for name in sub_folders(folder) if _has_images(Path(folder, name), extensions)]


def sub_folders(folder: str | Path) -> list[str]:
    with os.scandir(folder) as entries:
        shown = [e for e in entries if _is_folder(e) and not is_hidden(e.name)]
        return sorted(e.name for e in shown if not (_leads_back(e) or is_run(e.path)))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """``entry.is_dir()``; a link in a circle is none, as one that leads nowhere."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False


def _leads_back(folder: os.DirEntry[str]) -> bool:
    """Whether a folder is a link to one that it is in, whose images would come again."""
    if not folder.is_symlink():
        return False
    target = Path(os.path.realpath(folder.path))
    return any(
        Path(os.path.realpath(parent)).is_relative_to(target)
        for parent in Path(folder.path).parents
    )


def _has_images(folder: Path, extensions: Extensions, deep: bool = True) -> bool:
    """Whether a folder, or with ``deep`` one in it, holds an image."""
    return has_more_images(folder, 0, extensions, deep)


def has_more_images(
    folder: str | Path, than: int, extensions: Extensions = (), deep: bool = True
) -> bool:
    """Whether a folder, with ``deep`` together with those in it, holds more images than that."""
    found = _image_paths(str(folder), extensions or image_extensions(), deep)
    return next(itertools.islice(found, than, None), None) is not None


def _image_paths(folder: str, endings: Extensions, deep: bool) -> Iterator[str]:
    """Paths of images, in no order, with as few look-ups as the caller needs."""
    folders = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                if _is_folder(entry):
                    if not (_leads_back(entry) or is_run(entry.path)):
                        folders.append(entry.path)
                elif entry.name.lower().endswith(endings):
                    yield entry.path
    except OSError:
        return
    if deep:
        for inner in folders:
            yield from _image_paths(inner, endings, deep)


@dataclasses.dataclass(frozen=True)
class Splits:
    """What the folders of a data set are taken for.

    Attributes:
        folder: that of the data set.
        train: the training images.
        val: images for validation, whose classes may differ from those of ``train``; None: none.
        unused: names of further folders with images.
        source: name of the source that reads them.
    """

    folder: Path
    train: Path
    val: Path | None
    unused: Sequence[str]
    source: str = FOLDER

    def in_words(self) -> str:
        """The splits in one line."""
        val = self.val.relative_to(self.folder) if self.val else "no folder"
        train = "all of it" if self.train == self.folder else self.train.relative_to(self.folder)
        unused = f"; not used: {', '.join(self.unused)}" if self.unused else ""
        return f"data in {self.folder}: {train} for training, {val} for validation{unused}"


def split_folders(folder: Path, extensions: Extensions = ()) -> Splits:
    """Find training and validation images, by the usual names of folders, in any case.

    ``train`` or ``training`` beside ``val``, ``valid`` or ``validation``, in their absence
    ``test`` or ``testing``, also as ``train_set``, ``val_images``, ``train2017`` and the like. A
    folder whose one sub-folder holds all of that, or all classes, stands for it. ``train`` is a
    class where it holds images, no sub-folders of images, and has other classes beside it.

    Raises:
        ValueError: there is validation data, of classes, and no ``train``.
    """
    names_in = functools.partial(class_names, extensions=extensions)
    here = _unwrapped(folder, extensions, keep=SPLIT_NAMES)
    names = names_in(here)
    val_names = [n for pattern in (VAL, TEST) for n in matching(pattern, names)]
    train_names = matching(TRAIN, sub_folders(here))
    others = set(names) - {*train_names, *val_names}
    if not train_names:
        for name in val_names:
            if names_in(here / name):
                raise ValueError(
                    f"{here} holds {name}/ with folders of images and no train/: rename the folder "
                    "of the training images, or name one folder of classes"
                )
    if not train_names or (others and not val_names and not names_in(here / train_names[0])):
        return Splits(folder, here, None, ())
    train = _unwrapped(here / train_names[0], extensions)
    known = set(names_in(train))
    val_name = next((n for n in val_names if _labeled_like(known, here / n, extensions)), None)
    val = _unwrapped(here / val_name, extensions) if val_name else None
    unused = [name for name in names if name not in (train_names[0], val_name)]
    return Splits(folder, train, val, unused)


def _labeled_like(known: set[str], folder: Path, extensions: Extensions) -> bool:
    """Whether a split has classes; else its images lack labels, as in many a competition's test/"""
    classes = class_names(_unwrapped(folder, extensions), extensions)
    return len(known) > 1 and (len(classes) > 1 or bool(known.intersection(classes)))


def matching(pattern: Pattern[str], names: list[str]) -> list[str]:
    """The names that are the pattern's, plain ones first."""
    found = [name for name in names if pattern.fullmatch(name)]
    return sorted(found, key=lambda name: (name != "train", len(name), name))


def _unwrapped(folder: Path, extensions: Extensions, keep: Sequence[Pattern[str]] = ()) -> Path:
    """The folder, or the only one in it, as long as that one holds folders of images.

    Args:
        keep: names of folders for which their parent stands.
    """
    names = class_names(folder, extensions)
    if len(names) != 1 or _has_images(folder, extensions, deep=False):
        return folder
    if any(pattern.fullmatch(names[0]) for pattern in keep):
        return folder
    inner = folder / names[0]
    return _unwrapped(inner, extensions, keep) if class_names(inner, extensions) else folder


def held_out_fifth(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of images to learn from, and of every fifth one of a fixed random order."""
    order = np.random.RandomState(0).permutation(number)
    return np.delete(order, np.s_[::5]), order[::5]


def fingerprint(names: Sequence[str], sizes: Sequence[int]) -> dict[str, Any]:
    """Number of images, and hashes of their names and of their sizes, in the order given."""
    return {
        "number": len(names),
        "names": _digest(os.fsencode(name) + b"\0" for name in names),
        "sizes": _digest(b"%d\0" % size for size in sizes),
    }


def images_fingerprint(contents: Contents, size_of: Callable[[str], int]) -> dict[str, Any]:
    """:func:`fingerprint` of a folder's images, by their names in it.

    Args:
        size_of: bytes of an image by its path.
    """
    paths = [path for path, _ in contents.images]
    names = [os.path.relpath(path, contents.folder) for path in paths]
    return fingerprint(names, list(map(size_of, paths)))


def spread_paths(images: Sequence[tuple[str, int]], number: int) -> list[str]:
    """The paths of at most this many images, evenly spaced; there must be one."""
    return [path for path, _ in images[:: -(-len(images) // number)]]


def _digest(parts: Iterator[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
