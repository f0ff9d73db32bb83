"""NaN and overflow: where a run stops, what it says, and what can be seen again."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from conftest import BYOL_HEADS, run_command

from mscn_plugin.errors import RunError


@pytest.mark.process
@pytest.mark.parametrize("method", ["simclr", "byol"])
def test_a_loss_that_is_not_finite_stops_with_a_step_that_can_be_repeated(
    run_tool, tiny, tmp_path, method
):
    pages = {"simclr": ["config=mscn/quickstart"], "byol": ["config=mscn/byol_quickstart"]}
    heads = [BYOL_HEADS] if method == "byol" else []
    result = run_tool(
        *pages[method],
        *tiny,
        *heads,
        "config.OPTIMIZER.num_epochs=3",
        "config.OPTIMIZER.name=sgd",
        "config.OPTIMIZER.param_schedulers.lr.start_value=1e30",
        "config.OPTIMIZER.param_schedulers.lr.auto_lr_scaling.auto_scale=False",
        "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
        check=False,
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    (sentence,) = [s for s in result.stderr.splitlines() if s.startswith("mscn-plugin: ")]
    assert "mscn-plugin: the loss of iteration " in sentence
    assert "for a batch of the images " in sentence
    file = tmp_path / "run" / "non_finite_rank0.torch"
    assert str(file) in sentence
    step = torch.load(file, weights_only=True)
    assert f"the loss of iteration {step['iteration']} is" in sentence
    replayed = run_command("replay", file, check=True)
    assert f"loss: {step['loss_value'].item()}" in replayed.stdout
    assert "first that is not finite: " in replayed.stdout


@pytest.fixture
def replayed(capsys):
    """What ``mscn replay`` says of a file or folder."""
    from mscn_plugin.cli import replay

    def lines(step):
        replay.run(SimpleNamespace(step=step))
        return capsys.readouterr().out.splitlines()

    return lines


def test_the_repeated_loss_of_a_sound_step_is_the_same(compose, batch_folder, tmp_path, replayed):
    """What is kept is enough: the loss comes out bit for bit, with batch normalization."""
    from vissl.models import build_model

    from mscn_plugin.checkpoints.io import save_checkpoint
    from mscn_plugin.losses.info_nce import MSCNInfoNCELoss
    from mscn_plugin.training.hooks.non_finite import replay, step_of

    config = compose("config=mscn/quickstart", f"config.MSCN.DATA={batch_folder}")
    model = build_model(config.MODEL, config.OPTIMIZER).train()
    loss = MSCNInfoNCELoss(num_masks=2)
    views = torch.randn(16, 3, 56, 56)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    value = loss(model(views)[0])
    model.load_state_dict(before)
    sample = {"input": views, "data_idx": [torch.arange(4).repeat(4)]}
    task = SimpleNamespace(
        last_batch=SimpleNamespace(sample=sample, loss=value.detach()),
        base_model=model,
        loss=loss,
        config=config,
        iteration=7,
    )
    save_checkpoint(step_of(task), tmp_path / "step.torch")
    assert replay(tmp_path / "step.torch") == (float(value), [])
    again = "not seen again in float32 on this rank's data: all is finite"
    assert replayed(tmp_path / "step.torch") == [f"loss: {float(value)}", again]
    for rank in (0, 10):
        save_checkpoint(step_of(task), tmp_path / f"non_finite_rank{rank}.torch")

    broken = next(iter(model.heads)).clf[0].weight
    with torch.no_grad():
        broken[0, 0] = float("nan")
    save_checkpoint(step_of(task), tmp_path / "step.torch")
    again, names = replay(tmp_path / "step.torch")
    assert again != again
    assert names[0] == "heads.0.clf.0"
    save_checkpoint(step_of(task), tmp_path / "non_finite_rank3.torch")
    said = replayed(tmp_path)
    assert [said[0], said[3]] == ["non_finite_rank0.torch:", "non_finite_rank3.torch:"]
    assert said[5] == "first that is not finite: heads.0.clf.0"
    assert "non_finite_rank10.torch:" not in said

    config.LOSS.name = "moco_loss"  # whose keys come from another network
    save_checkpoint(step_of(task), tmp_path / "step.torch")
    assert replay(tmp_path / "step.torch") == (None, names)
    assert replayed(tmp_path / "step.torch")[:2] == [
        "loss: needs more than the model and is not repeated",
        "first that is not finite: heads.0.clf.0",
    ]


class Scaler:
    """A gradient scaler whose scale is told."""

    scale = 65536.0

    def get_scale(self):
        return self.scale


def test_an_overflow_in_half_precision_is_said_and_passed(registered, caplog):
    from mscn_plugin.training.hooks.non_finite import NonFiniteHook

    hook = NonFiniteHook()
    task = SimpleNamespace(amp_grad_scaler=Scaler(), iteration=3, losses=[1.0])
    hook.on_loss_and_meter(task)
    assert not caplog.records
    task.iteration, task.amp_grad_scaler.scale = 4, 2.0**15
    hook.on_loss_and_meter(task)
    assert "gradients of iteration 3 overflow in half precision" in caplog.text
    task.iteration, task.amp_grad_scaler.scale = 5, 2.0**-11
    with pytest.raises(RunError, match="USE_AMP is True, and gradients of iteration 4"):
        hook.on_loss_and_meter(task)


def test_without_mixed_precision_there_is_no_scale(registered):
    from mscn_plugin.training.hooks.non_finite import NonFiniteHook

    task = SimpleNamespace(amp_grad_scaler=None, iteration=3, losses=[1.0])
    NonFiniteHook().on_loss_and_meter(task)
