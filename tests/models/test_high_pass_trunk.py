"""Trunks behind the filter: the same features as the transform, the same state."""

from __future__ import annotations

import pytest
import torch

pytestmark = pytest.mark.usefixtures("registered")

NARROW = [
    f"+config.MODEL.TRUNK.TIMM.KWARGS.{key}"
    for key in ("depths=[1,1,1,1]", "dims=[8,16,24,32]", "ls_init_value=1.0")
]


@pytest.mark.parametrize(
    ("overrides", "size"),
    [
        ([], 56),
        (
            ["config.MODEL.TRUNK.NAME=resnet", "config.MODEL.TRUNK.RESNETS.WIDTH_PER_GROUP=4"],
            64,
        ),
        (["+config/mscn/models=regnet400mf"], 64),
        (["+config/mscn/models=efficientnet_b0"], 64),
        (["+config/mscn/models=timm_convnext_tiny", *NARROW], 64),
    ],
)
def test_features_are_those_of_the_transform(compose, batch_folder, overrides, size):
    from mscn_plugin.models.shapes import build_trunk
    from mscn_plugin.transforms.transforms import MSCNHighPass

    config = compose("config=mscn/quickstart", f"config.MSCN.DATA={batch_folder}", *overrides).MODEL
    plain = build_trunk(config).eval()
    config.TRUNK.NAME = f"high_pass_{config.TRUNK.NAME}"
    config.TRUNK["HIGH_PASS"] = {"SIGMA": 2.0}
    behind = build_trunk(config).eval()
    assert plain.state_dict().keys() == behind.state_dict().keys()
    behind.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, size, size) + 1
    filtered = torch.stack([MSCNHighPass(2.0)(image) for image in images])
    with torch.no_grad():
        for keys in ([], ["res5"]) if "efficient" not in config.TRUNK.NAME else ([],):
            expected = plain(filtered, keys)[-1]
            scale = expected.abs().max()  # of a new EfficientNet 1e-14
            found, unfiltered = behind(images, keys)[-1], plain(images, keys)[-1]
            assert (expected - found).abs().max() / scale < 1e-4
            assert (unfiltered - found).abs().max() / scale > 1e-2


def test_without_a_sigma_there_is_no_trunk(compose, batch_folder):
    from mscn_plugin.models.shapes import build_trunk

    config = compose("config=mscn/quickstart", f"config.MSCN.DATA={batch_folder}").MODEL
    config.TRUNK.NAME = "high_pass_small_resnet"
    message = (
        r"^config\.MODEL\.TRUNK\.HIGH_PASS\.SIGMA is null, .* must be at least 0 pixels and "
        r"finite: add \+config\.MODEL\.TRUNK\.HIGH_PASS\.SIGMA="
    )
    with pytest.raises(ValueError, match=message):
        build_trunk(config)
