"""The whole export of a ResNet-50, its files used as the model card says; and the refusals."""

from __future__ import annotations

import functools
import hashlib
import json
import pathlib
import re

import pytest
import skimage.data
import torch
import torchvision
import vissl.config
import yaml
from conftest import BYOL_HEADS, run_command, with_statistics
from extra_scripts.convert_vissl_to_detectron2 import _rename_weights_to_d2
from PIL import Image
from torchvision import transforms
from vissl.models.trunks import get_model_trunk

from mscn_plugin.export.formats import FILES
from mscn_plugin.files import file_digest
from mscn_plugin.masking import high_pass

pytestmark = pytest.mark.process

export = functools.partial(run_command, "export")


@pytest.fixture
def trunk(registered):
    """VISSL's ResNet-50 with running statistics of its own."""
    defaults = pathlib.Path(vissl.config.__file__).with_name("defaults.yaml").read_text()
    config = vissl.config.AttrDict(yaml.safe_load(defaults)["config"]).MODEL
    trunk = get_model_trunk("resnet")(config, "resnet").eval()
    return with_statistics(trunk)


def write_checkpoint(file, weights, **state):
    model = {"trunk": weights, "heads": {}}
    torch.save({"classy_state_dict": {"base_model": {"model": model}, **state}}, file)
    return file


def test_every_format_of_a_resnet50(trunk, mscn, capsys, tmp_path, monkeypatch):
    """Each file by its own library, as its users load it, and then as the card says."""
    timm, onnxruntime = map(pytest.importorskip, ("timm", "onnxruntime"))
    safetensors = pytest.importorskip("safetensors.torch")
    sigma = torch.tensor(5.0, dtype=torch.float64)
    file = write_checkpoint(tmp_path / "a.torch", trunk.state_dict(), mscn_high_pass_sigma=sigma)
    formats = ("torchvision", "timm", "detectron2", "torchscript", "onnx")
    folder = tmp_path / "out"
    with pytest.raises(SystemExit) as end:
        mscn("export", file, "--format", *formats, "--output", folder, "--size", "56")
    assert not end.value.code
    said = capsys.readouterr()
    assert said.out.count("features differ from VISSL's by noise ") == 8
    assert "assumed are pictures in RGB, " in said.err
    monkeypatch.chdir(folder)

    Image.fromarray(skimage.data.astronaut()).save("photograph.jpg", quality=95)
    images = torch.cat([photograph("photograph.jpg"), torch.randn(2, 3, 56, 56)])
    with torch.no_grad():
        expected = trunk(high_pass(images, 5.0), [])[-1]

    def assert_equal(features, count):
        scale = expected[:count].abs().amax(dim=1, keepdim=True)
        difference = ((torch.as_tensor(features) - expected[:count]) / scale).abs().max()
        assert difference < 1e-5, difference

    in_torchvision = torchvision.models.resnet50()
    in_torchvision.fc = torch.nn.Identity()
    in_timm = timm.create_model("resnet50", num_classes=0)
    for name, model in (("torchvision", in_torchvision), ("timm", in_timm)):
        for weights in (
            torch.load(f"{name}.pth", weights_only=True),
            safetensors.load_file(f"{name}.safetensors"),
        ):
            model.load_state_dict(weights)
            with torch.no_grad():
                assert_equal(model.eval()(high_pass(images, 5.0)), 3)
                assert_equal(model(high_pass(images[:1], 5.0)), 1)
    script = torch.jit.load("features.pt")
    session = onnxruntime.InferenceSession("features.onnx")
    for count in (1, 3):
        with torch.no_grad():
            assert_equal(script(images[:count]), count)
        assert_equal(session.run(None, {"images": images[:count].numpy()})[0], count)

    by_vissl = _rename_weights_to_d2(trunk.state_dict(), "torch")
    in_detectron2 = torch.load("detectron2.pth", weights_only=True)
    assert in_detectron2["matching_heuristics"] is True
    for weights in (in_detectron2["model"], safetensors.load_file("detectron2.safetensors")):
        assert weights.keys() == by_vissl.keys()
        assert all(torch.equal(weights[name], by_vissl[name]) for name in weights)
    for name in ("torchvision", "timm", "detectron2"):
        with safetensors.safe_open(f"{name}.safetensors", "pt") as opened:
            assert opened.metadata()["mscn_high_pass_sigma"] == "5.0"

    card = pathlib.Path("model_card.md").read_text()
    assert "Assumed, since the checkpoint came without its training's configuration: size, " in card
    names = {}
    for code in re.findall(r"```python\n(.*?)```", card, re.DOTALL):
        names.pop("features", None)
        exec(code, names)
        if "features" in names:
            assert_equal(names["features"], 1)
    assert card.count("    features = ") + card.count("\nfeatures = ") == 4
    files = {path.name for path in pathlib.Path().iterdir()} - {"photograph.jpg", "model_card.md"}
    assert files == set(FILES)
    for name in files:
        assert hashlib.sha256(pathlib.Path(name).read_bytes()).hexdigest() in card


def photograph(file):
    steps = [
        transforms.Resize(64),
        transforms.CenterCrop(56),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    return transforms.Compose(steps)(Image.open(file))[None]


def test_the_target_network_that_extract_target_writes(compose, tiny, tmp_path):
    config = compose("config=mscn/byol_quickstart", *tiny, BYOL_HEADS)
    trunk = get_model_trunk("small_resnet")(config.MODEL, "small_resnet").eval()
    target = {f"target.trunk.{name}": tensor for name, tensor in trunk.state_dict().items()}
    torch.save({"loss": target}, tmp_path / "byol.torch")
    plain = json.loads(json.dumps(config, default=str))
    (tmp_path / "train_config.yaml").write_text(yaml.safe_dump(plain))
    (tmp_path / "elsewhere").mkdir()
    run_command("target", "byol.torch", "elsewhere/target.torch", cwd=tmp_path, check=True)
    (tmp_path / "results.json").write_text('{"evaluations": {"knn": {"metrics": {"top1": 40.5}}}}')
    result = export(
        *("elsewhere/target.torch", "--format", "torchscript", "--output", "out"),
        *("--results", "results.json", "--license", "CC BY 4.0"),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert "assumed" not in result.stderr
    card = (tmp_path / "out" / "model_card.md").read_text()
    assert "transforms.CenterCrop(56)" in card
    assert "Assumed" not in card
    assert "| `knn` | `top1` | `40.5` |" in card
    assert card.endswith("CC BY 4.0\n")
    images = torch.randn(2, 3, 56, 56)
    with torch.no_grad():
        features = torch.jit.load(str(tmp_path / "out" / "features.pt"))(images)
        expected = trunk(high_pass(images, 1.25), [])[-1]
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)


def test_a_checkpoint_with_code_is_one_sentence_and_leaves_nothing(tmp_path):
    torch.save({"loss": pathlib.PurePath}, tmp_path / "code.torch")
    result = export("code.torch", "--format", "onnx", "--output", "out", cwd=tmp_path)
    assert result.returncode == 1
    assert "code.torch holds more than the tensors and plain values" in result.stderr
    assert "pass --trusted if it is your own" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_results_of_a_runs_folder(checkpoints, mscn, tmp_path, capsys):
    content = {"evaluations": {"knn": {"metrics": {"top1": 40.5}}}}
    results = tmp_path / "results.json"
    arguments = ("export", checkpoints["simclr"], "--format", "torchscript", "--results", results)
    results.write_text(json.dumps({"sha256": "another", **content}))
    with pytest.raises(SystemExit, match=r"is of another checkpoint than .*phase0.torch"):
        mscn(*arguments, "--output", tmp_path / "out")
    digest = file_digest(checkpoints["simclr"] / "checkpoint.torch")
    results.write_text(json.dumps({"sha256": digest, **content}))
    (tmp_path / "out").mkdir()
    for name in ("timm.pth", "features.pt"):
        (tmp_path / "out" / name).write_text("of another run")
    with pytest.raises(SystemExit) as end:
        mscn(*arguments, "--output", tmp_path / "out")
    assert not end.value.code
    assert "| `knn` | `top1` | `40.5` |" in (tmp_path / "out" / "model_card.md").read_text()
    said = f"export: warning: timm.pth in {tmp_path / 'out'}: of an earlier export, which model"
    assert said in capsys.readouterr().err


def test_without_a_format_all_that_the_trunk_allows_are_taken(checkpoints, mscn, tmp_path, capsys):
    arguments = ("export", checkpoints["simclr"], "--output", tmp_path / "out")
    with pytest.raises(SystemExit) as end:
        mscn(*arguments)
    assert not end.value.code
    assert "mscn export: no torchvision: " in capsys.readouterr().err
    assert (tmp_path / "out" / "features.pt").is_file()
    with pytest.raises(SystemExit) as end:
        mscn(*arguments, "--format", "torchvision", "torchscript")
    assert end.value.code == 1
