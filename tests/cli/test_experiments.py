"""The runner from the command line: what is killed goes on, and what is done is not repeated."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest
from conftest import tool_environment, wait_for

from mscn_plugin.runs import launch

ROOT = pathlib.Path(__file__).parents[2]
COMMAND = ("-W", "ignore", "-m", "mscn_plugin.cli", "experiments")


@pytest.fixture
def start(image_folder, tmp_path):
    """Start the two runs of Table 7, one after the other, on a few small images."""

    def run(*more):
        arguments = [
            *("table7", "--scale", "smoke", "--jobs", "1", "--output", "results"),
            *("--data", image_folder, *more),
            *("--overrides", "config.MSCN.TRAIN_SUBSET=1.0"),
            "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=16",
        ]
        return subprocess.Popen(
            [sys.executable, *COMMAND, *map(str, arguments)],
            cwd=tmp_path,
            env=tool_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


def running(folder):
    """Processes whose command line names the folder."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.process
def test_killed_and_started_again_it_repeats_nothing(start, tmp_path):
    folder = tmp_path / "results" / "smoke"
    first = start()
    wait_for(lambda: list(folder.glob("same_view*/finished")))
    wait_for(lambda: list(folder.glob("09_asymmetry*/log.txt")))
    first.kill()
    first.communicate()
    wait_for(lambda: not running(folder), seconds=20)
    assert not (folder / "results.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["results"]  # and no runs/
    (done,) = folder.glob("same_view*")
    before = {path.name: path.stat().st_mtime_ns for path in done.iterdir()}

    second = start("--evaluate", "quick_few_labels", "quick_boxes")
    output, errors = second.communicate(timeout=300)
    assert second.returncode == 0, errors
    assert errors.count("quick_boxes: left out: ") == 2
    after = {p.name: p.stat().st_mtime_ns for p in done.iterdir() if p.name != "evaluation"}
    assert after == before
    rows = json.loads((folder / "results.json").read_text())
    assert [row["experiment"] for row in rows] == ["same_view", "09_asymmetry"]
    for row in rows:
        assert 0 <= row["metrics"]["kNN"] <= 100
        assert row["epochs"][-1] == {
            "epoch": len(row["epochs"]) - 1,
            **{title: row["metrics"][title] for title in ("kNN", "linear probe")},
        }
        assert list(row["evaluations"]) == ["quick_few_labels"]
        few = row["evaluations"]["quick_few_labels"]["metrics"]
        assert 0 <= few["kNN, 10% of labels"] <= 100
        assert list((folder / row["folder"] / "evaluation").glob("quick_few_labels-*/finished"))
        assert not any("DATA=" in override for override in row["overrides"])
    assert "29.1" in output
    for name in ("results.csv", "results.md", "table7.png", "table7.pdf"):
        assert (folder / name).is_file()


@pytest.mark.hydra
def test_stopped_before_the_first_result_it_leaves_what_there_was(
    mscn, tmp_path, monkeypatch, registered
):
    folder = tmp_path / "smoke"
    folder.mkdir()
    shutil.copy(ROOT / "docs" / "results_clothing96.json", folder / "results.json")
    before = (folder / "results.json").read_bytes()
    monkeypatch.setattr("mscn_plugin.cli.experiments.refuse_early", lambda arguments: None)
    monkeypatch.setattr(launch._stop, "signum", None)

    def stopped(runs, jobs):
        os.kill(os.getpid(), signal.SIGINT)
        return {}

    monkeypatch.setattr("mscn_plugin.experiments.schedule.run_all", stopped)
    with pytest.raises(SystemExit, match="130"):
        mscn("experiments", "table7", "--scale", "smoke", "--output", tmp_path)
    assert [path.name for path in folder.iterdir()] == ["results.json"]
    assert (folder / "results.json").read_bytes() == before


@pytest.mark.parametrize("key", ["MSCN.DATA", "config.SEED_VALUE"])
def test_what_an_option_gives_is_not_taken_as_an_override(mscn, tmp_path, key):
    """Three seeds would be one run, three times."""
    with pytest.raises(SystemExit, match=r"--overrides config\.\S+=7: it is given by --\w+"):
        mscn("experiments", "table7", "--output", tmp_path, "--overrides", f"{key}=7")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "key", ["MSCN.OCCLUSION_CELL_SIZE", "MSCN.BOXES", "+config.SVM.max_iter", "NEAREST_NEIGHBOR.K"]
)
@pytest.mark.parametrize("more", [(), ("--evaluate", "quick_occlusion")])
def test_a_setting_of_evaluations_is_no_override_of_the_runs(mscn, tmp_path, key, more):
    """The row would name it beside numbers that were measured without it."""
    with pytest.raises(SystemExit, match=r"--overrides config\.\S+=14: it is a setting of eval"):
        mscn("experiments", "table7", "--output", tmp_path, *more, "--overrides", f"{key}=14")
    assert not list(tmp_path.iterdir())


@pytest.mark.hydra
def test_runs_without_an_online_evaluation_are_refused_before_the_first(
    mscn, image_folder, tmp_path, monkeypatch, registered
):
    """Each would train to its end, and have no result."""
    monkeypatch.setattr("mscn_plugin.experiments.schedule.run_all", lambda *_: pytest.fail("ran"))
    with pytest.raises(SystemExit, match=r"EVERY_NUM_EPOCHS is 0; it must be at least 1: the res"):
        mscn(
            *("experiments", "table7", "--scale", "smoke", "--output", tmp_path / "results"),
            *("--data", image_folder, "--overrides", "MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0"),
            *("MSCN.TRAIN_SUBSET=1.0", "DATA.TRAIN.BATCHSIZE_PER_REPLICA=16"),
        )
    assert not list(tmp_path.iterdir())


def test_plots_do_not_lie_among_the_images(mscn, image_folder, tmp_path):
    """They would be images of a class ``runs``; beside train/ and val/ they are none."""
    images = tmp_path / "images"
    shutil.copytree(image_folder, images)
    arguments = ("experiments", "table7", "--only", "nothing", "--data")
    with pytest.raises(SystemExit) as refused:
        mscn(*arguments, images / "train", "--output", images / "train" / "runs")
    assert "--output is" in str(refused.value)
    assert "which is among the images of --data" in str(refused.value)
    with pytest.raises(SystemExit, match="--only nothing: none of table7"):
        mscn(*arguments, images, "--output", images / "runs")


@pytest.mark.process
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--scale", "large"], 2, "invalid choice: 'large'"),
        (["--jobs", "0"], 2, "argument --jobs: 0 is below 1"),
        (["--evaluate", "quick"], 2, "argument --evaluate: invalid choice: 'quick'"),
        (["--only", "same_view", "nothing"], 1, "--only nothing: none of table7, which has 09_asy"),
        (["--data", "none"], 1, "--data is 'none', which is not a folder"),
    ],
)
def test_wrong_input_is_refused_once_and_at_once(start, arguments, code, said):
    run = start(*arguments)
    _, errors = run.communicate(timeout=300)
    assert run.returncode == code
    assert said in errors.splitlines()[-1]
