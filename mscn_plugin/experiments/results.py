"""The results of a set of runs: means and intervals, tables, plots.

A row is what ``results.json`` holds of a run: ``suite``, ``experiment``, ``title``, ``seed``,
``paper`` (the paper's accuracy in percent, or None), ``data``, ``images`` and ``given`` (the data's
name, a digest of its images, and the overrides, where the caller named some; rows of earlier
versions have no ``images``), and ``metrics`` with ``measured_on`` (the images) and ``chance`` in
percent, or ``error``.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from mscn_plugin.errors import ConfigError
from mscn_plugin.evaluation.definitions import CONDITIONS, CURVES
from mscn_plugin.evaluation.table import about_occlusion
from mscn_plugin.experiments.curves import evaluation_tables, plot_epochs, plot_occlusion
from mscn_plugin.experiments.definitions import SUITES
from mscn_plugin.experiments.differences import difference_table
from mscn_plugin.experiments.means import Rows, by_experiment, cell, mean_and_interval
from mscn_plugin.experiments.runs import METRICS, UNTRAINED, shown
from mscn_plugin.files import replacing, save_figure, save_json, write_text

PLOTS = ("", "_epochs", "_occlusion")
"""Ends of the plots' names; one is drawn where a run has its numbers."""
PAPER = "the paper, linear probe of A.2"
"""Heading of the paper's column: 100 epochs on all of ImageNet-1K, where the numbers beside it are
of the online evaluation, on the images that are named below the tables. A.2's own evaluation of a
run is ``mscn evaluate RUN --suite paper``."""


def summary(rows: Rows) -> list[list[Any]]:
    """A line for each experiment: title, seeds, mean and interval of each metric, the paper's.

    A cell over fewer seeds than the line's states over how many.
    """
    lines = []
    for name, of_one in by_experiment(rows).items():
        title, paper = next((r["title"], r["paper"]) for r in rows if r["experiment"] == name)
        cells: list[Any] = [title, len(of_one)]
        for metric in (*METRICS, *UNTRAINED):
            values = [row["metrics"][metric] for row in of_one if metric in row["metrics"]]
            cells.append(cell(values, len(of_one)))
        lines.append([*cells, paper])
    return lines


def table(rows: Rows, layout: str) -> str:
    """:func:`summary` of one suite, in one of ``tabulate``'s layouts, with notes below it."""
    headers = [rows[0]["suite"], "seeds", *map(shown, (*METRICS, *UNTRAINED)), PAPER]
    derived = _derived(rows)
    lines = summary(rows)
    for line, name in zip(lines, dict.fromkeys(row["experiment"] for row in rows)):
        if line[-1] is not None:
            line[-1] = f"{line[-1]:.1f}{'*' if name in derived else ''}"
    text = tabulate(
        lines,
        headers=headers,
        tablefmt=layout,
        floatfmt=".1f",
        missingval="-",
        disable_numparse=[len(headers) - 1],  # the paper's column has marks
    )
    if not derived:
        return str(text)
    mark = "\\*" if layout == "github" else "*"
    return f"{text}\n\n{mark} Not printed in the paper: {', '.join(derived.values())}."


def _derived(rows: Rows) -> dict[str, str]:
    """How the paper's numbers that it does not print follow, by the experiments of one suite."""
    experiments = SUITES.get(rows[0]["suite"], [])
    there = {row["experiment"] for row in rows}
    return {e.name: e.derived for e in experiments if e.derived and e.name in there}


def by_suite(rows: Rows) -> dict[str, Rows]:
    """The rows of each suite, in their order."""
    suites: dict[str, Rows] = {}
    for row in rows:
        suites.setdefault(row["suite"], []).append(row)
    return suites


def merged(old: Rows, new: Rows) -> Rows:
    """``new`` and what it does not replace of ``old``, in the suites' order.

    Only :func:`comparable` rows stay. A run that had been evaluated before, and whose numbers are
    the same, keeps the evaluations that this call did not request. A result stays, too, where the
    same run or evaluation failed in this call, as it does while another call is running it.
    """
    replaced = {_place(row): row for row in new}
    kept = []
    for row in comparable(old, new):
        newer = replaced.get(_place(row))
        if newer is None:
            kept.append(row)
        elif row.get("folder") != newer.get("folder"):
            continue
        elif "error" in newer and "metrics" in row:
            replaced[_place(row)] = row
        elif row.get("metrics") == newer.get("metrics"):
            done = {n: o for n, o in row.get("evaluations", {}).items() if "metrics" in o}
            if done:
                asked = newer.get("evaluations", {}).items()
                again = {n: o for n, o in asked if n not in done or "metrics" in o}
                evaluations = {**done, **again}
                replaced[_place(row)] = {**newer, "evaluations": evaluations}
    order = [(suite, e.name) for suite, experiments in SUITES.items() for e in experiments]
    return sorted(
        [*kept, *replaced.values()],
        key=lambda row: (order.index((row["suite"], row["experiment"])), row["seed"]),
    )


def _place(row: dict[str, Any]) -> tuple[str, str, int]:
    """Of a row, in which there is one at a time."""
    return row["suite"], row["experiment"], row["seed"]


def comparable(old: Rows, new: Rows) -> Rows:
    """The rows of ``old`` that can stand beside ``new``, or be replaced by it.

    Rows of other data or of other overrides cannot, the scale's own among them, which a later
    version may change: a mean over both would mean nothing.
    """
    given = {_settings(row) for row in new}
    made = {(row["suite"], row["experiment"]): _overrides(row) for row in new}
    return [
        row
        for row in old
        if _settings(row) in given
        and _overrides(row) == made.get((row["suite"], row["experiment"]), _overrides(row))
    ]


def _overrides(row: dict[str, Any]) -> list[str]:
    """The overrides of a row's run but for its seed."""
    return [o for o in row.get("overrides", ()) if not o.startswith("config.SEED_VALUE=")]


def _settings(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["data"], row.get("images"), *row.get("files", ()), *row["given"]


def save(folder: Path, rows: Rows) -> None:
    """Write ``results.json``, flat ``results.csv``, ``results.md``, and a plot for each suite."""
    save_json(folder / "results.json", rows)
    for suite in SUITES:
        _remove_plots(folder, suite)
    with replacing(folder / "results.csv") as file, file.open("w", newline="") as stream:
        lines = csv.writer(stream)
        lines.writerow(["suite", "experiment", "seed", "metric", "accuracy", "paper"])
        for row in rows:
            where = row["suite"], row["experiment"], row["seed"]
            for metric, accuracy in row.get("metrics", {}).items():
                paper = row["paper"] if metric == "linear probe" else None
                lines.writerow([*where, shown(metric), accuracy, paper])
            for name, outcome in row.get("evaluations", {}).items():
                for metric, value in outcome.get("metrics", {}).items():
                    lines.writerow([*where, f"{name}: {metric}", value, None])
    present(folder, rows)


def _remove_plots(folder: Path, suite: str) -> None:
    """Remove the plots of a suite's earlier rows: of others, some may not be drawn again."""
    for name in PLOTS:
        for suffix in (".png", ".pdf"):
            (folder / f"{suite}{name}{suffix}").unlink(missing_ok=True)


def present(
    folder: Path,
    rows: Rows,
    against: str | None = None,
    conditions: Sequence[str] = tuple(CONDITIONS),
) -> None:
    """Write ``results.md``, and plots for each suite in the place of earlier ones of it.

    Args:
        against: an experiment, to which tables of differences are written.
        conditions: those of the occlusion plots.

    Raises:
        ConfigError: no suite has a difference to ``against``.
    """
    parts = []
    differences = []
    for of_suite in by_suite(rows).values():
        parts += [table(of_suite, "github"), *evaluation_tables(of_suite)]
        difference = difference_table(of_suite, against) if against else None
        differences += [difference] if difference else []
    if against and not differences:
        names = ", ".join(dict.fromkeys(row["experiment"] for row in rows))
        raise ConfigError(
            f"--against is {against!r}; it must be an experiment with a seed that another one has, "
            f"too; the file has {names}"
        )
    parts += differences
    images = dict.fromkeys(row["measured_on"] for row in rows if "measured_on" in row)
    parts += [f"{text[0].upper()}{text[1:]}." for text in images]
    evaluations = [outcome for row in rows for outcome in row.get("evaluations", {}).values()]
    curves = [outcome[CURVES] for outcome in evaluations if "images" in outcome.get(CURVES, {})]
    parts += dict.fromkeys(map(about_occlusion, curves))
    write_text(folder / "results.md", "\n\n".join(parts) + "\n")
    for suite, of_suite in by_suite(rows).items():
        _remove_plots(folder, suite)
        if any("metrics" in row for row in of_suite):
            accuracies, epochs, occlusion = (folder / f"{suite}{name}" for name in PLOTS)
            plot(of_suite, accuracies, suite)
            plot_epochs(of_suite, epochs, suite)
            plot_occlusion(of_suite, occlusion, conditions)


def plot(rows: Rows, path: Path, title: str) -> None:
    """Draw mean, interval and seeds of each experiment beside the paper's values: PNG and PDF."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["experiment"] for row in rows))
    figure = Figure(figsize=(11, 1.2 + 0.32 * len(names)), constrained_layout=True)
    axes = figure.subplots(1, len(METRICS) + 1, sharey=True)
    derived = _derived(rows)
    labels = [next(r["title"] for r in rows if r["experiment"] == name) for name in names]
    for axis, metric in zip(axes, METRICS):
        for place, name in enumerate(names):
            done = [
                row["metrics"] for row in rows if row["experiment"] == name and "error" not in row
            ]
            if not done:
                continue
            values = [metrics[metric] for metrics in done]
            mean, half = mean_and_interval(values)
            axis.barh(place, mean, height=0.7, color="0.85")
            axis.text(0.5, place, f"{mean:.1f}", va="center", fontsize=8)
            if not np.isnan(half):
                axis.errorbar(mean, place, xerr=half, color="black", capsize=3, lw=1)
            axis.plot(values, [place] * len(values), "o", ms=3, color="tab:blue")
            before = [m[f"{metric}, untrained"] for m in done if f"{metric}, untrained" in m]
            if before:
                axis.plot(np.mean(before), place, "|", ms=12, mew=2, color="tab:red")
        axis.set(xlabel=f"{shown(metric)}, % (here)", xlim=(0, None))
    for place, name in enumerate(names):
        paper = next(row["paper"] for row in rows if row["experiment"] == name)
        if paper is not None:
            axes[-1].barh(place, paper, height=0.7, color="tab:orange")
            mark = "*" if name in derived else ""
            axes[-1].text(paper + 1, place, f"{paper:.1f}{mark}", va="center", fontsize=8)
    note = "\n* derived, not printed there" if derived else ""
    axes[-1].set(xlabel=f"the paper, linear probe, %{note}", xlim=(0, 85))
    axes[0].set_yticks(range(len(names)), labels)
    axes[0].invert_yaxis()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"{title}: mean with 95% interval, each seed (blue), the trunk before training (red)",
        fontsize=10,
    )
    save_figure(figure, path, ".png", ".pdf")
