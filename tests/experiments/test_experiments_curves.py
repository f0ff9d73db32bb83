"""Evaluations of experiments' runs, and accuracies by epoch, as tables and plots."""

from __future__ import annotations

import pytest

from mscn_plugin.evaluation.definitions import CLASSIFIERS, CONDITIONS
from mscn_plugin.experiments.curves import evaluation_tables, plot_epochs, plot_occlusion


def row(experiment, seed, **more):
    return {
        "suite": "s",
        "experiment": experiment,
        "title": f"arm {experiment}",
        "seed": seed,
    } | more


def evaluated(knn):
    curve = {name: [knn, knn / 2] for name in CONDITIONS}
    return {
        "few": {"metrics": {"kNN, 1%": knn, "kNN, 10%": knn + 1}},
        "hidden": {
            "metrics": {"kNN, area: box": knn / 2, "probe, area: box": knn},
            "occlusion": {"shares": [0.0, 0.5], **dict.fromkeys(CLASSIFIERS, curve)},
        },
    }


PICTURE = "picture-box-gray"


def whole(knn):
    return {"hidden": evaluated(knn)["hidden"]}


def test_a_table_for_each_kind_of_numbers_with_those_runs_alone_that_have_them():
    rows = [row("a", 0, evaluations=evaluated(10.0)), row("a", 1, evaluations=evaluated(20.0))]
    rows += [row("b", 0), row("c", 0, error="no")]
    rows += [row("d", 0, evaluations={"few": {"error": "no"}, "hidden": evaluated(4.0)["hidden"]})]
    few, knn, probe = evaluation_tables(rows)
    assert all(heading in few for heading in ("s, few", "kNN, 1%", "kNN, 10%"))
    cells = [cell.strip() for cell in few.splitlines()[-1].strip("|").split("|")]
    assert cells == ["arm a", "2", "15.0 ± 63.5", "16.0 ± 63.5"]
    assert [line.split("|")[1].strip() for line in knn.splitlines()[2:]] == ["arm a", "arm d"]
    assert all(part in knn for part in ("s, hidden, kNN, area", " box ", "7.5 ± 31.8"))
    assert "s, hidden, probe, area" in probe
    one, none = ({"frozen": {"metrics": {"kNN": 3.5, **svm}}} for svm in ({"SVM": 4.0}, {}))
    unmeasured = [row("a", 0, evaluations=one), row("b", 0, evaluations=none)]
    (frozen,) = evaluation_tables(unmeasured)
    assert [cell.strip() for cell in frozen.splitlines()[-1].split("|")][3:-1] == ["3.5", "-"]
    some = [row("a", seed, evaluations=of) for seed, of in enumerate((one, none))]
    (frozen,) = evaluation_tables(some)  # SVMs need so many images of a class
    cells = [cell.strip() for cell in frozen.splitlines()[-1].split("|")]
    assert cells[2:-1] == ["2", "3.5 ± 0.0", "4.0 (1 seed)"]
    assert evaluation_tables([row("b", 0)]) == []


def test_what_was_measured_beside_the_trunk_has_lines_below_the_experiments(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    rows = [row(name, seed, evaluations=whole(10.0)) for name in "ab" for seed in range(2)]
    cells, gray = (f"kNN, area: {CONDITIONS[name].title}" for name in ("cells-zeros", PICTURE))
    for one in rows:
        hidden = one["evaluations"]["hidden"]
        hidden["metrics"] = {cells: 7.5, gray: 7.5}
        hidden["occlusion"]["untrained"] = {"knn": {"cells-zeros": [4.0, 2.0], PICTURE: [4.0, 2.0]}}
        hidden["occlusion"]["color_histogram"] = {"knn": {PICTURE: [6.0, 5.0]}}
    (table,) = evaluation_tables([*rows, row("c", 0)])

    def lines(table):
        found = [line.strip("|").split("|") for line in table.splitlines()[2:]]
        return [[cell.strip() for cell in line] for line in found]

    assert lines(table)[2:] == [
        ["untrained trunk", "-", "3.0", "3.0"],  # one network for both seeds and arms
        ["color histogram", "-", "-", "5.5"],
    ]
    for one in rows[2:]:
        one["evaluations"]["hidden"]["occlusion"]["untrained"]["knn"]["cells-zeros"] = [2.0, 2.0]
    (table,) = evaluation_tables(rows)
    assert [line[:3] for line in lines(table)[2:4]] == [
        ["untrained trunk (arm a)", "-", "3.0"],
        ["untrained trunk (arm b)", "-", "2.0"],
    ]
    rows = rows[:2]
    drawn = []
    plot = Axes.plot
    monkeypatch.setattr(
        Axes, "plot", lambda axes, *a, **k: drawn.append((a[1], k)) or plot(axes, *a, **k)
    )
    plot_occlusion(rows, tmp_path / "hidden", ["cells-zeros", PICTURE])
    beside = [(list(y), k["label"]) for y, k in drawn if k.get("linewidth") == 1]
    twice = ([4.0, 2.0], "untrained trunk")  # in both panels, and not once more for the other seed
    assert beside == [twice, twice, ([6.0, 5.0], "color histogram")]


def test_plots_are_drawn_where_there_are_curves(tmp_path, monkeypatch):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    drawn = []
    plot = Axes.plot
    monkeypatch.setattr(Axes, "plot", lambda axes, *a, **k: drawn.append(a) or plot(axes, *a, **k))
    epochs = [{"epoch": 0, "kNN": 1.0, "linear probe": 2.0}]
    plot_epochs([row("a", 0, epochs=epochs)], tmp_path / "epochs", "s")
    plot_occlusion([row("a", 0)], tmp_path / "hidden")
    assert not list(tmp_path.iterdir())
    epochs = [*epochs, {"epoch": 5, "kNN": 3.0, "linear probe": 4.0}]
    plot_epochs([row("a", 0, epochs=epochs)], tmp_path / "epochs", "s")
    assert [(list(x), list(y)) for x, y, *_ in drawn[::2]] == [([0, 5], [1, 3]), ([0, 5], [2, 4])]
    drawn.clear()
    seeds = [row("a", seed, evaluations=evaluated(10.0 * (seed + 1))) for seed in range(2)]
    plot_occlusion(seeds, tmp_path / "hidden")
    means = [(list(x), list(y)) for x, y, *_ in drawn[::3]]
    assert means == [([0, 50], [15, 7.5])] * len(CONDITIONS)
    drawn.clear()
    plot_occlusion(seeds, tmp_path / "hidden", ["box-zeros"])
    assert len(drawn) == 3  # one panel: the mean, and two seeds
    drawn.clear()
    rising = [{"epoch": epoch, "kNN": epoch, "linear probe": 3 * epoch} for epoch in range(2)]
    tops = []
    suptitle = Figure.suptitle
    monkeypatch.setattr(
        Figure,
        "suptitle",
        lambda figure, *a, **k: (
            tops.extend(axes.get_ylim() for axes in figure.axes) or suptitle(figure, *a, **k)
        ),
    )
    plot_epochs([row("a", 0, epochs=rising)], tmp_path / "epochs", "s")
    assert all(low == 0 and high >= 3 for low, high in tops)  # panels share the higher one's
    assert len(tops) == 2
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"epochs.png", "epochs.pdf", "hidden.png", "hidden.pdf"}


def test_each_panel_has_chance_and_an_example_above_it(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    pictures, levels = [], []
    monkeypatch.setattr(Axes, "imshow", lambda axes, picture: pictures.append(picture))
    monkeypatch.setattr(Axes, "axhline", lambda axes, y, **_: levels.append(y))
    rows = [row("a", 0, chance=1.0, evaluations=evaluated(10.0))]
    plot_occlusion(rows, tmp_path / "hidden", ["box-zeros", "picture-box-gray", "cells-noise"])
    assert levels == [1.0] * 3
    gray = [(picture == 128).all(axis=-1) for picture in pictures]
    # Zeros behind the filter and gray in front of it: the same box; noise leaves nothing gray.
    assert gray[0].mean() == pytest.approx(0.3, abs=0.01)
    assert (gray[0] == gray[1]).mean() > 0.99
    assert gray[2].mean() < 0.01


def test_an_experiment_keeps_its_color_and_a_seed_its_own_epochs(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn = []
    plot = Axes.plot

    def noted(axes, x, y, *_, **options):
        drawn.append((options["color"], list(x), list(y)))
        return plot(axes, x, y, *_, **options)

    monkeypatch.setattr(Axes, "plot", noted)

    def curve(experiment, seed, *epochs):
        points = [{"epoch": e, "kNN": e + seed, "linear probe": e} for e in epochs]
        return row(experiment, seed, suite="study", epochs=points)

    rows = [curve("baseline_crop_only", 0, 0, 15, 30), curve("baseline_crop_only", 1, 0, 10, 30)]
    plot_epochs(rows, tmp_path / "one", "study")
    for line, points in ((0, 2), (1, 3)):  # a line of both would be at 0 and 30 alone
        assert drawn[line][1:] == drawn[points][1:]
    assert [x for _, x, _ in drawn[:2]] == [[0, 15, 30], [0, 10, 30]]
    alone = drawn[0][0]
    drawn.clear()
    plot_epochs([curve("baseline_standard", 0, 0, 30), *rows], tmp_path / "two", "study")
    assert drawn[0][0] != drawn[2][0] == alone
