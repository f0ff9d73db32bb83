"""A run in short: accuracies beside the baselines, training curves, where its files are."""

from __future__ import annotations

from pathlib import Path

from tabulate import tabulate

from mscn_plugin.experiments.runs import METRICS
from mscn_plugin.files import save_figure
from mscn_plugin.report.accuracies import about_accuracies, accuracy_rows
from mscn_plugin.report.curves import curves, side_by_side
from mscn_plugin.report.embedding import about_embedding
from mscn_plugin.report.history import History


def summarize(run: Path) -> str:
    """The summary as text; writes ``training_curves.png`` and ``.pdf`` to the run's folder.

    Where they cannot be written it says so: the folder may be another's, or the disk full.
    """
    history = History.of(run)
    lines = []
    rows = [[title, *map(values.get, METRICS.values())] for title, values in accuracy_rows(history)]
    if rows:
        headers = ["accuracy in %", *METRICS]
        lines.append(tabulate(rows, headers=headers, floatfmt=".1f", missingval="-"))
    said = about_accuracies(history), about_embedding(history), about_unreadable(history)
    lines += filter(None, said)
    if history.steps:
        figure, file = side_by_side(curves(history)), run / "training_curves.png"
        try:
            save_figure(figure, file, ".png", ".pdf", dpi=120)
        except OSError as error:
            lines.append(
                f"The training curves cannot be written to {file}: {error.strerror or error}"
            )
    checkpoint = (run / "checkpoint.torch").resolve()
    lines += ["", f"checkpoint:      {checkpoint if checkpoint.is_file() else 'none yet'}"]
    for title, name in (("masked views:", "masked_views"), ("training curves:", "training_curves")):
        if (run / f"{name}.png").is_file():
            lines.append(f"{title:<17}{(run / f'{name}.png').resolve()}")
    return "\n".join(lines)


def about_unreadable(history: History) -> str:
    """One line on the images that the last epoch with such could not read; empty without any."""
    if not history.unreadable:
        return ""
    last = history.unreadable[-1]
    epoch, count = last["train_phase_idx"] + 1, last["unreadable_images"]
    # Fewer than the epoch's, where it was resumed within it.
    of = f" of {last['seen_images']}" if "seen_images" in last else ""
    return (
        f"In epoch {epoch}, {count}{of} images could not be read and were replaced by others: "
        "log.txt names the first."
    )
