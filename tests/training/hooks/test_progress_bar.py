from __future__ import annotations

from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.usefixtures("registered")


def test_an_epoch_without_a_step_has_no_loss(capsys):
    """As after a resume from a checkpoint of the epoch's last step."""
    from mscn_plugin.training.hooks.progress_bar import ProgressBarHook

    hook = ProgressBarHook()
    settings = SimpleNamespace(MSCN=SimpleNamespace(PROGRESS_BAR="auto"))
    task = SimpleNamespace(
        config=settings,
        train=True,
        train_phase_idx=0,
        num_train_phases=3,
        losses=[],
        last_batch=SimpleNamespace(target=[0, 0]),
    )
    hook.on_start(task)
    for losses in ([], [3.0], []):
        hook.on_phase_start(task)
        for loss in losses:
            task.losses.append(loss)
            hook.on_step(task)
        hook.on_phase_end(task)
        task.train_phase_idx += 1
    said = capsys.readouterr().err.splitlines()
    assert said == ["epoch 1 of 3", "epoch 2 of 3: loss 1.500", "epoch 3 of 3"]
