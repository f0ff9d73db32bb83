"""Gradients that are clipped, in mixed precision and without."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn


@pytest.mark.parametrize("scale", [None, 2.0**16])
@pytest.mark.parametrize("size", [0.01, 100.0])
def test_the_norm_is_that_of_the_gradients_whatever_the_loss_scale(registered, scale, size):
    from vissl.hooks.grad_clip_hooks import GradClipHook

    from mscn_plugin.training.task import _ours

    model = nn.Linear(4, 1, bias=False)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scaler = None if scale is None else torch.amp.GradScaler("cpu", init_scale=scale)
    task = SimpleNamespace(model=model, optimizer=optimizer, amp_grad_scaler=scaler)
    loss = size * model(torch.ones(4)).sum()  # a gradient of norm 2 * size
    (loss if scaler is None else scaler.scale(loss)).backward()
    _ours(GradClipHook(norm_type=2.0, max_norm=3.0)).on_backward(task)
    (optimizer.step if scaler is None else lambda: scaler.step(optimizer))()
    assert model.weight.norm().item() == pytest.approx(min(2 * size, 3.0), rel=1e-5)
