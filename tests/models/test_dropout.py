from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mscn_plugin.models.dropout import without_dropout

pytestmark = pytest.mark.usefixtures("registered")


class Dropping(nn.Module):
    """Features of which dropout and stochastic depth of all kinds leave little."""

    def __init__(self):
        from timm.layers import DropPath
        from torchvision.ops import StochasticDepth
        from vissl.models.model_helpers import DropPath as VisslDropPath

        super().__init__()
        self.attention = nn.MultiheadAttention(4, 1, dropout=0.9, batch_first=True)
        self.layers = nn.Sequential(
            nn.BatchNorm1d(4),
            nn.Dropout(0.5),
            DropPath(0.5),
            StochasticDepth(0.5, "row"),
            VisslDropPath(0.5),
            nn.AlphaDropout(0.5),
        )
        self.drop_rate = 0.5  # as many of timm's models have it

    def forward(self, x):
        x = self.layers(self.attention(x[None], x[None], x[None], need_weights=False)[0][0])
        return nn.functional.dropout(x, self.drop_rate, self.training)


def test_nothing_is_dropped_and_batches_are_still_normalized():
    network, images = Dropping(), torch.randn(64, 4)
    assert not torch.equal(network(images), network(images))
    without_dropout(network)
    assert network.training
    assert torch.equal(network(images), network(images))
    assert float(network(images).detach().mean(dim=0).abs().max()) < 1e-5


def test_vissls_efficientnet_drops_nothing(compose):
    from mscn_plugin.models.shapes import build_trunk

    model = compose(
        "config=mscn/quickstart",
        "+config/mscn/models=efficientnet_b0",
        "config.MODEL.HEAD.PARAMS=[[mlp,{dims:[1280,8]}]]",
    ).MODEL
    trunk, images = build_trunk(model).train(), torch.randn(2, 3, 32, 32)
    without_dropout(trunk)
    with torch.no_grad():
        assert torch.equal(trunk(images, [])[-1], trunk(images, [])[-1])


def test_dinos_teacher_drops_nothing():
    from mscn_plugin.training.hooks.dino_teacher import DINOTeacherHook

    student = Dropping()
    transformers = SimpleNamespace(DROP_PATH_RATE=0.1)
    trunk = SimpleNamespace(VISION_TRANSFORMERS=transformers)
    task = SimpleNamespace(
        config=SimpleNamespace(MODEL=SimpleNamespace(TRUNK=trunk)),
        device="cpu",
        loss=SimpleNamespace(checkpoint=None),
        base_model=student,
        _build_model=Dropping,
    )
    DINOTeacherHook()._build_momentum_network(task)
    teacher, images = task.loss.momentum_teacher, torch.randn(64, 4)
    assert torch.equal(teacher(images), teacher(images))
    assert not torch.equal(student(images), student(images))
