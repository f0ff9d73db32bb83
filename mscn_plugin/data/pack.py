"""Packs images into shards in the format of WebDataset, with an index of them.

The images keep their order, their names and their labels, so that a run on the packed images is the
run on the folder wherever no image was made smaller. A shard that is finished has its part of the
index beside it and is kept when packing was interrupted; parts become the index at the end.
"""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from mscn_plugin.data.decoding import (
    EncodedImage,
    UnreadableImageError,
    is_deep,
    printable,
    reading,
)
from mscn_plugin.data.fingerprints import contents_fingerprint
from mscn_plugin.data.image_folder import (
    Contents,
    fingerprint,
    image_extensions,
    is_hidden,
)
from mscn_plugin.data.index import Entries, Index, Shard, write_index
from mscn_plugin.data.packed import INDEX, PACK, PACK_AGAIN, TarSource
from mscn_plugin.data.parallel import in_processes
from mscn_plugin.data.sources import SOURCES, contents_of, find_splits
from mscn_plugin.errors import ConfigError, first_few
from mscn_plugin.files import remove_abandoned, replacing, save_json

_VERSION = 1
_MAX_NAMED = 5
_NO_FILE = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EACCES, errno.EPERM)
"""What the system says of a link that leads nowhere or round in a circle, and of a file that may
not be read; other errors may pass."""
_LONGEST = 65500  # pixels of a JPEG's side
_LEAST_SIDE = 16  # below it there is no picture left to crop from: a slip of the keyboard


@dataclasses.dataclass(frozen=True)
class Settings:
    """How images are packed.

    Attributes:
        short_side: pixels, at least 16; images whose shorter side is longer are made smaller; 0:
            none is.
        quality: of the JPEGs that are written, 1 to 100.
        reencode: write all images as JPEGs, also those that are small enough to be copied.
        images_per_shard: in each shard, but for the last one.

    Raises:
        ConfigError: one of them is out of range.
    """

    short_side: int = 288
    quality: int = 92
    reencode: bool = False
    images_per_shard: int = 1000

    def __post_init__(self) -> None:
        for name, least, most in (
            ("short_side", _LEAST_SIDE, _LONGEST),
            ("quality", 1, 100),
            ("images_per_shard", 1, 10**6),
        ):
            value = getattr(self, name)
            if not (least <= value <= most or (name == "short_side" and value == 0)):
                none = ", or 0, with which all are copied" if name == "short_side" else ""
                option = f"--{name.replace('_', '-')}"
                raise ConfigError(f"{option} is {value}; it must be from {least} to {most}{none}")


class Packed(NamedTuple):
    """What was done with some images.

    Attributes:
        copied: byte for byte.
        encoded: again, as JPEGs.
        deep: larger than requested and copied, since they have more than 8 bits a channel.
        long: copied, since they would have more pixels in a row or column than a JPEG may.
        unreadable: copied, or empty where there is no file that may be read, and counted as
            unreadable wherever they are used. Where nothing is decoded, those alone whose
            beginning is no image's.
        kept: of shards that an earlier start has finished.
    """

    copied: int = 0
    encoded: int = 0
    deep: int = 0
    long: int = 0
    unreadable: int = 0
    kept: int = 0

    def in_words(self) -> str:
        """Those that there are, in one line."""
        said = {
            "re-encoded": self.encoded,
            "copied": self.copied,
            "of more than 8 bits a channel, copied": self.deep,
            f"longer than the {_LONGEST} pixels of a JPEG, copied": self.long,
            "unreadable, kept as such": self.unreadable,
            "packed by an earlier start": self.kept,
        }
        return "images: " + "; ".join(f"{number} {what}" for what, number in said.items() if number)


class _Job(NamedTuple):
    source: str
    root: str
    images: list[tuple[str, int]]
    labeled: bool
    whole_names: bool
    shard: Path
    settings: Settings


def pack(data: str, output: Path, settings: Settings, processes: int = 1) -> list[str]:
    """Pack a data set, or resume where an interrupted start has stopped.

    Args:
        data: what :func:`~mscn_plugin.data.sources.find_splits` takes.
        output: the folder to make, with ``train/`` and ``val/`` where the data set has both.

    Returns:
        Lines that say what there is now.

    Raises:
        ConfigError: there are no images, or ``output`` holds something else.
        OSError: reading an image failed, as on a faulty disk, or a shard cannot be written.
    """
    splits = find_splits(data, "the folder")
    found = {"train": contents_of(splits)}
    if splits.val is not None:
        found["val"] = contents_of(splits, val=True)
    places = {name: name if splits.val else "." for name in found}
    images = {name: contents_fingerprint(contents) for name, contents in found.items()}
    plan = {"version": _VERSION, **dataclasses.asdict(settings), "images": images}
    # A pattern names files, and the pack may be beside them.
    source = splits.folder if Path(data).expanduser().is_dir() else None
    _begin(output, source, {"complete": False, **plan})
    jobs = [
        job
        for name, contents in found.items()
        if not (output / places[name] / INDEX).is_file()
        for job in _jobs(contents, splits.source, output / places[name], settings)
    ]
    to_pack = sum(len(job.images) for job in jobs)
    total = Packed(kept=sum(len(contents.images) for contents in found.values()) - to_pack)
    unreadable: list[str] = []
    with (
        in_processes(_write_shard, jobs, processes) as written,
        tqdm(total=to_pack, unit=" images", disable=None) as bar,
    ):
        for packed, names in written:
            bar.update(sum(packed))
            total = Packed(*map(sum, zip(total, packed)))
            unreadable += names
    lines = [total.in_words()]
    if unreadable:
        lines.append(f"unreadable: {first_few(unreadable, _MAX_NAMED)}")
    for name, contents in found.items():
        folder = output / places[name]
        if not (folder / INDEX).is_file():
            _write_index(folder, contents)
        index = Index(str(folder / INDEX), str(folder), str(folder))
        size = sum(shard.size for shard in index.shards)
        lines.append(
            f"{folder.resolve()}: {len(index)} images in {len(index.shards)} shards, "
            f"{size / 1e6:.1f} MB"
        )
    save_json(output / PACK, {"complete": True, **plan})
    return lines


def _begin(output: Path, source: Path | None, plan: dict[str, Any]) -> None:
    """Make the output's folder, or see that it holds the same pack.

    Args:
        source: the folder that is to be packed, which the output may not be in; None: there is
            none.
    """
    if source is not None and output.resolve().is_relative_to(source.resolve()):
        raise ConfigError(f"{output} is in {source}, which is to be packed: name another folder")
    output.mkdir(parents=True, exist_ok=True)
    if not (output / PACK).is_file():
        if any(not name.startswith(".") for name in os.listdir(output)):
            raise ConfigError(f"{output} holds other files: name a folder that is new or empty")
        save_json(output / PACK, plan)
        return
    try:
        before = json.loads((output / PACK).read_text(encoding="utf-8"))
    except ValueError:
        raise ConfigError(f"{output / PACK} is damaged: {PACK_AGAIN}") from None
    for key, now in plan.items():
        if key != "complete" and before.get(key) != now:
            what = "other images" if key == "images" else f"{key} {before.get(key)}, not {now}"
            raise ConfigError(
                f"{output} holds a pack of {what}: name another folder, or remove this one"
            )


def _jobs(contents: Contents, source: str, folder: Path, settings: Settings) -> Iterator[_Job]:
    """The shards that are not finished."""
    folder.mkdir(exist_ok=True)
    remove_abandoned(folder)
    keys = {os.path.splitext(path)[0] for path, _ in contents.images}
    step = settings.images_per_shard
    for number, first in enumerate(range(0, len(contents.images), step)):
        shard = folder / f"{number:06d}.tar"
        if not _is_finished(shard):
            yield _Job(
                source=source,
                root=contents.folder,
                images=list(contents.images[first : first + step]),
                labeled=bool(contents.classes),
                whole_names=len(keys) < len(contents.images),
                shard=shard,
                settings=settings,
            )


def _is_finished(shard: Path) -> bool:
    try:
        part = Index(str(_part(shard)), str(shard), str(shard.parent))
        return part.shards[0].size == shard.stat().st_size
    except (OSError, ValueError):
        return False


def _part(shard: Path) -> Path:
    return shard.with_suffix(".part")


def _write_shard(job: _Job) -> tuple[Packed, list[str]]:
    """Write a shard, then its part of the index; also returns the paths of unreadable images."""
    source, counts, unreadable = SOURCES[job.source], Counter[str](), []
    names, offsets, sizes, checksums = [], [], [], []
    with replacing(job.shard) as file, tarfile.open(file, "w", format=tarfile.GNU_FORMAT) as tar:
        for path, label in job.images:
            name = path[len(job.root) + 1 :]
            try:
                content = source.content(job.root, path)
            except OSError as error:
                if error.errno not in _NO_FILE:
                    raise
                content = b""
            content, ending, what = packed_image(content, job.settings)
            counts[what] += 1
            if what == "unreadable":
                unreadable.append(printable(path))
            ending = ending or _ending(name)
            key = member_key(name, job.whole_names)
            _add(tar, f"{key}.{ending}", content)
            padded = -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            names.append(name)
            offsets.append(tar.offset - padded)
            sizes.append(len(content))
            checksums.append(zlib.crc32(content))
            if job.labeled:
                _add(tar, f"{key}.cls", str(label).encode())
    entries = Entries(
        names,
        np.zeros(len(names), np.int32),
        np.array(offsets, np.int64),
        np.array(sizes, np.int64),
        np.array([label for _, label in job.images], np.int32),
        np.array(checksums, np.uint32),
    )
    _write(_part(job.shard), [_shard(job.shard)], entries, [])
    return Packed(**counts), unreadable


def packed_image(content: bytes, settings: Settings) -> tuple[bytes, str, str]:
    """An image file as it is packed: made smaller, upright, as JPEG, or as it is.

    Where all are copied, none is decoded: decoding takes most of the time.

    Returns:
        The file, the ending of its name where it has another kind now, and the field of
        :class:`Packed` that counts it.
    """
    try:
        with reading("image"):
            image = Image.open(io.BytesIO(content))
        short = min(image.size)
        wanted = min(settings.short_side or short, short)
        what = _kept_as(image, wanted, settings)
        if what:
            if settings.short_side or settings.reencode:
                with reading("image"):
                    image.load()
            return content, "", what
        encoded = EncodedImage(image)
        picture = encoded.decode(short // (2 * wanted)).picture
        size = [round(side * wanted / min(encoded.size)) for side in encoded.size]
    except UnreadableImageError:
        return content, "", "unreadable"
    if picture.size != tuple(size):
        picture = picture.resize((size[0], size[1]), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=settings.quality)
    return stream.getvalue(), "jpg", "encoded"


def _kept_as(image: Image.Image, wanted: int, settings: Settings) -> str:
    """The field of :class:`Packed` for an image that is not to be re-encoded; else empty.

    Args:
        wanted: pixels of the shorter side.
    """
    short, long = sorted(image.size)
    if wanted == short and not settings.reencode:
        return "copied"
    if is_deep(image):
        return "deep"
    return "long" if round(long * wanted / short) > _LONGEST else ""


def member_key(name: str, whole: bool) -> str:
    """What the members of an image are called in a shard: all in front of the first dot.

    Args:
        name: of the image, from the folder of all.
        whole: keep its ending, since others have the same name without it.
    """
    folder, base = os.path.split(name)
    stem = base if whole else os.path.splitext(base)[0]
    return os.path.join(folder, stem.replace("%", "%25").replace(".", "%2E"))


def _ending(name: str) -> str:
    ending = os.path.splitext(name)[1].lower()
    return ending[1:] if ending in image_extensions() else "jpg"


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # of no time and no user: the same images, the same bytes
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _shard(path: Path) -> Shard:
    return Shard(path.name, path.stat().st_size, 0)


def _write(path: Path, shards: list[Shard], entries: Entries, classes: list[str]) -> None:
    found = fingerprint(entries.names, entries.sizes.tolist())
    write_index(
        str(path),
        TarSource.name,
        shards,
        entries,
        classes=classes,
        left_out={},
        fingerprint=found,
    )


def _write_index(folder: Path, contents: Contents) -> None:
    """Make one index of the parts, and remove these."""
    shards = sorted(path for path in folder.glob("*.tar") if not is_hidden(path.name))
    parts = [Index(str(_part(s)), str(folder), str(folder)).entries() for s in shards]
    names = [name for part in parts for name in part.names]
    places = np.repeat(np.arange(len(parts)), [len(part.names) for part in parts])
    columns: list[Any] = [np.concatenate(column) for column in list(zip(*parts))[2:]]
    entries = Entries(names, places, *columns)
    _write(folder / INDEX, list(map(_shard, shards)), entries, contents.classes)
    for shard in shards:
        _part(shard).unlink()
