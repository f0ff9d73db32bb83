"""Which filter a configuration has."""

from __future__ import annotations

import pytest
from vissl.config import AttrDict

from mscn_plugin.checkpoints.sigma import TRANSFORM, input_sigma
from mscn_plugin.errors import ConfigError


def config(*transforms, trunk="resnet"):
    return AttrDict(
        {"DATA": {"TRAIN": {"TRANSFORMS": list(transforms)}}, "MODEL": {"TRUNK": {"NAME": trunk}}}
    )


def test_a_filter_without_a_sigma_has_the_transforms_own(registered):
    from classy_vision.dataset.transforms import build_transform

    transform = {"name": TRANSFORM}
    assert input_sigma(config(transform), "TRAIN") == build_transform(transform).sigma == 5
    assert input_sigma(config({**transform, "sigma": 3}), "TRAIN") == 3
    assert input_sigma(config({**transform, "sigma": 0}), "TRAIN") == 0
    assert input_sigma(config(), "TRAIN") == 0


def test_two_filters_are_refused():
    with pytest.raises(ConfigError, match=r"TRANSFORMS\[0\] and .*TRANSFORMS\[1\] both filter"):
        input_sigma(config({"name": TRANSFORM}, {"name": TRANSFORM}), "TRAIN")
