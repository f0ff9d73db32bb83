"""Files appear when all of them are right, with a card that says what they are."""

from __future__ import annotations

import hashlib
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from vissl_checkpoints import model_config, random_trunk

from mscn_plugin import ConfigError
from mscn_plugin.data.decoding import to_rgb
from mscn_plugin.export import run
from mscn_plugin.export.check import check, check_samples, largest_difference
from mscn_plugin.export.export import Export
from mscn_plugin.export.model_card import literal, training_rows
from mscn_plugin.export.preprocessing import Preprocessing
from mscn_plugin.export.pretrained import Pretrained
from mscn_plugin.export.results import Result, Results, read_results
from mscn_plugin.export.run import export_trunk, left_from_before
from mscn_plugin.export.staging import staged

pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture
def model():
    config = model_config("small_resnet", WIDTH=4, DEPTH=10)
    return Pretrained(random_trunk(config), config, 2.0, Preprocessing(36, 32), None, 3)


def test_the_measure():
    expected = torch.tensor([[1.0, -4.0], [0.0, 0.5]])
    changed = expected + torch.tensor([[0.0, 0.2], [0.1, 0.0]])
    assert largest_difference(changed, expected) == pytest.approx(0.2)
    assert largest_difference(expected, expected) == 0
    assert largest_difference(expected[:, :1], expected) == float("inf")


def test_the_samples(model):
    noise, photograph = check_samples(model)
    assert noise.images.shape == (2, 3, 32, 32)
    assert photograph.images.shape == (1, 3, 32, 32)
    assert photograph.images.std() < 2
    for sample in (noise, photograph):
        assert torch.equal(sample.features, model.features(sample.images))


@pytest.mark.parametrize("error", [1e-4, float("nan"), float("inf")])
def test_other_features_are_refused(error, model):
    def reader(images):
        return model.features(images) * (1 + error)

    with pytest.raises(ConfigError, match=r"a.pt is not exported: its features of the noise"):
        check("a.pt", reader, check_samples(model))


@pytest.fixture
def wrong(monkeypatch):
    """A format whose files have other features."""

    def export_wrongly(pretrained, folder):
        (folder / "wrong.pt").write_text("")
        return Export({"wrong.pt": lambda images: torch.zeros(len(images), 32)}, "")

    monkeypatch.setitem(run.EXPORTERS, "wrong", export_wrongly)
    monkeypatch.setitem(run.LIBRARIES, "wrong", ())
    return "wrong"


def test_nothing_is_written_where_all_formats_fail(model, wrong, tmp_path):
    with pytest.raises(ConfigError, match="wrong.pt is not exported"):
        export_trunk(model, [wrong, "torchvision"], tmp_path / "new")
    assert not list(tmp_path.iterdir())
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "features.pt").write_text("before")
    with pytest.raises(ConfigError, match=r"torchvision.*; wrong.pt is not exported"):
        export_trunk(model, ["torchvision", wrong], tmp_path / "old")
    assert [file.read_text() for file in (tmp_path / "old").iterdir()] == ["before"]


def test_a_format_that_fails_does_not_stop_the_others(model, wrong, tmp_path):
    (tmp_path / "torchvision.pth").write_text("of an earlier export")
    files, refused = export_trunk(model, ["torchvision", "torchscript", wrong], tmp_path)
    assert [file.name for file in files] == ["features.pt"]
    assert list(refused) == ["torchvision", wrong]
    assert left_from_before(tmp_path, files) == ["torchvision.pth"]
    written = {file.name for file in tmp_path.iterdir()} - {"torchvision.pth"}
    assert written == {"features.pt", "model_card.md"}
    assert "torchvision.pth" not in (tmp_path / "model_card.md").read_text()


def test_an_unexpected_error_of_a_format_does_not_stop_the_others(model, tmp_path, monkeypatch):
    def fail(pretrained, folder):
        (folder / "half.onnx").write_text("")
        raise RuntimeError("no such operator\n  in line 3")

    monkeypatch.setitem(run.EXPORTERS, "onnx", fail)
    monkeypatch.setitem(run.LIBRARIES, "onnx", ())
    files, refused = export_trunk(model, ["torchscript", "onnx"], tmp_path / "out")
    assert [file.name for file in files] == ["features.pt"]
    assert refused == {"onnx": "RuntimeError: no such operator; in line 3"}
    written = {file.name for file in (tmp_path / "out").iterdir()}
    assert written == {"features.pt", "model_card.md"}
    with pytest.raises(ConfigError, match="RuntimeError: no such operator"):
        export_trunk(model, ["onnx"], tmp_path / "alone")
    assert not (tmp_path / "alone").exists()


def test_the_output_is_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match="cannot be written to"), staged(place):
            pass


def test_missing_libraries_are_one_sentence(model, tmp_path, monkeypatch):
    monkeypatch.setitem(run.LIBRARIES, "onnx", ("not_installed", "json", "nor_this"))
    with pytest.raises(ConfigError, match=r"--format onnx .*pip install not_installed nor_this$"):
        export_trunk(model, ["onnx"], tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_the_card(model, tmp_path):
    config = {
        "MSCN": {"DATA": "/home/somebody/flowers"},
        "LOSS": {"name": "byol_loss", "byol_loss": {"target_momentum": 0.996}},
        "DATA": {"TRAIN": {"COLLATE_FUNCTION": "a\n# Title | `code`"}},
        "OPTIMIZER": {"num_epochs": 1000},
    }
    numbers = [Result("linear", "accuracy", 71.5), Result("a|b", "<b>`x`</b>", None)]
    results = Results(numbers, ["Measured on `20` images."])
    model = Pretrained(**{**vars(model), "config": config})
    (file,), _ = export_trunk(model, ["torchscript"], tmp_path, results, "CC BY 4.0")
    card = (tmp_path / "model_card.md").read_text()
    for text in (
        "trained with `byol_loss`, without its heads: 32 features",
        "a sigma of\n2.0 pixels",
        "| epochs of this checkpoint | `3` |",
        "| epochs of the whole run | `1000` |",
        '| settings of the loss | `{"target_momentum": 0.996}` |',
        "| data | `flowers` |",
        r"| collator | `a # Title \| 'code'` |",
        "transforms.Resize(36)",
        "transforms.CenterCrop(32)",
        "| `linear` | `accuracy` | `71.5` |",
        "| `a\\|b` | `<b>'x'</b>` | `null` |\n\n`Measured on '20' images.`\n",
        "## License\n\nCC BY 4.0\n",
        f"{file.differences['noise']:.1e} | {file.differences['photograph']:.1e} |",
        hashlib.sha256((tmp_path / "features.pt").read_bytes()).hexdigest(),
    ):
        assert text in card
    assert "/home" not in card


def test_the_card_names_the_weights_that_training_started_from(model):
    def row(trunk):
        given = {**vars(model), "config": {"MODEL": {"TRUNK": trunk}}}
        return dict(training_rows(Pretrained(**given)))["started from the weights"]

    assert row({"TIMM": {"WEIGHTS": "/x/convnext.pth"}}) == "convnext.pth"
    assert row({"TIMM": {"WEIGHTS": None}}) is row({}) is None


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"MSCN": {"DATA": "/data/flowers/"}, "NAMES": ["imagenet1k_folder"]}, "`flowers`"),
        ({"MSCN": {"DATA": "photographs"}, "NAMES": ["image_folder"]}, "`photographs`"),
        ({"MSCN": {"DATA": "."}, "PATHS": ["/data/birds/train"]}, '`["birds/train"]`'),
        ({"PATHS": ["/x/cars/train"], "NAMES": ["imagenet1k_folder"]}, '`["cars/train"]`'),
        ({"PATHS": ["/x/a.npy", "/x/b"], "NAMES": ["imagenet1k_folder"]}, '`["a.npy", "b"]`'),
        ({"NAMES": ["imagenet1k_folder"]}, '`["imagenet1k_folder"]`'),  # of VISSL's catalog
        ({"SOURCES": ["synthetic"], "NAMES": ["imagenet1k_folder"]}, '`["synthetic"]`'),
    ],
)
def test_the_card_names_the_data(model, keys, said):
    train = {
        "DATA_PATHS": keys.get("PATHS", []),
        "DATASET_NAMES": keys.get("NAMES", []),
        "DATA_SOURCES": keys.get("SOURCES", ["disk_folder"]),
    }
    config = {"MSCN": keys.get("MSCN", {}), "DATA": {"TRAIN": train}}
    rows = dict(training_rows(Pretrained(**{**vars(model), "config": config})))
    assert literal(rows["data"]) == said


@pytest.mark.parametrize("pixel_range", [None, (0, 4095)])
def test_the_cards_recipe_is_trainings_decoding(model, tmp_path, monkeypatch, pixel_range):
    mode = 3 if pixel_range else 2
    preprocessing = model.preprocessing._replace(pixel_range=pixel_range, interpolation=mode)
    model = Pretrained(**{**vars(model), "preprocessing": preprocessing})
    export_trunk(model, ["torchscript"], tmp_path)
    card = (tmp_path / "model_card.md").read_text()
    assert ("4095 white: the range" if pixel_range else "65535 white in integers") in card
    assert ("(36, transforms.InterpolationMode.BICUBIC)" in card) == bool(pixel_range)
    recipe, _, fine_tuning = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    random = np.random.RandomState(0)
    colors = Image.fromarray(random.randint(0, 256, (50, 70, 4)).astype(np.uint8))
    deep = Image.fromarray(random.randint(0, 4096, (50, 70)).astype(np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    names = {}
    for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16"):
        picture = deep if mode == "I;16" else colors.convert("RGB" if mode == "LAB" else "RGBA")
        picture = picture if picture.mode == mode else picture.convert(mode)
        picture.save("photograph.jpg", "TIFF", exif=exif, compression="tiff_lzw")
        exec(recipe, names)
        with Image.open("photograph.jpg") as picture:
            decoded = to_rgb(picture, pixel_range)
        assert decoded.size == (50, 70)
        assert np.array_equal(names["decode"](Image.open("photograph.jpg")), decoded), mode
        assert torch.equal(names["images"][0], model.preprocessing(decoded)), mode
    exec(fine_tuning, names)
    classifier = names["Classifier"](lambda images: model.trunk(images, [])[-1].flatten(1), 3)
    with torch.no_grad():
        scores = classifier(names["images"])
        assert torch.equal(scores, classifier.linear(model.features(names["images"])))


def test_the_card_of_little_knowledge(model, tmp_path):
    model = Pretrained(**{**vars(model), "sigma": 0.0, "epochs": None})
    export_trunk(model, ["torchscript"], tmp_path)
    card = (tmp_path / "model_card.md").read_text()
    assert "Its images passed no high-pass filter." in card
    assert "`None`" not in card
    assert "`null`" not in card
    assert "## Results\n\nNot stated.\n\n## License\n\nnot stated\n" in card


def test_results_are_read(tmp_path):
    metrics = {"top1": 71.5, "per_class": {"cat": 1, "dog": [1, 2]}}
    file = tmp_path / "results.json"
    evaluations = {"linear": {"metrics": metrics}, "knn": {"metrics": {}}}
    file.write_text(json.dumps({"evaluations": evaluations}))
    numbers = [
        ("linear", "top1", 71.5),
        ("linear", "per_class.cat", 1),
        ("linear", "per_class.dog", [1, 2]),
    ]
    assert read_results(file) == (numbers, [])
    about = {
        "assumed": ["/home/me/run/weights.torch does not hold its configuration"],
        "measured_on": {"data": "9 images of 2 classes in /home/me/my pictures/val; chance 50.0"},
        "overrides": ["config.MSCN.BOXES=/home/me/boxes.csv", "+config/mscn/machine=cpu"],
    }
    file.write_text(json.dumps({"evaluations": evaluations, **about}))
    assert read_results(file) == (
        numbers,
        [
            "Warning: run/weights.torch does not hold its configuration.",
            "Measured on: 9 images of 2 classes in my pictures/val; chance 50.0.",
            "Not as the configs stand: config.MSCN.BOXES=me/boxes.csv +config/mscn/machine=cpu",
        ],
    )
    for text in ("", "{}", "[]", '{"evaluations": [1]}', '{"evaluations": {"a": 1}}'):
        file.write_text(text)
        with pytest.raises(ConfigError, match="is not a file of the form"):
            read_results(file)
    with pytest.raises(ConfigError, match="none.json is not a file of the form"):
        read_results(tmp_path / "none.json")
