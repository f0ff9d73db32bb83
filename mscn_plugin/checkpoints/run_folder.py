"""The files of a run's folder: logs of JSON lines, and checkpoints."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from mscn_plugin.files import write_text

LOGS = ("metrics.json", "frozen_features.json", "stdout.json", "embedding_statistics.json")
"""The JSON-lines files of a run, which VISSL and the plugin's hooks append to."""


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects in a JSON-lines file; a line cut off by a kill is skipped."""
    lines = []
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for line in text.splitlines():
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(content, dict):
            lines.append(content)
    return lines


def mend_logs(folder: Path) -> None:
    """Remove an incomplete last line left by a kill, so that the next is not appended to it."""
    for name in LOGS:
        path = folder / name
        if not path.is_file() or path.is_symlink():
            continue
        with path.open("rb+") as stream:
            stream.truncate(stream.read().rfind(b"\n") + 1)


def cut_logs(folder: Path, iteration: int) -> None:
    """Remove log lines of iterations after the one that a run resumes at.

    They belong to weights that are lost, perhaps of another configuration, and are written again.

    Args:
        folder: of the run.
        iteration: at least 0, or -1 for a run that starts: no line stays.
    """
    for name in LOGS:
        lost = cut_log(folder / name, iteration)
        if lost:
            logging.info(f"{name}: {lost} lines of iterations after {iteration} are removed")


def cut_log(path: Path, iteration: int) -> int:
    """Remove a JSON-lines file's lines of iterations after ``iteration``; returns how many."""
    lines = json_lines(path)
    kept = [line for line in lines if _iteration(line) <= iteration]
    if len(kept) < len(lines):
        write_text(path, "".join(json.dumps(line, sort_keys=True) + "\n" for line in kept))
    return len(lines) - len(kept)


def _iteration(line: dict[str, Any]) -> int:
    value = line.get("iteration", line.get("iter"))
    return value if isinstance(value, int) else 0


def evaluated_epochs(lines: list[dict[str, Any]]) -> set[int]:
    """Epochs with an online evaluation in the lines of ``metrics.json``; -1: before the first."""
    return {line.get("train_phase_idx", -1) for line in lines if "online_evaluation" in line}


def measured_on(line: dict[str, Any]) -> str:
    """The images on which a line's online evaluation was measured, and the baselines to beat."""
    if "images" not in line:
        return "on images that the run of an earlier version does not name"
    images, baseline = line["images"], line["color_histogram"]
    train, val = images["train"], images["val"]
    where = f"{val['number']} images of {val['path']}"
    if "unreadable" in val:
        where += f" ({val['unreadable']} more cannot be read)"
    if images["held_out"]:
        where += (
            f" that were held out from the classifiers, which learned from {train['number']} "
            "others; the trunk was trained on all of them, without labels"
        )
    else:
        where += f"; the classifiers learned from {train['number']} images of {train['path']}"
    return (
        f"measured on {where}; chance {line['chance']:.1f}, color histogram: kNN "
        f"{baseline['knn']:.1f}, linear probe {baseline['linear_probe']:.1f}"
    )


def checkpoint_of(path: Path) -> Path:
    """The checkpoint that ``path`` is, or the newest of the run whose folder it is.

    Returns:
        A file whose links are resolved; whether it exists, and is a checkpoint, is not checked.
    """
    path = path / "checkpoint.torch" if path.is_dir() else path
    folder, target = path.absolute().parent, path.resolve()
    if not target.is_file() and (folder / target.name).is_file():
        return folder / target.name  # VISSL's link is absolute, and the folder was moved
    return target
