"""The second networks of MoCo and of SwAV: normalized as the model, whole, resumed exactly."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

pytestmark = pytest.mark.usefixtures("registered")


class Model(nn.Module):
    """Two features and two scores of an image, of which half are dropped in training."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))

    def forward(self, images):
        features = self.layers(images[0] if isinstance(images, list) else images)
        return [features] if torch.is_tensor(images) else [[features, features]]


def moco():
    from vissl.hooks.moco_hooks import MoCoHook
    from vissl.losses.moco_loss import MoCoLoss, MoCoLossConfig

    # As VISSL builds it where SyncBN is asked for, on CPUs too, on which it converts nothing.
    return MoCoHook(0.9, shuffle_batch=False), MoCoLoss(MoCoLossConfig(2, 8, 0.9, 0.2))


def swav():
    from vissl.config import AttrDict
    from vissl.hooks.swav_momentum_hooks import SwAVMomentumHook
    from vissl.losses.swav_momentum_loss import SwAVMomentumLoss

    never = 1000  # in evaluation mode
    loss = SwAVMomentumLoss(AttrDict({"queue": {"local_queue_length": 0}}))
    return SwAVMomentumHook(0.9, never, [0, 1]), loss


@pytest.fixture
def started(monkeypatch):
    """A start of a run with our hook in place of VISSL's: a function that does a forward pass."""
    from mscn_plugin.training.hooks import swav_encoder
    from mscn_plugin.training.task import _ours

    wrapped = "init_distributed_data_parallel_model"
    monkeypatch.setattr(swav_encoder, wrapped, lambda encoder: encoder)  # it needs processes
    images = torch.randn(8, 4)
    sample = {"data_momentum": [images], "input": [images, images]}

    def start(method, model, state=None, build=Model):
        vissls, loss = method()
        if state is not None:
            loss.load_state_dict(state)
        task = SimpleNamespace(loss=loss, base_model=model, device="cpu", _build_model=build)
        task.last_batch = SimpleNamespace(sample=sample)
        hook = _ours(vissls)
        assert type(hook) is not type(vissls)
        return hook, loss, lambda: hook.on_forward(task)

    return start


@pytest.mark.parametrize("method", [moco, swav])
def test_a_resumed_encoder_equals_an_unbroken_one(started, method):
    model = Model()
    _, unbroken, step = started(method, model)

    def train():
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1)

    step()
    train()
    step()
    checkpoint = copy.deepcopy(unbroken.state_dict())
    train()
    _, resumed, first_step = started(method, model, checkpoint)
    drawn = []
    for forward in (step, first_step):
        torch.manual_seed(1)
        forward()
        drawn.append(torch.rand(1))
    assert torch.equal(*drawn)
    expected, ours = unbroken.state_dict(), resumed.state_dict()
    assert ours.keys() == expected.keys()
    assert [name for name, value in expected.items() if not torch.equal(ours[name], value)] == []
    weight = next(name for name in expected if name.endswith("layers.0.weight"))
    assert not torch.equal(expected[weight], checkpoint[weight])


@pytest.mark.parametrize("method", [moco, swav])
def test_the_encoder_drops_nothing(started, method):
    model = Model()
    _, loss, step = started(method, model)
    step()
    encoder = loss.moco_encoder if method is moco else loss.momentum_encoder
    images = torch.ones(8, 4)
    assert encoder.training
    assert torch.equal(encoder(images)[0], encoder(images)[0])
    assert model.layers[2].p == 0.5


@pytest.mark.parametrize("synchronized", [True, False])
@pytest.mark.parametrize("resumed", [True, False])
def test_mocos_keys_are_shuffled_where_nothing_is_synchronized(started, synchronized, resumed):
    def build():
        return nn.SyncBatchNorm.convert_sync_batchnorm(Model()) if synchronized else Model()

    hook, loss, step = started(moco, build(), build=build)
    step()
    if resumed:
        hook, loss, step = started(moco, build(), loss.state_dict(), build)
        step()
    assert hook.shuffle_batch == (not synchronized)
    found = any(isinstance(module, nn.SyncBatchNorm) for module in loss.moco_encoder.modules())
    assert found == synchronized
    assert not any(parameter.requires_grad for parameter in loss.moco_encoder.parameters())


def test_mocos_ranks_begin_with_the_first_ones_queue(started, monkeypatch):
    """Of a checkpoint each of them takes the first one's."""
    from mscn_plugin.training.hooks import moco_encoder

    monkeypatch.setattr(moco_encoder, "is_distributed_training_run", lambda: True)
    monkeypatch.setattr(torch.distributed, "broadcast", lambda queue, src: queue.fill_(src))
    _, loss, step = started(moco, Model())
    step()
    assert torch.equal(loss.queue, torch.zeros(2, 8))
