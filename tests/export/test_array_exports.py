"""Exports of a trunk whose images are arrays: their channels and units, or a refusal in words."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from vissl.config import AttrDict
from vissl_checkpoints import model_config, random_trunk

from mscn_plugin.errors import ConfigError
from mscn_plugin.export.detectron2_weights import export_detectron2
from mscn_plugin.export.preprocessing import Preprocessing, preprocessing_of
from mscn_plugin.export.pretrained import Pretrained
from mscn_plugin.export.run import export_trunk
from mscn_plugin.export.torchvision_timm import export_timm, export_torchvision

pytestmark = pytest.mark.usefixtures("registered")

MEAN, STD = (30000.0, -5.0, 0.1, 7.0, 1e6), (4000.0, 1e-3, 2.0, 1.0, 10.0)
TRANSFORMS = [
    {"name": "Resize", "size": 40},
    {"name": "CenterCrop", "size": 32},
    {"name": "Normalize", "mean": [*MEAN], "std": [*STD]},
]


def pretrained(name="small_resnet", channels=5, **settings):
    config = model_config(name, **settings)
    config.TRUNK.INPUT = AttrDict({"CHANNELS": channels})
    *sizes, normalize = copy.deepcopy(TRANSFORMS)
    normalize.update(mean=normalize["mean"][:channels], std=normalize["std"][:channels])
    run = {
        "MSCN": {"CHANNELS": channels},
        "DATA": {"TEST": {"TRANSFORMS": [*sizes, normalize]}},
    }
    return Pretrained(random_trunk(config), config, 2.0, preprocessing_of(run, None), None, 3)


def test_the_runs_units_are_read_from_its_configuration():
    assert pretrained(WIDTH=4).preprocessing == Preprocessing(40, 32, MEAN, STD, None, 5)


def test_graphs_take_all_channels_and_the_card_says_how_arrays_are_read(tmp_path):
    pytest.importorskip("onnxruntime")
    files, refused = export_trunk(pretrained(WIDTH=4), ["torchscript", "onnx"], tmp_path)
    assert {file.name for file in files} == {"features.pt", "features.onnx"}
    assert refused == {}
    graph = torch.jit.load(str(tmp_path / "features.pt"))
    assert graph(torch.randn(3, 5, 32, 32) * 1e4).isfinite().all()  # outliers are values
    with pytest.raises(Exception, match=r"not \[B, 5, 32, 32\]"):
        graph(torch.randn(3, 3, 32, 32))
    card = (tmp_path / "model_card.md").read_text()
    assert "arrays of C = 5 channels" in card
    assert f"transforms.Normalize({MEAN}, {STD})" in card
    assert "ToTensor" not in card
    assert "EXIF" not in card
    image = torch.tensor(MEAN)[:, None, None].expand(5, 50, 60).numpy()
    for shaped in (image, image.transpose(1, 2, 0)):
        images = read_by(card, shaped)
        torch.testing.assert_close(images, torch.zeros(1, 5, 32, 32), atol=1e-2, rtol=0)


def read_by(card, image):
    """What the card's code makes of an array."""
    code = card.partition("```python\n")[2].partition("```")[0]
    space = {}
    exec(code.replace('np.load("image.npy")', "file"), {"file": image.copy()}, space)
    return space["images"]


def test_the_card_reads_an_array_of_one_channel_without_a_dimension_for_it(tmp_path):
    export_trunk(pretrained(channels=1, WIDTH=4), ["torchscript"], tmp_path)
    card = (tmp_path / "model_card.md").read_text()
    image = torch.full((50, 60), MEAN[0]).numpy()
    assert torch.equal(read_by(card, image), torch.zeros(1, 1, 32, 32))


def test_the_card_does_not_resize_arrays_where_the_run_does_not(tmp_path):
    model = pretrained(WIDTH=4)
    whole = dataclasses.replace(model, preprocessing=model.preprocessing._replace(resize=None))
    export_trunk(whole, ["torchscript"], tmp_path)
    card = (tmp_path / "model_card.md").read_text()
    image = torch.rand(5, 50, 60)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    expected = (image[:, 9:41, 14:46] - mean) / std
    torch.testing.assert_close(read_by(card, image.numpy())[0], expected)


@pytest.mark.parametrize("export", [export_torchvision, export_timm])
def test_libraries_get_a_stem_of_all_channels(export, tmp_path):
    pytest.importorskip("timm")
    model = pretrained("resnet", DEPTH=50)
    made = export(model, tmp_path)
    images = torch.randn(2, 5, 64, 64)
    expected = model.features(images)
    for features in made.readers.values():
        torch.testing.assert_close(features(images), expected, rtol=0, atol=1e-5)
    assert "5" in made.loading
    building = made.loading.partition("high_pass\n\n")[2].partition("weights =")[0]
    space = {}
    exec(f"import torch, torchvision, timm\n{building}", space)
    state = torch.load(tmp_path / next(iter(made.readers)), weights_only=True)
    space["model"].load_state_dict(state)


def test_detectron2_reads_pictures(tmp_path):
    with pytest.raises(ConfigError, match="detectron2 reads pictures, and the trunk is of arrays"):
        export_detectron2(pretrained("resnet", DEPTH=50), tmp_path)
