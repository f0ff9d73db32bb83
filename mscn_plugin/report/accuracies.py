"""A run's accuracies beside what they are to beat, and the images that they were measured on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mscn_plugin.checkpoints.run_folder import measured_on
from mscn_plugin.data.train_subset import HELD_OUT, TRAIN_SUBSET, images_file
from mscn_plugin.experiments.runs import METRICS
from mscn_plugin.report.history import History

BASELINES = ("trunk before training, same input", "color histogram", "chance")
"""Titles of what is to be beaten."""
NONE = (
    "The run has no online evaluation: its images have no labels, "
    "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS is 0, or it ended before the first one."
)


def accuracy_rows(
    history: History, epochs: int | None = None
) -> list[tuple[str, dict[str, float]]]:
    """Title and accuracies in percent: of the trained trunk, and of what is to be beaten.

    These are the trunk before training, color histograms and chance, on the same images and by the
    same kNN: what was measured otherwise than the last evaluation is left out.

    Args:
        epochs: that the checkpoint in question has seen; later evaluations are not its own.
    """
    evaluations = history.evaluations_until(epochs)
    if not evaluations:
        return []
    last = evaluations[-1]
    keys = ("images", "knn_settings")  # a resumed run may have others than before
    same = [line for line in evaluations if all(line.get(k) == last.get(k) for k in keys)]
    rows = []
    seen = last["train_phase_idx"] + 1
    if seen:
        other = "" if epochs in (None, seen) else f" (this checkpoint, after {epochs}, has none)"
        rows.append((f"pre-trained trunk, {seen} epochs{other}", last["online_evaluation"]))
    if same[0]["train_phase_idx"] < 0:
        rows.append((BASELINES[0], same[0]["online_evaluation"]))
    if "color_histogram" in last:
        rows.append((BASELINES[1], last["color_histogram"]))
        rows.append((BASELINES[2], dict.fromkeys(METRICS.values(), last["chance"])))
    return rows


def about_accuracies(history: History, epochs: int | None = None) -> str:
    """One line on the images of the last evaluation, or why there is none."""
    evaluations = history.evaluations_until(epochs)
    if not evaluations:
        why = history.no_evaluation
        return f"The run has no online evaluation: {why}." if why else NONE
    text = measured_on(evaluations[-1])
    return f"{text[0].upper()}{text[1:]}."


def in_percent(values: dict[str, float]) -> list[str]:
    """The accuracies as text, in the order of ``METRICS``; "-" for one that is missing."""
    return [f"{values[key]:.1f}" if key in values else "-" for key in METRICS.values()]


_RUNS_LISTS = (images_file(TRAIN_SUBSET), images_file(HELD_OUT))
"""Lists that runs write of a part of their images, which do not tell where these are."""


def images_in_short(evaluations: list[dict[str, Any]]) -> str:
    """How many images of which place the last evaluation was measured on and learned from.

    Of a place the last two names: evaluations on as many images of other folders do not compare.
    """
    if not evaluations or "images" not in evaluations[-1]:
        return "not known"
    images = evaluations[-1]["images"]
    split = "held-out images" if images["held_out"] else "validation images"
    place = Path(*Path(images["val"]["path"]).parts[-2:])
    number = images["val"]["number"]
    of = "" if place.name in _RUNS_LISTS else f" of {place}"
    return f"{number} {split}{of}, classifiers of {images['train']['number']}"
