"""Which pictures of YOLO train and which validate, as the files beside them state it.

``data.yaml`` names a list of pictures or a folder for each split, Darknet's ``obj.data`` a list;
without either, lists are found by their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from mscn_plugin.checkpoints.io import read_yaml
from mscn_plugin.detection.annotated_folder import DataFolder, split_named
from mscn_plugin.detection.findings import Findings
from mscn_plugin.detection.split_lists import TWICE, lines_of, lists_by_name

YAML = (".yaml", ".yml")
_SPLITS = ("train", "val", "test")


class StatedSplits(NamedTuple):
    """What is stated of the splits.

    Attributes:
        pictures: by split; a split of which nothing is stated has no entry.
        lists: the files that were read for it.
    """

    pictures: dict[str, set[Path]]
    lists: set[Path]

    def of(self, data: DataFolder, picture: Path) -> list[str | None]:
        """The splits of a picture; of one that is not stated, that which a folder names.

        None where that split is stated, without this picture.
        """
        stated: list[str | None] = [s for s, found in self.pictures.items() if picture in found]
        by_folder = data.split(picture)
        return stated or [None if by_folder in self.pictures else by_folder]


def stated_splits(data: DataFolder, yaml: Path | None, findings: Findings) -> StatedSplits:
    """Read ``data.yaml``, or ``obj.data`` where no such file has names or splits, and lists.

    Args:
        yaml: the file of the kind of ``data.yaml``, where there is one.
    """
    known = set(data.pictures())
    stated = StatedSplits({}, set())
    content = read_yaml(yaml) if yaml else {}
    statements = [*_of_yaml(data, yaml, content, findings)] if yaml else []
    if not statements and content.get("names") is None:
        statements = [*_of_darknet(data)]
    for source, split, text in statements:
        pictures = _pictures_named(data, source, split, text, known, stated.lists, findings)
        if pictures is not None:
            stated.pictures.setdefault(split, set()).update(pictures)
    if not stated.pictures:
        candidates = filter(_lists_pictures, data.with_suffix(".txt"))
        for split, file in lists_by_name(data, candidates, findings).items():
            stated.lists.add(file)
            stated.pictures[split] = _pictures_listed(data, file, split, known, findings)
    return stated._replace(pictures=_different(stated.pictures, findings))


def _of_yaml(
    data: DataFolder, yaml: Path, content: dict[str, Any], findings: Findings
) -> Iterator[tuple[Path, str, str]]:
    """File, split and the list or folder that it names."""
    for key, value in content.items():
        split = split_named(str(key))
        for text in _texts(value) if split else ():
            if isinstance(text, str):
                yield yaml, split or "", text
            else:
                findings.refuse(
                    "split must be a path of a list or folder of pictures, or a list of paths",
                    f"{data.name(yaml)}: {key} is {text!r}",
                )


def _of_darknet(data: DataFolder) -> Iterator[tuple[Path, str, str]]:
    for file in data.with_suffix(".data"):
        for line in file.read_text(encoding="utf-8-sig", errors="replace").splitlines():
            found = re.fullmatch(r"\s*(\w+)\s*=\s*(\S.*?)\s*", line)
            split = split_named(found[1]) if found else None
            if found and split:
                yield file, split, found[2]


def _texts(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if value else []


def _pictures_named(
    data: DataFolder,
    source: Path,
    split: str,
    text: str,
    known: set[Path],
    lists: set[Path],
    findings: Findings,
) -> set[Path] | None:
    """Pictures of a list, or below a folder; None where neither is there."""
    is_list = text.lower().endswith(".txt")
    if is_list:
        found = data.file_ending_like(source, text, None)
    else:
        found = data.folder_ending_like(source, text)
    place = _only(
        found,
        data,
        f"{data.name(source)}: {split} is {text!r}",
        "list or folder of a split is there several times: keep one",
        "list or folder of a split is not there: ignored",
        findings,
    )
    if place is None:
        return None
    if is_list:
        lists.add(place)
        return _pictures_listed(data, place, split, known, findings)
    return {picture for picture in known if place in picture.parents}


def _only(
    found: list[Path], data: DataFolder, where: str, several: str, none: str, findings: Findings
) -> Path | None:
    """The one that was found; ``several`` are refused, of ``none`` there is a note."""
    if len(found) > 1:
        findings.refuse(several, f"{where} ({', '.join(map(data.name, found))})")
    elif not found:
        findings.note(none, where)
    return found[0] if len(found) == 1 else None


def _lists_pictures(file: Path) -> bool:
    """Whether a text file's first line names a picture; one of labels has numbers there."""
    if split_named(file.stem) is None:
        return False
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        first = next(filter(None, map(str.strip, lines)), "")
    return Path(first).suffix.lower() in Image.registered_extensions()


def _pictures_listed(
    data: DataFolder, file: Path, split: str, known: set[Path], findings: Findings
) -> set[Path]:
    listed: set[Path] = set()
    for line in lines_of(data, file, findings):
        where = f"{data.name(file)}: {line!r}"
        ending = data.file_ending_like(file, line, split, least=2)
        found = [picture for picture in ending if picture in known]
        picture = _only(
            found,
            data,
            where,
            "line of a list means several pictures: it must name more of the path",
            "line of a list names no picture that is there: left out",
            findings,
        )
        if picture in listed:
            findings.note(TWICE, where)
        elif picture is not None:
            listed.add(picture)
    return listed


def _different(pictures: dict[str, set[Path]], findings: Findings) -> dict[str, set[Path]]:
    """The splits, without those that repeat an earlier one, as some of Ultralytics' examples do."""
    kept: dict[str, set[Path]] = {}
    for split in filter(pictures.get, _SPLITS):
        same = next((other for other in kept if kept[other] == pictures[split]), None)
        if same:
            findings.note(f"{split} is stated to be the pictures of {same}: ignored")
        else:
            kept[split] = pictures[split]
    return {**{split: found for split, found in pictures.items() if not found}, **kept}
