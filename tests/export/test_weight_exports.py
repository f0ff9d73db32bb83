"""Weights by the names of torchvision, timm and detectron2."""

from __future__ import annotations

import pytest
import torch
import torchvision
from vissl.models.trunks import get_model_trunk
from vissl_checkpoints import model_config, random_trunk

from mscn_plugin import ConfigError
from mscn_plugin.export.detectron2_weights import (
    detectron2_name,
    export_detectron2,
    resnet_features,
)
from mscn_plugin.export.preprocessing import Preprocessing
from mscn_plugin.export.pretrained import Pretrained
from mscn_plugin.export.torchvision_timm import NAMES, export_timm, export_torchvision
from mscn_plugin.masking import high_pass

pytestmark = pytest.mark.usefixtures("registered")


def pretrained(config):
    trunk = random_trunk(config)
    return Pretrained(trunk, config, 5.0, Preprocessing(72, 64), config=None, epochs=None)


@pytest.mark.parametrize("architecture", NAMES, ids=NAMES.get)
def test_architectures_have_the_names_and_shapes_of_the_libraries(architecture):
    timm = pytest.importorskip("timm")
    depth, groups, width = architecture
    config = model_config(DEPTH=depth, GROUPS=groups, WIDTH_PER_GROUP=width)
    with torch.device("meta"):
        trunk = get_model_trunk("resnet")(config, "resnet")
        models = [timm.create_model(NAMES[architecture], num_classes=0)]
        if hasattr(torchvision.models, NAMES[architecture]):
            models.append(getattr(torchvision.models, NAMES[architecture])())
    expected = shapes(trunk, "_feature_blocks.")
    for model in models:
        assert shapes(model) == expected


def shapes(model, prefix=""):
    return {
        name[len(prefix) :]: tensor.shape
        for name, tensor in model.state_dict().items()
        if not name.startswith("fc.")
    }


@pytest.mark.parametrize(
    ("export", "settings"),
    [
        (export_torchvision, {"WIDTH_MULTIPLIER": 2}),
        (export_torchvision, {"DEPTH": 200}),
        (export_torchvision, {"NORM": "GroupNorm"}),
        (export_torchvision, {"LAYER4_STRIDE": 1}),
        (export_torchvision, {"WIDTH_PER_GROUP": 96}),
        (export_timm, {"WIDTH_MULTIPLIER": 2}),
        (export_timm, {"name": "small_resnet"}),
        (export_detectron2, {"DEPTH": 200}),
        (export_detectron2, {"LAYER4_STRIDE": 1}),
        (export_detectron2, {"name": "small_resnet"}),
    ],
)
def test_other_architectures_are_refused(export, settings, tmp_path):
    config = model_config(**settings)
    without_trunk = Pretrained(torch.nn.Identity(), config, 5.0, Preprocessing(), None, None)
    with pytest.raises(ConfigError, match="architecture of (resnet|small_resnet)") as error:
        export(without_trunk, tmp_path)
    for key, value in settings.items():
        assert str(value) in str(error.value)
        assert key in str(error.value) or key == "name"
    assert not list(tmp_path.iterdir())


def test_another_order_of_colors_is_refused(tmp_path):
    config = model_config()
    config.INPUT_TYPE = "bgr"
    without_trunk = Pretrained(torch.nn.Identity(), config, 5.0, Preprocessing(), None, None)
    for export in (export_torchvision, export_timm, export_detectron2):
        with pytest.raises(ConfigError, match="INPUT_TYPE bgr"):
            export(without_trunk, tmp_path)


def test_detectron2_names_are_those_of_vissls_converter():
    from extra_scripts.convert_vissl_to_detectron2 import _rename_weights_to_d2

    with torch.device("meta"):
        names = get_model_trunk("resnet")(model_config(DEPTH=101), "resnet").state_dict()
    weights = {name: torch.tensor(float(place)) for place, name in enumerate(names)}
    expected = _rename_weights_to_d2(weights, "torch")
    ours = {
        detectron2_name(name): tensor
        for name, tensor in weights.items()
        if not name.endswith("num_batches_tracked")
    }
    assert ours == expected
    assert "res4.22.conv3.norm.running_var" in ours


def test_a_weight_too_much_or_too_little_is_seen(tmp_path):
    model = pretrained(model_config())
    weights = {
        detectron2_name(name): tensor
        for name, tensor in model.trunk.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    images = torch.randn(1, 3, 32, 32)
    with pytest.raises(ConfigError, match="has no res6.0"):
        resnet_features({**weights, "res6.0": torch.ones(1)}, images, groups=1)
    del weights["res3.1.conv2.norm.weight"]
    with pytest.raises(KeyError):
        resnet_features(weights, images, groups=1)


CONVNETS = {
    "convnext_tiny": {"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32], "conv_mlp": True},
    "efficientnetv2_s": {"channel_multiplier": 0.125, "depth_multiplier": 0.1},
}


@pytest.mark.parametrize("channels", [3, 5])
@pytest.mark.parametrize("name", CONVNETS)
def test_trunks_of_timm_load_strictly_into_timm_as_the_card_says(
    name, channels, tmp_path, monkeypatch
):
    """The code of the card, as it stands there."""
    pytest.importorskip("timm")
    settings = {"NAME": name, "IN_CHANS": channels, "KWARGS": CONVNETS[name]}
    model = pretrained(model_config("timm", **settings, DROP_PATH_RATE=0.1))
    export = export_timm(model, tmp_path)
    images = torch.randn(2, channels, 64, 64)
    expected = model.features(images)
    for features in export.readers.values():
        torch.testing.assert_close(features(images), expected, rtol=0, atol=1e-5)
    monkeypatch.chdir(tmp_path)
    names = {"images": images}
    exec(export.loading.split("```")[1][len("python") :], names)
    assert type(names["model"]).__name__ == type(model.trunk._feature_blocks).__name__
    torch.testing.assert_close(names["features"], expected, rtol=0, atol=1e-5)


def test_trunks_of_timm_are_in_no_other_library(tmp_path):
    pytest.importorskip("timm")
    config = model_config("timm", NAME="convnext_tiny", KWARGS=CONVNETS["convnext_tiny"])
    model = pretrained(config)
    for export in (export_torchvision, export_detectron2):
        with pytest.raises(ConfigError, match=r"architecture of timm \(NAME convnext_tiny, .*dims"):
            export(model, tmp_path)
    config.INPUT_TYPE = "bgr"
    with pytest.raises(ConfigError, match="timm has no model .* INPUT_TYPE bgr"):
        export_timm(model, tmp_path)


@pytest.mark.detectron2
@pytest.mark.parametrize(
    "settings",
    [{}, {"GROUPS": 8, "WIDTH_PER_GROUP": 2, "WIDTH_MULTIPLIER": 2}],
    ids=["resnet50", "narrow resnext50, twice as wide"],
)
def test_features_of_detectron2s_own_backbone(settings, tmp_path):
    """Where detectron2 is installed; else its arithmetic by itself, for the same networks."""
    model = pretrained(model_config(**settings))
    images = torch.randn(2, 3, 64, 64)
    export = export_detectron2(model, tmp_path)
    expected = model.features(images)
    for features in export.readers.values():
        torch.testing.assert_close(features(images), expected, rtol=0, atol=1e-5)

    checkpoint = pytest.importorskip("detectron2.checkpoint")
    from detectron2.config import get_cfg
    from detectron2.modeling import build_backbone

    config = get_cfg()
    (tmp_path / "card.yaml").write_text(export.loading.split("```")[1][len("yaml") :])
    config.merge_from_file(str(tmp_path / "card.yaml"))
    config.MODEL.RESNETS.OUT_FEATURES = ["res5"]
    backbone = build_backbone(config).eval()
    loaded = checkpoint.DetectionCheckpointer(backbone).load(str(tmp_path / "detectron2.pth"))
    assert loaded["mscn_high_pass_sigma"] == model.sigma
    with torch.no_grad():
        maps = backbone(high_pass(images, model.sigma))["res5"]
    torch.testing.assert_close(maps.mean(dim=(2, 3)), expected, rtol=0, atol=1e-5)
