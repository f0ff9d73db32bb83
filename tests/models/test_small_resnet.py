from __future__ import annotations

import pytest
import torch
from torchvision.models import resnet18, resnet34
from vissl.config import AttrDict

pytestmark = pytest.mark.usefixtures("registered")


def trunk(input_type="rgb", **settings):
    from vissl.models.trunks import get_model_trunk

    config = {
        "TRUNK": {"SMALL_RESNET": settings},
        "INPUT_TYPE": input_type,
        "ACTIVATION_CHECKPOINTING": {
            "USE_ACTIVATION_CHECKPOINTING": False,
            "NUM_ACTIVATION_CHECKPOINTING_SPLITS": 2,
        },
    }
    return get_model_trunk("small_resnet")(AttrDict(config), "small_resnet")


@pytest.mark.parametrize(("depth", "reference"), [(18, resnet18), (34, resnet34)])
def test_is_torchvisions_resnet_behind_another_stem(depth, reference):
    """With the stages of torchvision's network the features behind the stem are equal."""
    ours, theirs = trunk(DEPTH=depth).eval(), reference().eval()
    blocks = ours._feature_blocks
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        blocks[stage].load_state_dict(getattr(theirs, stage).state_dict())
    images = torch.randn(2, 3, 20, 20)
    x = blocks["conv1_relu"](blocks["bn1"](blocks["conv1"](images)))
    for stage in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
        x = stage(x)
    expected = theirs.avgpool(x).flatten(1)
    (features,) = ours(images, [])
    torch.testing.assert_close(features, expected)


def test_with_the_imagenet_stem_is_torchvisions_resnet():
    ours = trunk(STEM_KERNEL=7, STEM_STRIDE=2, STEM_POOL=True).eval()
    theirs = resnet18().eval()
    theirs.fc = torch.nn.Identity()
    theirs.load_state_dict(ours._feature_blocks.state_dict())
    images = torch.randn(2, 3, 64, 64)
    (features,) = ours(images, [])
    torch.testing.assert_close(features, theirs(images))


def test_kernel_of_the_stem_changes_no_name_and_no_other_shape():
    torch.manual_seed(0)
    default = trunk(WIDTH=8).state_dict()
    torch.manual_seed(0)
    stated = trunk(WIDTH=8, STEM_KERNEL=3).state_dict()
    assert all(torch.equal(tensor, stated[name]) for name, tensor in default.items())
    larger = trunk(WIDTH=8, STEM_KERNEL=7).state_dict()
    differing = [name for name in default if default[name].shape != larger[name].shape]
    assert list(larger) == list(default)
    assert differing == ["_feature_blocks.conv1.weight"]
    assert larger[differing[0]].shape == (8, 3, 7, 7)


@pytest.mark.parametrize(("input_type", "taken"), [("bgr", [2, 1, 0]), ("lab", [0])])
def test_takes_the_channels_of_the_input_type(input_type, taken):
    ours, plain = trunk(input_type, WIDTH=8).eval(), trunk(WIDTH=8).eval()
    kernels = ours._feature_blocks["conv1"].weight
    assert kernels.shape == (8, len(taken), 3, 3)
    state = ours.state_dict()
    state["_feature_blocks.conv1.weight"] = torch.zeros(8, 3, 3, 3)
    state["_feature_blocks.conv1.weight"][:, taken] = kernels.detach()
    plain.load_state_dict(state)
    images = torch.randn(2, 3, 20, 20)
    torch.testing.assert_close(ours(images, [])[0], plain(images, [])[0])


@pytest.mark.parametrize(
    ("settings", "layer", "shape"),
    [
        ({"WIDTH": 8}, "res2", (2, 8, 56, 56)),
        ({"WIDTH": 8, "STEM_STRIDE": 2}, "res2", (2, 8, 28, 28)),
        ({"WIDTH": 8, "STEM_STRIDE": 2, "STEM_POOL": True}, "res2", (2, 8, 14, 14)),
        ({"WIDTH": 8, "STEM_STRIDE": 2, "STEM_KERNEL": 7}, "res2", (2, 8, 28, 28)),
        ({"WIDTH": 8, "STEM_STRIDE": 2}, "res5", (2, 64, 4, 4)),
        ({"WIDTH": 8, "DEPTH": 10}, "res5avg", (2, 64, 1, 1)),
    ],
)
def test_layers_by_vissls_names(settings, layer, shape):
    (features,) = trunk(**settings)(torch.randn(2, 3, 56, 56), [layer])
    assert tuple(features.shape) == shape


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"DEPTH": 50}, "DEPTH is 50; it must be one of"),
        ({"WIDTH": 0}, "WIDTH is 0; it must be from 1 to 4096"),
        ({"STEM_STRIDE": 4}, "STEM_STRIDE is 4"),
        ({"STEM_POOL": 1}, "STEM_POOL is 1"),
        ({"STEM_KERNEL": 5}, "STEM_KERNEL is 5; it must be one of \\[3, 7\\]"),
        ({"STEM_KERNEL": True}, "STEM_KERNEL is True"),
        ({"WITDH": 8}, "WITDH is not a setting of small_resnet; did you mean WIDTH?"),
    ],
)
def test_refuses_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        trunk(**settings)
