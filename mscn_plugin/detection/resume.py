"""Whether and from where a detector's training resumes.

detectron2 resumes iteration, weights, optimizer and schedule from the checkpoint that
``last_checkpoint`` names; :mod:`mscn_plugin.detection.resumed_order` adds the order of the images.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mscn_plugin.checkpoints.complete import load_complete, move_aside
from mscn_plugin.checkpoints.fingerprint import flat
from mscn_plugin.checkpoints.io import CheckpointError
from mscn_plugin.checkpoints.run_folder import cut_log
from mscn_plugin.errors import ConfigError, first_few
from mscn_plugin.files import save_json, write_text
from mscn_plugin.types import Config

RECIPE = "recipe.json"
"""What decides a folder's detector: checkpoint, data, classes and configuration."""
RESULTS = "results.json"
FINAL = "model_final.pth"
_LAST = "last_checkpoint"  # detectron2's file with the name of a checkpoint
_FREE = (
    "CUDNN_BENCHMARK",
    "DATALOADER.NUM_WORKERS",
    "MODEL.DEVICE",
    "MODEL.WEIGHTS",
    "OUTPUT_DIR",
    "VIS_PERIOD",
)
"""Keys that change nothing of what is learned or measured, but perhaps the last bit of a weight."""
_NAMES = {
    "checkpoint": "the checkpoint to start from",
    "data": "the data (annotations, or names or sizes of pictures)",
    "classes": "the classes",
}


def recipe_of(checkpoint: str, data: str, classes: Any, cfg: Config) -> dict[str, Any]:
    """What decides a detector: digests of checkpoint and data, classes, detectron2's keys."""
    keys = {key: value for key, value in flat(cfg) if key not in _FREE}
    recipe = {"checkpoint": checkpoint, "data": data, "classes": classes, **keys}
    return json.loads(json.dumps(recipe))  # as it will be read: tuples are lists


def refuse_another(output: Path, recipe: dict[str, Any]) -> None:
    """Refuse to resume, or to count as finished, a detector of another recipe.

    Raises:
        ConfigError: names what differs, and the ways out.
    """
    ways = "--output names a new folder, and --restart starts over in this one"
    if not (output / RECIPE).is_file():
        if checkpoints(output):
            raise ConfigError(
                f"{output} holds a detector that does not state its checkpoint, data and "
                f"configuration ({RECIPE} is missing); {ways}"
            )
        return
    try:
        before = json.loads((output / RECIPE).read_text())
        different = sorted(key for key in {*before, *recipe} if before.get(key) != recipe.get(key))
    except (ValueError, TypeError, AttributeError):
        raise ConfigError(f"{output / RECIPE} is damaged; {ways}") from None
    if different:
        changes = [
            _NAMES.get(key) or f"{key} (was {before.get(key)!r}, is {recipe.get(key)!r})"
            for key in sorted(different, key=lambda key: key not in _NAMES)
        ]
        raise ConfigError(
            f"{output} holds a detector that differs in {first_few(changes, 4)}; {ways}"
        )


def finished(output: Path) -> dict[str, float] | None:
    """The results of a detector that was trained and evaluated to its end, or None."""
    if not (output / RESULTS).is_file():
        return None
    try:
        load_complete(output / FINAL)
        return json.loads((output / RESULTS).read_text())
    except (CheckpointError, ValueError):
        return None


def rewind(output: Path) -> list[str]:
    """Let detectron2 resume from the newest complete checkpoint; returns messages about it.

    Lines of later iterations are removed from ``metrics.json``, which will get them again.
    """
    messages = []
    chosen, iteration = None, -1
    for file in checkpoints(output):
        try:
            chosen, iteration = file, load_complete(file)["iteration"]
        except CheckpointError as error:
            messages.append(f"skipping a damaged checkpoint: {error}")
            continue
        messages.append(f"resuming from {file}, after iteration {iteration}")
        break
    last = output / _LAST
    last.unlink(missing_ok=True)
    if chosen is not None:
        write_text(last, chosen.name)
    elif output.is_dir() and (output / RECIPE).is_file():
        messages.append("there is no complete checkpoint: starting with the first iteration")
    cut_log(output / "metrics.json", iteration)
    return messages


def checkpoints(output: Path) -> list[Path]:
    """detectron2's checkpoints, the newest first by their names."""
    numbered = sorted(output.glob("model_[0-9]*.pth"), reverse=True)
    return [*output.glob(FINAL), *numbered]


def set_aside(output: Path) -> Path | None:
    """Move the files of the previous detector into ``replaced-<n>``; returns it, or None."""
    names = (RECIPE, RESULTS, _LAST, "metrics.json", "log.txt*", "events.*", "model_*.pth")
    old = [path for name in names for path in output.glob(name)]
    return move_aside(output, old) if old else None


def save_recipe(output: Path, recipe: dict[str, Any]) -> None:
    """Leave the recipe for the next start."""
    save_json(output / RECIPE, recipe)
