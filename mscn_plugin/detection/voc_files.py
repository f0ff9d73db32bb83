"""Annotations in VOC's XML, one file a picture, wherever the files are."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat

from mscn_plugin.detection.annotated_folder import DataFolder
from mscn_plugin.detection.annotated_pictures import (
    Annotation,
    Picture,
    checked_size,
    class_name,
    number,
)
from mscn_plugin.detection.findings import Findings
from mscn_plugin.detection.split_lists import TWICE, lines_of, lists_by_name

_FLAGS = {"0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
_LISTS = ("imagesets", "main")


def read_voc(data: DataFolder, findings: Findings) -> dict[str | None, list[Picture]]:
    """The pictures of all XML files by split: that of a list, or that which a folder names.

    ``None`` has those of no split.
    """
    files = data.with_suffix(".xml")
    lists = _lists(data, findings)
    by_stem: dict[str, list[Path]] = {}
    for file in files:
        by_stem.setdefault(file.stem, []).append(file)
    chosen: list[tuple[str | None, Path]] = []
    for name, file in lists.items():
        for stem in _stems(file, by_stem, data, findings):
            chosen += [(name, xml) for xml in by_stem[stem]]
    if not lists:
        chosen = [(data.split(file), file) for file in files]
    splits: dict[str | None, list[Picture]] = {}
    annotated = set()
    for split, file in chosen:
        picture = _read_file(data, file, findings)
        if picture is not None:
            annotated.add(picture.file)
            splits.setdefault(split or data.split(picture.file), []).append(picture)
    listed = {file for _, file in chosen}
    for file in files:
        if file not in listed:
            findings.note("annotation that no list names: left out", data.name(file))
    if not lists:
        for file in data.pictures():
            if file not in annotated and file.stem not in by_stem:
                findings.note("file without XML: left out", data.name(file))
    return splits


def _lists(data: DataFolder, findings: Findings) -> dict[str, Path]:
    """The lists by split, in ``ImageSets/Main/`` or beside the annotations' folder."""
    files = [
        file
        for file in data.with_suffix(".txt")
        if file.parent.name.lower() in _LISTS or file.parent == data.root
    ]
    return lists_by_name(data, files, findings)


def _stems(
    file: Path, by_stem: dict[str, list[Path]], data: DataFolder, findings: Findings
) -> Iterator[str]:
    seen = set()
    for line in lines_of(data, file, findings):
        stem = line if line in by_stem else Path(line).stem
        if stem not in by_stem:
            findings.refuse(
                "line of a list must name one picture that has an XML file: add the file, or "
                "remove the line (lists of one class, with 1 and -1, do not do)",
                f"{data.name(file)}: {line!r}",
            )
        elif stem in seen:
            findings.note(TWICE, f"{data.name(file)}: {line!r}")
        else:
            seen.add(stem)
            yield stem


def _read_file(data: DataFolder, file: Path, findings: Findings) -> Picture | None:
    place = data.name(file)
    try:
        root = _parse(file.read_bytes())
        size = _size(root)
    except (OSError, ValueError, LookupError, ElementTree.ParseError, expat.ExpatError) as error:
        findings.refuse(
            "XML file is not an annotation of VOC: export it again, in UTF-8, or remove it",
            f"{place} ({str(error)[:100]})",
        )
        return None
    stated = (root.findtext("filename") or "").strip()
    pictures = data.picture_of(file, stated)
    if len(pictures) != 1:
        names = ", ".join(map(data.name, pictures)) or f"looked for {file.stem}.* and {stated!r}"
        findings.refuse(
            "XML file needs one picture of its name: put it beside it or into images/, and keep "
            "one where there are several",
            f"{place} ({names})",
        )
        return None
    if stated and pictures[0].stem != Path(stated.replace("\\", "/")).stem:
        findings.note(
            "<filename> is another than the file's: the picture of the XML file's name is taken",
            f"{place} ({stated!r})",
        )
    elif pictures[0].stem != file.stem:
        findings.note("no picture has the XML file's name: that of <filename> is taken", place)
    objects = []
    for index, element in enumerate(root.findall("object"), 1):
        try:
            objects.append(_object(element, f"{place}, object {index}", findings))
        except ValueError as error:
            findings.refuse(
                "object of VOC cannot be used: correct or delete it",
                f"{place}, object {index} ({error})",
            )
    return Picture(pictures[0], place, size, objects)


def _parse(content: bytes) -> ElementTree.Element:
    """The tree of a file that declares no entities, which could expand without end."""

    def refuse(*_: object) -> None:
        raise ValueError("it declares entities, which annotations do not need")

    scanner = expat.ParserCreate()
    scanner.EntityDeclHandler = refuse
    scanner.Parse(content, True)
    root = ElementTree.fromstring(content)
    if root.tag != "annotation":
        raise ValueError(f"its root is <{root.tag[:30]}>, not <annotation>")
    return root


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    texts = [root.findtext(f"size/{side}") for side in ("width", "height")]
    if not all(text and text.strip() for text in texts):
        return None
    return checked_size(*texts)


def _object(element: ElementTree.Element, place: str, findings: Findings) -> Annotation:
    raw = element.findtext("name") or ""
    sides = []
    for side in ("xmin", "ymin", "xmax", "ymax"):
        text = element.findtext(f"bndbox/{side}")
        if text is None:
            raise ValueError(f"it has no bndbox/{side}")
        sides.append(number(text))
    rounded = [float(math.floor(side + 0.5)) for side in sides]  # round() takes halves to even
    if rounded != sides:
        findings.note("corners of VOC that are not whole pixels: rounded", place)
    left, upper, right, lower = rounded
    if left > right or upper > lower:
        raise ValueError(f"its corners {tuple(sides)} are in the wrong order")
    # Corners are pixels, counted from 1, and belong to the box: one of a single pixel is legal.
    return Annotation(
        name=class_name(raw, place, findings),
        box=(left - 1, upper - 1, right, lower),
        where=place,
        difficult=_flag(element, "difficult"),
    )


def _flag(element: ElementTree.Element, name: str) -> bool:
    text = (element.findtext(name) or "0").strip().lower()
    if text not in _FLAGS:
        raise ValueError(f"its {name} is {text!r}, and must be 0 or 1")
    return _FLAGS[text]
