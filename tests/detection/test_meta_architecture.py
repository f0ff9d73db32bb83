"""The detector behind the filter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mscn_plugin.errors import ConfigError
from mscn_plugin.masking import high_pass

SMALL = (
    *("MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "MODEL.ROI_HEADS.NAME", "Res5ROIHeads"),
    *("MODEL.RPN.POST_NMS_TOPK_TRAIN", 8, "MODEL.RPN.POST_NMS_TOPK_TEST", 4),
    *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 4, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0),
)


@pytest.fixture
def build(detection_config):
    """A detector, without the head of VISSL's tool, changed by keys and values."""
    from detectron2.modeling import build_model

    def detector(*options):
        torch.manual_seed(0)
        return build_model(detection_config("voc0712_faster_rcnn_c4_24k", *SMALL, *options))

    return detector


def images(*sizes):
    random = np.random.RandomState(0)
    return [
        {"image": torch.from_numpy(random.randint(0, 256, (3, *size)).astype(np.uint8))}
        for size in sizes
    ]


def test_an_image_is_filtered_alone_as_in_a_batch_with_a_larger_one(build):
    model = build()
    small, large = images((70, 90), (120, 130))
    alone = model.preprocess_image([small])
    together = model.preprocess_image([small, large])
    assert together.image_sizes == [(70, 90), (120, 130)]
    in_batch = together.tensor[0, :, :70, :90]
    torch.testing.assert_close(in_batch, alone.tensor[0, :, :70, :90], rtol=0, atol=1e-6)
    assert not together.tensor[0, :, 70:].any()
    assert not together.tensor[0, :, :, 90:].any()
    # What the other order would have given.
    padded = torch.zeros(3, 120, 130)
    padded[:, :70, :90] = (small["image"] - model.pixel_mean) / model.pixel_std
    assert (high_pass(padded, 5.0)[:, :70, :90] - in_batch).abs().max() > 0.2


def test_the_filter_is_pre_trainings(build, registered):
    """detectron2's pixels of 0 to 255 and VISSL's transforms of the same image."""
    from PIL import Image
    from vissl.data.ssl_transforms import get_transform

    (item,) = images((96, 80))
    transform = get_transform(
        [
            {"name": "ToTensor"},
            {"name": "Normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
            {"name": "MSCNHighPass", "sigma": 5.0},
        ]
    )
    picture = Image.fromarray(item["image"].permute(1, 2, 0).numpy())
    expected = transform({"data": [picture], "data_valid": [1], "data_idx": [0]})["data"][0]
    seen = build().preprocess_image([item]).tensor[0]
    torch.testing.assert_close(seen, expected, rtol=0, atol=1e-5)


def test_without_sigma_it_is_detectron2s_own_model(build):
    plain = build("MODEL.META_ARCHITECTURE", "GeneralizedRCNN")
    ours = build("MODEL.MSCN.SIGMA", 0.0)
    assert type(ours).__name__ == "MSCNGeneralizedRCNN"
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: v.shape for k, v in plain.state_dict().items()
    }
    ours.load_state_dict(plain.state_dict())
    batch = images((64, 96), (96, 64))
    found = []
    for model in (plain, ours):
        model.eval()
        with torch.no_grad():
            found.append([item["instances"].get_fields() for item in model(batch)])
    for one, two in zip(*found):
        assert torch.equal(one["pred_boxes"].tensor, two["pred_boxes"].tensor)
        assert torch.equal(one["scores"], two["scores"])
        assert torch.equal(one["pred_classes"], two["pred_classes"])
    assert any(len(item["scores"]) for item in found[0])


def test_the_filter_is_not_in_the_checkpoint(build):
    plain = build("MODEL.META_ARCHITECTURE", "GeneralizedRCNN")
    assert build().state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("INPUT.FORMAT", "BGR"), "INPUT.FORMAT is BGR; it must be RGB"),
        (("MODEL.MSCN.SIGMA", -1.0), "MODEL.MSCN.SIGMA is -1.0; it must be at least 0"),
        (("MODEL.MSCN.SIGMA", float("nan")), "MODEL.MSCN.SIGMA is nan; it must be at least 0"),
    ],
)
def test_what_pre_training_did_not_see_is_refused(build, options, message):
    with pytest.raises(ConfigError, match=message):
        build(*options)


def test_without_the_filter_bgr_is_allowed(build):
    assert build("INPUT.FORMAT", "BGR", "MODEL.MSCN.SIGMA", 0.0).input_format == "BGR"


def test_autocast_leaves_the_filter_alone(build):
    model, batch = build(), images((64, 64))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = model.preprocess_image(batch).tensor
    assert torch.equal(inside, model.preprocess_image(batch).tensor)
