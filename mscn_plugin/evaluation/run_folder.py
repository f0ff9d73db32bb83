"""The files of a run's folder: VISSL's JSON lines, and what is written beside them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Dict, List, Set


def json_lines(path: Path) -> List[Dict[str, Any]]:
    """The lines of a JSON-lines file; a line cut by a kill is left out."""
    lines = []
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


def evaluated_epochs(lines: List[Dict[str, Any]]) -> Set[int]:
    """Epochs with an online evaluation in the lines of ``metrics.json``; -1: before the first."""
    return {line["train_phase_idx"] for line in lines if "online_evaluation" in line}


def measured_on(line: Dict[str, Any]) -> str:
    """On which images the online evaluation of a line was measured, and what it is to beat."""
    if "images" not in line:
        return "on images that the run of an earlier version does not name"
    images, baseline = line["images"], line["color_histogram"]
    train, val = images["train"], images["val"]
    where = f"{val['number']} images of {val['path']}"
    if images["held_out"]:
        where += (
            f" that were held out from the classifiers, which learned from {train['number']} "
            "others; the trunk was trained on all of them, without labels"
        )
    else:
        where += f"; the classifiers learned from {train['number']} images of {train['path']}"
    return (
        f"measured on {where}; chance {line['chance']:.1f}, colour histogram: kNN "
        f"{baseline['knn']:.1f}, linear probe {baseline['linear_probe']:.1f}"
    )


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def save_json(path: Path, content: Any) -> None:
    """Write ``content`` so that a reader never sees half of it."""
    staged = path.with_suffix(".tmp")
    staged.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(staged, path)
