from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mscn_plugin import ConfigError

pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture
def configured(compose, batch_folder):
    def config(*overrides):
        return compose("config=mscn/quickstart", f"config.MSCN.DATA={batch_folder}", *overrides)

    return config


@pytest.mark.parametrize(("width", "features"), [(4, 32), (16, 128)])
def test_counts_what_the_trunk_returns(configured, width, features):
    from mscn_plugin.models.shapes import trunk_features

    model = configured(f"config.MODEL.TRUNK.SMALL_RESNET.WIDTH={width}").MODEL
    before, state = copy.deepcopy(model), torch.get_rng_state()
    assert trunk_features(model, (56, 56)) == features
    assert model == before
    assert torch.equal(torch.get_rng_state(), state)


def test_a_trunk_behind_the_filter_is_asked_without_images(configured, monkeypatch):
    from mscn_plugin.models import shapes

    asked = []
    build = shapes.build_trunk
    monkeypatch.setattr(
        shapes, "build_trunk", lambda model: asked.append(build(model)) or asked[-1]
    )
    model = configured().MODEL
    model.TRUNK.NAME = "high_pass_small_resnet"
    model.TRUNK["HIGH_PASS"] = {"SIGMA": 2.5}
    asked.clear()
    assert shapes.trunk_features(model, (56, 56)) == 128
    (trunk,) = asked
    assert all(parameter.is_meta for parameter in trunk.parameters())


@pytest.fixture
def trunk_that_looks(monkeypatch):
    """A trunk of a user's, which needs the values of an image, not only its shape."""
    from vissl.models import trunks

    class Looks(nn.Module):
        def __init__(self, model_config, model_name):
            super().__init__()
            self.linear = nn.Linear(3, 10)

        def forward(self, images, out_feat_keys=None):
            assert float(images.abs().max()) >= 0
            return [self.linear(images.mean(dim=(2, 3)))]

    monkeypatch.setitem(trunks.MODEL_TRUNKS_REGISTRY, "looks", Looks)


def test_trunks_that_need_real_images_work_too(configured, trunk_that_looks):
    config = configured("config.MODEL.TRUNK.NAME=looks")
    assert config.MODEL.HEAD.PARAMS[0][1]["dims"] == [10, 128]


def test_a_trunk_that_cannot_be_asked_wants_a_number(configured, monkeypatch):
    from vissl.models import trunks

    from mscn_plugin.config.checks import dry_run

    def broken(model_config, model_name):
        raise ValueError("no weights")

    monkeypatch.setitem(trunks.MODEL_TRUNKS_REGISTRY, "broken", broken)
    overrides = (
        "config.MODEL.TRUNK.NAME=broken",
        "config.MODEL.HEAD.PARAMS=[[mlp,{dims:[77,16]}]]",
    )
    with pytest.raises(ConfigError, match=r"trunk broken .* does not take: no weights"):
        configured(*overrides)
    monkeypatch.setattr(dry_run, "check_first_batch", lambda cfg: None)  # as on a GPU
    given = configured(*overrides)
    assert given.MODEL.HEAD.PARAMS[0][1]["dims"] == [77, 16]
    with pytest.raises(ConfigError, match=r"fails \(no weights\); give the number"):
        configured("config.MODEL.TRUNK.NAME=broken")
