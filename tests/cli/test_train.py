"""VISSL's tool in process: what is printed, what is refused, signals, torchrun."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys

import pytest
from conftest import TINY, run_command, run_python, tool_environment, wait_for
from submitit.core.utils import FailedJobError
from vissl.config import AttrDict

from mscn_plugin.cli import train
from mscn_plugin.config.hydra_overrides import full_override
from mscn_plugin.errors import ConfigError
from mscn_plugin.vissl import tool


def short(image_folder):
    """The overrides of a run of seconds, without ``config.``, which ``mscn train`` adds."""
    overrides = [f"MSCN.DATA={image_folder}", *TINY]
    return [override.removeprefix("config.") for override in overrides]


def overrides_of(*arguments):
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return train.overrides_of(parser.parse_args(arguments))


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("MSCN.DATA=/x", "config.MSCN.DATA=/x"),
        ("config.MSCN.DATA=/x", "config.MSCN.DATA=/x"),
        ("+MSCN.PIXEL_RANGE=[0,4095]", "+config.MSCN.PIXEL_RANGE=[0,4095]"),
        ("~METERS.name", "~config.METERS.name"),
        ("+mscn/machine=cpu", "+config/mscn/machine=cpu"),
        ("+config/mscn/machine=cpu", "+config/mscn/machine=cpu"),
        ("engine_name=extract_features", "engine_name=extract_features"),
        ("node_id=1", "node_id=1"),
    ],
)
def test_config_in_front_of_a_key_may_be_left_out(text, full):
    assert full_override(text) == full


def test_options_are_vissls_keys(tmp_path):
    assert overrides_of("mscn/simclr", "SEED_VALUE=3", "--slurm", "gpu", "--output", "my run") == [
        "config=mscn/simclr",
        "config.CHECKPOINT.DIR='my run'",
        "config.SLURM.USE_SLURM=true",
        "config.SLURM.PARTITION=gpu",
        "config.SEED_VALUE=3",
    ]
    gpus = overrides_of("mscn/simclr", "--gpus", "4")
    assert set(gpus[1:]) == {
        "config.MACHINE.DEVICE=gpu",
        "config.DISTRIBUTED.BACKEND=nccl",
        "config.DISTRIBUTED.NUM_PROC_PER_NODE=4",
        "config.DISTRIBUTED.NUM_NODES=1",
    }
    cpu = overrides_of("mscn/simclr", "--gpus", "0")
    assert "config.MACHINE.DEVICE=cpu" in cpu
    assert "config.DISTRIBUTED.NUM_PROC_PER_NODE=1" in cpu
    assert overrides_of("mscn/simclr", "--nodes", "2")[1:] == ["config.DISTRIBUTED.NUM_NODES=2"]


@pytest.mark.parametrize(
    ("option", "value", "least"), [("--gpus", "-2", 0), ("--nodes", "0", 1), ("--nodes", "-1", 1)]
)
def test_numbers_of_machines_are_not_made_up(option, value, least, capsys):
    with pytest.raises(SystemExit):
        overrides_of("mscn/simclr", f"{option}={value}")
    assert f"argument {option}: {value} is below {least}" in capsys.readouterr().err


def test_a_folder_is_pretrained_on_by_the_quickstart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = tmp_path / "my images"
    images.mkdir()
    assert overrides_of("my images") == [
        "config=mscn/quickstart",
        f"config.MSCN.DATA='{images}'",
        "config.CHECKPOINT.DIR='runs/my images'",
    ]
    (tmp_path / "mscn" / "simclr").mkdir(parents=True)  # a config's name is the config
    assert overrides_of("mscn/simclr") == ["config=mscn/simclr"]


@pytest.mark.parametrize("run", [".", "train/class0", "link"])
def test_a_run_does_not_lie_among_its_images(compose, image_folder, tmp_path, run):
    images = tmp_path / "images"
    shutil.copytree(image_folder, images)
    (images / "link").symlink_to("train")
    tiny = ("config=mscn/quickstart", *TINY)
    compose(*tiny, f"config.MSCN.DATA={images}", f"config.CHECKPOINT.DIR={images}/train/runs")
    data = images if run != "." else images / "train"
    folder = os.path.normpath(data / run)
    with pytest.raises(ConfigError, match=f"config.CHECKPOINT.DIR is '{folder}', which holds"):
        compose(*tiny, f"config.MSCN.DATA={data}", f"config.CHECKPOINT.DIR={folder}")


@pytest.mark.process
def test_it_trains_quietly_and_sums_up(image_folder, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(image_folder / "train", images)
    # In the folder of the images, among which the figures of the run are none.
    command = ("train", ".", *short(images)[1:])
    result = run_command(*command, cwd=images, check=True)
    run = images / "runs" / "images"
    assert (run / "training_curves.png").is_file()
    lines = result.stdout.splitlines()
    assert lines[0] == "Training; what VISSL prints goes to runs/images/console.txt"
    assert lines[1].split() == ["accuracy", "in", "%", "kNN", "linear", "probe"]
    assert f"checkpoint:      {(run / 'checkpoint.torch').resolve()}" in lines
    assert "Starting phase 0" in (run / "console.txt").read_text()
    assert "Starting phase 0" not in result.stdout + result.stderr
    again = run_command(*command, cwd=images, check=True)  # finished runs are skipped
    assert again.stdout == result.stdout
    verbose = run_command(*command, "--verbose", cwd=images, check=True)
    assert "Training already succeeded" in verbose.stdout
    assert "accuracy in %" not in verbose.stdout


@pytest.mark.process
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mscn/quikstart"], "did you mean mscn/quickstart?"),
        (["mscn/quickstart", "MSCN.DATA=/nowhere"], "config.MSCN.DATA is '/nowhere'"),
        (["mscn/quickstart", "MSCN.DATE=x"], "MSCN.DATE"),
        (["mscn/quickstart", "MSCN.DATA=a b'"], "is not in Hydra's grammar"),
    ],
)
def test_what_is_refused_is_one_line_and_nothing_is_written(tmp_path, arguments, message):
    result = run_command("train", *arguments, "--output", "run", cwd=tmp_path)
    assert result.returncode == 1
    assert message in result.stderr
    assert result.stderr.startswith("mscn train: ")
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.process
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_ends_it_with_a_checkpoint_as_vissls_tool(image_folder, tmp_path, number, code):
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "mscn_plugin.cli", "train", "mscn/quickstart"]
        + [*short(image_folder), "OPTIMIZER.num_epochs=500", "--output", "run"],
        cwd=tmp_path,
        env=tool_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    run = tmp_path / "run"
    wait_for(lambda: list(run.glob("model_phase*.torch")))
    process.send_signal(number)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert errors.splitlines()[-1] == "mscn-plugin: ended on request; the same command resumes"
    assert "Traceback" not in errors
    assert "accuracy in %" not in output


@pytest.mark.process
def test_ranks_of_torchrun(image_folder, tmp_path):
    result = run_python(
        *("-W", "ignore", "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"),
        *("-m", "mscn_plugin.cli", "train", "mscn/quickstart", *short(image_folder)),
        *("--output", "run"),
        cwd=tmp_path,
    )
    run = tmp_path / "run"
    assert (run / "checkpoint.torch").is_file()
    console = (run / "console.txt").read_text()
    assert "world_size: 2, rank: 0" in console
    assert "world_size: 2, rank: 1" in console
    assert result.stdout.count("accuracy in %") == 1


@pytest.mark.parametrize(("rank", "said"), [("0", "summary\n"), ("8", "")])
def test_the_first_of_several_nodes_alone_sums_up(monkeypatch, capsys, rank, said):
    """Each has a command of its own; VISSL's launcher finds by srun's variables which it is."""
    config = AttrDict(
        {
            "CHECKPOINT": {"DIR": "run"},
            "SLURM": {"USE_SLURM": False},
            "TRAINER": {"TASK_NAME": "mscn_task"},
        }
    )

    def launch(*_):
        monkeypatch.setenv("RANK", rank)
        return config

    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr("mscn_plugin.vissl.tool.launch", launch)
    monkeypatch.setattr("mscn_plugin.report.summary.summarize", lambda folder: "summary")
    train.train([])
    assert capsys.readouterr().out == said


def test_a_folder_that_is_not_there_is_no_missing_config():
    arguments = argparse.Namespace(config="./nowhere")
    with pytest.raises(ConfigError, match=r"CONFIG is './nowhere', which is neither a folder"):
        train.run(arguments)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FailedJobError("sbatch: error: invalid partition: any\nand so on"), "invalid part"),
        (FailedJobError(""), "no reason given"),
        (ValueError("Unavailable parameter(s): ['color']\nValid are:"), "Unavailable parameter"),
    ],
)
def test_why_a_job_is_not_taken_is_one_line(error, reason):
    said = f"config.SLURM.PARTITION is 'any', and SLURM rejects the job: {reason}"
    with pytest.raises(ConfigError) as refused, tool._refusal_in_one_line("any"):
        raise error
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)
