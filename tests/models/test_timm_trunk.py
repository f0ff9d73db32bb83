"""ConvNets of timm as trunks: timm's own features by VISSL's names, and what is refused."""

from __future__ import annotations

import copy
import sys
import warnings

import pytest
import torch
from narrow_convnets import NARROW
from vissl.config import AttrDict

pytestmark = pytest.mark.usefixtures("registered")
timm = pytest.importorskip("timm")


def model_config(section, input_type="rgb", recomputed=False, name="timm"):
    return AttrDict(
        {
            "TRUNK": {"NAME": name, "TIMM": section},
            "INPUT_TYPE": input_type,
            "ACTIVATION_CHECKPOINTING": {"USE_ACTIVATION_CHECKPOINTING": recomputed},
        }
    )


def trunk(name, *, input_type="rgb", recomputed=False, **settings):
    from mscn_plugin.models.shapes import build_trunk

    section = {"NAME": name, "KWARGS": NARROW.get(name, {}), **settings}
    return build_trunk(model_config(section, input_type, recomputed))


@pytest.mark.parametrize("name", NARROW)
def test_features_are_timms_by_vissls_names(name):
    ours = trunk(name).eval()
    theirs = timm.create_model(name, num_classes=0, **NARROW[name]).eval()
    theirs.load_state_dict(ours._feature_blocks.state_dict())
    images = torch.randn(2, 3, 64, 64)
    last = len(theirs.feature_info) - 1
    with torch.no_grad():
        expected = theirs(images)
        maps = theirs.forward_intermediates(images, indices=[1, last], intermediates_only=True)
        assert torch.equal(ours(images)[0], expected)
        early = f"res{6 - last}"
        found = ours(images, [early, "flatten", "res5avg", "res5"])
    assert torch.equal(found[1], expected)
    assert torch.equal(found[2], expected[:, :, None, None])
    for features, stage in zip((found[0], found[3]), (1, last)):
        info = theirs.feature_info[stage]
        side = 64 // info["reduction"]
        assert features.shape == (2, info["num_chs"], side, side)
    for mine, its in zip((found[0], found[3]), maps):
        assert torch.equal(mine, its)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "NAME is missing"),
        ({"NAME": None}, "NAME is None; it must be text"),
        ({"NAME": "convnxt_tiny"}, "which is not a model of timm; did you mean convnext_tiny"),
        ({"NAME": "qqqq"}, "timm.list_models"),
        ({"NAME": "convnext_tiny.fb_in1k"}, "the tag of weights, fb_in1k, must be left out"),
        ({"NAME": "hf-hub:timm/resnet50"}, "which is not a model of timm"),
        ({"NAME": "tf_efficientnet_b0_ns"}, "which is not a model of timm"),  # timm's old name
        ({"NAME": "vit_tiny_patch16_224"}, "which is not a ConvNet: the paper's filter and masks"),
        ({"NAME": "swin_tiny_patch4_window7_224"}, "which is not a ConvNet: "),
        ({"NAME": "maxvit_tiny_tf_224"}, "which is not a ConvNet: "),
        ({"NAME": "mixer_b16_224"}, "which is not a ConvNet: "),
        ({"NAME": "mobilenetv4_hybrid_medium"}, "which is not a ConvNet but has MobileAttention"),
        ({"NAME": "caformer_s18"}, "which is not a ConvNet but has Attention"),
        ({"NAME": "convnext_tiny", "NAEM": 1}, "NAEM is not a setting of timm; did you mean NAME"),
        ({"NAME": "convnext_tiny", "IN_CHANS": 0}, "IN_CHANS is 0; it must be null, or a whole"),
        ({"NAME": "convnext_tiny", "IN_CHANS": True}, "IN_CHANS is True; it must be"),
        ({"NAME": "convnext_tiny", "DROP_PATH_RATE": 1}, "DROP_PATH_RATE is 1; it must be"),
        ({"NAME": "vgg11", "DROP_PATH_RATE": 0.1}, "DROP_PATH_RATE is 0.1, which timm's vgg11"),
        ({"NAME": "convnext_tiny", "WEIGHTS": 5}, "WEIGHTS is 5; it must be a file, or null"),
        ({"NAME": "convnext_tiny", "WEIGHTS": "/no.pth"}, "WEIGHTS is '/no.pth', which is not a"),
        ({"NAME": "convnext_tiny", "KWARGS": [1]}, "KWARGS is .1.; it must be a section"),
        (
            {"NAME": "convnext_tiny", "KWARGS": {"deep": 1}},
            "KWARGS is {'deep': 1}, which timm's convnext_tiny does not take: .*'deep'",
        ),
        ({"NAME": "convnext_tiny", "KWARGS": {"dims": [8]}}, "KWARGS is .* does not take"),
        ({"NAME": "regnety_002", "KWARGS": {"wm": 1.1, "depth": 2}}, "KWARGS .* take: assert len"),
        ({"NAME": "convnext_tiny", "KWARGS": {"pretrained": True}}, "its key is WEIGHTS"),
        ({"NAME": "convnext_tiny", "KWARGS": {"in_chans": 1}}, "its key is IN_CHANS"),
        ({"NAME": "convnext_tiny", "KWARGS": {"num_classes": 9}}, "its key is MODEL.HEAD.PARAMS"),
        ({"NAME": "convnext_tiny", "KWARGS": {"features_only": True}}, "must be left out"),
        ({"NAME": "convnext_tiny", "KWARGS": {"ls_init_value": None}}, "is None, which timm.creat"),
        ({"NAME": "convnext_tiny", "KWARGS": {"global_pool": ""}}, "it must be a pooling"),
    ],
)
def test_refuses_what_is_no_convnet_or_does_not_fit(settings, said):
    from mscn_plugin.models.shapes import build_trunk

    with torch.device("meta"), pytest.raises(ValueError, match=said):
        build_trunk(model_config(settings))


def test_an_overlay_takes_the_place_of_all_of_another_trunks_settings(compose, batch_folder):
    data = f"config.MSCN.DATA={batch_folder}"
    overlays = ("+config/mscn/models=timm_resnet50d", "+config/mscn/machine=cpu")
    config = compose("config=mscn/convnext_tiny", *overlays, data)
    assert config.MODEL.TRUNK.TIMM.NAME == "resnet50d"
    assert not config.MODEL.TRUNK.TIMM.KWARGS


def test_without_timm_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"NAME is 'convnext_tiny', .* pip install timm$"):
        trunk("convnext_tiny")


@pytest.mark.parametrize("name", ["resnet26d", "convnext_tiny"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_starts_from_a_file_of_timms_weights(name, suffix, tmp_path):
    from safetensors.torch import save_file

    whole = timm.create_model(name, num_classes=5, **NARROW[name])  # with a classifier
    file = str(tmp_path / f"weights.{suffix}")
    (torch.save if suffix == "pth" else save_file)(whole.state_dict(), file)
    plain, gray = trunk(name, WEIGHTS=file).eval(), trunk(name, WEIGHTS=file, IN_CHANS=1).eval()
    for key, tensor in plain._feature_blocks.state_dict().items():
        assert torch.equal(tensor, whole.state_dict()[key]), key
    images = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        expected = plain(images.expand(-1, 3, -1, -1))[0]
        torch.testing.assert_close(gray(images)[0], expected, rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match=r"WEIGHTS is .*does not hold the weights of timm's resne"):
        trunk("resnet50d", WEIGHTS=file)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        trunk(name, WEIGHTS=file)  # as where shapes are looked at before the start


@pytest.mark.parametrize("name", ["repvit_m0_9", "convformer_s18"])
def test_a_classifier_of_several_layers_is_left_out(name, tmp_path):
    with torch.device("meta"):
        whole = timm.create_model(name).state_dict()
    weights = {key: torch.ones((), dtype=t.dtype).expand(t.shape) for key, t in whole.items()}
    file = str(tmp_path / "weights.pth")
    torch.save(weights, file)
    found = trunk(name, WEIGHTS=file)._feature_blocks.state_dict()
    assert found.keys() < weights.keys()
    assert all((tensor == 1).all() for tensor in found.values())
    torch.save({**weights, "head.fc9.weight": torch.ones(1)}, file)
    with pytest.raises(ValueError, match=r"does not hold the weights .*head.fc9.weight"):
        trunk(name, WEIGHTS=file)


def test_files_that_are_no_weights_are_refused(tmp_path):
    (tmp_path / "text.pth").write_text("no weights")
    torch.save({"state_dict": {"a": torch.ones(1)}}, tmp_path / "other.pth")
    torch.save({"epoch": 3}, tmp_path / "epoch.pth")
    whole = timm.create_model("convnext_tiny", num_classes=0, **NARROW["convnext_tiny"])
    whole.stem[0].bias.data[0] = torch.nan
    torch.save(whole.state_dict(), tmp_path / "diverged.pth")
    for name, said in (
        ("text", r"which cannot be read \(\w+.*\); it must be a file of a model's state_dict"),
        ("epoch", "which cannot be read .TypeError: epoch is not a tensor"),
        ("other", "does not hold the weights"),
        ("diverged", "which has NaN or Inf in stem.0.bias"),
    ):
        with pytest.raises(ValueError, match=said):
            trunk("convnext_tiny", WEIGHTS=str(tmp_path / f"{name}.pth"))


@pytest.mark.parametrize("name", ["convnext_tiny", "efficientnetv2_s"])
def test_takes_other_numbers_of_channels_and_orders_of_colors(name):
    images = torch.randn(2, 3, 64, 64)
    plain = trunk(name).eval()
    bgr = trunk(name, input_type="bgr").eval()
    bgr.load_state_dict(plain.state_dict())
    with torch.no_grad():
        assert torch.equal(bgr(images)[0], plain(images.flip(1))[0])
        assert trunk(name, IN_CHANS=5)(torch.randn(2, 5, 64, 64))[0].shape[0] == 2
        lightness = trunk(name, input_type="lab").eval()
        assert torch.equal(lightness(images)[0], lightness._feature_blocks(images[:, :1]))
    with pytest.raises(ValueError, match="IN_CHANS is 4; it must be null or 3 with"):
        trunk(name, input_type="bgr", IN_CHANS=4)


def test_recomputed_activations_give_the_same_gradients():
    plain = trunk("convnext_tiny", DROP_PATH_RATE=0.5)
    recomputed = trunk("convnext_tiny", DROP_PATH_RATE=0.5, recomputed=True)
    recomputed.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 64, 64)
    for model in (plain, recomputed):
        torch.manual_seed(1)
        model(images)[0].square().sum().backward()
    for mine, theirs in zip(recomputed.parameters(), plain.parameters()):
        assert torch.equal(mine.grad, theirs.grad)
    with pytest.raises(ValueError, match="USE_ACTIVATION_CHECKPOINTING must be False"):
        trunk("dla34", recomputed=True)


def test_stages_are_there_with_recomputed_activations():
    """timm's ResNets do not call a stage whose blocks they checkpoint."""
    recomputed, plain = trunk("resnet10t", recomputed=True), trunk("resnet10t")
    plain.load_state_dict(recomputed.state_dict())
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(recomputed(images, ["res4"])[0], plain(images, ["res4"])[0])
    assert recomputed._feature_blocks.grad_checkpointing


@pytest.mark.parametrize("name", ["fasternet_t2", "ghostnet_050", "focalnet_tiny_srf"])
def test_nothing_is_dropped_unless_it_is_asked_for(name):
    """By timm's own defaults these drop paths, or a fifth of the features."""

    def differs(**settings):
        model, images = trunk(name, **settings), torch.randn(2, 3, 64, 64)
        with torch.no_grad():
            return not torch.equal(model(images)[0], model(images)[0])

    assert not differs()
    if name == "ghostnet_050":
        assert differs(KWARGS={"drop_rate": 0.5})
    else:
        assert differs(DROP_PATH_RATE=0.5)


def test_a_copy_has_features_of_its_own():
    """As the target network of BYOL is one."""
    online = trunk("convnext_tiny").eval()
    online(torch.randn(1, 3, 64, 64), ["res3"])
    target = copy.deepcopy(online)
    for parameter in target.parameters():
        parameter.data.mul_(2)
    images = torch.randn(1, 3, 64, 64)
    before = online(images, ["res3"])[0].clone()
    assert not torch.equal(target(images, ["res3"])[0], before)
    assert torch.equal(online(images, ["res3"])[0], before)


def test_layers_that_are_not_there_are_named():
    with pytest.raises(ValueError, match="no layer 'res1'; it has res2, res3, res4, res5, res5avg"):
        trunk("convnext_tiny")(torch.randn(1, 3, 64, 64), ["res1"])


@pytest.mark.parametrize("name", ["hrnet_w18_small", "mambaout_femto", "selecsls42"])
def test_networks_with_other_maps(name):
    """HRNet has several at once, MambaOut channels last, and SelecSLS another one behind a map."""
    with torch.device("meta"):
        model = trunk(name)
        layers = [*model.stages, "res5avg"]
        features = model(torch.zeros(2, 3, 64, 64), layers)
    number = {"hrnet_w18_small": 0, "mambaout_femto": 4, "selecsls42": 5}[name]
    assert [*model.stages] == [f"res{stage}" for stage in range(6 - number, 6)]
    for stage, info in zip(features[:-1], model._feature_blocks.feature_info[-5:]):
        assert stage.shape == (2, info["num_chs"], *2 * [64 // info["reduction"]])
