"""What ``mscn evaluate`` has measured on a run's checkpoint, where it did."""

from __future__ import annotations

import json
from typing import Any

from mscn_plugin.checkpoints.run_folder import file_digest
from mscn_plugin.evaluation.definitions import BOX_PREDICTORS, BOXES
from mscn_plugin.evaluation.pretraining_run import PretrainingRun
from mscn_plugin.evaluation.table import about_boxes


def details_of(run: PretrainingRun, config: str, key: str) -> dict[str, Any] | None:
    """What one evaluation has measured beside its metrics, or None.

    Only of the checkpoint itself: the folder may hold the evaluation of an earlier one.

    Args:
        config: the evaluation's.
        key: of :data:`~mscn_plugin.evaluation.definitions.DETAILS`.
    """
    try:
        results = json.loads((run.folder / "evaluation" / "results.json").read_text())
        measured: dict[str, Any] = results["evaluations"][config][key]
        return measured if results["sha256"] == file_digest(run.checkpoint) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def box_table(run: PretrainingRun) -> dict[str, Any] | None:
    """Mean IoU of boxes, ``rows`` of titles and percent, and what it is ``about``; or None."""
    measured = details_of(run, "quick_boxes", BOXES)
    if measured is None:
        return None
    rows = [
        {"title": title, "percent": f"{measured['mean_iou'][key]['percent']:.1f}"}
        for key, title in BOX_PREDICTORS.items()
    ]
    return {"rows": rows, "about": about_boxes(measured)}
