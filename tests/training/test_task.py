"""mscn_task through VISSL's own tool: resume, other losses, the paper's trunk, the progress bar."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import run_python, tool, tool_environment, wait_for


@pytest.mark.process
def test_goes_on_after_a_kill_in_mid_epoch(run_tool, tiny, tmp_path):
    overrides = [
        "config=mscn/quickstart",
        *tiny,
        "config.OPTIMIZER.num_epochs=4",
        "config.CHECKPOINT.CHECKPOINT_FREQUENCY=1",
        "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
        "config.LOG_FREQUENCY=1",
    ]
    # It stands still in the second step of the third epoch, until it is killed.
    stops = (
        "import pathlib, runpy, threading, torch\n"
        "calls, step = [], torch.optim.Optimizer.zero_grad\n"
        "def zero_grad(*a, **k):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 10:\n"
        "        pathlib.Path('in_mid_epoch').touch()\n"
        "        threading.Event().wait()\n"
        "    step(*a, **k)\n"
        "torch.optim.Optimizer.zero_grad = zero_grad\n"
        "runpy.run_module('tools.run_distributed_engines', run_name='__main__', alter_sys=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", stops, *overrides],
        cwd=tmp_path,
        env=tool_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: (tmp_path / "in_mid_epoch").exists() or process.poll() is not None)
    assert process.poll() is None, "ended before it could be killed"
    process.kill()
    process.wait()
    run = tmp_path / "run"
    assert (run / "model_phase1.torch").is_file()
    assert not list(run.glob("model_final*"))

    result = run_tool(*overrides)
    assert "Resume from file" in result.stdout
    checkpoint = torch.load(run / "checkpoint.torch", weights_only=True)
    assert checkpoint["iteration"] == 16
    steps = [json.loads(line) for line in (run / "stdout.json").read_text().splitlines()]
    resumed = [step["iter"] for step in steps if step["ep"] >= 2]
    assert min(resumed) == 8


@pytest.mark.process
def test_an_evaluation_that_a_kill_took_is_made_up_for(run_tool, tiny, tmp_path):
    """As a kill leaves it between the checkpoint of epoch ``lost`` and what follows it."""
    overrides = [
        *("config=mscn/quickstart", *tiny, "config.OPTIMIZER.num_epochs=2"),
        "config.DISTRIBUTED.NUM_PROC_PER_NODE=2",  # of which one alone writes
    ]
    run_tool(*overrides)
    run = tmp_path / "run"

    def evaluations():
        lines = [json.loads(line) for line in (run / "metrics.json").read_text().splitlines()]
        return [line for line in lines if "online_evaluation" in line]

    unbroken = evaluations()
    assert [line["train_phase_idx"] for line in unbroken] == [-1, 0, 1]
    assert all(line["images"]["val"]["number"] == 12 for line in unbroken)
    assert all(line["chance"] == 25 and "knn" in line["color_histogram"] for line in unbroken)
    for lost in (1, 0):
        kept = [line for line in unbroken if line["train_phase_idx"] < lost]
        (run / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in kept))
        if lost == 0:
            (run / "model_final_checkpoint_phase1.torch").unlink()
        run_tool(*overrides)
        assert evaluations() == unbroken
    run_tool(*overrides)
    assert evaluations() == unbroken  # and once is enough


@pytest.mark.process
def test_images_without_labels_train_resume_and_are_reported(
    run_tool, mscn, tiny, image_folder, tmp_path, capsys
):
    images = shutil.copytree(image_folder / "train" / "class0", tmp_path / "images")
    overrides = ["config=mscn/quickstart", *tiny, f"config.MSCN.DATA={images}"]
    overrides.append("config.OPTIMIZER.num_epochs=2")
    said = run_tool(*overrides).stdout
    assert f"TRAIN: 8 images without labels in {images}" in said
    assert said.count("no online evaluation: the training images have no labels") == 1
    run = tmp_path / "run"
    final = run / "model_final_checkpoint_phase1.torch"

    def weights():
        state = torch.load(final, weights_only=True)["classy_state_dict"]
        return state["base_model"]["model"]["trunk"]

    unbroken = weights()
    final.unlink()
    assert "Resume from file" in run_tool(*overrides).stdout
    assert all(torch.equal(value, unbroken[name]) for name, value in weights().items())

    mscn("summary", run)
    said = capsys.readouterr().out
    assert "The run has no online evaluation: the training images have no labels" in said
    mscn("report", run)
    page = (run / "report.html").read_text()
    assert "The run has no online evaluation" in page
    assert "Not shown: config.DATA.TRAIN.LABEL_SOURCES" in page
    with pytest.raises(SystemExit) as refused:
        mscn("evaluate", run)
    assert "own config.MSCN.DATA is taken, which is" in str(refused.value)
    assert "an evaluation needs labels" in str(refused.value)


@pytest.mark.process
def test_works_with_vissls_own_simclr(run_tool, tiny):
    """VISSL's loss, collator and views under mscn_task."""
    run_tool(
        "config=mscn/quickstart",
        *tiny,
        "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
        "config.DATA.TRAIN.COLLATE_FUNCTION=simclr_collator",
        "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS=null",
        "config.LOSS.name=simclr_info_nce_loss",
        "config.LOSS.simclr_info_nce_loss.buffer_params.embedding_dim=16",
    )


@pytest.mark.process
@pytest.mark.parametrize("device_views", [True, False])
def test_branches_may_pass_the_trunk_one_by_one(run_tool, tiny, device_views):
    run_tool(
        "config=mscn/quickstart",
        *tiny,
        f"config.MSCN.DEVICE_VIEWS={device_views}",
        "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
        "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS.split_branches=True",
        "config.MODEL.SINGLE_PASS_EVERY_CROP=True",
    )


@pytest.mark.process
def test_the_papers_resnet_trains_on_a_cpu(run_tool, tmp_path):
    """The line of docs/configs.md for a machine without GPU and ImageNet, on a narrower trunk."""
    run_tool(
        "config=mscn/simclr",
        "+config/mscn/machine=cpu",
        "+config/mscn/memory=[one_mask,activation_checkpointing]",
        "config.DATA.TRAIN.DATA_SOURCES=[synthetic]",
        "config.DATA.TRAIN.LABEL_SOURCES=[]",
        "config.DATA.TEST.DATA_SOURCES=[]",
        "config.DATA.TRAIN.RANDOM_SYNTHETIC_IMAGES=True",
        "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=2",
        "config.DATA.TRAIN.DATA_LIMIT=4",
        "config.DATA.NUM_DATALOADER_WORKERS=0",
        "config.OPTIMIZER.num_epochs=1",
        "config.OPTIMIZER.param_schedulers.lr.warmup_epochs=0",
        "config.MODEL.TRUNK.RESNETS.WIDTH_PER_GROUP=4",
        "config.CHECKPOINT.DIR=run",
    )
    checkpoint = torch.load(tmp_path / "run" / "checkpoint.torch", weights_only=True)
    assert checkpoint["iteration"] == 2


@pytest.mark.process
def test_the_progress_bar_shows_the_time_left(tiny, tmp_path):
    bar = "config.MSCN.PROGRESS_BAR=True"
    result = run_python(*tool(), "config=mscn/quickstart", *tiny, bar, cwd=tmp_path)
    assert "pre-training: 100%" in result.stderr
    assert "loss=" in result.stderr


# PyTorch 2.14.1 compiles a trunk of 4 channels to code that corrupts memory on CPUs with AVX2.
EIGHT = (
    "config.MODEL.TRUNK.SMALL_RESNET.DEPTH=10",
    "config.MODEL.TRUNK.SMALL_RESNET.WIDTH=8",
    "config.MODEL.HEAD.PARAMS=[[mlp,{dims:[64,16]}]]",
)


@pytest.mark.process  # compiling starts some
@pytest.mark.parametrize("switch", ["CHANNELS_LAST", "COMPILE_TRUNK"])
def test_switches_of_the_model_change_its_speed_alone(compose, tiny, switch):
    from vissl.trainer.trainer_main import build_task

    images = torch.randn(4, 3, 56, 56)
    outputs, states = [], []
    for value in (False, True):
        config = compose("config=mscn/quickstart", *tiny, *EIGHT, f"config.MSCN.{switch}={value}")
        torch.manual_seed(0)
        model = build_task(config)._build_model()
        outputs.append(model(images)[0])
        outputs[-1].square().mean().backward()
        states.append(model.state_dict())
        gradient = model.trunk._feature_blocks["conv1"].weight.grad
        outputs.append(gradient)
    assert list(states[0]) == list(states[1])
    torch.testing.assert_close(outputs[0], outputs[2], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(outputs[1], outputs[3], atol=1e-4, rtol=1e-3)
    if switch == "CHANNELS_LAST":
        assert gradient.is_contiguous(memory_format=torch.channels_last)


@pytest.fixture
def one_rank(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/rendezvous", world_size=1, rank=0
    )
    yield
    torch.distributed.destroy_process_group()


def test_a_checkpoint_of_mixed_precision_goes_on_without(compose, one_rank, tiny, monkeypatch):
    """VISSL hands the scaler's state to a scaler that is not there."""
    from vissl.trainer.train_task import SelfSupervisionTask
    from vissl.trainer.trainer_main import build_task

    task = build_task(compose("config=mscn/quickstart", *tiny))
    task.prepare()
    state = task.get_classy_state(deep_copy=True)
    state["amp"] = torch.amp.GradScaler("cpu").state_dict()
    task._set_classy_state(state)
    assert "amp" in state
    given = []
    monkeypatch.setattr(SelfSupervisionTask, "_set_classy_state", lambda _, s: given.append(s))
    task.amp_type = "any"
    task._set_classy_state(state)
    assert given == [state]


def test_goes_on_by_epochs_with_other_steps_in_them(compose, one_rank, tiny, tmp_path):
    """VISSL begins at the batch that is left of the iteration behind the epochs of now."""
    from vissl.trainer import SelfSupervisionTrainer
    from vissl.trainer.trainer_main import build_task

    from mscn_plugin.training.hooks.base import counted_by_schedules, steps_of_schedules
    from mscn_plugin.training.place import PLACE_KEY

    config = compose("config=mscn/quickstart", *tiny, "config.OPTIMIZER.num_epochs=4")

    def saved(iteration, epochs):
        """With the four steps in an epoch that a batch of 8 makes of 32 images."""
        state = task.get_classy_state(deep_copy=True)
        state.update(phase_idx=epochs - 1, train_phase_idx=epochs - 1, num_updates=8 * iteration)
        assert state[PLACE_KEY] == {"step": 0, "per_epoch": 4}
        state[PLACE_KEY]["step"] = iteration
        place = {"phase_idx": epochs - 1, "train_phase_idx": epochs - 1, "iteration": iteration}
        content = {**place, "iteration_num": iteration, "loss": {}, "classy_state_dict": state}
        torch.save(content, tmp_path / f"{iteration}.torch")
        return str(tmp_path / f"{iteration}.torch")

    def going_on(checkpoint, batch):
        config.DATA.TRAIN.BATCHSIZE_PER_REPLICA = batch
        task = build_task(config)
        task.set_checkpoint_path(checkpoint)
        task.prepare()
        task.init_distributed_data_parallel_model()
        trainer = SelfSupervisionTrainer.__new__(SelfSupervisionTrainer)
        trainer._init_training_state(config, task)
        trainer._advance_phase(task)
        return task

    task = build_task(config)
    task.prepare()
    # Of the checkpoint, the batch of now, and: batches left, step, steps, the last iteration.
    for iteration, epochs, batch, left, step, steps, last in (
        (8, 2, 8, 4, 8, 16, 16),
        (8, 2, 6, 5, 10, 20, 18),
        (8, 2, 16, 2, 4, 8, 12),
        (6, 1, 4, 4, 12, 32, 26),
    ):
        resumed = going_on(saved(iteration, epochs), batch)
        assert len(list(resumed.data_iterator)) == left
        assert (resumed.iteration, resumed.max_iteration) == (iteration, last)
        assert steps_of_schedules(resumed) == (step, steps)
        with counted_by_schedules(resumed):
            assert (resumed.iteration, resumed.max_iteration) == (step, steps)
        assert resumed.where == pytest.approx(step / steps)  # by which VISSL sets rates
        now = {"step": step, "per_epoch": steps // 4}
        assert resumed.get_classy_state()[PLACE_KEY] == now


@pytest.mark.parametrize("device_views", [True, False])
def test_vissl_extracts_features(compose, one_rank, tiny, tmp_path, monkeypatch, device_views):
    """Training images with their masks, validation images without, in VISSL's own loop.

    Its entry refuses the CPU, so that the test builds what it builds and takes ``.cuda()`` away.
    """
    from vissl.trainer import SelfSupervisionTrainer
    from vissl.trainer.trainer_main import build_task

    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor, **options: tensor)
    config = compose("config=mscn/quickstart", *tiny, f"config.MSCN.DEVICE_VIEWS={device_views}")
    trainer = SelfSupervisionTrainer.__new__(SelfSupervisionTrainer)
    trainer.cfg = config
    task = build_task(config)
    task.available_splits = ["TRAIN", "TEST"]
    task.prepare_extraction()
    task.init_distributed_data_parallel_model()
    for split, count in (("TRAIN", 32), ("TEST", 12)):
        task.data_iterator = iter(task.dataloaders[split.lower()])
        trainer._extract_split_features(["heads"], task, split, str(tmp_path))
        files = list(tmp_path.glob(f"rank0_chunk*_{split.lower()}_heads_features.npy"))
        values = np.concatenate([np.load(file) for file in files])
        assert values.shape == (count, 16)
        assert np.isfinite(values).all()
        assert values.std() > 0
