"""The first layer's kernels, where they are found, and which of them are blank."""

from __future__ import annotations

import pytest
import torch
import yaml
from PIL import Image

from mscn_plugin.checkpoints.io import CheckpointError
from mscn_plugin.report.kernels import (
    blank_kernels,
    first_kernels,
    kernel_norms,
    kernel_sheet,
    plot,
    table_row,
)

EFFICIENTNET = {
    "model_version": "B0",
    "bn_momentum": 0.01,
    "bn_epsilon": 0.001,
    "drop_connect_rate": 0.2,
    "width_divisor": 8,
    "min_width": None,
    "use_se": True,
}


def write(folder, trunk, **model):
    """A checkpoint as VISSL writes it; with ``model``, beside a configuration with that section."""
    state = {"base_model": {"model": {"trunk": trunk}}}
    state["mscn_high_pass_sigma"] = torch.tensor(5.0, dtype=torch.float64)
    torch.save({"classy_state_dict": state}, folder / "checkpoint.torch")
    if model:
        (folder / "train_config.yaml").write_text(yaml.safe_dump({"MODEL": model}))
    return folder / "checkpoint.torch"


def with_norms(*norms, side=7):
    kernels = torch.randn(len(norms), 3, side, side)
    return kernels * (torch.tensor(norms) / kernel_norms(kernels)).view(-1, 1, 1, 1)


def test_a_resnets_first_layer_by_its_name(tmp_path):
    kernels = torch.randn(8, 3, 7, 7)
    trunk = {"other.weight": torch.randn(4, 3, 3, 3), "_feature_blocks.conv1.weight": kernels}
    assert torch.equal(first_kernels(write(tmp_path, trunk)), kernels)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("trunk", "section", "shape"),
    [
        ("small_resnet", {"SMALL_RESNET": {"WIDTH": 4, "STEM_KERNEL": 7}}, (4, 3, 7, 7)),
        (
            "regnet",
            {"REGNET": {"depth": 3, "w_0": 8, "w_a": 8.0, "w_m": 2.0, "group_width": 8}},
            (32, 3, 3, 3),
        ),
        (
            "efficientnet",
            {"EFFICIENT_NETS": EFFICIENTNET},
            (32, 3, 3, 3),
        ),
    ],
)
def test_the_first_layer_of_vissls_trunks(tmp_path, trunk, section, shape):
    from vissl.config import AttrDict
    from vissl.models.trunks import get_model_trunk

    config = AttrDict(
        {
            "TRUNK": section,
            "INPUT_TYPE": "rgb",
            "ACTIVATION_CHECKPOINTING": {
                "USE_ACTIVATION_CHECKPOINTING": False,
                "NUM_ACTIVATION_CHECKPOINTING_SPLITS": 2,
            },
        }
    )
    model = get_model_trunk(trunk)(config, trunk)
    convolution = next(m for m in model.modules() if isinstance(m, torch.nn.Conv2d))
    kernels = first_kernels(write(tmp_path, model.state_dict()))
    assert kernels.shape == shape
    assert torch.equal(kernels, convolution.weight)


def test_a_linear_evaluations_trunk_and_half_precision(tmp_path):
    kernels = torch.randn(4, 3, 3, 3).half()
    found = first_kernels(write(tmp_path, {"base_model._feature_blocks.conv1.weight": kernels}))
    assert torch.equal(found, kernels.float())


def test_channels_are_red_green_blue(tmp_path):
    kernels = torch.randn(4, 3, 3, 3)
    file = write(tmp_path, {"_feature_blocks.conv1.weight": kernels}, INPUT_TYPE="bgr")
    assert torch.equal(first_kernels(file), kernels[:, [2, 1, 0]])


@pytest.mark.parametrize(
    ("trunk", "message"),
    [
        ({"_feature_blocks.conv1.weight": torch.ones(4, 1, 3, 3)}, "no kernels of a first layer"),
        ({"patches.weight": torch.ones(4, 3)}, "no kernels of a first layer"),
        ({"_feature_blocks.conv1.weight": torch.full((4, 3, 3, 3), torch.nan)}, "not finite"),
        ({}, "has no trunk"),
    ],
)
def test_what_has_no_kernels_is_one_sentence(tmp_path, trunk, message):
    file = write(tmp_path, trunk)
    with pytest.raises(CheckpointError, match=message) as error:
        first_kernels(file)
    assert str(error.value).startswith(str(file))


def test_blank_is_under_a_tenth_of_the_median():
    kernels = with_norms(1.0, 1.0, 1.0, 3.0, 0.11, 0.09, 0.0)
    assert blank_kernels(kernels).tolist() == [False] * 5 + [True] * 2
    assert torch.equal(blank_kernels(1000 * kernels), blank_kernels(kernels))
    row = table_row(kernels)
    assert (row["kernels"], row["blank"]) == (7, 2)
    assert row["median norm"] == pytest.approx(1)


def test_an_even_number_has_the_middle_of_two_norms_as_its_median():
    assert table_row(with_norms(1.0, 2.0, 4.0, 8.0))["median norm"] == pytest.approx(3)


def test_a_layer_of_zeros_is_blank():
    assert blank_kernels(torch.zeros(4, 3, 3, 3)).all()


@pytest.mark.parametrize(("channels", "drawn"), [(1, [0, 0, 0]), (5, [0, 1, 2])])
def test_kernels_of_arrays_are_drawn_by_some_channels_and_judged_by_all(tmp_path, channels, drawn):
    kernels = torch.randn(4, channels, 7, 7)
    file = write(tmp_path, {"_feature_blocks.conv1.weight": kernels})
    (tmp_path / "train_config.yaml").write_text(f"MODEL: {{}}\nMSCN: {{CHANNELS: {channels}}}\n")
    found = first_kernels(file)
    assert torch.equal(found, kernels)
    assert table_row(found)["kernels"] == 4
    ordered = kernels[kernels.flatten(1).norm(dim=1).argsort(descending=True)]
    first = kernel_sheet(found)[:, 3:31:4, 3:31:4]
    torch.testing.assert_close(first, 0.5 + ordered[0, drawn] / (2 * kernels.abs().max()))


def test_blank_kernels_are_gray_and_the_strongest_stands_first():
    kernels = with_norms(1e-4, 1.0, 5.0, 1e-4, 2.0, side=3)
    sheet = kernel_sheet(kernels)
    assert sheet.shape == (3, 3 + 2 * 33, 3 + 3 * 33)
    tiles = sheet[:, 3:, 3:].unfold(1, 33, 33).unfold(2, 33, 33)[..., :30, :30]
    first = tiles[:, 0, 0]
    assert float((first - 0.5).abs().max()) == pytest.approx(0.5)
    expected = (0.5 + kernels[2] / (2 * kernels[2].abs().max())).clamp(0, 1)
    torch.testing.assert_close(first[:, ::10, ::10], expected)
    for blank in (tiles[:, 1, 0], tiles[:, 1, 1]):
        assert float((blank - 0.5).abs().max()) < 1 / 255
    assert float(sheet.min()) >= 0
    assert float(sheet.max()) <= 1


@pytest.mark.parametrize("count", [1, 2])
def test_plot_writes_png_and_pdf(tmp_path, count):
    layers = {f"run {index}": with_norms(1.0, 2.0, 0.01) for index in range(count)}
    layers["run 0"] = torch.zeros(1, 3, 3, 3)
    plot(layers, tmp_path / "kernels.png")
    with Image.open(tmp_path / "kernels.png") as image:
        assert image.width == pytest.approx(3.6 * 130 * count, abs=1)
    assert (tmp_path / "kernels.pdf").read_bytes().startswith(b"%PDF")
