"""What is done to the folder of an evaluation before it is started again."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import submitit

from mscn_plugin.evaluation.launch import Launch
from mscn_plugin.evaluation.suites import SUITES
from mscn_plugin.tool_run import RunFailedError

LINEAR = next(e for e in SUITES["quick"] if e.page == "quick_linear")


@pytest.fixture
def unfinished(tmp_path):
    """An evaluation on SLURM with a final checkpoint and no accuracy of its epoch."""
    launch = Launch(LINEAR, (), tmp_path, "digest", ("config.SLURM.USE_SLURM=true",))
    launch.output.mkdir()
    for name in ("model_phase0.torch", "model_final_checkpoint_phase1.torch"):
        (launch.output / name).write_text("weights")
    (launch.output / "checkpoint.torch").symlink_to("model_final_checkpoint_phase1.torch")
    return launch


def test_the_checkpoints_of_a_job_at_work_are_left_alone(unfinished, monkeypatch):
    """Its last epoch may be under evaluation at this moment."""
    job = SimpleNamespace(done=lambda: True, exception=lambda: None)
    executor = SimpleNamespace(job_class=lambda **_: job)
    monkeypatch.setattr(
        submitit, "AutoExecutor", lambda folder: SimpleNamespace(_executor=executor)
    )
    (unfinished.output / "job_id").write_text("7")
    with pytest.raises(RunFailedError, match="no result"):
        unfinished.run(lambda done: None)
    assert (unfinished.output / "checkpoint.torch").exists()


def test_a_final_checkpoint_without_its_accuracy_gives_way_to_the_one_before(unfinished):
    unfinished.make_ready()
    assert [path.name for path in unfinished.output.iterdir()] == ["model_phase0.torch"]


def test_what_is_not_at_its_end_is_left_as_it_is(unfinished):
    (unfinished.output / "model_final_checkpoint_phase1.torch").unlink()
    unfinished.make_ready()
    names = sorted(path.name for path in unfinished.output.iterdir())
    assert names == ["checkpoint.torch", "model_phase0.torch"]
