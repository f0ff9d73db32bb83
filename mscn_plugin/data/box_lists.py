"""Lists of boxes: where the object of an image is, one object an image.

A list is a text file with a line for each image, separated by commas or tabs: its name, then left,
top, right and bottom of the object in pixels. Lines with a class between name and box are Tiny
ImageNet's ``val_annotations.txt``.
"""

from __future__ import annotations

import csv
import posixpath
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mscn_plugin.data.decoding import printable
from mscn_plugin.data.image_folder import Splits
from mscn_plugin.errors import ConfigError
from mscn_plugin.types import is_number

FILES = ("boxes.csv", "boxes.tsv", "val_boxes.csv", "val_boxes.tsv", "val_annotations.txt")
"""Names under which a list is found."""
HEADER = ("image", "x0", "y0", "x1", "y1")
"""The first line, which may be left out."""


class Box(NamedTuple):
    """A line of a list.

    Attributes:
        line: its number, from 1.
        name: of the image: the end of its path, of one or more parts.
        corners: left, top, right, bottom in pixels, edges: a picture of W x H pixels goes from 0
            to W and H.
    """

    line: int
    name: str
    corners: tuple[float, ...]


def find_boxes(splits: Splits) -> Path | None:
    """The first of :data:`FILES` in the validation folder, or else beside it, up to the data's."""
    inner = splits.val or splits.train
    folders = [f for f in (inner, *inner.parents) if f.is_relative_to(splits.folder)]
    files = (folder / name for folder in folders for name in FILES)
    return next((file for file in files if file.is_file()), None)


def read_boxes(file: Path) -> list[Box]:
    """The lines of a list.

    Raises:
        ConfigError: it cannot be read, or a line is not one of a list.
    """
    try:
        text = file.read_text(encoding="utf-8-sig", errors="surrogateescape")
        delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
        rows = list(csv.reader(text.splitlines(), delimiter=delimiter))
    except (OSError, csv.Error) as error:
        raise ConfigError(f"the list of boxes {file} cannot be read: {error}") from None
    boxes = []
    for line, row in enumerate(rows, start=1):
        words = [word.strip() for word in row]
        if not any(words) or (line == 1 and tuple(words) == HEADER):
            continue
        try:
            corners = tuple(map(float, words[-4:]))
        except ValueError:
            corners = ()
        if len(words) not in (5, 6) or not words[0] or not _ordered(corners):
            raise ConfigError(
                f"{file}, line {line}, is {printable(delimiter.join(row))!r}; it must be "
                f"{', '.join(HEADER)}, separated by commas or tabs: an image's name, and left, "
                "top, right and bottom of its box in pixels, with x0 <= x1 and y0 <= y1"
            )
        boxes.append(Box(line, printable(posixpath.normpath(words[0])), corners))
    return boxes


def _ordered(corners: Sequence[float]) -> bool:
    if len(corners) != 4 or not all(map(is_number, corners)):
        return False
    left, top, right, bottom = corners
    return left <= right and top <= bottom


class Images:
    """Images that can be found by the end of their path.

    Args:
        paths: of the images, printable.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = paths
        self._by_file: dict[str, list[int]] = defaultdict(list)
        for place, path in enumerate(paths):
            self._by_file[posixpath.basename(path)].append(place)

    def named(self, name: str) -> list[int]:
        """Places of the images whose path is ``name`` or ends with it."""
        return [
            place
            for place in self._by_file.get(posixpath.basename(name), ())
            if f"/{self.paths[place]}".endswith(f"/{name}")
        ]


def boxes_of_images(
    file: Path, boxes: Sequence[Box], images: Images, others: Sequence[str]
) -> dict[int, Box]:
    """The boxes of a list by the place of their image.

    Args:
        file: the list, for the errors.
        others: paths of images that a list may name as well, and that have no part here.

    Raises:
        ConfigError: a name is that of no image or of several, or an image has two boxes.
    """
    found: dict[int, Box] = {}
    unused = Images(others)
    for box in boxes:
        start = f"{file}, line {box.line}, names {box.name!r}"
        places = images.named(box.name)
        if len(places) > 1:
            first, second = (images.paths[place] for place in places[:2])
            raise ConfigError(
                f"{start}, and {first} and {second} both end so: it must name more of the path"
            )
        if not places and not unused.named(box.name):
            raise ConfigError(
                f"{start}, and no image of the data has a path that ends so: it must be an image "
                f"such as {images.paths[0]}"
            )
        for place in places:
            if place in found:
                raise ConfigError(
                    f"{start}, which has a box in line {found[place].line}: an image must have one"
                )
            found[place] = box
    return found
