"""The section of a trunk of timm against the rest of the configuration."""

from __future__ import annotations

import pytest
import torch
from vissl.config import AttrDict

from mscn_plugin import ConfigError

pytestmark = pytest.mark.usefixtures("registered")
timm = pytest.importorskip("timm")

NARROW = {"NAME": "convnext_tiny", "KWARGS": {"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]}}


def checked(section, size=64, checkpoint="", name="timm", **model):
    from mscn_plugin.config.checks.trunk import check

    config = {
        "TRUNK": {"NAME": name, "TIMM": section},
        "INPUT_TYPE": "rgb",
        "WEIGHTS_INIT": {"PARAMS_FILE": checkpoint},
        "ACTIVATION_CHECKPOINTING": {"USE_ACTIVATION_CHECKPOINTING": False},
        "SYNC_BN_CONFIG": {"CONVERT_BN_TO_SYNC_BN": False, "SYNC_BN_TYPE": "pytorch"},
    }
    config.update(model)
    transforms = [{"name": "RandomResizedCrop", "size": size}]
    cfg = AttrDict({"MODEL": config, "DATA": {"TRAIN": {"TRANSFORMS": transforms}}})
    check(cfg)
    return cfg.MODEL.TRUNK.TIMM


def test_the_file_of_weights_is_absolute_and_a_checkpoint_takes_its_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = timm.create_model("convnext_tiny", **NARROW["KWARGS"])
    torch.save(model.state_dict(), "weights.pth")
    section = {**NARROW, "WEIGHTS": "weights.pth"}
    assert str(tmp_path / "weights.pth") == checked(dict(section)).WEIGHTS
    section["WEIGHTS"] = "moved.pth"
    with pytest.raises(ConfigError, match=r"^config.MODEL.TRUNK.TIMM.WEIGHTS is .* not a file$"):
        checked(dict(section))
    assert checked(dict(section), checkpoint="checkpoint.torch").WEIGHTS is None


def test_the_filter_in_front_is_not_asked_for_its_sigma():
    assert checked(NARROW, name="high_pass_timm").NAME == "convnext_tiny"
    with pytest.raises(ConfigError, match=r"^config.MODEL.TRUNK.TIMM.NAME is 'convnxt'"):
        checked({"NAME": "convnxt"}, name="high_pass_timm")


def test_crops_have_to_be_large_enough():
    assert checked(NARROW, size=32)
    with pytest.raises(ConfigError, match=r"does not take the crops .*, 2 x 2 pixels: "):
        checked(NARROW, size=2)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"INPUT_TYPE": "bgr"}, "IN_CHANS is 4; it must be null or 3 with"),
        ({}, "IN_CHANS is 4; it must be null or 3, the channels of the images"),
    ],
)
def test_channels_are_those_of_the_images(model, said):
    with pytest.raises(ConfigError, match=f"^config.MODEL.TRUNK.TIMM.{said}"):
        checked({**NARROW, "IN_CHANS": 4}, **model)
    images = {"NAME": "timm", "TIMM": {**NARROW, "IN_CHANS": None}, "INPUT": {"CHANNELS": 4}}
    from mscn_plugin.models.timm_trunk import TimmSettings

    config = AttrDict({"TRUNK": images, "INPUT_TYPE": "rgb"})
    assert TimmSettings.of(config).in_chans == 4
