"""Trunks of images with any number of channels."""

from __future__ import annotations

import copy

import pytest
import torch

pytestmark = pytest.mark.usefixtures("registered")

OVERLAYS = {
    "resnet": [],
    "regnet": ["+config/mscn/models=regnet400mf"],
    "efficientnet": ["+config/mscn/models=efficientnet_b0"],
    "small_resnet": ["+config/mscn/models=small_resnet10"],
}


def model_config(name):
    from omegaconf import OmegaConf
    from vissl.config import AttrDict

    from mscn_plugin.config.composed import compose

    config = compose(["config=mscn/simclr", *OVERLAYS[name]]).config
    return AttrDict(OmegaConf.to_container(config)).MODEL


@pytest.mark.hydra
def test_two_trunks_can_be_built_from_one_configuration():
    """An evaluation builds the untrained one beside the trained one."""
    from vissl.models.trunks import get_model_trunk

    model = model_config("efficientnet")
    before = copy.deepcopy(model)
    with torch.device("meta"):
        get_model_trunk("efficientnet")(model, "efficientnet")
    assert model == before


@pytest.mark.hydra
@pytest.mark.parametrize("name", OVERLAYS)
@pytest.mark.parametrize("prefix", ["", "high_pass_"])
def test_takes_any_number_and_changes_nothing_of_rgb(name, prefix):
    from mscn_plugin.models.input_channels import input_channels
    from mscn_plugin.models.shapes import build_trunk, trunk_features, trunk_shapes

    model = model_config(name)
    model.TRUNK.NAME = prefix + name
    if prefix:
        model.TRUNK.HIGH_PASS = {"SIGMA": 1.0}
    arrays = copy.deepcopy(model)
    arrays.TRUNK.INPUT = {"CHANNELS": 5}
    assert (input_channels(model), input_channels(arrays)) == (3, 5)
    rgb, other = trunk_shapes(model), trunk_shapes(arrays)
    differing = [name for name in rgb if rgb[name] != other[name]]
    assert list(rgb) == list(other)
    assert len(differing) == 1
    assert other[differing[0]] == (rgb[differing[0]][0], 5, *rgb[differing[0]][2:])
    assert trunk_features(arrays, (64, 64)) == trunk_features(model, (64, 64))
    if name == "small_resnet":
        (features,) = build_trunk(arrays).eval()(torch.randn(2, 5, 32, 32), [])
        assert features.shape == (2, 512)
