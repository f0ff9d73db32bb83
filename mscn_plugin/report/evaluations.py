"""What ``mscn evaluate`` has measured on a run's checkpoint, where it did."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from mscn_plugin.evaluation.definitions import BOX_PREDICTORS, BOXES, CURVES
from mscn_plugin.evaluation.pretraining_run import PretrainingRun
from mscn_plugin.evaluation.table import about_boxes, number_hidden
from mscn_plugin.export.results import conditions
from mscn_plugin.files import file_digest
from mscn_plugin.report.curves import occlusion_curves, pictures


class Details(NamedTuple):
    """What was measured, and the lines that say on what and how."""

    measured: dict[str, Any]
    conditions: list[str]


def details_of(run: PretrainingRun, config: str, key: str) -> Details | None:
    """What one evaluation has measured in addition to its metrics, or None.

    Only of the checkpoint itself: the folder may hold the evaluation of an earlier one.

    Args:
        config: the evaluation's.
        key: of :data:`~mscn_plugin.evaluation.definitions.DETAILS`.
    """
    try:
        results = json.loads((run.folder / "evaluation" / "results.json").read_text())
        if results["sha256"] != file_digest(run.checkpoint):
            return None
        return Details(results["evaluations"][config][key], conditions(results, quote=""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def occlusion(run: PretrainingRun) -> dict[str, Any] | None:
    """Accuracy against the share that is hidden, in ``curves``; of how many ``images``; or None."""
    details = details_of(run, "quick_occlusion", CURVES)
    if details is None:
        return None
    return {
        "curves": pictures(occlusion_curves(details.measured)),
        "images": number_hidden(details.measured),
        "about": details.conditions,
    }


def box_table(run: PretrainingRun) -> dict[str, Any] | None:
    """Mean IoU of boxes, ``rows`` of titles and percent, and lines ``about`` them; or None."""
    details = details_of(run, "quick_boxes", BOXES)
    if details is None:
        return None
    measured = details.measured
    rows = [
        {"title": title, "percent": f"{measured['mean_iou'][key]['percent']:.1f}"}
        for key, title in BOX_PREDICTORS.items()
    ]
    return {"rows": rows, "about": [about_boxes(measured), *details.conditions]}
