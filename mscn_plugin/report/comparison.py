"""Several runs on one page: their accuracies, curves and the settings in which they differ."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.colors import to_hex
from vissl.config import AttrDict

from mscn_plugin.checkpoints.fingerprint import recipe_of
from mscn_plugin.checkpoints.io import CheckpointError
from mscn_plugin.errors import ConfigError
from mscn_plugin.evaluation.pretraining_run import PretrainingRun
from mscn_plugin.experiments.runs import METRICS
from mscn_plugin.files import write_text
from mscn_plugin.report.accuracies import (
    BASELINES,
    accuracy_rows,
    images_in_short,
    in_percent,
)
from mscn_plugin.report.curves import Curve, curves, pictures
from mscn_plugin.report.history import History
from mscn_plugin.report.page import read_run
from mscn_plugin.report.settings import in_words
from mscn_plugin.report.template import filled
from mscn_plugin.schema import with_defaults
from mscn_plugin.types import value_at

FILE_NAME = "comparison.html"
_MISSING = "-"
_MEASUREMENT = ("DATA.TEST.TRANSFORMS", "MSCN.ONLINE_EVALUATION")
"""What decides the accuracies of an online evaluation beside the weights and the images."""


def write_comparison(paths: Sequence[Path], output: Path | None = None) -> Path:
    """Write one page about several runs of ``mscn_task``; MSCN must be registered with VISSL.

    Args:
        paths: of each run, its checkpoint folder or one of its checkpoints.
        output: the file to write; default: ``comparison.html`` in the folder that has all runs.

    Returns:
        The file that was written.

    Raises:
        ConfigError: a run is named twice, or has no checkpoint with its ``train_config.yaml``, or
            ``output`` is a folder.
        OSError: the file cannot be written.
    """
    runs = [read_run(path) for path in paths]
    folders = [run.folder.resolve() for run in runs]
    for folder in folders:
        if folders.count(folder) > 1:
            raise ConfigError(f"{folder} is named twice; a comparison is of different runs")
    above = Path(os.path.commonpath([folder.parent for folder in folders]))
    output = above / FILE_NAME if output is None else output
    if output.is_dir():
        raise ConfigError(f"--output {output} is a folder; it must be a file")
    names = [str(folder.relative_to(above)) for folder in folders]
    page = render(dict(zip(names, runs)))
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, page)
    return output


def render(runs: dict[str, PretrainingRun]) -> str:
    """The page of the runs by their names, as text."""
    histories = {name: History.of(run.checkpoint.parent) for name, run in runs.items()}
    baselines = [f"{of}: {title}" for of in ("before training", "colors") for title in METRICS]
    content = {
        "title": f"{len(runs)} pre-training runs",
        "about": f"{', '.join(runs)}.",
        "columns": [*METRICS, *baselines, "chance"],
        "runs": [
            {"name": name, "color": to_hex(f"C{number}"), **_accuracies(run, histories[name])}
            for number, (name, run) in enumerate(runs.items())
        ],
        "curves": pictures(joint_curves(histories)),
        "differences": differences(runs),
        "measurement": differences_of_measurement(runs),
    }
    return filled("comparison", content)


def joint_curves(histories: dict[str, History]) -> list[Curve]:
    """One plot for each series of a run's curves, with all runs that have it."""
    plots: dict[tuple[str, str], Curve] = {}
    colors = {run: f"C{number}" for number, run in enumerate(histories)}
    drawn = {run: curves(history) for run, history in histories.items()}
    shared = {c.title for found in drawn.values() for c in found if len(c.series) > 1}
    for run, found in drawn.items():
        for curve in found:
            for name, points in curve.series.items():
                title = f"{curve.title}: {name}" if curve.title in shared else curve.title
                empty = dataclasses.replace(curve, title=title, series={}, levels={}, colors=colors)
                plots.setdefault((curve.title, name), empty).series[run] = points
    return list(plots.values())


def differences(runs: dict[str, PretrainingRun]) -> dict[str, list[str]]:
    """By its key, each setting that changes the weights and differs: its values in words.

    Raises:
        CheckpointError: the configuration of a run is not one of VISSL.
    """
    settings = []
    for run in runs.values():
        try:
            recipe = recipe_of(AttrDict(with_defaults(run.config or {})))
        except (AttributeError, KeyError, TypeError) as error:
            source = run.checkpoint.parent / "train_config.yaml"
            raise CheckpointError(
                f"{source} is not a configuration of VISSL ({error!r})"
            ) from error
        settings.append(dict(_leaves("", recipe)))
    return _differing(settings)


def differences_of_measurement(runs: dict[str, PretrainingRun]) -> dict[str, list[str]]:
    """The same of the settings that change accuracies and no weights."""
    settings = []
    for run in runs.values():
        config = with_defaults(run.config or {})
        measured = {key: value_at(config, key) for key in _MEASUREMENT}
        leaves = dict(_leaves("", measured))
        leaves.pop("MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS", None)  # when, and not how
        settings.append(leaves)
    return _differing(settings)


def _differing(settings: list[dict[str, str]]) -> dict[str, list[str]]:
    keys = sorted({key for found in settings for key in found})
    rows = {key: [found.get(key, _MISSING) for found in settings] for key in keys}
    return {key: values for key, values in rows.items() if len(set(values)) > 1}


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """The values in words; of lists with sections, such as transforms, those of each."""
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        value = dict(enumerate(value))
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(f"{path}.{key}" if path else str(key), item)
    else:
        yield path, in_words(value)


def _accuracies(run: PretrainingRun, history: History) -> dict[str, Any]:
    """A row of the table, in the order of its columns, of what the checkpoint has seen."""
    rows = dict(accuracy_rows(history, run.epochs))
    trained = next((values for title, values in rows.items() if title not in BASELINES), {})
    random, colors, chance = (rows.get(title, {}) for title in BASELINES)
    evaluations = history.evaluations_until(run.epochs)
    measured = evaluations[-1]["train_phase_idx"] + 1 if evaluations else 0
    seen = measured if run.epochs is None else run.epochs
    total = run.config["OPTIMIZER"]["num_epochs"] if run.config else None
    earlier = f", accuracies after {measured}" if 0 < measured != seen else ""
    return {
        "checkpoint": run.checkpoint.name,
        "epochs": f"{seen} of {total}{earlier}",
        "values": [*in_percent(trained), *in_percent(random), *in_percent(colors)]
        + in_percent(chance)[:1],
        "measured": images_in_short(evaluations),
    }
