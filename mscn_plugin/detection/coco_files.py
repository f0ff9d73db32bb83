"""Annotations in COCO's JSON, one file a split, wherever the files are."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mscn_plugin.detection.annotated_folder import DataFolder, split_named
from mscn_plugin.detection.annotated_pictures import (
    Annotation,
    Picture,
    checked_size,
    class_name,
    number,
)
from mscn_plugin.detection.findings import Findings

_OTHER_TASKS = ("captions", "person_keypoints", "stuff", "panoptic", "image_info")
_NO_COCO = (
    "file is not an annotation file of COCO, an object with lists images, annotations and "
    "categories: export it again, or remove it"
)
_MANY = 0.25  # of a file's boxes


def annotation_files(data: DataFolder) -> list[tuple[str | None, Path]]:
    """Files of JSON that may be COCO's, with their splits; None where neither name states one."""
    files = [file for file in data.with_suffix(".json") if not file.name.startswith(_OTHER_TASKS)]
    found = [(_split(data, file), file) for file in files]
    return [
        (split, file)
        for split, file in found
        if len(files) == 1 or split or re.search("coco|instances|annotations", file.name)
    ]


def is_of_coco(file: Path) -> bool:
    """Whether a file of JSON is an object with ``images`` and ``annotations``."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {"images", "annotations"} <= content.keys()


def _split(data: DataFolder, file: Path) -> str | None:
    words = re.split("[^a-z]+", file.stem.lower())
    return next((split for split in map(split_named, words) if split), data.split(file))


def read_coco(data: DataFolder, findings: Findings) -> dict[str | None, list[Picture]]:
    """The pictures of all files by split: that of their file, or that which a folder names.

    ``None`` has those of no split, and those that the file of their split does not list.
    """
    splits: dict[str | None, list[Picture]] = {}
    files = annotation_files(data)
    instances = [pair for pair in files if "instances" in pair[1].name]
    of_files = {split for split, _ in files}
    taken: dict[str | None, Path] = {}
    stated: set[str] = set()
    for split, file in instances + [pair for pair in files if pair[0] not in dict(instances)]:
        if split in taken:
            findings.refuse(
                f"second file of annotations for {split or 'all pictures'}: keep one "
                "(labelme2coco makes one of LabelMe's)",
                f"{data.name(file)} beside {data.name(taken[split])}",
            )
            continue
        taken[split] = file
        splits.setdefault(split, [])
        for picture in _read_file(data, file, split, stated, findings):
            by_folder = data.split(picture.file)
            of_picture = split or (None if by_folder in of_files else by_folder)
            splits.setdefault(of_picture, []).append(picture)
    used = {item.name for found in splits.values() for p in found for item in p.objects}
    for name in sorted(stated - used):
        findings.note("category has no objects: no class", repr(name))
    return splits


def _read_file(
    data: DataFolder, file: Path, split: str | None, stated: set[str], findings: Findings
) -> Iterator[Picture]:
    """The pictures of a file; the names of its categories are added to ``stated``."""
    place = data.name(file)
    try:
        content = json.loads(file.read_bytes())
        parts = [content[key] for key in ("categories", "images", "annotations")]
        if not all(isinstance(part, list) for part in parts):
            raise ValueError("they must be lists")
        if not all(isinstance(item, dict) for part in parts for item in part):
            raise ValueError("their entries must be objects")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        findings.refuse(_NO_COCO, f"{place} ({str(error)[:100]})")
        return
    categories, images, objects = parts
    names = _categories(categories, place, findings)
    stated.update(names.values())
    pictures = _pictures(data, file, split, images, findings)
    _add_objects(objects, names, pictures, place, findings)
    yield from (picture for picture in pictures.values() if picture is not None)


def _identity(item: dict[str, Any], key: str) -> Any:
    """An id; digits as text mean the number.

    Raises:
        ValueError: there is none.
    """
    value = item.get(key)
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value.strip()):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"its {key} is {value!r}")
    return value


def _categories(items: list[dict[str, Any]], place: str, findings: Findings) -> dict[Any, str]:
    names: dict[Any, str] = {}
    for item in items:
        where = f"{place}, {str(item)[:80]}"
        try:
            name = class_name(str(item.get("name") or ""), where, findings)
            identity = _identity(item, "id")
        except ValueError as error:
            findings.refuse("category needs an id and a name: add it", f"{where} ({error})")
            continue
        if names.get(identity, name) != name:
            findings.refuse(
                "categories share an id: give each its own, in the objects, too",
                f"{place}, id {identity}: {names[identity]!r} and {name!r}",
            )
            continue
        if identity in names:
            findings.note("category is listed twice: taken once", f"{place}, {name!r}")
        elif name in names.values():
            findings.note("categories have one name: taken as one class", f"{place}, {name!r}")
        names[identity] = name
    return names


def _pictures(
    data: DataFolder,
    file: Path,
    split: str | None,
    items: list[dict[str, Any]],
    findings: Findings,
) -> dict[Any, Picture | None]:
    """Pictures by id; None for one that is refused already."""
    pictures: dict[Any, Picture | None] = {}
    entries: dict[Any, dict[str, Any]] = {}
    for index, item in enumerate(items):
        place = f"{data.name(file)}, image {item.get('id', f'number {index + 1}')!r}"
        try:
            identity = _identity(item, "id")
        except ValueError as error:
            findings.refuse("image of COCO needs an id: add it", f"{place} ({error})")
            continue
        if identity in entries:
            if entries[identity].get("file_name") == item.get("file_name"):
                findings.note("image is listed twice: taken once", place)
            else:
                findings.refuse("images share an id: give each its own, in the objects, too", place)
            continue
        entries[identity] = item
        pictures[identity] = _picture(data, file, split, item, place, findings)
    return pictures


def _picture(
    data: DataFolder,
    file: Path,
    split: str | None,
    item: dict[str, Any],
    place: str,
    findings: Findings,
) -> Picture | None:
    stated = item.get("file_name")
    try:
        if not stated or not isinstance(stated, str):
            raise ValueError(f"its file_name is {stated!r}")
        found = data.file_named(file, stated, split)
        size = _size(item)
    except ValueError as error:
        findings.refuse("image of COCO cannot be used: correct its entry", f"{place} ({error})")
        return None
    if len(found) != 1:
        names = " and ".join(map(data.name, found)) or f"no {stated!r} in {data.root}"
        findings.refuse(
            "image of COCO needs one file: put the picture there, or write its path below the "
            "data folder into file_name",
            f"{place} ({names})",
        )
        return None
    if not str(found[0]).endswith(os.path.normpath(stated.replace("\\", "/")).lstrip("./")):
        findings.note("file is found by the last part of its file_name alone", place)
    return Picture(found[0], place, size, [])


def _size(item: dict[str, Any]) -> tuple[int, int] | None:
    sides = [item.get(side) for side in ("width", "height")]
    if None in sides:
        return None
    return checked_size(*sides)


def _add_objects(
    items: list[dict[str, Any]],
    names: dict[Any, str],
    pictures: dict[Any, Picture | None],
    place: str,
    findings: Findings,
) -> None:
    """Put the objects into their pictures."""
    seen = set()
    boxes = []
    for index, item in enumerate(items, 1):
        where = f"{place}, object {item.get('id', f'number {index}')!r}"
        if "id" not in item or str(item["id"]) in seen:
            findings.note("objects without an id of their own: renumbered", where)
        seen.add(str(item.get("id")))
        try:
            category, image = _identity(item, "category_id"), _identity(item, "image_id")
            if category not in names:
                raise ValueError(f"categories have no id {category!r}")
            if image not in pictures:
                raise ValueError(f"images have no id {image!r}")
            sides = _sides(item, where, findings)
            picture = pictures[image]
            if picture is None:
                continue
            annotation = _annotation(item, names[category], sides, where, findings)
        except (ValueError, TypeError) as error:
            findings.refuse(
                "object of COCO cannot be used: correct or delete it", f"{where} ({error})"
            )
            continue
        picture.objects.append(annotation)
        boxes.append((sides, picture.size, where))
    _refuse_corners(boxes, findings)


def _refuse_corners(
    boxes: list[tuple[list[float], tuple[int, int] | None, str]], findings: Findings
) -> None:
    """Refuse the boxes of a file if they are corners.

    Corners that are taken for width and height stick out wherever the box's center is beyond the
    middle of its image: then many do. Some that do are sloppy, and clipped.

    Args:
        boxes: their four numbers, the sizes of their images, and their places in the file.
    """
    as_sides = [
        where
        for (left, upper, width, height), size, where in boxes
        if _sticks_out(left + width, upper + height, size)
    ]
    as_corners = sum(_sticks_out(right, lower, size) for (_, _, right, lower), size, _ in boxes)
    in_order = all(right > left and lower > upper for (left, upper, right, lower), *_ in boxes)
    if len(boxes) > 1 and in_order and len(as_sides) >= _MANY * len(boxes) > as_corners:
        findings.refuse(
            "all boxes read as [left, upper, right, lower]; COCO's are [left, upper, width, "
            "height]: convert them",
            f"{as_sides[0]}, one of {len(as_sides)} boxes that stick out of their images",
        )


def _sticks_out(right: float, lower: float, size: tuple[int, int] | None) -> bool:
    """Whether a box does by more than a pixel; False where the image's size is not known."""
    return size is not None and (right > size[0] + 1 or lower > size[1] + 1)


def _sides(item: dict[str, Any], where: str, findings: Findings) -> list[float]:
    box = item.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError(f"its bbox is {str(box)[:60]}, not four numbers")
    sides = [number(side) for side in box]
    if any(isinstance(side, str) for side in box):
        findings.note("numbers of a box are written as text: taken as numbers", where)
    if min(sides[2:]) < 0:
        raise ValueError(f"the width or height of its bbox {sides} is negative")
    return sides


def _annotation(
    item: dict[str, Any],
    name: str,
    sides: list[float],
    where: str,
    findings: Findings,
) -> Annotation:
    left, upper, width, height = sides
    crowd = item.get("iscrowd") or False
    crowd = crowd if isinstance(crowd, bool) else number(crowd)
    if crowd not in (0, 1):
        raise ValueError(f"its iscrowd is {crowd!r}, and must be 0 or 1")
    if item.get("ignore"):
        findings.note("object to ignore: taken as a crowd, neither trained nor counted", where)
    area = item.get("area")
    if area is None:
        findings.note("object without area: its box's is taken", where)
    elif number(area) < 0:
        raise ValueError(f"its area is {area}")
    return Annotation(
        name=name,
        box=(left, upper, left + width, upper + height),
        where=where,
        crowd=bool(crowd or item.get("ignore")),
        segmentation=_segmentation(item.get("segmentation"), where, findings),
        area=None if area is None else number(area),
    )


def _segmentation(content: Any, where: str, findings: Findings) -> Any:
    """Polygons or run lengths, as detectron2 takes them; None: no mask."""
    if not content or content == [[]]:
        return None
    if isinstance(content, dict):
        return content
    if not isinstance(content, list):
        raise ValueError(f"its segmentation is {str(content)[:60]}")
    polygons = content if isinstance(content[0], list) else [content]
    valid = []
    for polygon in polygons:
        if not isinstance(polygon, list):
            raise ValueError(f"its polygon is {str(polygon)[:60]}")
        if len(polygon) % 2:
            raise ValueError(f"its polygon has {len(polygon)} numbers, an odd count")
        points = [number(side) for side in polygon]
        if len(points) >= 6:
            valid.append(points)
    if not valid:
        raise ValueError("its polygons have fewer than 3 points")
    if len(valid) < len(polygons):
        findings.note("polygon of fewer than 3 points: left out", where)
    return valid
