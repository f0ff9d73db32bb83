"""TorchScript and ONNX: trunk and filter in one file, for images of one size."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch
from vissl_checkpoints import model_config, random_trunk

from mscn_plugin.export.filtered_trunk import blur_matrix
from mscn_plugin.export.preprocessing import Preprocessing
from mscn_plugin.export.pretrained import Pretrained
from mscn_plugin.export.torchscript_onnx import export_onnx, export_torchscript
from mscn_plugin.masking import high_pass

pytestmark = pytest.mark.usefixtures("registered")

TRUNKS = {
    "small_resnet": {"WIDTH": 4},
    "regnet": {"depth": 3, "w_0": 8, "w_a": 8.0, "w_m": 2.0, "group_width": 8},
    "timm": {
        "NAME": "convnext_tiny",
        "KWARGS": {"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]},
    },
    "vision_transformer": {"IMAGE_SIZE": 64, "NUM_LAYERS": 2, "HIDDEN_DIM": 48, "NUM_HEADS": 3},
}


def pretrained(name="small_resnet", sigma=2.0):
    config = model_config(name, **TRUNKS[name])
    return Pretrained(random_trunk(config), config, sigma, Preprocessing(64, 64), None, None)


@pytest.mark.parametrize("export", [export_torchscript, export_onnx])
@pytest.mark.parametrize("name", TRUNKS)
def test_features_are_vissls_for_any_number_of_images(name, export, tmp_path):
    pytest.importorskip("onnxruntime")
    model = pretrained(name)
    images = torch.randn(5, 3, 64, 64) + 1
    expected = model.features(images)
    (features,) = export(model, tmp_path).readers.values()
    for batch in (1, 3, 5):
        torch.testing.assert_close(features(images[:batch]), expected[:batch], rtol=0, atol=1e-5)
    filtered = features(high_pass(images, model.sigma))
    assert (filtered - expected).abs().max() > 1e-3  # the filter is inside, once


@pytest.mark.parametrize("sigma", [0.0, 2.0])
@pytest.mark.parametrize("export", [export_torchscript, export_onnx])
def test_other_images_are_errors(export, sigma, tmp_path):
    pytest.importorskip("onnxruntime")
    (features,) = export(pretrained(sigma=sigma), tmp_path).readers.values()
    for shape in ((1, 3, 64, 63), (1, 3, 96, 64), (1, 1, 64, 64), (3, 64, 64)):
        with pytest.raises(Exception, match=r"images are \[|INVALID_ARGUMENT"):
            features(torch.randn(shape))
    if export is export_onnx or sigma:
        with pytest.raises(Exception, match="scalar type|INVALID_ARGUMENT"):
            features(torch.randn(1, 3, 64, 64).double())


def test_raw_pixels_are_refused(tmp_path):
    """By an error in TorchScript, and by NaN in ONNX, whose graphs have no errors."""
    pytest.importorskip("onnxruntime")
    model = pretrained()
    (script,) = export_torchscript(model, tmp_path).readers.values()
    (onnx,) = export_onnx(model, tmp_path).readers.values()
    pixels = torch.randint(0, 256, (2, 3, 64, 64)).float()
    normalized = (pixels / 255 - 0.45) / 0.225
    with pytest.raises(Exception, match=r"images have values above 13\..* are not normalized"):
        script(pixels)
    assert onnx(pixels).isnan().all()
    one_of_each = onnx(torch.stack([pixels[0], normalized[1]]))
    assert one_of_each[0].isnan().all()
    torch.testing.assert_close(one_of_each[1:], script(normalized)[1:], rtol=0, atol=1e-5)


def test_the_files_say_sigma_and_not_where_they_were_made(tmp_path):
    onnx = pytest.importorskip("onnx")
    model = pretrained()
    export_torchscript(model, tmp_path)
    export_onnx(model, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"features.pt", "features.onnx"}
    assert torch.jit.load(str(tmp_path / "features.pt")).sigma == 2.0
    (sigma,) = onnx.load(str(tmp_path / "features.onnx")).metadata_props
    assert (sigma.key, sigma.value) == ("mscn_high_pass_sigma", "2.0")
    places = [str(Path(module.__file__).parent).encode() for module in (torch, pytest)]
    with zipfile.ZipFile(tmp_path / "features.pt") as archive:
        contents = [archive.read(name) for name in archive.namelist()]
    contents.append((tmp_path / "features.onnx").read_bytes())
    assert not any(place in content for place in places for content in contents)


@pytest.mark.parametrize("sigma", [0.0, 0.5, 5.0, 40.0])
@pytest.mark.parametrize("size", [1, 7, 224])
def test_the_blur_along_an_axis_is_that_of_high_pass(size, sigma):
    image = torch.randn(size, 31)
    blur = blur_matrix(size, sigma)
    other = blur_matrix(31, sigma)
    torch.testing.assert_close(image - blur @ image @ other.T, high_pass(image, sigma))
