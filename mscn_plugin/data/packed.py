"""Images in large files, each found through an index: shards in the format of WebDataset.

A source of that kind names its files by their folder or by a pattern, such as
``/data/imagenet-{000000..001281}.tar``, and says how to list the images of one file and how to read
one. The index (:mod:`mscn_plugin.data.index`) is beside the files: ``mscn pack`` writes it, and
of files that others wrote it is made when they are first used.

A shard is a tar file. What belongs to an image has its name with another ending: ``a/1.jpg``,
``a/1.cls`` with its label, a number or a word, or ``a/1.json`` with ``{"label": ...}``.
"""

from __future__ import annotations

import abc
import collections
import fnmatch
import functools
import glob
import hashlib
import io
import itertools
import json
import logging
import os
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from mscn_plugin.data.decoding import printable
from mscn_plugin.data.image_folder import (
    SPLIT_NAMES,
    TRAIN,
    Contents,
    Extensions,
    Splits,
    fingerprint,
    has_more_images,
    image_extensions,
    is_hidden,
    matching,
    sub_folders,
)
from mscn_plugin.data.image_source import SOURCES, ImageSource
from mscn_plugin.data.index import Entries, Index, IndexedImages, Shard, opened, write_index
from mscn_plugin.data.parallel import in_processes, usable_cores
from mscn_plugin.data.photographs import cache_folder
from mscn_plugin.errors import RunError

INDEX = "index.mscn"
"""Name of the index in a folder of shards."""
PACK = "pack.json"
"""Name of the file in which ``mscn pack`` says what it makes."""
PACK_AGAIN = "put the file back, or pack the images again, into another folder"
_PARALLEL = 16
"""From so many files on, an index is made by several processes."""
_LABEL_KEYS = ("label", "cls", "class")
_MAX_NAMED = 3
_REPEATED = "image of a key that has one"
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"(\xb5/\xfd")


class Scanned(NamedTuple):
    """The images of one file, as a source lists them.

    Attributes:
        names, offsets, sizes: as in :class:`~mscn_plugin.data.index.Entries`, of this file.
        labels: numbers, words, or None where there is none.
        left_out: kinds of what was not taken, with their numbers.
        classes: names of the numbered classes, where the file says them.
        repeated: the first few images that were left out since their key has one already.
    """

    names: list[str | None]
    offsets: list[int]
    sizes: list[int]
    labels: list[int | str | None]
    left_out: Counter[str]
    classes: list[str] | None = None
    repeated: Sequence[str] = ()


class IndexedSource(ImageSource):
    """Images in large files.

    Attributes:
        suffix: of the files.
    """

    lists = True
    suffix: ClassVar[str]

    @staticmethod
    @abc.abstractmethod
    def scan(path: str) -> Scanned:
        """List the images of a file; raises ValueError, what follows on "which"."""

    @staticmethod
    @abc.abstractmethod
    def read(index: Index, row: int) -> bytes:
        """The file of one image, encoded as it was; raises RunError if a shard has changed."""

    @classmethod
    @abc.abstractmethod
    def close_files(cls) -> None:
        """Close what :meth:`read` keeps open in this process."""

    @classmethod
    def contents(cls, path: str) -> Contents:
        index = _open_index(cls, path)
        cls.close_files()  # which may be those that were there before
        opened[path] = index
        return Contents(path, index.classes, IndexedImages(index), index.left_out)

    @classmethod
    def open(cls, path: str, image: str) -> Image.Image:
        return Image.open(io.BytesIO(cls.content(path, image)))

    @classmethod
    def content(cls, path: str, image: str) -> bytes:
        index, row = cls._find(path, image)
        return cls.read(index, row)

    @classmethod
    def size(cls, path: str, image: str) -> int:
        """Bytes of an image; -1 where they are not known."""
        index, row = cls._find(path, image)
        return int(index.sizes[row])

    @classmethod
    def _find(cls, path: str, image: str) -> tuple[Index, int]:
        if path not in opened:
            try:
                cls.contents(path)
            except ValueError as error:  # since the start, when it was checked
                raise RunError(f"{path} {error}") from None
        index = opened[path]
        try:
            return index, index.row_of(image[len(path) + 1 :])
        except KeyError:
            raise RunError(f"{path} has no image {image[len(path) + 1 :]!r}") from None

    @classmethod
    def exists(cls, path: str) -> bool:
        return os.path.exists(path) or bool(_files(path, cls.suffix, missing=[]))

    @classmethod
    def splits(cls, data: str, extensions: Extensions = ()) -> Splits | None:
        if os.path.isdir(data):
            _check_complete(data)
            return cls._splits_of_folder(Path(data), extensions)
        if not data.endswith(cls.suffix):
            return None
        if "://" in data or data.startswith("pipe:"):
            raise ValueError("is not a path: the files must be on a disk of this machine")
        words = {_split_word(path) for path in _files(data, cls.suffix)}
        if len(words) > 1:
            named = ", ".join(sorted(word or "others" for word in words))
            raise ValueError(f"names files of several splits ({named}): name their folder, or one")
        return Splits(Path(data).parent, Path(data), None, (), cls.name)

    @classmethod
    def _splits_of_folder(cls, folder: Path, extensions: Extensions) -> Splits | None:
        here = _holder(folder, cls.suffix, extensions)
        if here is None:
            return None
        inner = [n for n in sub_folders(here) if _holds_shards(here / n, cls.suffix, extensions)]
        found: dict[str | None, Path] = {name: here / name for name in inner}
        # A file beside train/ is what that was unpacked from.
        if not matching(TRAIN, inner) and _holds_shards(here, cls.suffix, extensions):
            found, shards = {}, _shards_in(here, cls.suffix)
            groups: dict[str | None, list[str]] = {}
            for name in shards:
                groups.setdefault(_split_word(name), []).append(name)
            for word, names in groups.items():
                pattern = f"*{word}*{cls.suffix}" if len(groups) > 1 and word else ""
                if pattern and fnmatch.filter(shards, pattern) != names:
                    raise ValueError(f"holds files whose splits cannot be told apart: {names[0]}")
                found[word] = here / pattern
        words = [word for word in found if word]
        train = next(iter(matching(TRAIN, words)), None)
        if train is None:
            if len(found) > 1:
                raise ValueError(f"holds {', '.join(sorted(words))} and no train")
            return Splits(folder, next(iter(found.values())), None, (), cls.name)
        others = [w for pattern in SPLIT_NAMES[1:] for w in matching(pattern, words)]
        val = next((w for w in others if cls.contents(str(found[w])).labeled), None)
        unused = [word or "others" for word in found if word not in (train, val)]
        return Splits(folder, found[train], found[val] if val else None, unused, cls.name)


class TarSource(IndexedSource):
    """Shards in the format of WebDataset, packed by ``mscn pack`` or by others."""

    name = "tar_shards"
    suffix = ".tar"

    @staticmethod
    def scan(path: str) -> Scanned:
        try:
            return _scan_tar(path)
        except tarfile.TarError as error:
            with open(path, "rb") as stream:
                beginning = stream.read(8)
            if beginning.startswith(_COMPRESSED):
                raise ValueError(
                    f"names {path}, which is compressed: images are read from any place of a "
                    "file, so it must be a plain tar"
                ) from None
            reason = str(error).splitlines()[0]
            raise ValueError(f"names {path}, which is damaged or truncated: {reason}") from None

    @classmethod
    def close_files(cls) -> None:
        while _open_files:
            os.close(_open_files.popitem()[1])

    @staticmethod
    def read(index: Index, row: int) -> bytes:
        path, size = index.shard_path(row), int(index.sizes[row])
        try:
            descriptor = _descriptor(path)
            content = os.pread(descriptor, size, int(index.offsets[row]))
            check_unchanged(index, row, os.fstat(descriptor))
        except OSError as error:
            raise changed(index, path, error.strerror or str(error)) from None
        if len(content) < size:
            raise changed(index, path, f"it ends within {index.name(row)}")
        if index.checksums is not None and zlib.crc32(content) != index.checksums[row]:
            raise changed(index, path, f"{index.name(row)} has another checksum")
        return content


def changed(index: Index, path: str, what: str) -> RunError:
    """The error of a file that is not what its index says."""
    return RunError(
        f"{path} is missing or has changed since {index.path} was written ({what}): put the file "
        "back, or delete the index, or pack the images again"
    )


def check_unchanged(index: Index, row: int, now: os.stat_result) -> None:
    """Raise RunError if the file of an image is not as it was when its index was made.

    An index with checksums goes by these: packed images may be copied.
    """
    shard = index.shards[index.shard[row]]
    if index.checksums is None and (now.st_size, now.st_mtime_ns) != (shard.size, shard.mtime):
        raise changed(index, index.shard_path(row), "its size or its time of change")


_open_files: collections.OrderedDict[str, int] = collections.OrderedDict()
_MAX_OPEN_FILES = 128


def _descriptor(path: str) -> int:
    """A file, kept open: the system reads ahead where images are read one after the other."""
    if path in _open_files:
        _open_files.move_to_end(path)
        return _open_files[path]
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if len(_open_files) >= _MAX_OPEN_FILES:
        os.close(_open_files.popitem(last=False)[1])
    _open_files[path] = descriptor
    return descriptor


def _scan_tar(path: str) -> Scanned:
    repeated: list[str] = []
    found = Scanned([], [], [], [], Counter(), repeated=repeated)
    rows: dict[str, int] = {}
    labels: dict[str, int | str] = {}
    classes: set[str] = set()
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            tar.members = []  # type: ignore[attr-defined]  # else it remembers all of them
            folder, base = os.path.split(os.path.normpath(member.name).lstrip("/"))
            stem, _, ending = base.partition(".")
            key, ending = os.path.join(folder, stem), ending.lower()
            if not member.isfile():
                if not member.isdir():
                    found.left_out["link or device"] += 1
            elif any(map(is_hidden, os.path.join(folder, base).split(os.sep))):
                found.left_out["hidden file"] += 1
            elif f".{ending}" in image_extensions() and key in rows:
                found.left_out[_REPEATED] += 1
                repeated += [os.path.join(folder, base)] if len(repeated) < _MAX_NAMED else []
            elif f".{ending}" in image_extensions() and not member.issparse():
                rows[key] = len(found.names)
                found.names.append(os.path.join(folder, base))
                found.offsets.append(member.offset_data)
                found.sizes.append(member.size)
            elif ending in ("cls", "json"):
                stream: Any = tar.extractfile(member)
                label = _label(ending, stream.read())
                if ending == "cls" and key in classes:
                    raise ValueError(
                        f"names {path}, which has two files {key}.cls: give each sample its key"
                    )
                classes.update([key] if ending == "cls" else [])
                if label is not None and (ending == "cls" or key not in labels):
                    labels[key] = label
            else:
                found.left_out[f".{ending}" if ending else "file without an extension"] += 1
        with open(path, "rb") as stream:
            stream.seek(tar.offset)
            if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("the mark of its end is not there")
    found.labels.extend(labels.get(key) for key in rows)
    return found


def _label(ending: str, content: bytes) -> int | str | None:
    """The label in a ``.cls`` or ``.json``."""
    text = content.decode("utf-8-sig", "replace").strip()
    if ending == "json":
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(values, dict):  # a caption, for instance
            return None
        found = next((values[k] for k in _LABEL_KEYS if values.get(k) is not None), None)
        if isinstance(found, float) and found.is_integer():  # as tables of floats write numbers
            return int(found)
        return found if isinstance(found, (int, str)) and not isinstance(found, bool) else None
    return int(text) if re.fullmatch(r"-?\d{1,18}", text) else text or None


def _open_index(source: type[IndexedSource], root: str) -> Index:
    """The index of some files, made where there is none, or files of others have changed.

    Raises:
        ValueError: no files, one of them is missing or damaged, or the index is not one of ours.
    """
    folder = _folder_of(root)
    _check_complete(root)
    places = _index_places(root)
    shards: list[Shard] | None = None
    outdated: Index | None = None
    for path in filter(os.path.isfile, places):
        index = Index(path, root, folder)
        if outdated is None:
            _check_index(index, source)
        if index.checksums is not None:
            _check_sizes(index)
            return index
        shards = _shards_now(source, root, folder) if shards is None else shards
        if shards == index.shards:
            return index
        outdated = outdated or index  # on a disk that cannot be written it stays there
    if outdated is not None:
        logging.warning(f"{root} has changed since {outdated.path} was written: it is made again")
    return _make_index(source, root, folder, shards or _shards_now(source, root, folder), places)


def _check_index(index: Index, source: type[IndexedSource]) -> None:
    """Raise ValueError if it is of another source, or names a file that is missing."""
    if index.kind != source.name:
        raise ValueError(f"has the index {index.path} of {index.kind}, and not of {source.name}")
    for shard in index.shards:
        file = os.path.join(index.folder, shard.name)
        if not os.path.isfile(file):
            raise ValueError(f"lacks {file}, which the index {index.path} names: put it back")


def _shards_now(source: type[IndexedSource], root: str, folder: str) -> list[Shard]:
    """The files as they are now; raises ValueError where there are none."""
    names = [os.path.relpath(file, folder) for file in _files(root, source.suffix)]
    if not names:
        raise ValueError(f"holds no {source.suffix} files")
    return [Shard.of(folder, name) for name in names]


def _check_complete(root: str) -> None:
    """Raise ValueError if a folder, or the one around it, is a pack that is not finished."""
    for pack in (Path(root, PACK), Path(root).parent / PACK):
        try:
            plan = json.loads(pack.read_text(encoding="utf-8"))
        except OSError:
            continue
        except ValueError:
            raise ValueError(f"has {pack}, which is damaged: {PACK_AGAIN}") from None
        if isinstance(plan, dict) and plan.get("complete") is False:
            raise ValueError(
                f"belongs to the unfinished pack {pack.parent}: start its mscn pack again, which "
                "resumes where it stopped"
            )


def _check_sizes(index: Index) -> None:
    for shard in index.shards:
        size = os.path.getsize(os.path.join(index.folder, shard.name))
        if size != shard.size:
            how = "truncated" if size < shard.size else "changed"
            raise ValueError(
                f"holds {shard.name}, {how} since it was packed: it has {size} bytes and not "
                f"{shard.size}; put the file back, or pack the images again"
            )


def _make_index(
    source: type[IndexedSource], root: str, folder: str, shards: list[Shard], places: list[str]
) -> Index:
    found: dict[str, Scanned] = {}
    paths = [os.path.join(folder, shard.name) for shard in shards]
    processes = usable_cores() if len(paths) >= _PARALLEL else 1
    scan = functools.partial(_scan_named, source)
    with in_processes(scan, paths, processes) as scanned:
        for path, part in tqdm(scanned, f"index of {root}", len(paths), disable=None):
            if isinstance(part, str):
                raise ValueError(part)
            found[path] = part
    parts = [found[path] for path in paths]
    entries, classes = _entries([shard.name for shard in shards], parts)
    left_out = sum((part.left_out for part in parts), Counter())
    if repeated := [name for part in parts for name in part.repeated][:_MAX_NAMED]:
        left_out[f"{_REPEATED}, such as {', '.join(map(printable, repeated))}"] = left_out.pop(
            _REPEATED
        )
    if not len(entries.names):
        raise ValueError(f"holds no images ({', '.join(image_extensions())}) in its files")
    sizes = entries.sizes.tolist() if (entries.sizes >= 0).all() else [s.size for s in shards]
    header = {
        "classes": classes,
        "left_out": left_out,
        "fingerprint": fingerprint(entries.names, sizes),
    }
    for place in places:
        try:
            os.makedirs(os.path.dirname(place), exist_ok=True)
            write_index(place, source.name, shards, entries, **header)
        except OSError as error:
            logging.info(f"the index of {root} cannot be written to {place}: {error.strerror}")
            continue
        logging.info(f"the index of {root} was written to {place}")
        return Index(place, root, folder)
    raise ValueError(
        f"needs an index, which can be written neither to {places[0]} nor to {places[1]}: set the "
        "environment variable MSCN_CACHE to a folder that can be written"
    )


def _scan_named(source: type[IndexedSource], path: str) -> tuple[str, Scanned | str]:
    """What :meth:`IndexedSource.scan` returns, or the message of its error."""
    try:
        return path, source.scan(path)
    except ValueError as error:
        return path, str(error)


def _entries(shards: Sequence[str], parts: Sequence[Scanned]) -> tuple[Entries, list[str]]:
    """The images of all files, and their classes: names, or numbers where there are no names."""
    names = [name for part in parts for name in part.names]
    if None in names or len(set(names)) < len(names):  # numbered again in each file
        names = [
            f"{os.path.splitext(shard)[0]}/{row:08d}{'-' + os.path.basename(name) if name else ''}"
            for shard, part in zip(shards, parts)
            for row, name in enumerate(part.names)
        ]
    _check_same_class_names(shards, parts)
    labels = [label for part in parts for label in part.labels]
    known = {label for label in labels if label is not None and label != -1}
    classes: list[str] = []
    if known:
        if None in labels or -1 in labels:
            unlabeled = next(n for n, label in zip(names, labels) if label in (None, -1))
            raise ValueError(f"holds {unlabeled} without a label, and others with one")
        if len({type(label) for label in known}) > 1:
            raise ValueError("holds labels that are numbers, and others that are words")
        values: list[Any] = sorted(known)
        classes = list(map(str, values))
        named = next((part.classes for part in parts if part.classes), None)
        if named and all(isinstance(v, int) and 0 <= v < len(named) for v in values):
            values, classes = list(range(len(named))), named
        places = {value: place for place, value in enumerate(values)}
        labels = [places[label] for label in labels]
    else:
        labels = [0] * len(labels)
    entries = Entries(
        [str(name) for name in names],
        np.repeat(np.arange(len(parts)), [len(part.names) for part in parts]),
        np.array([offset for part in parts for offset in part.offsets], np.int64),
        np.array([size for part in parts for size in part.sizes], np.int64),
        np.array(labels, np.int32),
    )
    return entries, classes


def _check_same_class_names(shards: Sequence[str], parts: Sequence[Scanned]) -> None:
    """Raise ValueError if one number means two classes: each file says the names of its own."""
    named = [(shard, list(part.classes)) for shard, part in zip(shards, parts) if part.classes]
    for shard, classes in named:
        first, wanted = named[0]
        if classes != wanted:
            pairs = enumerate(itertools.zip_longest(wanted, classes))
            label, (one, other) = next((n, pair) for n, pair in pairs if pair[0] != pair[1])
            raise ValueError(
                f"holds files of other classes: {label} is {one!r} in {first}, and {other!r} in "
                f"{shard}; they must have the same classes in the same order"
            )


def _index_places(root: str) -> list[str]:
    """Where the index of a folder or pattern may be: beside the files, or in the cache folder."""
    digest = hashlib.blake2b(os.fsencode(root), digest_size=8).hexdigest()
    beside = INDEX if os.path.isdir(root) else f"index-{digest}.mscn"
    return [os.path.join(_folder_of(root), beside), str(cache_folder() / f"index-{digest}.mscn")]


def _folder_of(root: str) -> str:
    """The folder that holds the files of a folder or pattern."""
    while not os.path.isdir(root):
        root = os.path.dirname(root) or "."
    return root


@functools.lru_cache(1024)
def root_of(folder: str) -> tuple[type[IndexedSource], str] | None:
    """The source and the root of images whose names begin with ``folder``, if there are any."""
    sources = [source for source in SOURCES.values() if issubclass(source, IndexedSource)]
    for path in (folder, *map(str, Path(folder).parents)):
        is_folder = os.path.isdir(path)
        for source in sources:
            if is_folder and _shards_in(Path(path), source.suffix):
                return source, path
            if not is_folder and path.endswith(source.suffix) and source.exists(path):
                return source, path
        if is_folder:
            return None
    return None


def _files(root: str, suffix: str, missing: list[str] | None = None) -> list[str]:
    """The files of a folder or pattern, sorted.

    Args:
        missing: gets those that are not there; None: one that is missing raises ValueError.
    """
    if os.path.isdir(root):
        return [os.path.join(root, name) for name in _shards_in(Path(root), suffix)]
    found, absent = [], []
    for path in expand_braces(root):
        folder, name = os.path.split(path)
        if os.path.isfile(path):
            found.append(path)
        elif glob.has_magic(name) and os.path.isdir(folder):  # whose own name may have brackets
            names = fnmatch.filter(os.listdir(folder), name)
            shown = [n for n in names if is_hidden(name) or not is_hidden(n)]
            found += [os.path.join(folder, n) for n in shown]
        elif glob.has_magic(path):
            found += glob.glob(path)
        else:
            absent.append(path)
    if absent and missing is None:
        more = f", and {len(absent) - 1} more files are missing" if len(absent) > 1 else ""
        raise ValueError(f"names {absent[0]}, which is missing{more}")
    if missing is not None:
        missing += absent
    return sorted(found)


def expand_braces(pattern: str) -> list[str]:
    """The paths that a pattern with ``{000..123}`` or ``{a,b}`` stands for, as in a shell."""
    if os.path.exists(pattern):
        return [pattern]
    braces = re.search(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}", pattern)
    if braces is None:
        return [pattern]
    first, last, words = braces.groups()
    choices = words.split(",") if words is not None else _numbers(first, last)
    head, tail = pattern[: braces.start()], expand_braces(pattern[braces.end() :])
    return [f"{head}{choice}{rest}" for choice in choices for rest in tail]


def _numbers(first: str, last: str) -> Iterator[str]:
    padded = any(len(end) > 1 and end.startswith("0") for end in (first, last))
    width = max(len(first), len(last)) if padded else 0
    low, high = sorted((int(first), int(last)))
    return (f"{number:0{width}d}" for number in range(low, high + 1))


def _shards_in(folder: Path, suffix: str) -> list[str]:
    """Names of the files with a suffix in a folder, sorted."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return sorted(n for n in names if n.endswith(suffix) and not is_hidden(n))


def _holds_shards(folder: Path, suffix: str, extensions: Extensions) -> bool:
    """Whether the files with a suffix in a folder are its images, and not archives beside these.

    Archives stay where they were unpacked, and tables are beside the images that they are about:
    where there are more images than such files, the sub-folders' included, it is a folder of
    images.
    """
    shards = len(_shards_in(folder, suffix))
    return shards > 0 and (
        any((place / PACK).is_file() for place in (folder, folder.parent))
        or not has_more_images(folder, shards, extensions)
    )


def _holder(folder: Path, suffix: str, extensions: Extensions) -> Path | None:
    """The folder that holds shards, or sub-folders of splits with shards; None: there is none."""
    if _holds_shards(folder, suffix, extensions):
        return folder
    names = sub_folders(folder)
    splits = [n for n in names if any(pattern.fullmatch(n) for pattern in SPLIT_NAMES)]
    splits = [n for n in splits if _holds_shards(folder / n, suffix, extensions)]
    if splits:
        here: Path | None = folder
    else:
        here = _holder(folder / names[0], suffix, extensions) if len(names) == 1 else None
    if here is None or (folder / PACK).is_file():
        return here
    shards = sum(len(_shards_in(here / name, suffix)) for name in ("", *sub_folders(here)))
    # Files in val/ alone are archives where the images are in other sub-folders.
    deep = here == folder and not matching(TRAIN, splits)
    return None if has_more_images(folder, shards, extensions, deep) else here


def _split_word(path: str) -> str | None:
    """What the name of a file says of its split: ``val`` for ``imagenet-val-000012.tar``."""
    words = re.split(r"[^A-Za-z]+", os.path.basename(path))
    return next((w for w in words if any(p.fullmatch(w) for p in SPLIT_NAMES)), None)
