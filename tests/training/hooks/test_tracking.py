"""Runs in Weights & Biases and MLflow: the real libraries, offline, and what they wrote."""

from __future__ import annotations

import json
import logging
import signal
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import PICTURE, run_python, tool, tool_environment, wait_for

from mscn_plugin import ConfigError
from mscn_plugin.errors import RunError
from mscn_plugin.training.signals import EXIT_CODE

pytestmark = pytest.mark.usefixtures("registered")
BOTH = "config.MSCN.TRACKING=[wandb,mlflow]"


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    for name, value in {
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WANDB_DIR", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def wandb_records(folder: Path):
    """The records of each offline run in a folder, in the order in which the runs began.

    A ``.wandb`` file is a log of LevelDB's format: blocks of 32 KiB, each part of a record behind
    checksum, length and kind (1: all of it, 4: its last part).
    """
    from wandb.proto.wandb_internal_pb2 import Record

    runs = []
    for file in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        content, place, record, records = file.read_bytes(), 7, b"", []
        while place + 7 <= len(content):
            left = 32768 - place % 32768
            if left < 7:
                place += left
                continue
            _, length, kind = struct.unpack_from("<IHB", content, place)
            record += content[place + 7 : place + 7 + length]
            place += 7 + length
            if kind in (1, 4):
                records.append(Record.FromString(record))
                record = b""
        runs.append(records)
    return runs


def of_kind(records, kind):
    return [getattr(r, kind) for r in records if r.WhichOneof("record_type") == kind]


def wandb_history(records):
    return [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in line.item}
        for line in of_kind(records, "history")
    ]


def mlflow_client(folder: Path):
    from mlflow.tracking import MlflowClient

    return MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def mlflow_run(folder: Path):
    """The client and the only run of the default project."""
    client = mlflow_client(folder)
    experiment = client.get_experiment_by_name("mscn")
    (run,) = client.search_runs([experiment.experiment_id])
    return client, run


@pytest.mark.process
def test_a_run_that_is_ended_is_marked_and_goes_on_as_the_same_one_with_all_it_logged(
    tiny, image_folder, tmp_path
):
    """By the first of two ranks alone, with the libraries' threads and processes."""
    run, untracked = tmp_path / "run", tmp_path / "untracked"
    overrides = [
        *("config=mscn/quickstart", *tiny, PICTURE),
        "config.LOG_FREQUENCY=1",
        "config.OPTIMIZER.num_epochs=8",
        "config.CHECKPOINT.CHECKPOINT_FREQUENCY=8",
        "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=8",
        "config.DISTRIBUTED.NUM_PROC_PER_NODE=2",
    ]
    command = [sys.executable, *tool(), *overrides, BOTH, "config.MSCN.TRACKING_NAME=first"]

    def started():
        return subprocess.Popen(
            command,
            cwd=tmp_path,
            env=tool_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    process = started()
    wait_for(lambda: (run / "embedding_statistics.json").is_file())
    process.send_signal(signal.SIGTERM)
    assert process.wait() == EXIT_CODE
    (first,) = wandb_records(run)
    assert [end.exit_code for end in of_kind(first, "exit")] == [EXIT_CODE]
    assert of_kind(first, "preempting")
    assert mlflow_run(run)[1].info.status == "KILLED"
    ids = json.loads((run / "tracking.json").read_text())

    assert started().wait() == 0
    assert json.loads((run / "tracking.json").read_text()) == ids
    steps = [json.loads(line) for line in (run / "stdout.json").read_text().splitlines()]
    losses = {line["iter"]: line["loss"] for line in steps if "loss" in line}
    assert sorted(losses) == list(range(16))
    last = json.loads((run / "metrics.json").read_text().splitlines()[-1])
    accuracies = last["online_evaluation"]

    first, second = wandb_records(run)
    begun = [*of_kind(first, "run"), *of_kind(second, "run")]
    assert {(r.run_id, r.project, r.display_name) for r in begun} == {
        (ids["wandb"], "mscn", "first")
    }
    config = {c.key: json.loads(c.value_json) for c in begun[0].config.update}
    assert config["MSCN"]["DATA"] == str(image_folder)
    history = [*wandb_history(first), *wandb_history(second)]
    assert {line["iteration"]: line["loss"] for line in history if "loss" in line} == (
        pytest.approx(losses, abs=1e-5)
    )
    assert any("Embedding/std" in line for line in history)
    online = [line for line in history if "Online/knn" in line]
    assert [line["epoch"] for line in online] == [0, 8]
    assert online[-1]["Online/knn"] == pytest.approx(accuracies["knn"])
    assert online[-1]["Online/chance"] == 25
    assert any(key.startswith("masked_views") for line in history for key in line)
    assert [end.exit_code for end in of_kind(second, "exit")] == [0]
    assert not of_kind(second, "preempting")

    client, tracked = mlflow_run(run)
    assert (tracked.info.run_id, tracked.info.run_name) == (ids["mlflow"], "first")
    assert tracked.info.status == "FINISHED"
    assert tracked.data.params["OPTIMIZER.num_epochs"] == "8"
    assert tracked.data.metrics["Online/linear_probe"] == pytest.approx(accuracies["linear_probe"])
    curve = client.get_metric_history(ids["mlflow"], "loss")
    assert {point.step: point.value for point in curve} == pytest.approx(losses, abs=1e-5)
    assert {p.step for p in client.get_metric_history(ids["mlflow"], "Online/knn")} == {0, 8}
    files = {file.path for file in client.list_artifacts(ids["mlflow"])}
    assert files == {"masked_views.png", "train_config.yaml"}

    def weights(folder):
        checkpoint = torch.load(folder / "checkpoint.torch", weights_only=True)
        return checkpoint["classy_state_dict"]["base_model"]["model"]["trunk"]

    run_python(*tool(), *overrides, "config.CHECKPOINT.DIR=untracked", cwd=tmp_path)
    for name, value in weights(untracked).items():
        assert torch.equal(value, weights(run)[name]), f"{name} is another one where it is tracked"


class Service:
    """A service whose calls are kept, and fail from a given one on."""

    def __init__(self, fails_at=None):
        from mscn_plugin.training.hooks.tracking import TrackingHook

        calls = self.calls = []

        def call(*arguments):
            calls.append(arguments)
            if fails_at is not None and len(calls) > fails_at:
                raise OSError("no space left")

        class Hook(TrackingHook):
            service = "wandb"

            def begin(self, task, run_id):
                call("begin", run_id)
                return run_id or "new"

            def write(self, *arguments):
                call("write", *arguments)

            def write_picture(self, *arguments):
                call("picture", arguments[0])

            def finish(self, end):
                call("finish", end)

        self.hook = Hook()


@pytest.fixture
def task(tmp_path):
    return SimpleNamespace(
        config=SimpleNamespace(
            CHECKPOINT=SimpleNamespace(OVERWRITE_EXISTING=False), LOG_FREQUENCY=1
        ),
        checkpoint_folder=str(tmp_path),
        iteration=0,
        test_only=False,
        train=True,
        last_batch=SimpleNamespace(loss=torch.tensor(2.0)),
        optimizer=SimpleNamespace(options_view=SimpleNamespace(lr=[0.1, 0.2])),
        hooks=[],
    )


def log_all(task, hook):
    from mscn_plugin.training.hooks.tracking import add_picture, add_scalars

    task.hooks = [hook]
    hook.on_update(task)
    add_scalars(task, "Online", {"knn": 3.0}, 1, axis="epoch")
    add_picture(task, "masked_views", np.zeros((2, 2, 3), np.uint8))


def test_all_hooks_write_to_it(task, tmp_path):
    service = Service()
    service.hook.on_start(task)
    log_all(task, service.hook)
    service.hook.on_end(task)
    assert service.calls == [
        ("begin", None),
        ("write", {"loss": 2.0, "lr": 0.1}, "iteration", 0),
        ("write", {"Online/knn": 3.0}, "epoch", 1),
        ("picture", "masked_views"),
        ("finish", "finished"),
    ]
    assert json.loads((tmp_path / "tracking.json").read_text()) == {"wandb": "new"}
    service.hook.on_start(task)
    assert service.calls[-1] == ("begin", "new")
    service.hook.on_end(task)
    task.config.CHECKPOINT.OVERWRITE_EXISTING = True  # the run begins anew
    service.hook.on_start(task)
    assert service.calls[-1] == ("begin", None)
    service.hook.on_end(task)


@pytest.mark.parametrize("content", ["", "[" * 99999, "[1]", '{"wandb": 3}', '{"wandb": "../x"}'])
def test_ids_that_cannot_be_are_left_out(task, tmp_path, content):
    (tmp_path / "tracking.json").write_text(content)
    service = Service()
    service.hook.on_start(task)
    assert service.calls == [("begin", None)]
    service.hook.on_end(task)


@pytest.mark.parametrize("fails_at", [1, 2, 3, 4])
def test_a_failure_in_a_run_is_one_warning(task, caplog, fails_at):
    service = Service(fails_at)
    service.hook.on_start(task)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            log_all(task, service.hook)
        service.hook.on_end(task)
    assert [record.getMessage() for record in caplog.records] == [
        "wandb fails (OSError: no space left); the run continues without it, and its own logs have "
        "everything"
    ]
    assert len(service.calls) == fails_at + 1


def test_a_failure_at_the_start_ends_a_new_run_and_no_other(task, caplog):
    with pytest.raises(RunError, match=r"MSCN.TRACKING has wandb, which does not start: no space"):
        Service(0).hook.on_start(task)
    task.iteration = 10
    service = Service(0)
    service.hook.on_start(task)
    log_all(task, service.hook)
    assert len(service.calls) == len(caplog.records) == 1


def test_other_ranks_and_evaluations_are_silent(task, monkeypatch):
    from mscn_plugin.training.hooks import tracking

    service = Service()
    task.test_only = True
    service.hook.on_start(task)
    task.test_only = False
    monkeypatch.setattr(tracking, "is_primary", lambda: False)
    service.hook.on_start(task)
    log_all(task, service.hook)
    service.hook.on_end(task)
    assert service.calls == []


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (SystemExit(75), "interrupted"),
        (SystemExit(130), "interrupted"),
        (SystemExit(1), "failed"),
        (ValueError(), "failed"),
    ],
)
def test_the_end_says_why(task, error, end):
    from mscn_plugin.training.hooks.tracking import ends_marked

    service = Service()

    def run():
        with ends_marked():
            service.hook.on_start(task)
            raise error

    with pytest.raises(type(error)):
        run()
    assert service.calls[-1] == ("finish", end)
    service.hook.on_end(task)
    assert len(service.calls) == 2


def test_a_library_that_is_missing_is_one_error_message(compose, tiny, monkeypatch, tmp_path):
    from mscn_plugin.config.checks import tracking

    (tmp_path / "wandb").mkdir()  # W&B's own files of an earlier run: no library
    monkeypatch.syspath_prepend(tmp_path)
    find = tracking.importlib.util.find_spec
    missing: set[str] = set()

    def find_spec(name):
        if name not in missing:
            return find(name)
        return SimpleNamespace(origin=None) if name == "wandb" else None

    monkeypatch.setattr(tracking.importlib.util, "find_spec", find_spec)
    run = ("config=mscn/quickstart", *tiny, BOTH)
    compose(*run)
    for name, line in (
        ("wandb", "pip install wandb"),
        ("alembic", "pip install mlflow-skinny sqlalchemy alembic"),
    ):
        missing = {name}
        message = rf"config.MSCN.TRACKING is \['wandb', 'mlflow'\], and {name} is not .*{line}"
        with pytest.raises(ConfigError, match=message):
            compose(*run)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    compose(*run)
    compose("config=mscn/quickstart", *tiny)


def test_nothing_is_imported_that_nobody_asked_for(registered):
    import mscn_plugin.training.task

    assert mscn_plugin.training.task
    source = Path(mscn_plugin.training.__file__).parent / "hooks"
    for name in ("tracking", "tracking_wandb", "tracking_mlflow"):
        lines = (source / f"{name}.py").read_text().splitlines()
        assert not [x for x in lines if x.startswith(("import wandb", "import ml", "from mlflow"))]
