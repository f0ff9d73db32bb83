"""Where a trunk's settings stand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import vissl.config
import yaml
from vissl.config import AttrDict
from vissl_checkpoints import model_config

from mscn_plugin.config.folder import config_folder
from mscn_plugin.models.high_pass_trunk import PREFIX, TRUNKS
from mscn_plugin.models.sections import layer_of, plain_name, sections_of

OVERLAYS = sorted((config_folder() / "config" / "mscn" / "models").glob("*.yaml"))


@pytest.mark.parametrize("name", TRUNKS)
def test_a_filter_inside_of_the_trunk_leaves_its_sections(name):
    assert plain_name(f"{PREFIX}{name}") == name
    assert sections_of(f"{PREFIX}{name}") == sections_of(name)


def test_the_sections_of_vissls_trunks_are_those_of_its_configuration():
    defaults = Path(vissl.config.__file__).with_name("defaults.yaml").read_text()
    there = yaml.safe_load(defaults)["config"]["MODEL"]["TRUNK"]
    names = ("resnet", "regnet", "regnet_v2", "regnet_fsdp", "efficientnet", "vision_transformer")
    for name in (*names, "convit", "xcit"):
        assert set(sections_of(name)) <= set(there), name


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)
def test_every_trunk_has_the_layers_of_the_evaluations(registered, overlay):
    from mscn_plugin.models.shapes import build_trunk, of_shapes

    trunk = yaml.safe_load(overlay.read_text())["config"]["MODEL"]["TRUNK"]
    name = trunk["NAME"]
    if name == "timm":
        pytest.importorskip("timm")
    config = model_config()
    for key, value in trunk.items():
        if isinstance(value, dict):
            value = AttrDict({**config.TRUNK.get(key, {}), **value})
        config.TRUNK[key] = value
    pooled, spatial = layer_of(name, "res5avg"), layer_of(f"{PREFIX}{name}", "res5")

    def ask():
        outputs = build_trunk(config).eval()(torch.zeros(1, 3, 64, 64), [spatial, pooled])
        return [tuple(output.shape) for output in outputs]

    (_, channels, height, width), (_, features, *sides) = of_shapes(ask)
    assert (height, width) in {(2, 2), (8, 8)}
    assert sides == [1, 1]
    assert channels == features or name == "timm"
