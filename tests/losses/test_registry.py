from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from mscn_plugin import losses as package
from mscn_plugin.losses import registry

A_LOSS = """
import torch
from mscn_plugin.losses.branches import split_by_branch
from mscn_plugin.losses.registry import ClassyLoss, register_loss
from mscn_plugin.masking.per_branch import masks_per_branch

@register_loss("distance_loss")
class DistanceLoss(ClassyLoss):
    def __init__(self, num_masks=2, power=2.0):
        super().__init__()
        if not power > 0:
            raise ValueError(f"power is {power}; it must be above 0")
        self.num_masks, self.power = masks_per_branch(num_masks), power

    @classmethod
    def from_config(cls, config):
        return cls(**{key: value for key, value in config.items() if key != "name"})

    def forward(self, output, target=None):
        means = [torch.stack(b).mean(dim=0) for b in split_by_branch(output, self.num_masks)]
        return (means[0] - means[1]).abs().pow(self.power).mean()
"""


@pytest.fixture
def a_loss_more(registered, tmp_path, monkeypatch):
    """A file with a loss in it, beside those of the package, for the time of a test."""
    import classy_vision.losses as classy

    from mscn_plugin.config.checks import loss

    (tmp_path / "distance.py").write_text(A_LOSS)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    for name in ("LOSS_REGISTRY", "LOSS_CLASS_NAMES", "LOSS_REGISTRY_TB", "LOSS_CLASS_NAMES_TB"):
        if hasattr(classy, name):
            copied = type(getattr(classy, name))(getattr(classy, name))
            monkeypatch.setattr(classy, name, copied)
    monkeypatch.setattr(registry, "_LOSSES", dict(registry._LOSSES))
    registry.losses.cache_clear()
    known = registry.losses()
    monkeypatch.setattr(loss, "LOSSES", known)
    yield known
    registry.losses.cache_clear()
    del sys.modules["mscn_plugin.losses.distance"]


def test_the_losses_are_those_that_the_modules_register(registered):
    assert sorted(registry.losses()) == [
        *("byol_loss", "mscn_barlow_twins_loss", "mscn_info_nce_loss", "vicreg_loss"),
    ]
    assert all(issubclass(loss, nn.Module) for loss in registry.losses().values())


def test_a_new_loss_is_one_file(a_loss_more):
    from classy_vision.losses import build_loss

    assert "distance_loss" in a_loss_more
    built = build_loss({"name": "distance_loss", "num_masks": [1, 2]})
    assert built.num_masks == [1, 2]
    assert float(built(torch.ones(6, 4))) == 0
