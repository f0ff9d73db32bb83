"""What runs of experiments leave to each other: errors of one, and rows of earlier calls."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import mscn_plugin
from mscn_plugin.checkpoints.io import CheckpointError
from mscn_plugin.cli.experiments import failures
from mscn_plugin.errors import ConfigError
from mscn_plugin.experiments import schedule as module
from mscn_plugin.experiments.results import merged
from mscn_plugin.experiments.schedule import Schedule
from mscn_plugin.runs.launch import ToolRun

DOCS = Path(mscn_plugin.__file__).parents[1] / "docs"
ROW = {
    "suite": "table7",
    "experiment": "same_view",
    "title": "same view",
    "seed": 0,
    "paper": 29.1,
    "data": None,
    "given": [],
}


@pytest.mark.parametrize("error", [CheckpointError("gone"), ConfigError("moved"), OSError("gone")])
def test_a_run_that_cannot_be_evaluated_does_not_stop_the_others(tmp_path, monkeypatch, error):
    launch = SimpleNamespace(
        output=tmp_path / "b" / "evaluation", evaluation=SimpleNamespace(config="quick_frozen")
    )

    def launches(self, folder, digests):
        if folder.name == "a":
            raise error
        yield launch

    monkeypatch.setattr(Schedule, "_launches", launches)
    monkeypatch.setattr(
        module, "run_all", lambda runs, jobs: {r.output: {"metrics": 1} for r in runs}
    )
    schedule = Schedule("smoke", tmp_path, evaluations=("quick_frozen",))
    outcomes = {tmp_path / name: {"metrics": {}} for name in "ab"}
    schedule.evaluate(outcomes, 1)
    a, b = (outcome["evaluations"]["quick_frozen"] for outcome in outcomes.values())
    assert (a, b) == ({"error": str(error)}, {"metrics": 1})
    rows = [{**outcome, "folder": folder.name} for folder, outcome in outcomes.items()]
    assert failures(rows) == {"a, quick_frozen": str(error)}


@pytest.fixture
def earlier(tmp_path):
    """The rows of a file, as a later call reads them."""

    def read(content, **settings):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / "results.json").write_text(text)
        return Schedule("smoke", tmp_path, **settings).earlier_rows()

    return read


def test_rows_that_this_version_does_not_know_are_left_out_aloud(earlier, capsys):
    unknown = [{**ROW, "suite": "table99"}, {**ROW, "experiment": "no_view"}]
    rows = earlier([ROW, *unknown])
    assert rows == [ROW]
    assert merged(rows, [{**ROW, "seed": 1}]) == [ROW, {**ROW, "seed": 1}]
    assert "results.json: left out: 2 rows of experiments that this" in capsys.readouterr().err


def test_rows_of_other_data_or_overrides_are_left_out_aloud(tmp_path, capsys):
    rows = [ROW, {**ROW, "seed": 1}, {**ROW, "seed": 2, "given": ["config.OPTIMIZER.num_epochs=9"]}]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    schedule = Schedule("smoke", tmp_path)
    assert schedule.earlier_rows([{**ROW, "seed": 3}]) == rows[:2]
    assert "left out: 1 rows of other data or overrides; --output" in capsys.readouterr().err
    assert schedule.earlier_rows(rows) == rows
    assert not capsys.readouterr().err


@pytest.mark.hydra
def test_a_seed_that_is_given_twice_is_run_and_counted_once(tmp_path, registered):
    planned = Schedule("smoke", tmp_path).plan(["table7"], ["same_view"], [1, 0, 1])
    assert [plan.seed for plan in planned] == [1, 0]


@pytest.mark.hydra
def test_a_run_is_of_its_images(tmp_path, registered):
    """Names and sizes of a folder may change while its path does not."""
    folders = set()
    for images in (None, "a", "b"):
        schedule = Schedule("smoke", tmp_path, tmp_path, images=images)
        (planned,) = schedule.plan(["table7"], ["same_view"], [0])
        folders.add(planned.run.output)
    assert len(folders) == 3


@pytest.mark.hydra
def test_a_run_is_of_the_content_of_the_files_that_overrides_name(tmp_path, registered):
    listing = tmp_path / "1percent.txt"
    found = set()
    for content in ("a.png", "b.png"):
        listing.write_text(content)
        schedule = Schedule("smoke", tmp_path, overrides=[f"config.MSCN.TRAIN_SUBSET={listing}"])
        planned = schedule.plan(["table7"], ["same_view"], [0])
        (row,) = schedule.rows(planned, {planned[0].run.output: {}})
        found.add(row["folder"])
        rows = json.loads(json.dumps([row]))
        assert merged(rows, [{**row, "seed": 1}])[0] == rows[0]
    assert len(found) == 2
    assert merged([{**row, "files": ["another"]}], [{**row, "seed": 1}]) == [{**row, "seed": 1}]


@pytest.mark.parametrize(
    "content",
    ["", "{", "{}", '{"a": 1}', "[1]", "3", "null", [{"suite": "table7"}], [{**ROW, "metrics": 3}]],
)
def test_another_file_is_refused(earlier, content):
    with pytest.raises(ConfigError, match=r"results\.json holds no results"):
        earlier(content)


@pytest.mark.parametrize("name", ["results", "results_250_steps", "results_clothing96"])
def test_files_of_earlier_versions_are_read(tmp_path, name):
    shutil.copy(DOCS / f"{name}.json", tmp_path / "results.json")
    assert Schedule("smoke", tmp_path).earlier_rows()


def test_a_run_whose_folder_cannot_be_made_does_not_cost_the_others(tmp_path):
    (tmp_path / "a").write_text("")

    class Run(ToolRun):
        slurm = ()

        def __init__(self, name):
            self.output = tmp_path / name

        def read_metrics(self):
            return {"kNN": 1.0}

        def details(self):
            return {}

        def _run_here(self, progress):
            pass

    outcomes = module.run_all(map(Run, "ab"), 1)
    assert outcomes[tmp_path / "b"] == {"metrics": {"kNN": 1.0}}
    assert f"File exists: '{tmp_path}/a'" in outcomes[tmp_path / "a"]["error"]


def test_a_signal_that_another_thread_got_is_heeded_at_once(tmp_path):
    """As after Ctrl-Z and ``kill %1``: the first thread to wake up gets it."""
    heeded = threading.Event()
    before = signal.signal(signal.SIGUSR2, lambda *_: heeded.set())

    class Run:
        output = tmp_path / "run"

        def run(self, progress):
            time.sleep(0.5)  # until the first thread waits
            signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
            return {"heeded": float(heeded.wait(10))}

        def details(self):
            return {}

    try:
        outcomes = module.run_all([Run()], 1)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert outcomes == {Run.output: {"metrics": {"heeded": 1.0}}}
