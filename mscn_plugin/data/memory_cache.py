"""Decoded images in memory that the processes of a machine share: ``MSCN.CACHE: memory``.

An image is decoded when it is first needed, in whichever process that is, and for all of them.
JPEGs that a crop takes at a half, a quarter or an eighth of their size are kept in these sizes,
too, so that every crop has the pixels that it has without the cache.
"""

from __future__ import annotations

import mmap
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image
from torch import Tensor

from mscn_plugin.data.decoding import Decoded, EncodedImage, UnreadableImageError
from mscn_plugin.errors import RunError

_REDUCTIONS = (1, 2, 4, 8)
"""Of which each image has a place for the pixels; the JPEG format has no others."""
_ALIGNMENT = 64
_CONTROL_GROUPS = {
    "": ("/sys/fs/cgroup", "max", "current", ""),
    "memory": ("/sys/fs/cgroup/memory", "limit_in_bytes", "usage_in_bytes", "total_"),
}
"""Of versions 2 and 1, by the controller's name in ``/proc/self/cgroup``: the outermost group, the
ends of its files' names ``memory.<...>``, and how names in ``memory.stat`` begin."""
_FILE_PAGES = ("active_file", "inactive_file")


def held_bytes(file: EncodedImage) -> list[int]:
    """How many bytes the decoded image takes, in each of the sizes in which it is kept."""
    width, height = file.image.size
    kept = _REDUCTIONS if file.reducible else _REDUCTIONS[:1]
    return [-(-width // r) * -(-height // r) * 3 for r in kept]


def available_memory() -> int:
    """Bytes that this machine, or the container or SLURM job that this process is in, has left."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            found.append(int(line.split()[1]) * 1024)
    return min(found + list(_left_in_control_groups()))


def _left_in_control_groups() -> Iterator[int]:
    """Bytes that each control group around this process has left: a SLURM job's, a container's."""
    own: dict[str, str] = {}
    for line in _lines("/proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), path))
    for controller, (root, limit, used, prefix) in _CONTROL_GROUPS.items():
        group = Path(root, own.get(controller, "").lstrip("/"))
        for folder in (group, *group.parents):
            numbers = [*_lines(folder / f"memory.{limit}"), *_lines(folder / f"memory.{used}")]
            if len(numbers) == 2 and all(number.isdigit() for number in numbers):
                counts = dict(line.split() for line in _lines(folder / "memory.stat"))
                # Pages of files count as used, and are given back where memory is needed.
                pages = sum(int(counts.get(prefix + kind, 0)) for kind in _FILE_PAGES)
                yield max(0, int(numbers[0]) - int(numbers[1]) + pages)


def _lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def refusal(needed: float, images: int, about: str = "", job_gb: int | None = None) -> str | None:
    """What is wrong with a cache of so many bytes on this machine, or None.

    Args:
        job_gb: ``SLURM.MEM_GB`` of a job that is yet to start, elsewhere.
    """
    if job_gb is None:
        available, room = available_memory(), "this machine has {:.3g} GB left"
    else:
        available, room = job_gb * 2**30, "a job has {:.3g} GB (config.SLURM.MEM_GB)"
    if needed <= available:
        return None
    return (
        f"config.MSCN.CACHE is memory, which for {images} decoded images needs {about}"
        f"{needed / 1e9:.3g} GB, and {room.format(available / 1e9)}: set it to none, or make the "
        "images smaller (mscn pack --short-side)"
    )


def sizes_refusal(sizes: Iterable[tuple[int, int]]) -> str | None:
    """What is wrong with pictures of these widths and heights for crops on the device, or None."""
    found = sorted(set(sizes))
    if len(found) < 2:
        return None
    shown = " and ".join("{} x {}".format(*found[place]) for place in (0, -1))
    return (
        "config.MSCN.CROP_ON is device, which needs images of one size, and these have "
        f"{len(found)} sizes, {shown} pixels among them: set it to worker"
    )


class Held(NamedTuple):
    """A decoded image in memory.

    Attributes:
        pixels: uint8 ``[H, W, 3]``, the memory itself, not to be written to.
        scale: its size as a part of that in the file.
        nearly_blank: whether hardly anything is left of it.
    """

    pixels: np.ndarray
    scale: float
    nearly_blank: bool


class MemoryCache:
    """Decoded images by their places in a source.

    Args:
        sizes: what :func:`held_bytes` says for each image and all :data:`_REDUCTIONS`, zeros where
            it says none and for images that are unreadable, int64 ``[N, 4]``.
        upright: width and height of each image, 0 where only decoding says it, int ``[N, 2]``.
        path: of the memory that another process of this machine has made; empty: it is made here.
    """

    def __init__(self, sizes: np.ndarray, upright: np.ndarray, path: str = "") -> None:
        self.upright = upright
        number, most = sizes.shape
        # Where each size of each image ends, and where it begins: that of the one before.
        self.ends = np.cumsum(sizes.reshape(-1)).reshape(number, most)
        shapes = {
            # For each reduction that may be requested the size that it gives, counted from 1.
            "kept": ((number, _REDUCTIONS[-1] + 1), "u1"),
            "shapes": ((number, most, 2), "i4"),
            "scales": ((number, most), "f8"),
            "blank": ((number, most), "u1"),
        }
        places, end = {}, int(self.ends[-1, -1]) if number else 0
        for name, (shape, kind) in shapes.items():
            places[name] = end = -(-end // _ALIGNMENT) * _ALIGNMENT
            end += int(np.prod(shape)) * np.dtype(kind).itemsize
        if path:
            self.descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        else:  # memory without a name, which is gone with the last process that has it
            self.descriptor = os.memfd_create("mscn_cache")
            os.ftruncate(self.descriptor, max(end, 1))
        memory = mmap.mmap(self.descriptor, 0)
        self._pixels = np.frombuffer(memory, np.uint8)
        self._kept, self._shapes, self._scales, self._blank = (
            np.frombuffer(memory, kind, int(np.prod(shape)), places[name]).reshape(shape)
            for name, (shape, kind) in shapes.items()
        )

    @property
    def path(self) -> str:
        """Where other processes of this machine find the memory, while this one lives."""
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"

    def __reduce__(self) -> Any:
        return _attached, (self.ends, self.upright, self.path)

    def get(self, place: int, reduction: int) -> Held | None:
        """An image as it was decoded before."""
        kept = int(self._kept[place, reduction]) - 1
        if kept < 0:
            return None
        height, width = self._shapes[place, kept]
        pixels = self._place(place, kept)[: 3 * height * width].reshape(height, width, 3)
        return Held(pixels, float(self._scales[place, kept]), bool(self._blank[place, kept]))

    def put(self, place: int, reduction: int, decoded: Decoded, blank: bool) -> None:
        """Keep an image, decoded with this reduction, if there is a place for its size."""
        kept = round(np.log2(1 / decoded.scale))
        pixels = np.asarray(decoded.picture)
        if not 0 <= kept < len(_REDUCTIONS) or pixels.size > len(self._place(place, kept)):
            return
        self._place(place, kept)[: pixels.size] = pixels.reshape(-1)
        self._shapes[place, kept] = pixels.shape[:2]
        self._scales[place, kept] = decoded.scale
        self._blank[place, kept] = blank
        self._kept[place, reduction] = kept + 1  # last: another process may look meanwhile

    def _place(self, place: int, kept: int) -> np.ndarray:
        flat = place * len(_REDUCTIONS) + kept
        ends = self.ends.reshape(-1)
        return self._pixels[ends[flat - 1] if flat else 0 : ends[flat]]


def _attached(ends: np.ndarray, upright: np.ndarray, path: str) -> MemoryCache:
    return MemoryCache(np.diff(ends.reshape(-1), prepend=0).reshape(ends.shape), upright, path)


class HeldImage(EncodedImage):
    """An image file that is decoded if its pixels are not in memory.

    Args:
        cache: of the source.
        place: of the image in the source.
        load: opens the file.
    """

    def __init__(self, cache: MemoryCache, place: int, load: Callable[[], EncodedImage]) -> None:
        self.cache, self.place, self.load = cache, place, load
        self.nearly_blank = False
        self._decoded: Decoded | None = None
        self._is_jpeg = False  # its pixels come from memory, however they are asked for

    @property
    def size(self) -> tuple[int, int]:
        width, height = map(int, self.cache.upright[self.place])
        return (width, height) if width else self.decode().picture.size

    def decode(self, reduction: int = 1) -> Decoded:
        if self._decoded is None:
            reduction = min(max(reduction, 1), _REDUCTIONS[-1])
            held = self.cache.get(self.place, reduction)
            if held is not None:
                self._decoded = Decoded(Image.fromarray(held.pixels), held.scale)
                self.nearly_blank = held.nearly_blank
            else:
                file = self.load()
                self._decoded = file.decode(reduction)
                self.nearly_blank = file.nearly_blank
                self.cache.put(self.place, reduction, self._decoded, self.nearly_blank)
        return self._decoded

    def pixels(self) -> Tensor:
        held = self.cache.get(self.place, 1)
        if held is None:
            return super().pixels()
        self.nearly_blank = held.nearly_blank
        return torch.from_numpy(held.pixels).permute(2, 0, 1)


def make_cache(
    load: Callable[[int], EncodedImage], number: int, with_sizes: bool = False
) -> MemoryCache:
    """A cache for the images of a source, which all ranks of a machine share.

    Args:
        load: opens the image with this place; may raise UnreadableImageError.
        with_sizes: decode images of which nothing else says the size, so that only those that are
            unreadable have none.

    Raises:
        RunError: on all ranks, where a machine has not enough memory.
    """
    machine, rank = socket.gethostname(), dist.get_rank() if dist.is_initialized() else 0
    here = [other for other, name in enumerate(_of_all_ranks(machine)) if name == machine]
    owner = here[0]
    sizes = np.zeros((number, len(_REDUCTIONS)), np.int64)
    upright = np.zeros((number, 2), np.int32)
    # One rank opens an image, and all of the machine go by what it has found: where a read error
    # has passed on one of them, its places in the memory would be other images' places.
    share = slice(here.index(rank), None, len(here))
    for place in range(number)[share]:
        try:
            file = load(place)
            upright[place] = file.size if with_sizes or file.reducible else 0
        except UnreadableImageError:
            continue
        held = held_bytes(file)
        sizes[place, : len(held)] = held
        file.image.close()
    found = _of_all_ranks((sizes[share], upright[share]))
    for first, other in enumerate(here):
        sizes[first :: len(here)], upright[first :: len(here)] = found[other]
    cache, message = None, None
    if owner == rank:
        message = refusal(int(sizes.sum()), number)
        cache = MemoryCache(sizes, upright) if message is None else None
    answers = _of_all_ranks((cache.path if cache else "", message))
    for _, message in answers:
        if message is not None:
            raise RunError(message)
    shared = cache or MemoryCache(sizes, upright, answers[owner][0])
    _of_all_ranks(None)  # the owner lives until all have it
    return shared


def _of_all_ranks(value: Any) -> list[Any]:
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
