"""Where a trunk's settings stand."""

from __future__ import annotations

from pathlib import Path

import pytest
import vissl.config
import yaml

from mscn_plugin.models.high_pass_trunk import PREFIX, TRUNKS
from mscn_plugin.models.sections import plain_name, sections_of


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
