"""Parquet files of images, as Hugging Face's ``datasets`` writes them.

A row has the image, ``{"bytes": ..., "path": ...}`` or the bytes alone, and perhaps a label. A row
can only be read with its whole row group: for random access at speed such files are packed.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from mscn_plugin.data.index import Index
from mscn_plugin.data.packed import IndexedSource, Scanned, changed, check_unchanged

_LABELS = ("label", "labels", "fine_label", "cls", "class")
_IMAGES = ("image", "img", "picture", "jpg", "png")
_KEPT_GROUPS = 2


class ParquetSource(IndexedSource):
    """Parquet files with a column of images."""

    name = "parquet"
    suffix = ".parquet"

    @staticmethod
    def scan(path: str) -> Scanned:
        with _opened(path) as file, _reading(path):
            schema = file.schema_arrow
            column, is_struct = _image_column(path, schema)
            label = next((name for name in _LABELS if name in schema.names), None)
            rows = file.metadata.num_rows
            names: list[str | None] = [None] * rows
            labels: list[int | str | None] = [None] * rows
            if is_struct and schema.field(column).type.get_field_index("path") >= 0:
                table = file.read(columns=[f"{column}.path"], use_threads=False)
                names = [value["path"] if value else None for value in table.column(0).to_pylist()]
            if label is not None:
                labels = file.read(columns=[label], use_threads=False).column(0).to_pylist()
            if any(not isinstance(value, (int, str, type(None))) for value in labels):
                raise ValueError(f"names {path}, whose column {label!r} is neither number nor word")
            classes = _class_names(schema, label)
        return Scanned(names, list(range(rows)), [-1] * rows, labels, Counter(), classes)

    @classmethod
    def close_files(cls) -> None:
        _file.cache_clear()

    @staticmethod
    def read(index: Index, row: int) -> bytes:
        path, place = index.shard_path(row), int(index.offsets[row])
        try:
            check_unchanged(index, row, os.stat(path))
            content = _file(path).image(place)
        except (OSError, ValueError, IndexError) as error:  # pyarrow's are of these kinds
            raise changed(index, path, str(error).split("\n")[0]) from None
        return content or b""


def _opened(path: str) -> Any:
    try:
        from pyarrow import parquet
    except ImportError:
        raise ValueError(f"names {path}, which needs pyarrow: pip install pyarrow") from None
    with _reading(path):
        return parquet.ParquetFile(path, memory_map=False, pre_buffer=False)


@contextlib.contextmanager
def _reading(path: str) -> Iterator[None]:
    """Turn pyarrow's errors into ValueError, what follows on "which"."""
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"names {path}, which is damaged or truncated: {reason}") from None


def _image_column(path: str, schema: Any) -> tuple[str, bool]:
    """Name of the column that holds images, and whether it has paths beside the bytes."""
    from pyarrow import types

    def holds_bytes(kind: Any) -> bool:
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    for name in sorted(schema.names, key=lambda name: name not in _IMAGES):
        kind = schema.field(name).type
        if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            return name, True
        if holds_bytes(kind) and name in _IMAGES:
            return name, False
    raise ValueError(
        f"names {path}, which has no column of images, {{bytes, path}}: {', '.join(schema.names)}"
    )


def _class_names(schema: Any, label: str | None) -> list[str] | None:
    """Names of the classes that Hugging Face writes beside the schema."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


class _File:
    """An opened file with the row groups that were read last."""

    def __init__(self, path: str) -> None:
        self.file = _opened(path)
        self.column, self.is_struct = _image_column(path, self.file.schema_arrow)
        metadata = self.file.metadata
        rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self.ends = np.cumsum(rows)
        self.groups: collections.OrderedDict[int, Any] = collections.OrderedDict()

    def image(self, row: int) -> bytes | None:
        group = int(np.searchsorted(self.ends, row, side="right"))
        if group not in self.groups:
            if len(self.groups) >= _KEPT_GROUPS:
                self.groups.popitem(last=False)
            name = f"{self.column}.bytes" if self.is_struct else self.column
            table = self.file.read_row_group(group, columns=[name], use_threads=False)
            self.groups[group] = table.column(0)
        first = int(self.ends[group - 1]) if group else 0
        value = self.groups[group][row - first].as_py()
        content: bytes | None = value["bytes"] if self.is_struct and value else value
        return content


_file = functools.lru_cache(maxsize=16)(_File)
"""The file of a path; those read last stay open."""
