"""A run's accuracies beside what they are to beat, and the images that they were measured on."""

from __future__ import annotations

from mscn_plugin.checkpoints.run_folder import measured_on
from mscn_plugin.experiments.runs import METRICS
from mscn_plugin.report.history import History

NONE = (
    "The run has no online evaluation: its images have no labels, "
    "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS is 0, or it ended before the first one."
)


def accuracy_rows(
    history: History, epochs: int | None = None
) -> list[tuple[str, dict[str, float]]]:
    """Title and accuracies in percent: of the trained trunk, and of what is to be beaten.

    These are the random trunk, color histograms and chance, on the same images: what was measured
    on others than the last evaluation is left out.

    Args:
        epochs: that the checkpoint in question has seen; later evaluations are not its own.
    """
    evaluations = history.evaluations_until(epochs)
    if not evaluations:
        return []
    last = evaluations[-1]
    same = [line for line in evaluations if line.get("images") == last.get("images")]
    rows = []
    seen = last["train_phase_idx"] + 1
    if seen:
        other = "" if epochs in (None, seen) else f" (this checkpoint, after {epochs}, has none)"
        rows.append((f"pre-trained trunk, {seen} epochs{other}", last["online_evaluation"]))
    if same[0]["train_phase_idx"] < 0:
        rows.append(("random trunk, same input", same[0]["online_evaluation"]))
    if "color_histogram" in last:
        rows.append(("color histogram", last["color_histogram"]))
        rows.append(("chance", dict.fromkeys(METRICS.values(), last["chance"])))
    return rows


def about_accuracies(history: History, epochs: int | None = None) -> str:
    """One line on the images of the last evaluation, or why there is none."""
    evaluations = history.evaluations_until(epochs)
    if not evaluations:
        return NONE
    text = measured_on(evaluations[-1])
    return f"{text[0].upper()}{text[1:]}."
