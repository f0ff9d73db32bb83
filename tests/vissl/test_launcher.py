"""What the launcher makes of a folder before it starts anything."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import pytest
import torch
from vissl.config import AttrDict

from mscn_plugin.checkpoints.run_folder import json_lines
from mscn_plugin.errors import ConfigError
from mscn_plugin.vissl.launcher import get_resume_checkpoint, nothing_left

FINAL = "model_final_checkpoint_phase2.torch"
TASKS = pytest.mark.parametrize("task", ["mscn_task", "self_supervision_task"])


@pytest.fixture
def cfg(tmp_path):
    """Of an evaluation of three epochs, as far as the launcher looks at it."""
    checkpoint = {"DIR": str(tmp_path), "AUTO_RESUME": True, "OVERWRITE_EXISTING": False}
    mscn = {"DATA": "", "TRAIN_SUBSET": 1.0, "RESUME_CHANGED": False}
    return AttrDict(
        {
            "TRAINER": {"TASK_NAME": "self_supervision_task"},
            "MSCN": {**mscn, "ONLINE_EVALUATION": {"EVERY_NUM_EPOCHS": 0}},
            "MODEL": {"WEIGHTS_INIT": {"PARAMS_FILE": ""}},
            "DATA": {"TEST": {"DATA_SOURCES": []}},
            "LOSS": {"name": "cross_entropy_loss"},
            "CHECKPOINT": {**checkpoint, "LATEST_CHECKPOINT_RESUME_FILE_NUM": 1},
            "OPTIMIZER": {"num_epochs": 3},
            "TEST_MODEL": True,
        }
    )


@pytest.fixture
def folder(tmp_path):
    """What a finished evaluation has left."""
    for name, iteration in (("model_phase1.torch", 8), (FINAL, 12)):
        torch.save({"iteration": iteration, "w": torch.ones(300)}, tmp_path / name)
    lines = [
        {"iteration": 4 * (epoch + 1), "train_phase_idx": epoch, "test_accuracy_list_meter": {}}
        for epoch in range(3)
    ]
    (tmp_path / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def cut(file, length):
    file.write_bytes(file.read_bytes()[:length])


@TASKS
def test_a_finished_evaluation_is_finished(cfg, folder, task):
    cfg.TRAINER.TASK_NAME = task
    assert nothing_left(cfg, str(folder))


@TASKS
def test_one_killed_before_its_last_accuracy_goes_on_from_its_last_checkpoint(cfg, folder, task):
    """VISSL would say that it is done, and its log would end with an earlier epoch's accuracy."""
    cfg.TRAINER.TASK_NAME = task
    metrics = folder / "metrics.json"
    cut(metrics, metrics.stat().st_size - 20)  # in the middle of its line
    assert not nothing_left(cfg, str(folder))
    assert get_resume_checkpoint(cfg, str(folder)) == str(folder / FINAL)
    assert [json.loads(line)["train_phase_idx"] for line in metrics.open()] == [0, 1]


@TASKS
@pytest.mark.parametrize("length", [0, 700])
def test_a_damaged_last_checkpoint_gives_way_to_the_one_before(cfg, folder, task, length, caplog):
    cfg.TRAINER.TASK_NAME = task
    caplog.set_level("INFO")
    cut(folder / FINAL, length)
    assert not nothing_left(cfg, str(folder))
    assert get_resume_checkpoint(cfg, str(folder)) == str(folder / "model_phase1.torch")
    assert f"Resume from file: {folder / 'model_phase1.torch'}" in caplog.text
    assert "skipping a damaged checkpoint" in caplog.text
    lines = (folder / "metrics.json").read_text().splitlines()
    assert len(lines) == 2  # what was said of the last epoch is of lost weights


@TASKS
def test_where_none_is_complete_nothing_begins_anew(cfg, folder, task):
    cfg.TRAINER.TASK_NAME = task
    for file in folder.glob("*.torch"):
        cut(file, 100)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert not nothing_left(cfg, str(folder))
    with pytest.raises(ConfigError, match="none of the checkpoints is complete"):
        get_resume_checkpoint(cfg, str(folder))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@TASKS
@pytest.mark.parametrize("resumes", [True, False])
def test_of_a_run_that_died_before_its_first_checkpoint_no_line_stays(cfg, folder, task, resumes):
    cfg.TRAINER.TASK_NAME, cfg.MSCN.RESUME_CHANGED = task, True
    settings = cfg.CHECKPOINT
    settings.AUTO_RESUME, settings.OVERWRITE_EXISTING = resumes, not resumes
    for file in folder.glob("*.torch"):
        file.unlink()
    with (folder / "metrics.json").open("a") as stream:
        stream.write(json.dumps({"iteration": 0, "train_phase_idx": -1}) + "\n")
    assert not nothing_left(cfg, str(folder))
    assert get_resume_checkpoint(cfg, str(folder)) is None
    # Evaluations of frozen features have no checkpoints, and results of iteration 0.
    kept = [] if task == "mscn_task" else [{"iteration": 0, "train_phase_idx": -1}]
    assert json_lines(folder / "metrics.json") == kept


@pytest.fixture
def job(cfg, folder, monkeypatch):
    """Of a run that is to begin anew in a folder with checkpoints of another; and what it ran."""
    from mscn_plugin.vissl import launcher

    cfg.CHECKPOINT.AUTO_RESUME, cfg.CHECKPOINT.OVERWRITE_EXISTING = False, True
    for file in folder.glob("*.torch"):
        os.utime(file, (1e9, 1e9))
    monkeypatch.setattr(launcher, "check_images_again", lambda cfg: None)

    def run(job):  # as training does
        job.config["OPTIMIZER"] = "with a default of Classy Vision's"

    monkeypatch.setattr(launcher.ResumableSlurmJob.__mro__[1], "__call__", run)
    return launcher.ResumableSlurmJob("train", cfg)


def begins_anew(job):
    before = copy.deepcopy(job.config.get("OPTIMIZER"))
    job()
    assert job.config.get("OPTIMIZER") == before
    settings = job.config.CHECKPOINT
    return (settings.AUTO_RESUME, settings.OVERWRITE_EXISTING) == (False, True)


@TASKS
@pytest.mark.parametrize("by", ["submitit", "slurm"])
def test_a_requeued_job_that_was_to_begin_anew_goes_on_once_it_has_begun(
    job, folder, monkeypatch, by, task
):
    job.config.TRAINER.TASK_NAME = task
    assert begins_anew(job)
    successor = job
    if by == "submitit":
        successor = job.checkpoint().function
    else:  # the failure of a node: SLURM starts the same job again
        monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert begins_anew(successor)  # before its first checkpoint
    own = folder / "model_iteration4.torch"
    torch.save({"iteration": 4}, own)
    os.utime(own, (job.submitted + 60, job.submitted + 60))
    assert not begins_anew(successor)
    settings = successor.config.CHECKPOINT
    assert (settings.AUTO_RESUME, settings.OVERWRITE_EXISTING) == (True, False)


def test_a_requeued_run_with_nothing_of_ours_begins_anew(job):
    """It moves no checkpoint away, so that another's result might be taken for its own."""
    del job.config["MSCN"]
    split = AttrDict({"COLLATE_FUNCTION": "", "TRANSFORMS": []})
    job.config.DATA.TRAIN, job.config.DATA.TEST = split, split
    job.config.MODEL.TRUNK = AttrDict({"NAME": "resnet"})
    os.utime(next(Path(job.config.CHECKPOINT.DIR).glob("*.torch")))
    assert begins_anew(job.checkpoint().function)


@TASKS
@pytest.mark.parametrize("rank", ["0", "1"])
def test_what_is_to_begin_anew_is_not_finished_for_any_process(
    cfg, folder, monkeypatch, rank, task
):
    """Of another node a process may look before the first one has moved the checkpoints."""
    cfg.TRAINER.TASK_NAME = task
    cfg.CHECKPOINT.AUTO_RESUME, cfg.CHECKPOINT.OVERWRITE_EXISTING = False, True
    monkeypatch.setenv("RANK", rank)
    assert not nothing_left(cfg, str(folder))
