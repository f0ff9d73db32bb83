from __future__ import annotations

import pytest
import torch
from torchvision.models import resnet18, resnet34
from vissl.config import AttrDict

pytestmark = pytest.mark.usefixtures("registered")


def trunk(**settings):
    from vissl.models.trunks import get_model_trunk

    config = {
        "TRUNK": {"SMALL_RESNET": settings},
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


@pytest.mark.parametrize(
    ("settings", "layer", "shape"),
    [
        ({"WIDTH": 8}, "res2", (2, 8, 56, 56)),
        ({"WIDTH": 8, "STEM_STRIDE": 2}, "res2", (2, 8, 28, 28)),
        ({"WIDTH": 8, "STEM_STRIDE": 2, "STEM_POOL": True}, "res2", (2, 8, 14, 14)),
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
        ({"WITDH": 8}, "WITDH is not a setting of small_resnet; did you mean WIDTH?"),
    ],
)
def test_refuses_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        trunk(**settings)
