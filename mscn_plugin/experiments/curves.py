"""What runs of experiments have besides their last accuracies: evaluations, accuracies by epoch.

Rows are those of :mod:`mscn_plugin.experiments.results`, with ``epochs`` and ``evaluations``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from mscn_plugin.evaluation.definitions import (
    BASELINES,
    CONDITIONS,
    CURVES,
    Condition,
    baseline_areas,
)
from mscn_plugin.experiments.definitions import SUITES
from mscn_plugin.experiments.means import Rows, as_text, by_experiment, cell
from mscn_plugin.experiments.runs import METRICS
from mscn_plugin.files import save_figure

Curves = tuple[list[float], dict[str, list[float]]]
"""Places on the horizontal axis, and the accuracies there by the panel that they are drawn in."""
EXAMPLE_SHARE = 0.3
_COLORS = ("blue", "orange", "green", "brown", "purple", "red", "cyan", "olive", "pink", "gray")
_GRAYS = ("0.0", "0.35", "0.55", "0.7")  # of what was measured beside the trunks


def evaluation_tables(rows: Rows) -> list[str]:
    """A table for each evaluation of one suite's runs and each kind of its numbers.

    The kind is what stands in front of a colon: ``kNN, area: cells, zeros`` is a number of the
    table ``kNN, area``. Below the experiments stands what was measured beside their trunks.
    """
    titles: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        for name, outcome in row.get("evaluations", {}).items():
            for title in outcome.get("metrics", {}):
                kind = title.partition(": ")[0] if ": " in title else ""
                titles.setdefault((name, kind), {})[title] = None
    return [_table(rows, name, kind, list(of_kind)) for (name, kind), of_kind in titles.items()]


def _table(rows: Rows, name: str, kind: str, titles: list[str]) -> str:
    heading = f"{rows[0]['suite']}, {name}" + (f", {kind}" if kind else "")
    lines: list[list[Any]] = []
    beside: dict[str, dict[tuple[Any, ...], str]] = {title: {} for title in BASELINES.values()}
    for of_one in filter(None, by_experiment(rows).values()):
        label = of_one[0]["title"]
        done = [row.get("evaluations", {}).get(name, {}) for row in of_one]
        metrics = [outcome["metrics"] for outcome in done if "metrics" in outcome]
        if metrics:
            of_titles = [[m[title] for m in metrics if title in m] for title in titles]
            lines.append([label, len(metrics), *(cell(of, len(metrics)) for of in of_titles)])
        # One network, and one histogram, whatever the seed: no mean, and each line once.
        for outcome in done:
            for features, areas in baseline_areas(outcome.get(CURVES, {})).items():
                numbers = tuple(areas.get(title) for title in titles)
                if any(number is not None for number in numbers):
                    beside[features].setdefault(numbers, label)
    for features, labels in beside.items():
        for numbers, label in labels.items():
            named = f"{features} ({label})" if len(labels) > 1 else features
            shown = [None if n is None else as_text(n, math.nan) for n in numbers]
            lines.append([named, None, *shown])
    headers = [heading, "seeds", *(title.removeprefix(f"{kind}: ") for title in titles)]
    return str(tabulate(lines, headers=headers, tablefmt="github", missingval="-"))


def plot_epochs(rows: Rows, path: Path, title: str) -> None:
    """Draw the accuracies of one suite's experiments against the epochs: PNG and PDF."""
    _draw(rows, _by_epoch, path, title, "epochs")


def plot_occlusion(rows: Rows, path: Path, conditions: Sequence[str] = tuple(CONDITIONS)) -> None:
    """Draw kNN of one suite's experiments against the share of an image that is hidden.

    Args:
        conditions: keys of :data:`CONDITIONS`, a panel for each, below a photograph of which
            :data:`EXAMPLE_SHARE` is hidden so.
    """
    by_share = functools.partial(_by_share, conditions=conditions)
    title = f"kNN where a part is hidden (above: {EXAMPLE_SHARE:.0%})"
    examples = functools.partial(_examples, conditions)
    beside = functools.partial(_beside, conditions=conditions)
    _draw(rows, by_share, path, title, "share hidden in %", examples, beside)


def _examples(conditions: Sequence[str]) -> list[np.ndarray]:
    """A photograph with a part hidden, ``[H, W, 3]`` uint8, for each condition.

    At the paper's size: 224 pixels, cells of 32, sigma 5.
    """
    import torch
    from skimage import data
    from torchvision.transforms import functional as F

    from mscn_plugin.evaluation.occluded_images import hide
    from mscn_plugin.masking import high_pass
    from mscn_plugin.training.contact_sheet import stretched

    photograph = torch.from_numpy(data.chelsea()).permute(2, 0, 1) / 255
    image = F.center_crop(F.resize(photograph, 224), 224)[None]
    image = (image - image.mean((2, 3), keepdim=True)) / image.std((2, 3), keepdim=True)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    hidden = dict(hide(image, high_pass(image, 5.0), noise, EXAMPLE_SHARE, [0], 32))
    return [stretched(hidden[name])[0] for name in conditions]


def _by_epoch(row: dict[str, Any]) -> Curves | None:
    epochs = row.get("epochs", [])
    if len(epochs) < 2:
        return None
    accuracies = {metric: [epoch[metric] for epoch in epochs] for metric in METRICS}
    return [epoch["epoch"] for epoch in epochs], accuracies


def _by_share(row: dict[str, Any], conditions: Sequence[str]) -> Curves | None:
    curves = _occlusion_of(row)
    return None if curves is None else _panels_of(curves, curves["knn"], conditions)


def _beside(rows: Rows, conditions: Sequence[str]) -> list[tuple[str, Curves]]:
    """The same of what was measured beside the trunks, each once, with the arm where it differs."""
    lines = []
    for key, title in BASELINES.items():
        found: list[tuple[str, Curves]] = []
        for row in rows:
            curves = _occlusion_of(row)
            if curves is not None and key in curves:
                line = _panels_of(curves, curves[key]["knn"], conditions)
                if line not in [earlier for _, earlier in found]:
                    found.append((f"{title} ({row['title']})", line))
        lines += [(title, found[0][1])] if len(found) == 1 else found
    return lines


def _occlusion_of(row: dict[str, Any]) -> dict[str, Any] | None:
    outcomes = row.get("evaluations", {}).values()
    return next((outcome[CURVES] for outcome in outcomes if CURVES in outcome), None)


def _panels_of(
    curves: dict[str, Any], by_condition: dict[str, list[float]], conditions: Sequence[str]
) -> Curves:
    there = [name for name in conditions if name in by_condition]
    accuracies = {_panel(CONDITIONS[name]): by_condition[name] for name in there}
    return [100 * share for share in curves["shares"]], accuracies


def _panel(condition: Condition) -> str:
    return f"{condition.title}\n{'after' if condition.filtered else 'before'} the filter"


def _draw(
    rows: Rows,
    curves_of: Callable[[dict[str, Any]], Curves | None],
    path: Path,
    title: str,
    x: str,
    examples: Callable[[], list[np.ndarray]] = list,
    beside: Callable[[Rows], list[tuple[str, Curves]]] = lambda rows: [],
) -> None:
    """Draw the mean of each experiment as a line, and its seeds; no file where there is nothing.

    Args:
        examples: makes a picture above each panel, or none.
        beside: what else is drawn, titles of :data:`BASELINES`.
    """
    from matplotlib.figure import Figure

    # An experiment has its color in every plot of its suite, whichever others are beside it.
    suite = [experiment.name for experiment in SUITES.get(rows[0]["suite"], ())]
    suite += [row["experiment"] for row in rows if row["experiment"] not in suite]
    curves, numbers = {}, {}
    for name, of_one in by_experiment(rows).items():
        found = [curve for curve in map(curves_of, of_one) if curve is not None]
        if found:
            curves[of_one[0]["title"]] = found
            numbers[of_one[0]["title"]] = suite.index(name)
    if not curves:
        return
    _, panels = next(iter(curves.values()))[0]
    pictures = examples()
    heights = [2.0] * bool(pictures) + [3.0]
    figure = Figure(figsize=(2.4 * len(panels) + 3, sum(heights) + 0.6), constrained_layout=True)
    grid = figure.add_gridspec(len(heights), len(panels), height_ratios=heights)
    all_axes = [figure.add_subplot(grid[-1, 0])]
    all_axes += [
        figure.add_subplot(grid[-1, column], sharey=all_axes[0]) for column in range(1, len(panels))
    ]
    chances = {row["chance"] for row in rows if "chance" in row}  # one: all have the same images
    for column, (axes, panel) in enumerate(zip(all_axes, panels)):
        for label, seeds in curves.items():
            by_place = [dict(zip(at, accuracies[panel])) for at, accuracies in seeds]
            _draw_experiment(axes, by_place, label, numbers[label])
        for number, (name, (places, accuracies)) in enumerate(beside(rows)):
            if panel in accuracies:
                color = _GRAYS[number % len(_GRAYS)]
                axes.plot(places, accuracies[panel], "-.", color=color, linewidth=1, label=name)
        for chance in chances:
            axes.axhline(chance, color="0.5", linestyle=":", linewidth=1, label="chance")
        axes.set_xlabel(x)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelleft=column == 0)
        headed = axes
        if pictures:
            headed = figure.add_subplot(grid[0, column])
            headed.imshow(pictures[column])
            headed.set_axis_off()
        headed.set_title(panel, fontsize=9)
    all_axes[0].set(ylabel="accuracy in %", ylim=(0, None))  # last: it ends where a line does now
    _add_legend(figure, all_axes)
    alike = all(len({tuple(at) for at, _ in seeds}) == 1 for seeds in curves.values())
    lines = "means" if alike else "means, or seeds that were measured at other places"
    figure.suptitle(f"{title}; lines: {lines}, points: seeds", fontsize=10)
    save_figure(figure, path, ".png", ".pdf")


def _draw_experiment(axes: Any, seeds: list[dict[float, float]], label: str, number: int) -> None:
    """Each seed's points, and their mean as a line; a line of each where their places differ.

    A mean at the few places that all seeds have would be a line far from their points.
    """
    color, style = f"tab:{_COLORS[number % len(_COLORS)]}", "-" if number < len(_COLORS) else "--"
    alike = all(of_seed.keys() == seeds[0].keys() for of_seed in seeds)
    lines = seeds
    if alike:
        lines = [{at: float(np.mean([of_seed[at] for of_seed in seeds])) for at in seeds[0]}]
    for line in lines:
        axes.plot([*line], [*line.values()], style, color=color, label=label)
    for of_seed in seeds:
        axes.plot([*of_seed], [*of_seed.values()], "o", ms=2.5, color=color)


def _add_legend(figure: Any, all_axes: Sequence[Any]) -> None:
    """One for all panels: not each has every line, and some have two of a name."""
    handles = dict[str, Any]()
    for axes in all_axes:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    figure.legend(
        handles.values(), handles.keys(), loc="outside right center", fontsize=8, frameon=False
    )
