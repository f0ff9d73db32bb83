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


@pytest.mark.parametrize(
    ("epoch", "asked", "written", "unsaved"),
    [
        (1, None, [], True),  # of every fifth epoch there is a checkpoint
        (1, signal.SIGTERM, [(1, 1)], False),
        (5, None, [], False),
        (5, signal.SIGTERM, [], False),
        (7, signal.SIGINT, [], False),  # the last one
    ],
)
def test_an_epoch_is_saved_where_the_run_is_to_end(hook, epoch, asked, written, unsaved):
    task = SimpleNamespace(
        train=True,
        train_phase_idx=epoch,
        num_train_phases=8,
        config=SimpleNamespace(CHECKPOINT=SimpleNamespace(CHECKPOINT_FREQUENCY=5)),
        ranks=SimpleNamespace(anyone_asked=lambda asked: asked),
    )
    hook.interruption.unsaved, hook.interruption.signum = True, asked
    hook.on_phase_end(task)
    assert hook.written == written
    assert hook.interruption.unsaved == unsaved
    if asked:
        with pytest.raises(SystemExit):
            hook.on_phase_start(task)


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
