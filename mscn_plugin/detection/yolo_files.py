"""Annotations in YOLO's text, one file a picture, with the classes' names in another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mscn_plugin.checkpoints.io import CheckpointError, read_yaml
from mscn_plugin.detection.annotated_folder import DataFolder
from mscn_plugin.detection.annotated_pictures import (
    Annotation,
    Picture,
    class_name,
    number,
    read_header,
)
from mscn_plugin.detection.findings import Findings
from mscn_plugin.detection.yolo_splits import YAML, stated_splits
from mscn_plugin.types import is_whole

_LISTS = ("classes.txt", "obj.names", "_darknet.labels")
_NO_LABELS = ("classes.txt", "readme.txt", "train.txt", "val.txt", "valid.txt", "test.txt")
"""Files next to the labels; pictures may have these names, too: :func:`_is_beside_labels`."""
_OF_DATA = ("train", "val", "nc", "path")
"""Keys of ``data.yaml`` in addition to ``names``."""


def names_file(data: DataFolder) -> Path | None:
    """The file with the names of the classes: one of YAML with ``names``, or a list."""
    for file in data.files:
        if file.suffix.lower() in YAML and _names_of_yaml(file) is not None:
            return file
    lists = (file for file in data.files if file.name.lower() in _LISTS)
    return next((file for file in lists if not _is_of_numbers(data, file)), None)


def file_without_names(data: DataFolder) -> Path | None:
    """A ``data.yaml`` that lacks the ``names`` of the classes."""
    for file in data.files:
        if file.suffix.lower() in YAML:
            try:
                content = read_yaml(file)
            except CheckpointError:
                continue
            if content.get("names") is None and any(key in content for key in _OF_DATA):
                return file
    return None


def has_labels(data: DataFolder) -> bool:
    """Whether there are names of classes, and a file of labels that has a picture."""
    return names_file(data) is not None and any(
        data.picture_of(text, "")
        for text in data.with_suffix(".txt")
        if not _is_beside_labels(data, text)
    )


def _is_beside_labels(data: DataFolder, file: Path) -> bool:
    return file.name.lower() in _NO_LABELS and not _is_of_numbers(data, file)


def _is_of_numbers(data: DataFolder, file: Path) -> bool:
    """Whether a text has a picture of its name, and numbers in its first line, as labels have."""
    if not data.picture_of(file, ""):
        return False
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        words = next(filter(None, map(str.split, lines)), [])
    try:
        return len([number(word) for word in words]) > 1
    except ValueError:
        return False


def _names_of_yaml(file: Path) -> Any:
    try:
        return read_yaml(file).get("names")
    except CheckpointError:
        return None


def read_yolo(data: DataFolder, findings: Findings) -> dict[str | None, list[Picture]]:
    """All pictures by split; one without a text file is background."""
    file = names_file(data)
    assert file is not None, "names_file has found one"
    names = _names(data, file, findings)
    # Next to a list of names, data.yaml may still state the splits.
    yaml = file if file.suffix.lower() in YAML else file_without_names(data)
    num_of_keypoints = _num_of_keypoints(data, yaml, findings) if yaml else 0
    stated = stated_splits(data, yaml, findings)
    texts: dict[Path, list[Path]] = {}
    for text in data.with_suffix(".txt"):
        if text == file or text in stated.lists or _is_beside_labels(data, text):
            continue
        pictures = data.picture_of(text, "")
        if len(pictures) == 1:
            texts.setdefault(pictures[0], []).append(text)
        elif pictures or "labels" in str(text.parent.relative_to(data.root)).lower():
            findings.refuse(
                "file of labels needs one picture of its name: put it into images/, and keep one "
                "where there are several",
                data.name(text),
            )
    splits: dict[str | None, list[Picture]] = {split: [] for split in stated.pictures}
    for picture in data.pictures():
        found = texts.get(picture, [])
        if len(found) > 1:
            findings.refuse("picture has two files of labels: keep one", data.name(picture))
        if not found:
            findings.note("picture without a file of labels: background", data.name(picture))
        objects: list[Annotation] = []
        if found:
            objects = _objects(data, picture, found[0], names, num_of_keypoints, findings)
        read = Picture(picture, data.name(found[0] if found else picture), None, objects)
        for split in stated.of(data, picture):
            splits.setdefault(split, []).append(read)
    return splits


def _names(data: DataFolder, file: Path, findings: Findings) -> dict[int, str]:
    place = data.name(file)
    try:
        if file.suffix.lower() in YAML:
            content = _names_of_yaml(file)
        else:
            content = file.read_text(encoding="utf-8-sig").strip().splitlines()
        pairs = list(content.items() if isinstance(content, dict) else enumerate(content))
        if not all(isinstance(name, (str, int, float)) for _, name in pairs):
            raise ValueError("a name is not text")
        return {int(key): class_name(str(name), place, findings) for key, name in pairs}
    except (TypeError, ValueError) as error:
        findings.refuse(
            "names of the classes cannot be read: names must be a list, or a map from numbers",
            f"{place} ({error})",
        )
        return {}


def _num_of_keypoints(data: DataFolder, file: Path, findings: Findings) -> int:
    """The number of keypoints' numbers after each box, by ``kpt_shape``."""
    shape = read_yaml(file).get("kpt_shape")
    if shape is None:
        return 0
    if not (
        isinstance(shape, list) and len(shape) == 2 and all(is_whole(n) and n > 0 for n in shape)
    ):
        findings.refuse(
            "kpt_shape must be two whole numbers above 0, of keypoints and of values for each",
            f"{data.name(file)} ({shape!r})",
        )
        return 0
    findings.note("labels with keypoints (kpt_shape): their boxes alone are taken", data.name(file))
    return int(shape[0] * shape[1])


def _objects(
    data: DataFolder,
    picture: Path,
    file: Path,
    names: dict[int, str],
    num_of_keypoints: int,
    findings: Findings,
) -> list[Annotation]:
    place = data.name(file)
    try:
        width, height = read_header(picture).size
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        findings.refuse("file of labels is not in UTF-8: save it so", place)
        return []
    except Exception:  # Pillow's, of many kinds: what comes after this names the picture
        return []
    objects = []
    for index, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{place}, line {index}"
        try:
            label, *numbers = map(number, line.split())
            if label not in names:
                raise ValueError(f"there is no class {label:g}")
            if num_of_keypoints:
                numbers = _without_keypoints(numbers, num_of_keypoints)
            objects.append(_object(names[int(label)], numbers, width, height, where))
        except ValueError as error:
            findings.refuse(
                "line of YOLO cannot be used: it must be a class's number and x, y, width, height "
                "of the box, or a polygon, as parts of the picture from 0 to 1",
                f"{where} ({error})",
            )
    return objects


def _without_keypoints(numbers: list[float], count: int) -> list[float]:
    if len(numbers) not in (4, 4 + count):
        raise ValueError(
            f"it has {len(numbers)} numbers after the class; kpt_shape states {4 + count}"
        )
    return numbers[:4]


def _object(name: str, numbers: list[float], width: int, height: int, where: str) -> Annotation:
    if numbers and (min(numbers) < -0.5 or max(numbers) > 1.5):
        raise ValueError(f"{max(numbers, key=abs):g} is not a fraction of a picture")
    if len(numbers) == 4:
        x, y, w, h = numbers
        if w < 0 or h < 0:
            raise ValueError("its width or height is negative")
        box = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
        return Annotation(name, box, where)
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError(f"it has {len(numbers)} numbers after the class")
    points = [side * (height if place % 2 else width) for place, side in enumerate(numbers)]
    xs, ys = points[::2], points[1::2]
    return Annotation(name, (min(xs), min(ys), max(xs), max(ys)), where, segmentation=[points])
