"""When a run that is asked to end has saved all that it did."""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest
import torch


@pytest.fixture
def hook(registered, monkeypatch):
    from vissl.hooks.log_hooks import LogLossMetricsCheckpointHook

    from mscn_plugin.training.hooks import checkpoints as module
    from mscn_plugin.training.signals import Interruption

    monkeypatch.setattr(module, "interruption", Interruption())
    monkeypatch.setattr(module, "barrier", lambda: None)
    monkeypatch.setattr(LogLossMetricsCheckpointHook, "on_phase_end", lambda *_: None)
    hook = module.CheckpointHook(1)
    hook.interruption, hook.written = module.interruption, []
    hook._checkpoint_model = lambda task, *how, **more: hook.written.append((*how, *more.values()))
    return hook


@pytest.fixture
def task(tmp_path):
    """Of eight epochs, saved after every fifth one and evaluated after every fourth one."""
    from mscn_plugin.training.hooks.online_evaluation import OnlineEvaluationHook

    evaluation = OnlineEvaluationHook()
    evaluation.data = object()
    settings = SimpleNamespace(ONLINE_EVALUATION=SimpleNamespace(EVERY_NUM_EPOCHS=4))
    checkpoint = SimpleNamespace(CHECKPOINT_FREQUENCY=5)
    return SimpleNamespace(
        train=True,
        num_train_phases=8,
        config=SimpleNamespace(CHECKPOINT=checkpoint, MSCN=settings),
        ranks=SimpleNamespace(anyone_asked=lambda asked: asked),
        hooks=[evaluation],
        checkpoint_folder=str(tmp_path),
    )


@pytest.mark.parametrize(
    ("epoch", "asked", "written", "unsaved"),
    [
        (1, None, [], True),  # of every fifth epoch there is a checkpoint
        (1, signal.SIGTERM, [(1, 1)], False),
        (3, None, [(1, 3)], False),  # an evaluation follows, in which a signal is to end the run
        (3, signal.SIGTERM, [(1, 3)], False),
        (5, None, [], False),
        (5, signal.SIGTERM, [], False),
        (7, signal.SIGINT, [], False),  # the last one
    ],
)
def test_an_epoch_is_saved_where_a_pause_follows(hook, task, epoch, asked, written, unsaved):
    task.train_phase_idx = epoch
    hook.interruption.unsaved, hook.interruption.signum = True, asked
    hook.on_phase_end(task)
    assert hook.written == written
    assert hook.interruption.unsaved == unsaved
    if asked:
        with pytest.raises(SystemExit):
            hook.on_phase_start(task)


def test_of_checkpoints_before_evaluations_the_newest_is_kept(hook, task, tmp_path):
    task.num_train_phases = 30

    def write(_, __, epoch):
        (tmp_path / f"model_phase{epoch}.torch").touch()

    hook._checkpoint_model = write
    for epoch in range(29):
        task.train_phase_idx = epoch
        if epoch % 5 == 0:  # VISSL's
            write(task, 5, epoch)
        hook.on_phase_end(task)
    kept = {0, 5, 10, 15, 20, 25} | {27}  # not 3, 7, 11, 19 and 23
    assert {path.name for path in tmp_path.iterdir()} == {f"model_phase{e}.torch" for e in kept}


def test_without_labels_nothing_is_saved_for_an_evaluation(hook, task):
    task.hooks[0].data, task.train_phase_idx = None, 3
    hook.on_phase_end(task)
    assert hook.written == []
    assert hook.interruption.unsaved


def test_rates_have_their_values_of_the_epochs_start(hook):
    asked = []
    task = SimpleNamespace(
        train=True,
        train_phase_idx=3,
        num_train_phases=8,
        optimizer=SimpleNamespace(on_epoch=asked.append),
    )
    hook.on_phase_start(task)
    assert asked == [3 / 8]
    assert hook.interruption.unsaved


def test_no_rank_leaves_before_the_services_know(hook, monkeypatch):
    """The launcher ends the first rank, which writes to them, as soon as another one has left."""
    from vissl.hooks.log_hooks import LogLossMetricsCheckpointHook

    from mscn_plugin.training.hooks.tracking import TrackingHook

    class Service(TrackingHook):
        def end(self, end):
            hook.written.append(end)

    monkeypatch.setattr(LogLossMetricsCheckpointHook, "on_step", lambda *_: None)
    ranks = SimpleNamespace(
        anyone_asked=lambda _: signal.SIGTERM, wait=lambda: hook.written.append("waited")
    )
    task = SimpleNamespace(train=True, iteration=3, ranks=ranks, hooks=[Service()])
    hook.interruption.unsaved = True
    with pytest.raises(SystemExit):
        hook.on_step(task)
    assert hook.written == [(1, 3, "iteration"), "interrupted", "waited"]


def test_losses_of_a_checkpoints_steps_are_written_before_it(registered, monkeypatch, tmp_path):
    """A run that is killed goes on behind them, and would never write them."""
    from vissl.hooks.log_hooks import LogLossLrEtaHook, LogLossMetricsCheckpointHook

    from mscn_plugin.training.hooks.checkpoints import CheckpointHook

    order = []

    def write(self, task, *args, **kwargs):
        order.append("checkpoint")
        torch.save({"iteration": 1}, f"{task.checkpoint_folder}/model_phase0.torch")

    monkeypatch.setattr(LogLossMetricsCheckpointHook, "_checkpoint_model", write)
    losses = LogLossLrEtaHook(str(tmp_path))
    losses.json_stdout_logger = SimpleNamespace(flush=lambda: order.append("losses"))
    task = SimpleNamespace(checkpoint_folder=str(tmp_path), base_model=None, hooks=[losses])
    CheckpointHook(1)._checkpoint_model(task, 1, 0)
    assert order == ["losses", "checkpoint"]
