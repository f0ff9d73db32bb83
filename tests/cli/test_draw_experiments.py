"""Tables and plots from a result file, and what the documentation says of its own."""

from __future__ import annotations

import collections
import functools
import json
import pathlib
import re
import shlex

import pytest

from mscn_plugin.experiments import results
from mscn_plugin.experiments.means import cell

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def draw(mscn):
    return functools.partial(mscn, "draw experiments")


@pytest.fixture
def draw_tables(draw, monkeypatch):
    """With empty plots: they take most of the time, and the pages' own commands draw them."""

    def touch(rows, path, *_):
        path.with_suffix(".png").touch()

    for name in ("plot", "plot_epochs", "plot_occlusion"):
        monkeypatch.setattr(results, name, touch)
    return draw


def tables(folder: pathlib.Path) -> list[str]:
    return (folder / "results.md").read_text().strip().split("\n\n")


def test_the_documented_tables_are_those_of_the_documented_numbers(draw_tables, tmp_path, capsys):
    draw_tables(ROOT / "docs" / "results_250_steps.json", "--output", tmp_path)
    text = (ROOT / "docs" / "results_250_steps.md").read_text()
    for table in tables(tmp_path):
        assert table in text
    rows = json.loads((ROOT / "docs" / "results_250_steps.json").read_text())
    drawn = capsys.readouterr().out.splitlines()
    for suite in {row["suite"] for row in rows}:
        assert str((tmp_path / f"{suite}.png").resolve()) in drawn


@pytest.mark.parametrize(
    ("name", "against"),
    [
        ("results", None),
        ("results_settings", None),
        ("results_gpu", "baseline_standard"),
        ("results_gpu", "control_crop_high_pass"),
    ],
)
def test_the_documented_study_is_that_of_the_documented_numbers(
    draw_tables, tmp_path, name, against
):
    difference = ("--against", against) if against else ()
    draw_tables(ROOT / "docs" / f"{name}.json", "--output", tmp_path, *difference)
    text = (ROOT / "docs" / f"{name}.md").read_text()
    drawn = [part for part in tables(tmp_path) if part.startswith("|")]  # others name the images
    assert drawn
    assert all(table in text for table in drawn)


@pytest.mark.parametrize("page", ["results_crops", "results_standard"])
def test_the_documented_differences_are_those_of_the_pages_own_commands(
    draw_tables, tmp_path, page
):
    text = (ROOT / "docs" / f"{page}.md").read_text()
    commands = re.findall(r"^mscn draw experiments (docs/results.json (?:.*\\\n)*.*)", text, re.M)
    assert len(commands) == text.count("| difference to ")
    for command in commands:
        file, _, _, *options = shlex.split(command.replace("\\\n", " "))
        draw_tables(ROOT / file, "--output", tmp_path, *options)
        (table,) = (part for part in tables(tmp_path) if part.startswith("| difference to "))
        assert table in text


def test_the_documented_answer_is_that_of_the_documented_curves():
    """kNN on whole pictures and with 30% hidden, beside what has learned nothing."""
    docs = ROOT / "docs"
    curves = collections.defaultdict(list)
    for row in json.loads((docs / "results.json").read_text()):
        curves[row["experiment"]].append(row["evaluations"]["quick_occlusion"]["occlusion"])
    text = (docs / "results.md").read_text()
    share = curves["05_noise"][0]["shares"].index(0.3)
    lines = {
        "nothing hidden": ("picture-box-gray", 0),
        "cells set to 0": ("cells-zeros", share),
        "cells of noise": ("cells-noise", share),
        "a gray box on the picture": ("picture-box-gray", share),
        "a box of noise on the picture": ("picture-box-noise", share),
    }
    for title, (condition, place) in lines.items():
        shown = []
        for arm in ("control_crop_high_pass", "04_different_crops", "05_noise"):
            shown.append(cell([of_seed["knn"][condition][place] for of_seed in curves[arm]], 3))
        plain = [of_seed["knn"][condition][place] for of_seed in curves["baseline_crop_only"]]
        shown.append(cell(plain, 3) if condition.startswith("picture") else "-")
        (first, *_) = curves["control_crop_high_pass"]
        for what in ("untrained", "color_histogram"):
            of = first[what]["knn"].get(condition)
            shown.append("-" if of is None else f"{of[place]:.1f}")
        assert f"| {title} | {' | '.join(shown)} |" in text


def test_the_documented_course_is_that_of_the_documented_numbers():
    """Of "From when on": kNN on whole pictures, and with 30% of the cells hidden."""
    docs = ROOT / "docs"
    course = json.loads((docs / "results_epochs.json").read_text())
    ends = json.loads((docs / "results.json").read_text())
    ends = [{**row, **row["evaluations"]["quick_occlusion"], "epoch": 30} for row in ends]
    text = (docs / "results.md").read_text()
    arms = {"masks of noise": "05_noise", "no masks": "control_crop_high_pass"}
    for arm, epoch in [("masks of noise", 1), ("masks of noise", 6), ("masks of noise", 16)] + [
        (arm, 30) for arm in arms
    ]:
        curves = [
            row["occlusion"]["knn"]
            for row in course + ends
            if (row["experiment"], row["epoch"]) == (arms[arm], epoch) and row["seed"] in (1, 2)
        ]
        cells = [("cells-noise", 0), ("cells-noise", 2), ("cells-zeros", 2)]
        shown = [", ".join(f"{curve[of][share]:.2f}" for curve in curves) for of, share in cells]
        assert len(curves) == 2
        assert " | ".join([f"| {arm}, epoch {epoch}", *shown]) + " |" in text


def test_differences_to_an_experiment_by_its_name(draw_tables, tmp_path):
    draw_tables(
        ROOT / "docs" / "results_250_steps.json",
        "--output",
        tmp_path,
        "--against",
        "baseline_standard",
    )
    drawn = (tmp_path / "results.md").read_text()
    # One table: of the four suites one has the experiment.
    assert drawn.count("| difference to ") == 1
    assert "| difference to no mask: standard augmentations " in drawn
    with pytest.raises(SystemExit, match="--against is 'standard'; .* the file has 01_mask_only, "):
        draw_tables(
            ROOT / "docs" / "results_250_steps.json", "--output", tmp_path, "--against", "standard"
        )


def test_some_experiments_of_a_file(draw_tables, tmp_path):
    file = ROOT / "docs" / "results.json"
    draw_tables(file, "--output", tmp_path, "--only", "05_noise", "crops + filter")
    first = tables(tmp_path)[0].splitlines()[2:]
    titles = [line.split("|")[1].strip() for line in first]
    assert titles == ["crops + filter", "crops + filter + masks of noise"]
    with pytest.raises(SystemExit, match="--only noise: the file has baseline_crop_only, "):
        draw_tables(file, "--output", tmp_path, "--only", "05_noise", "noise")


@pytest.mark.parametrize(
    ("name", "numbers"), [("results", {2, 3}), ("results_250_steps", {3}), ("results_gpu", {3})]
)
def test_every_documented_run_has_its_seeds(name, numbers):
    rows = json.loads((ROOT / "docs" / f"{name}.json").read_text())
    seeds = {}
    for row in rows:
        assert "metrics" in row, row
        seeds.setdefault((row["suite"], row["experiment"]), set()).add(row["seed"])
    assert set(map(len, seeds.values())) == numbers


def test_plots_of_other_rows_do_not_stay(draw, tmp_path, monkeypatch, capsys):
    """Of a file without occlusion none is named, nor left beside the new tables."""
    monkeypatch.setattr(results, "plot", lambda rows, path, *_: path.with_suffix(".png").touch())
    for name in ("table7_occlusion.png", "table7_epochs.pdf", "table5.png"):
        (tmp_path / name).touch()
    rows = json.loads((ROOT / "docs" / "results_250_steps.json").read_text())
    row = next(row for row in rows if row["suite"] == "table7")
    (tmp_path / "results.json").write_text(json.dumps([{**row, "epochs": []}]))
    draw(tmp_path / "results.json")
    assert "_occlusion" not in capsys.readouterr().out
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"results.json", "results.md", "table5.png", "table7.png"}


def test_another_file_is_refused(draw_tables, tmp_path):
    other = tmp_path / "results.json"
    for content in ('{"a": 1}', "{}", "[]", "[[]]", '[{"suite": "../table7"}]'):
        other.write_text(content)
        with pytest.raises(SystemExit, match="results.json: no results of mscn experiments"):
            draw_tables(other)
    assert list(tmp_path.iterdir()) == [other]
