"""Jobs on a real SLURM of one node, which the tests start where its packages are installed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
import slurm_cluster
from conftest import run_command, wait_for

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.process,
    pytest.mark.skipif(bool(slurm_cluster.missing()), reason=slurm_cluster.missing()),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with slurm_cluster.started(tmp_path_factory.mktemp("slurm") / "here") as variables:
        yield variables


@pytest.fixture
def slurm(cluster, monkeypatch):
    """Call one of SLURM's programs; returns what it prints."""
    for name, value in cluster.items():
        monkeypatch.setenv(name, value)

    def call(*command):
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    return call


def state(slurm, job: str) -> str:
    shown = slurm("scontrol", "show", "job", "--oneliner", job)
    return shown.partition("JobState=")[2].partition(" ")[0]


def start_soon(slurm, job: str) -> None:
    """Start a requeued job as soon as it has ended, for which SLURM would wait for two minutes.

    Not at once: what is to be started in the second of the kill is taken for what was killed.
    """
    wait_for(lambda: slurm("sinfo", "--noheader", "--partition=here", "--format=%T") == "idle\n")
    slurm("scontrol", "update", f"JobId={job}", "StartTime=now+2")


def resumptions(log):
    """What a job's log says before its first resumption, and from each of them on."""
    return log.read_text().split("Resume from file: ")


def test_a_preempted_job_is_requeued_goes_on_and_can_be_canceled(slurm, run_tool, tiny, tmp_path):
    submitted = run_tool(
        *("config=mscn/quickstart", *tiny),
        "config.OPTIMIZER.num_epochs=400",
        "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
        "config.SLURM.USE_SLURM=true",
        "config.SLURM.PARTITION=here",
        "config.SLURM.LOG_FOLDER=log",
    )
    job = submitted.stdout.split("SUBMITTED: ")[1].strip()
    log, errors = (tmp_path / "log" / f"{job}_0_log.{end}" for end in ("out", "err"))
    wait_for(lambda: (tmp_path / "run" / "model_phase0.torch").is_file())
    for count, number in enumerate(("USR1", "TERM"), 1):
        slurm("scancel", f"--signal={number}", job)
        wait_for(lambda: state(slurm, job) == "PENDING")
        assert errors.read_text().count("mscn-plugin: ended on request") == count
        start_soon(slurm, job)
        resumed = wait_for(lambda: resumptions(log)[count:])  # noqa: B023
        assert "/run/model_" in resumed[0].splitlines()[0]  # of an iteration or an epoch
        wait_for(lambda: " iter: " in resumptions(log)[-1])
    slurm("scancel", job)  # by its owner: the same signal, and the job is not wanted any more
    wait_for(lambda: state(slurm, job) == "CANCELLED")
    assert errors.read_text().count("mscn-plugin: ended on request") == 3


def test_what_slurm_refuses_is_said_in_one_line(slurm, tiny, tmp_path):
    command = ("train", "mscn/quickstart", "--slurm", "nowhere", *tiny, "SLURM.LOG_FOLDER=log")
    result = run_command(*command, cwd=tmp_path)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1] == (  # behind what sbatch itself prints
        "mscn train: config.SLURM.PARTITION is 'nowhere', and SLURM rejects the job: "
        "invalid partition specified: nowhere"
    )


def test_nodes_and_gpus_are_what_slurm_is_asked_for(slurm, tiny, tmp_path):
    command = ("train", "mscn/quickstart", "--slurm", "here", "--nodes", "2", "--gpus", "2")
    result = run_command(*command, *tiny, "SLURM.LOG_FOLDER=log", cwd=tmp_path, check=True)
    job = result.stdout.split("SUBMITTED: ")[1].split()[0]
    asked = slurm("scontrol", "show", "job", "--oneliner", job)
    slurm("scancel", job)
    assert " NumNodes=2-2 " in asked
    assert " TresPerNode=gres:gpu:2" in asked


def test_a_config_for_cpus_asks_for_no_gpu_and_has_its_log_in_the_runs_folder(
    slurm, tiny, tmp_path
):
    command = ("train", "mscn/quickstart", "--slurm", "here", *tiny)
    result = run_command(*command, cwd=tmp_path, check=True)
    job = result.stdout.split("SUBMITTED: ")[1].split()[0]
    asked = slurm("scontrol", "show", "job", "--oneliner", job)
    slurm("scancel", job)
    assert "gres:gpu" not in asked or "gres:gpu:0" in asked
    assert " JobName=run " in asked
    assert f"its log: run/{job}_0_log.out; " in result.stdout


def test_an_evaluation_is_submitted_and_waited_for(slurm, checkpoints, tmp_path):
    result = run_command(
        *("evaluate", checkpoints["simclr"], "--only", "quick_frozen", "--slurm", "here"),
        *("--output", tmp_path / "lr=0.1, seed 0", "--overrides"),
        *("config.DATA.NUM_DATALOADER_WORKERS=0", "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=4"),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (evaluation,) = json.loads((tmp_path / "lr=0.1, seed 0" / "results.json").read_text())[
        "evaluations"
    ].values()
    assert 0 <= evaluation["metrics"]["kNN, top-1"] <= 100


def test_experiments_are_jobs_which_go_on_where_the_script_is_stopped(
    slurm, image_folder, tmp_path
):
    arguments = [
        *("experiments", "table7", "--scale", "smoke", "--slurm", "here"),
        *("--data", image_folder, "--output", tmp_path / "lr=0.1, seed 0", "--overrides"),
        *("config.MSCN.TRAIN_SUBSET=1.0", "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=16"),
        "config.DATA.NUM_DATALOADER_WORKERS=0",
    ]
    folder = tmp_path / "lr=0.1, seed 0" / "smoke"
    with (tmp_path / "console").open("w") as console:
        first = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "mscn_plugin.cli", *map(str, arguments)],
            cwd=tmp_path,
            stdout=console,
            stderr=console,
        )
        wait_for(lambda: len(list(folder.glob("*/job_id"))) == 2)
        jobs = [note.read_text() for note in folder.glob("*/job_id")]
        first.send_signal(signal.SIGTERM)
        assert first.wait() == 75, (tmp_path / "console").read_text()
    result = run_command(*arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    rows = json.loads((folder / "results.json").read_text())
    assert [row["experiment"] for row in rows] == ["same_view", "09_asymmetry"]
    assert all(0 <= row["metrics"]["kNN"] <= 100 for row in rows)
    assert [state(slurm, job) for job in jobs] == ["COMPLETED"] * 2
    logs = {log.name.partition("_")[0] for log in folder.glob("*/*_0_log.out")}
    assert logs == set(jobs)  # and no job was submitted a second time
