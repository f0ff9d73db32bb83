"""Annotated pictures: what every layout is read into, and its comparison with the files."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import math
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import ExifTags, Image

from mscn_plugin.detection.findings import Findings

Box = tuple[float, float, float, float]
"""Left, upper, right, lower in pixels: the whole image is ``(0, 0, width, height)``."""
_TURNED = (5, 6, 7, 8)  # values of EXIF's orientation that exchange width and height
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")
_OTHER_MODE = (
    "picture of 16 bits, of floats, or in Lab, which detectron2 would clip or not convert: save it "
    "as RGB with 8 bits"
)
_TURNED_TWICE = "TIFF with an orientation, which detectron2 would apply twice: save it as PNG"
_NUM_THREADS = 8  # for folders on a network, where opening a file is waiting


@dataclasses.dataclass
class Annotation:
    """One object in a picture.

    Attributes:
        where: file and place in it, for messages.
        difficult: VOC's flag: a detection of it counts neither for nor against.
        crowd: COCO's ``iscrowd``: not trained, and not counted either.
        segmentation: polygons ``[[x, y, x, y, ...], ...]``, run lengths (a dict), or None.
        area: of the object in pixels; None: that of the box.
    """

    name: str
    box: Box
    where: str
    difficult: bool = False
    crowd: bool = False
    segmentation: Any = None
    area: float | None = None

    @property
    def counts(self) -> bool:
        """Whether AP counts it as an object to be found."""
        return not (self.difficult or self.crowd)


@dataclasses.dataclass
class Picture:
    """An image file and its objects.

    Attributes:
        where: the file of its annotation, for messages.
        size: width and height; as the annotation states it, and after :func:`check_files` as
            detectron2 reads it. None: not stated, or unreadable.
    """

    file: Path
    where: str
    size: tuple[int, int] | None
    objects: list[Annotation]


class Header(NamedTuple):
    """What a file's header states: its size as stored, EXIF's orientation, what is not taken."""

    stored: tuple[int, int]
    orientation: int
    transparent: bool
    defect: str

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of what detectron2 reads, which applies EXIF's orientation."""
        return self.stored[::-1] if self.orientation in _TURNED else self.stored


def number(value: Any) -> float:
    """A finite number, also if it is written as text.

    Raises:
        ValueError: it is not one.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{value!r} is not a number")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise ValueError(f"{value!r} is not finite")
    return result


def checked_size(width: Any, height: Any) -> tuple[int, int]:
    """Width and height in pixels, also if they are written as text.

    Raises:
        ValueError: one is no whole number, or negative.
    """
    sides = number(width), number(height)
    if any(side < 0 or side != int(side) for side in sides):
        raise ValueError("its size is {:g} x {:g}".format(*sides))
    return int(sides[0]), int(sides[1])


def class_name(raw: str, place: str, findings: Findings) -> str:
    """A class's name without the spaces around it.

    Raises:
        ValueError: nothing is left.
    """
    name = " ".join(raw.split())
    if not name:
        raise ValueError("its class has no name")
    if name != raw:
        findings.note(
            "class with spaces around or line breaks in its name: taken without",
            f"{raw!r}, {place}",
        )
    return name


def check_files(pictures: Sequence[Picture], findings: Findings) -> None:
    """Read every file, compare its size with the annotation's, and its boxes with the size."""
    with concurrent.futures.ThreadPoolExecutor(_NUM_THREADS) as pool:
        headers: Any = pool.map(_try_header, (picture.file for picture in pictures))
        with contextlib.closing(headers):  # a signal need not wait for the rest
            for picture, header in zip(pictures, headers):
                if isinstance(header, Header):
                    _compare(picture, header, findings)
                    continue
                findings.refuse(
                    "picture cannot be read: put the complete file there, or delete it with its "
                    "annotation",
                    f"{picture.file} ({header})",
                )
                picture.size = None


def _try_header(file: Path) -> Any:
    try:
        return read_header(file)
    except Exception as error:  # Pillow raises many kinds
        return f"{type(error).__name__}: {str(error)[:80]}"


def read_header(file: Path) -> Header:
    """Size, orientation and mode of an image file that is there to its end.

    Raises:
        Exception: Pillow's, of a file that is no image or is truncated.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # large pictures are not an attack here
        with Image.open(file) as image:
            try:
                orientation: Any = image.getexif().get(ExifTags.Base.Orientation)
            except Exception:  # detectron2, too, continues without
                orientation = None
            header = Header(
                stored=image.size,
                orientation=orientation if orientation in range(1, 9) else 1,
                transparent=image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info,
                defect=_OTHER_MODE
                if image.mode not in _MODES
                else _TURNED_TWICE
                if image.format == "TIFF" and orientation in range(2, 9)
                else "",
            )
            _read_to_the_end(file, image)
    return header


def _read_to_the_end(file: Path, image: Image.Image) -> None:
    if image.format == "PNG":
        with Image.open(file) as unread:  # Pillow verifies nothing after it has read EXIF
            unread.verify()
    else:
        image.draft(None, (1, 1))  # of JPEG an eighth of the size: all is read, little computed
        image.load()


def _compare(picture: Picture, header: Header, findings: Findings) -> None:
    place, stated = str(picture.file), picture.size
    picture.size = header.size
    sizes = f"{place} (annotation {_by(stated)}, file {_by(header.size)})"
    if header.defect:
        findings.refuse(header.defect, place)
        return
    if header.transparent:
        findings.note("transparent picture, of which detectron2 takes the colors alone", place)
    if stated is None or 0 in stated:
        findings.note("annotation without width and height: the file's are taken", picture.where)
    elif stated != header.size and stated == header.stored:
        findings.refuse(
            "picture is turned by its EXIF orientation, and annotated as if it were not: remove "
            "the tag (exiftool -Orientation= FILE), or annotate it as it is displayed",
            sizes,
        )
        return
    elif stated != header.size:
        findings.refuse(
            "picture has another size than its annotation says: put the file there that was "
            "annotated, or scale boxes, width and height",
            sizes,
        )
        return
    if header.orientation != 1:
        findings.note("picture is turned or mirrored by EXIF; boxes are taken as displayed", place)
    picture.objects = list(_fitted(picture, header.size, findings))


def _by(size: tuple[int, int] | None) -> str:
    return f"{size[0]} x {size[1]}" if size else "none"


def _fitted(picture: Picture, size: tuple[int, int], findings: Findings) -> Iterable[Annotation]:
    """The objects with their boxes clipped to the image; those without a box are left out."""
    width, height = size
    for item in picture.objects:
        left, upper, right, lower = item.box
        place = f"{item.where} {tuple(round(side, 2) for side in item.box)}"
        if left == right or upper == lower:
            findings.note("empty box: its object is left out", place)
            continue
        inside = (max(left, 0), max(upper, 0), min(right, width), min(lower, height))
        if inside[0] >= inside[2] or inside[1] >= inside[3]:
            findings.refuse(
                "box outside of its image: correct it or delete the object",
                f"{place} of {_by(size)}",
            )
            continue
        if inside != item.box:
            findings.note("box sticks out of its image: clipped", place)
        item.box = inside
        yield item
