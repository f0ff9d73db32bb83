"""Lists of pictures in text files whose names state the split, such as ``train.txt``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mscn_plugin.detection.annotated_folder import DataFolder, split_named
from mscn_plugin.detection.findings import Findings

TWICE = "picture is twice in a list: taken once"


def lists_by_name(data: DataFolder, files: Iterable[Path], findings: Findings) -> dict[str, Path]:
    """The lists among ``files``, in the order of their names, by the split that a name states."""
    found: dict[str, Path] = {}
    for file in files:
        split = split_named(file.stem)
        if split is None:
            continue
        earlier = found.get(split)
        if earlier is not None and earlier.parent != file.parent:
            findings.refuse(
                "list in a second folder: --data must name a folder with lists in one",
                data.name(file),
            )
        # Sorted, train.txt comes before trainval.txt, which holds val.txt's pictures, too.
        found.setdefault(split, file)
    return found


def lines_of(data: DataFolder, file: Path, findings: Findings) -> list[str]:
    """The lines of a list without spaces around them; empty ones are left out."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        findings.refuse("list is not in UTF-8: save it so", f"{data.name(file)} ({error})")
        return []
    return [line for line in map(str.strip, lines) if line]
