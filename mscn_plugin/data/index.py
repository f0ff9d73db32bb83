"""The index of images in large files: where each one is, its name and its label.

It is one file, which processes map into memory and so share. A line that says what it is, the
length of the header as 8 bytes, the CRC-32 of all that follows as 4, the header as JSON, and arrays
that begin at multiples of 64 bytes. The header names the version, the
kind of the large files, these files with their sizes, the classes, and the arrays.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, overload

import numpy as np

from mscn_plugin.errors import RunError
from mscn_plugin.files import replacing

VERSION = 2
_MAGIC = b"mscn-plugin: index of images\n\0\0\0"
_NUMBERS = struct.Struct("<QI")  # the header's length, the checksum
_ALIGNMENT = 64
_CHUNK = 1 << 16


class Shard(NamedTuple):
    """A file that holds images.

    Attributes:
        name: its path from the folder of all.
        size: in bytes.
        mtime: time of its last change, in nanoseconds.
    """

    name: str
    size: int
    mtime: int

    @classmethod
    def of(cls, folder: str, name: str) -> Shard:
        """The file as it is now; raises OSError."""
        status = os.stat(os.path.join(folder, name))
        return cls(name, status.st_size, status.st_mtime_ns)


class Entries(NamedTuple):
    """The images of some shards, one a row.

    Attributes:
        names: paths from the folder of all, each once.
        shards: place of the file among all files, int32 ``[N]``.
        offsets: first byte in the file, or row of the file, int64 ``[N]``.
        sizes: in bytes, int64 ``[N]``; -1: not known.
        labels: int32 ``[N]``.
        checksums: CRC-32 of the bytes, uint32 ``[N]``; None: not known.
    """

    names: Sequence[str]
    shards: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray
    checksums: np.ndarray | None = None


def write_index(
    path: str, kind: str, shards: Sequence[Shard], entries: Entries, **more: Any
) -> None:
    """Write an index by :func:`~mscn_plugin.files.replacing`.

    Args:
        kind: name of the source that reads the shards.
        more: what else the header holds: ``classes``, ``left_out``, ``fingerprint``.
    """
    encoded = [os.fsencode(name) for name in entries.names]
    arrays: dict[str, np.ndarray] = {
        "shards": entries.shards.astype("<i4"),
        "offsets": entries.offsets.astype("<i8"),
        "sizes": entries.sizes.astype("<i8"),
        "labels": entries.labels.astype("<i4"),
        "name_ends": np.cumsum(list(map(len, encoded)), dtype="<i8"),
        "by_name": np.array(sorted(range(len(encoded)), key=encoded.__getitem__), dtype="<i4"),
        "names": np.frombuffer(b"".join(encoded), dtype="u1"),
    }
    if entries.checksums is not None:
        arrays["checksums"] = entries.checksums.astype("<u4")
    places: dict[str, Any] = {}
    end = 0
    for name, array in arrays.items():
        places[name] = [array.dtype.str, len(array), end]
        end = _aligned(end + array.nbytes)
    header = json.dumps(
        {"version": VERSION, "kind": kind, **more, "shards": shards, "arrays": places, "end": end}
    ).encode()
    parts = [header, _padding(len(_MAGIC) + _NUMBERS.size + len(header))]
    for array in arrays.values():
        parts += [array.tobytes(), _padding(array.nbytes)]
    with replacing(path) as file, file.open("wb") as stream:
        stream.write(_MAGIC + _NUMBERS.pack(len(header), _checksum(parts)))
        stream.writelines(parts)


def _checksum(parts: Iterable[bytes]) -> int:
    return functools.reduce(lambda checksum, part: zlib.crc32(part, checksum), parts, 0)


def _padding(length: int) -> bytes:
    return bytes(_aligned(length) - length)


def _aligned(position: int) -> int:
    return -(-position // _ALIGNMENT) * _ALIGNMENT


class Index:
    """An index that is mapped into memory. A copy in another process maps the same file.

    Args:
        path: of the file.
        root: what configurations call the images: a folder, or a pattern.
        folder: the one that the shards' names begin in.

    Attributes:
        kind, classes, left_out, fingerprint, shards: what the header says.
        shard, offsets, sizes, labels, checksums: as in :class:`Entries`.
        digest: of the header.

    Raises:
        OSError: there is no such file.
        ValueError: it is none of this version; the message is what follows on "which".
    """

    def __init__(self, path: str, root: str, folder: str) -> None:
        self.path, self.root, self.folder = path, root, folder
        with open(path, "rb") as stream:
            first = len(_MAGIC) + _NUMBERS.size
            beginning = stream.read(first)
            if len(beginning) < first or not beginning.startswith(_MAGIC):
                raise ValueError(f"has the index {path}, which is damaged or none: {_AGAIN}")
            length, checksum = _NUMBERS.unpack(beginning[len(_MAGIC) :])
            text = stream.read(min(length, os.fstat(stream.fileno()).st_size))
            try:
                header = json.loads(text)
                version = header["version"]
            except (ValueError, KeyError, TypeError):
                raise ValueError(f"has the index {path}, which is damaged: {_AGAIN}") from None
            if version != VERSION:
                raise ValueError(
                    f"has the index {path} of version {version}, and this mscn-plugin reads "
                    f"version {VERSION}: {_AGAIN}"
                )
            start = _aligned(first + length)
            if os.fstat(stream.fileno()).st_size != start + header["end"]:
                raise ValueError(f"has the index {path}, which is truncated: {_AGAIN}")
            stream.seek(first)
            if _checksum(iter(lambda: stream.read(_CHUNK), b"")) != checksum:
                raise ValueError(f"has the index {path}, which is damaged: {_AGAIN}")
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        self.digest = hashlib.blake2b(text, digest_size=16).hexdigest()
        self.kind: str = header["kind"]
        self.classes: list[str] = header["classes"]
        self.left_out: dict[str, int] = header["left_out"]
        self.fingerprint: dict[str, Any] = header["fingerprint"]
        self.shards = [Shard(*shard) for shard in header["shards"]]
        arrays = {
            name: np.frombuffer(mapped, dtype, count, start + place)
            for name, (dtype, count, place) in header["arrays"].items()
        }
        self.shard, self.offsets, self.sizes = (arrays[n] for n in ("shards", "offsets", "sizes"))
        self.labels, self.checksums = arrays["labels"], arrays.get("checksums")
        # Views give Python's numbers, with which a search is several times as fast.
        self._names, self._ends, self._by_name = (
            memoryview(arrays[name].data) for name in ("names", "name_ends", "by_name")
        )

    def __reduce__(self) -> Any:
        return _reopened, (self.path, self.root, self.folder, self.digest)

    def __len__(self) -> int:
        return len(self._ends)

    def name(self, row: int) -> str:
        """The name of an image."""
        return os.fsdecode(self._name(row))

    def _name(self, row: int) -> bytes:
        return self._names[self._ends[row - 1] if row else 0 : self._ends[row]].tobytes()

    def row_of(self, name: str) -> int:
        """The row of a name; raises KeyError."""
        wanted = os.fsencode(name)
        rows = self._by_name
        place = bisect.bisect_left(rows, wanted, key=self._name)
        if place == len(rows) or self._name(rows[place]) != wanted:
            raise KeyError(name)
        return int(rows[place])

    def shard_path(self, row: int) -> str:
        """The file that holds an image."""
        return os.path.join(self.folder, self.shards[self.shard[row]].name)

    def entries(self) -> Entries:
        """All that :func:`write_index` was given."""
        names = [self.name(row) for row in range(len(self))]
        return Entries(names, self.shard, self.offsets, self.sizes, self.labels, self.checksums)


_AGAIN = "delete it, and it is made again from the files, or pack the images again"

opened: dict[str, Index] = {}
"""The indices of this process by their roots."""


def _reopened(path: str, root: str, folder: str, digest: str) -> Index:
    """What a loader's worker gets, which must be what the run began with."""
    try:
        index = Index(path, root, folder)
    except (OSError, ValueError) as error:
        raise RunError(f"{root}: the index cannot be read any more: {error}") from None
    if index.digest != digest:
        raise RunError(f"{path} has changed during the run: start it again")
    opened[root] = index
    return index


class IndexedImages(Sequence[tuple[str, int]]):
    """Paths and labels of the images of an index: a list that costs no memory.

    A path is that of the root followed by the image's name, as if the shards were unpacked.
    """

    def __init__(self, origin: Index) -> None:
        self.origin = origin

    def __len__(self) -> int:
        return len(self.origin)

    @overload
    def __getitem__(self, place: int) -> tuple[str, int]: ...

    @overload
    def __getitem__(self, place: slice) -> list[tuple[str, int]]: ...

    def __getitem__(self, place: int | slice) -> tuple[str, int] | list[tuple[str, int]]:
        if isinstance(place, slice):
            return [self[row] for row in range(*place.indices(len(self)))]
        row = range(len(self))[place]
        return f"{self.origin.root}/{self.origin.name(row)}", int(self.origin.labels[row])
