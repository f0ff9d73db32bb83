"""A run of VISSL's tool that is asked to end, and a second one in its folder."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest
from conftest import tool, tool_environment, wait_for

from mscn_plugin import ConfigError
from mscn_plugin.checkpoints.complete import load_complete


@pytest.mark.process
@pytest.mark.parametrize("processes", [1, 2])
def test_ctrl_c_writes_a_checkpoint_and_is_not_success(tiny, tmp_path, compose, processes):
    arguments = [
        *("config=mscn/quickstart", *tiny),
        "config.OPTIMIZER.num_epochs=400",
        "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
        f"config.DISTRIBUTED.NUM_PROC_PER_NODE={processes}",
    ]
    command = [sys.executable, *tool(), *arguments]
    with (tmp_path / "console").open("w") as console:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=tool_environment(), stdout=console, stderr=console
        )
        wait_for(lambda: (tmp_path / "run" / "model_phase0.torch").is_file())
        with pytest.raises(ConfigError, match="in use by another run .process [0-9]+ on "):
            compose(*arguments)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    said = (tmp_path / "console").read_text()
    assert "All Done!" not in said
    assert "Traceback" not in said
    assert "ended on request" in said
    newest = max((tmp_path / "run").glob("model_*.torch"), key=lambda path: path.stat().st_mtime)
    assert (tmp_path / "run" / "checkpoint.torch").resolve() == newest  # of the step, or the epoch
    steps = [int(step) for step in re.findall(r" iter: ([0-9]+);", said)]
    assert load_complete(newest)["iteration"] >= max(steps)
    compose(*arguments)  # the folder is free again


@pytest.mark.process
def test_an_evaluation_ends_at_once(checkpoints, image_folder, tmp_path):
    """VISSL's task has no checkpoint but its epochs', and VISSL takes Ctrl-C for success."""
    command = [
        *(sys.executable, *tool(), "config=mscn/benchmark/quick_linear"),
        f"config.MSCN.DATA={image_folder}",
        f"config.MODEL.WEIGHTS_INIT.PARAMS_FILE={checkpoints['simclr']}/checkpoint.torch",
        "config.CHECKPOINT.DIR=linear",
        "config.MODEL.TRUNK.SMALL_RESNET.WIDTH=4",
        "config.DATA.NUM_DATALOADER_WORKERS=0",
        "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=4",
        "config.OPTIMIZER.num_epochs=400",
    ]
    with (tmp_path / "console").open("w") as console:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=tool_environment(), stdout=console, stderr=console
        )
        wait_for(lambda: (tmp_path / "linear" / "model_phase0.torch").is_file())
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    assert "All Done!" not in (tmp_path / "console").read_text()
