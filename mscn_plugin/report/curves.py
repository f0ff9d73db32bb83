"""Training curves: what is drawn, and how it reads in words."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from mscn_plugin.evaluation.definitions import CLASSIFIERS, CONDITIONS
from mscn_plugin.report.history import History
from mscn_plugin.report.pictures import data_uri

LEAST_TO_SMOOTH = 20
"""Points of a series from which on it is smoothed; the running mean is over a tenth of them."""
DASHES = ("dashed", "dotted")


@dataclasses.dataclass(frozen=True)
class Curve:
    """One plot of a run.

    Attributes:
        title, xlabel, ylabel: of the plot.
        series: by name, its points as ``(xs, ys)``; one series is drawn without its name.
        markers: whether the points are few enough to be shown.
        from_zero: whether the distance to 0 means something.
        smoothed: whether the series are noisy; drawn as a running mean, over the values
            themselves in a paler line.
        levels: by name, values to be compared with, drawn as dashed lines.
        colors: of the series by name, in Matplotlib's terms; others have their place's.
    """

    title: str
    xlabel: str
    ylabel: str
    series: dict[str, tuple[list[float], list[float]]]
    markers: bool = False
    from_zero: bool = False
    smoothed: bool = False
    levels: dict[str, float] = dataclasses.field(default_factory=dict)
    colors: dict[str, str] = dataclasses.field(default_factory=dict)

    def draw(self, axis: Any) -> None:
        """Draw the curve on an axis of Matplotlib."""
        for number, (name, (xs, ys)) in enumerate(self.series.items()):
            style: dict[str, Any] = {"color": self.colors.get(name, f"C{number}")}
            if self.markers or len(xs) == 1:
                style["marker"] = "o"
            if self.smoothed and len(ys) >= LEAST_TO_SMOOTH:
                axis.plot(xs, ys, linewidth=0.8, alpha=0.35, **style)
                ys = running_mean(ys)
            axis.plot(xs, ys, label=name, **style)
        for number, (name, level) in enumerate(self.levels.items()):
            axis.axhline(level, label=name, color="0.35", linewidth=1, linestyle=DASHES[number % 2])
        axis.set(title=self.title, xlabel=self.xlabel, ylabel=self.ylabel)
        axis.grid(color="0.9")
        if self.xlabel == "epoch":
            axis.xaxis.get_major_locator().set_params(integer=True)
        if self.from_zero:
            axis.set_ylim(bottom=0)
        if len(self.series) + len(self.levels) > 1:
            axis.legend(fontsize="small")

    def svg(self) -> bytes:
        """The plot as an SVG that refers to no other file; the same curve gives the same bytes."""
        figure = Figure(figsize=(5, 3.2), constrained_layout=True)
        self.draw(figure.subplots())
        stream = io.BytesIO()
        with matplotlib.rc_context({"svg.hashsalt": self.title, "svg.fonttype": "path"}):
            figure.savefig(stream, format="svg", metadata={"Date": None})
        return stream.getvalue()

    def in_words(self) -> str:
        """Where each series starts and ends, for those who cannot see the plot."""
        parts = [
            f"{name} from {ys[0]:.4g} at {self.xlabel} {xs[0]:g} to {ys[-1]:.4g} at {xs[-1]:g}"
            for name, (xs, ys) in self.series.items()
        ]
        parts += [f"{name} {level:.4g}" for name, level in self.levels.items()]
        return f"Plot of the {self.title}: {'; '.join(parts)}"


def curves(history: History) -> list[Curve]:
    """The plots for which a run has at least one point."""
    steps, statistics = history.steps, history.statistics
    epochs = [
        {"epoch": line["train_phase_idx"] + 1, **line["online_evaluation"]}
        for line in history.evaluations
    ]
    found = (
        Curve(
            "pre-training loss",
            "iteration",
            "loss",
            _series(steps, "iter", loss="loss"),
            smoothed=True,
        ),
        Curve(
            "learning rate",
            "iteration",
            "learning rate",
            _series(steps, "iter", lr="learning rate"),
            from_zero=True,
        ),
        Curve(
            "accuracy of the frozen trunk",
            "epoch",
            "accuracy in %",
            _series(epochs, "epoch", knn="kNN", linear_probe="linear probe"),
            markers=True,
            levels=_to_beat(history),
        ),
        Curve(
            "spread of the embedding, 0: collapsed",
            "iteration",
            "standard deviation",
            _series(statistics, "iteration", std="embedding", prediction_std="prediction"),
            from_zero=True,
        ),
    )
    return [curve for curve in found if curve.series]


def occlusion_curves(measured: dict[str, Any]) -> list[Curve]:
    """Accuracy against the share that is hidden.

    Args:
        measured: as :class:`~mscn_plugin.evaluation.occlusion.OcclusionEngine` gives it of a layer.
    """
    shares = [100 * share for share in measured["shares"]]
    return [
        Curve(
            f"accuracy of the {title}",
            "share hidden in %",
            "accuracy in %",
            {c.title: (shares, measured[key][name]) for name, c in CONDITIONS.items()},
            markers=True,
            from_zero=True,
        )
        for key, title in CLASSIFIERS.items()
    ]


def pictures(shown: Sequence[Curve]) -> list[dict[str, str]]:
    """Of each curve what a page shows: ``source``, an SVG as a data URI, and ``text``."""
    return [
        {"source": data_uri(curve.svg(), "image/svg+xml"), "text": curve.in_words()}
        for curve in shown
    ]


def running_mean(values: Sequence[float]) -> list[float]:
    """Mean of a tenth of the series around each value, of less at the ends; NaN stays NaN."""
    reach = max(1, len(values) // 20)
    windows = (values[max(0, i - reach) : i + reach + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]


def _to_beat(history: History) -> dict[str, float]:
    """What the last evaluation's accuracies are to beat."""
    last = history.evaluations[-1] if history.evaluations else {}
    levels = {"chance": last["chance"]} if "chance" in last else {}
    if "color_histogram" in last:
        levels["kNN of color histograms"] = last["color_histogram"]["knn"]
    return levels


def side_by_side(drawn: Sequence[Curve]) -> Figure:
    """All plots in one figure, two in a row."""
    rows = -(-len(drawn) // 2)
    figure = Figure(figsize=(9, 3.3 * rows), constrained_layout=True)
    axes = list(figure.subplots(rows, 2, squeeze=False).flat)
    for axis, curve in zip(axes, drawn):
        curve.draw(axis)
    for axis in axes[len(drawn) :]:
        axis.remove()
    return figure


def _series(
    lines: list[dict[str, Any]], x: str, **names: str
) -> dict[str, tuple[list[float], list[float]]]:
    series = {}
    for key, name in names.items():
        points = [(line[x], line[key]) for line in lines if key in line]
        if points:
            xs, ys = zip(*points)
            series[name] = list(xs), list(ys)
    return series
