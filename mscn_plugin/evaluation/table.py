"""A checkpoint's results beside a baseline's and the paper's: table and plot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mscn_plugin.evaluation.definitions import (
    BASELINES,
    BOX_PREDICTORS,
    BOXES,
    CLASSIFIERS,
    CONDITIONS,
    CURVES,
    SUITES,
    baseline_areas,
    subset_in,
)
from mscn_plugin.evaluation.paper_results import (
    COUNTERPARTS,
    PROTOCOLS,
    TABLE_2,
    TABLES,
    paper_rows,
)
from mscn_plugin.export.results import conditions
from mscn_plugin.files import save_figure
from mscn_plugin.schema import defaults

TITLE = "this checkpoint"
BASELINE = "baseline"
_COLORS = {
    TITLE: "C0",
    BASELINE: "C1",
    **{title: f"C{number}" for number, title in enumerate(BASELINES.values(), start=2)},
}  # the paper's are gray
PAPER = "the paper, {} (ResNet-50, ImageNet-1K)"
BASELINE_SETTINGS = ("suite", "overrides", "measured_on")
"""What a baseline's numbers are of, beside its checkpoint: keys of ``results.json``."""


def columns(
    results: dict[str, Any], baseline: dict[str, Any] | None
) -> dict[str, dict[str, float]]:
    """Numbers in percent, by column and by title of the metric.

    Args:
        results: content of ``results.json``: ``suite``, ``method`` (of the paper, or None) and,
            by evaluation, ``evaluations[name]["metrics"]`` and what was measured beside them.
        baseline: the same of another checkpoint, of which ``evaluations`` are enough.
    """
    table = {TITLE: _metrics(results)}
    if baseline is not None:
        table[BASELINE] = _metrics(baseline)
    for evaluation in results["evaluations"].values():
        table.update(baseline_areas(evaluation.get(CURVES, {})))
    subset = _subset(results)
    for method, accuracies in paper_rows(results["method"]).items():
        column = {
            title: accuracies[counterpart]
            for evaluation in SUITES[results["suite"]]
            for counterpart in [COUNTERPARTS.get(evaluation.config, evaluation.config)]
            if counterpart in accuracies and evaluation.learns_from(subset)
            for title in evaluation.metrics
        }
        if column:
            table[PAPER.format(method)] = column
    return table


def _subset(results: dict[str, Any]) -> Any:
    """``MSCN.TRAIN_SUBSET`` as the overrides give it, of all evaluations, or None."""
    return subset_in(results.get("overrides", []))


def _metrics(results: dict[str, Any]) -> dict[str, float]:
    return {
        title: value
        for evaluation in results["evaluations"].values()
        for title, value in evaluation.get("metrics", {}).items()
    }


def rows(
    results: dict[str, Any], baseline: dict[str, Any] | None, table: dict[str, dict[str, float]]
) -> list[list[Any]]:
    """The table's rows: title, then a number or None for each column of :func:`columns`."""
    subset, titles = _subset(results), dict[str, None]()
    for evaluation in SUITES[results["suite"]]:
        titles.update(dict.fromkeys(evaluation.titled(subset).metrics))
        for of in (results, baseline or {}):  # of another share of the labels, perhaps
            entry = of.get("evaluations", {}).get(evaluation.config, {})
            titles.update(dict.fromkeys(entry.get("metrics", {})))
    return [[title, *(column.get(title) for column in table.values())] for title in titles]


def markdown(results: dict[str, Any], baseline: dict[str, Any] | None) -> str:
    """The table in markdown, with what it is about and what failed."""
    from tabulate import tabulate

    table = columns(results, baseline)
    text = tabulate(
        rows(results, baseline, table),
        headers=["in %", *table],
        floatfmt=".1f",
        missingval="-",
        tablefmt="github",
    )
    about = (
        f"`{results['checkpoint']}`, sigma {results['sigma']:g}, SHA-256 {results['sha256'][:12]}"
    )
    failures, skipped = (
        [f"- {name}: {e[key]}" for name, e in results["evaluations"].items() if key in e]
        for key in ("error", "skipped")
    )
    parts = ["# Evaluation", about, *conditions(results), text]
    if paper_rows(results["method"]):
        parts += _of_the_paper(results)
    parts += map(about_occlusion, _measured(results, CURVES))
    parts += map(about_boxes, _measured(results, BOXES))
    if baseline is not None:
        parts += _of_the_baseline(results, baseline)
    if failures:
        parts.append("Without a result:\n\n" + "\n".join(failures))
    if skipped:
        parts.append("Left out:\n\n" + "\n".join(skipped))
    return "\n\n".join(parts) + "\n"


def _measured(results: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """What was measured in addition to the metrics, of :data:`DETAILS`."""
    return [evaluation[key] for evaluation in results["evaluations"].values() if key in evaluation]


def about_occlusion(measured: dict[str, Any]) -> str:
    """On how many images of which a part is hidden accuracies were measured.

    Args:
        measured: as :class:`~mscn_plugin.evaluation.occlusion.OcclusionEngine` gives it of a layer;
            earlier versions do not state it.
    """
    return f"Areas (parts hidden) of {number_hidden(measured)} validation images."


def number_hidden(measured: dict[str, Any]) -> str:
    """The number in :func:`about_occlusion`, in words where it is not known."""
    limit = f"at most config.MSCN.OCCLUSION_IMAGES, {defaults()['OCCLUSION_IMAGES']} by default,"
    return str(measured.get("images", limit))


def _of_the_baseline(results: dict[str, Any], baseline: dict[str, Any]) -> list[str]:
    """What a baseline's numbers are of, where they are not of what this checkpoint's are of."""
    suite, overrides, images = (baseline.get(key) for key in BASELINE_SETTINGS)
    lines = []
    if suite not in (None, results["suite"]):
        lines.append(f"The baseline's numbers are of the suite {suite}, not {results['suite']}.")
    if overrides is not None and overrides != results.get("overrides", []):
        stated = " ".join(f"`{override}`" for override in overrides) or "none"
        lines.append(f"The baseline's overrides are others: {stated}.")
    if images is None:
        lines.append("The baseline does not state on which images it was measured.")
    for name, here in results.get("measured_on", {}).items():
        there = (images or {}).get(name, here)
        if there != here:
            of = f" ({name})" if name != "data" else ""
            lines.append(f"The baseline was measured on other images{of}: {there}.")
    for key, what in ((CURVES, "areas are"), (BOXES, "boxes are")):
        own, others = (
            [measured["images"] for measured in _measured(of, key) if "images" in measured]
            for of in (results, baseline)
        )
        if own and others and own != others:
            lines.append(f"The baseline's {what} of {others[0]} validation images.")
    return lines


def about_boxes(measured: dict[str, Any]) -> str:
    """On which images boxes were predicted, and how sure the numbers are.

    Args:
        measured: as :func:`mscn_plugin.evaluation.boxes.measured` gives it.
    """
    intervals = ", ".join(
        "{} {:.1f} to {:.1f}".format(title, *measured["mean_iou"][key]["interval"])
        for key, title in BOX_PREDICTORS.items()
    )
    left_out = ", ".join(f"{number} {why}" for why, number in measured["left_out"].items())
    return (
        f"Boxes of {measured['images']} validation images, of {measured['file']}"
        f"{f' (left out: {left_out})' if left_out else ''}; 95% intervals over images: {intervals}."
    )


def _of_the_paper(results: dict[str, Any]) -> Iterator[str]:
    """What the paper's numbers are, where they differ from those beside them, and Table 2."""
    from tabulate import tabulate

    subset = _subset(results)
    suite = {evaluation.config: evaluation for evaluation in SUITES[results["suite"]]}
    measured = {n: e["metrics"] for n, e in results["evaluations"].items() if "metrics" in e}
    others = [name for name in measured if not suite[name].learns_from(subset)]
    if any(COUNTERPARTS.get(name, name) in row for name in others for row in TABLES.values()):
        yield (
            f"The paper's numbers are left out for `config.MSCN.TRAIN_SUBSET={subset}`: it is "
            "another share of the labels, or one that is not known."
        )
    measured = {name: metrics for name, metrics in measured.items() if name not in others}
    notes = dict.fromkeys(PROTOCOLS[name] for name in measured if name in PROTOCOLS)
    if notes:
        yield " ".join(notes)
    if "imagenet1k_linear" in measured:
        here = [f"{TITLE}, linear probe", None, None, *measured["imagenet1k_linear"].values()]
        yield tabulate(
            [here, *([name, *row] for name, row in TABLE_2.items())],
            headers=["Table 2: ImageNet-1K, in %", "trunk", "", "accuracy, top-1"],
            floatfmt=".1f",
            missingval="",
            tablefmt="github",
        )
        yield (
            "How Table 2's were measured is not stated there: BYOL's and MSCN's are Table 1's "
            "linear probes; a supervised network was trained with all labels."
        )


def plot(results: dict[str, Any], baseline: dict[str, Any] | None, path: Path) -> None:
    """Draw the table as bars, one group for each metric."""
    from matplotlib.figure import Figure

    table = columns(results, baseline)
    drawn = rows(results, baseline, table)
    titles = [title for title, *values in drawn if any(value is not None for value in values)]
    figure = Figure(figsize=(8, 1.8 + 0.25 * len(table) * len(titles)), constrained_layout=True)
    axis = figure.subplots()
    height, grays = 0.8 / len(table), iter(("0.85", "0.7", "0.55", "0.4"))
    for place, (name, column) in enumerate(table.items()):
        there = [(index, column[title]) for index, title in enumerate(titles) if title in column]
        bars = axis.barh(
            [index + (place - (len(table) - 1) / 2) * height for index, _ in there],
            [value for _, value in there],
            height=height,
            label=name,
            color=_COLORS.get(name) or next(grays),
        )
        axis.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
    axis.set_yticks(range(len(titles)), titles)
    axis.invert_yaxis()
    axis.set(xlabel="%", xlim=(0, 100))
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=1, fontsize=8, frameon=False)
    save_figure(figure, path)


def plot_curves(curves: dict[str, Any], path: Path) -> None:
    """Draw accuracies against the share that is hidden, one line for each condition.

    Args:
        curves: as :class:`~mscn_plugin.evaluation.occlusion.OcclusionEngine` gives them of a
            layer: ``shares``, and accuracies in percent by classifier and condition.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), constrained_layout=True)
    axes = figure.subplots(1, len(CLASSIFIERS), sharey=True)
    shares = [100 * share for share in curves["shares"]]
    for axis, (classifier, title) in zip(axes, CLASSIFIERS.items()):
        for number, (name, condition) in enumerate(CONDITIONS.items()):
            axis.plot(
                shares,
                curves[classifier][name],
                "o-" if condition.filtered else "s--",
                color=f"C{number}",
                label=condition.title,
            )
        axis.set(title=title, xlabel="share hidden in %")
        axis.grid(color="0.9")
    axes[0].set(ylabel="accuracy in %", ylim=(0, None))  # last: it ends where a line does now
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False)
    save_figure(figure, path)
