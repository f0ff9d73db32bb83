"""What is taken from a checkpoint and the configuration beside it, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from vissl_checkpoints import random_trunk, write_checkpoint

from mscn_plugin import ConfigError
from mscn_plugin.export.preprocessing import Preprocessing
from mscn_plugin.export.pretrained import load_pretrained
from mscn_plugin.masking import high_pass


@pytest.fixture
def run(compose, tiny):
    """The configuration of a quickstart: small_resnet, 56 pixels, sigma 1.25."""
    return compose("config=mscn/quickstart", *tiny)


@pytest.fixture
def weights(run):
    return random_trunk(run.MODEL).state_dict()


def test_everything_comes_from_the_configuration_beside_it(run, weights, tmp_path):
    file = write_checkpoint(tmp_path / "a.torch", weights, config=run)
    pretrained = load_pretrained(file)
    assert pretrained.sigma == 1.25
    assert pretrained.epochs == 8
    assert pretrained.preprocessing == Preprocessing(resize=64, crop=56)
    assert load_pretrained(file, size=28).preprocessing == Preprocessing(resize=32, crop=28)
    loaded = pretrained.trunk.state_dict()
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in weights.items())
    images = torch.randn(2, 3, 56, 56)
    expected = random_trunk(run.MODEL)
    expected.load_state_dict(weights)
    with torch.no_grad():
        expected = expected(high_pass(images, 1.25), [])[-1]
    assert torch.equal(pretrained.features(images), expected)


def test_a_filter_of_the_trunk_itself_is_taken_out_and_kept_as_sigma(run, weights, tmp_path):
    file = write_checkpoint(tmp_path / "a.torch", weights, config=run)
    images = torch.randn(1, 3, 56, 56)
    features = load_pretrained(file).features(images)
    run.DATA.TRAIN.TRANSFORMS.pop()
    run.MODEL.TRUNK.NAME = "high_pass_small_resnet"
    run.MODEL.TRUNK.HIGH_PASS = type(run)({"SIGMA": 1.25})
    behind_filter = {f"base_model.{name}": tensor for name, tensor in weights.items()}
    file = write_checkpoint(tmp_path / "b.torch", behind_filter, config=run)
    assert torch.equal(load_pretrained(file).features(images), features)


def test_sigma(run, weights, tmp_path):
    for in_checkpoint, in_config, given, expected in (
        (2.0, None, None, 2.0),
        (2.0, 1.25, None, 2.0),
        (2.0, 1.25, 2.0, 2.0),
        (0.0, None, None, 0.0),
        (None, 1.25, None, 1.25),
        (None, None, 3.0, 3.0),
        (None, None, 0.0, 0.0),
        (None, None, None, "pass --sigma, in pixels"),
        (2.0, 1.25, 1.25, "--sigma is 1.25, but .* was pre-trained with 2;"),
        (None, 1.25, 5.0, "--sigma is 5, but .* was pre-trained with 1.25"),
        (0.0, None, 5.0, "--sigma is 5, but .* was pre-trained with 0;"),
        (None, None, -1.0, "sigma is -1.0; it must be at least 0"),
        (None, None, float("nan"), "sigma is nan"),
    ):
        run.DATA.TRAIN.TRANSFORMS[-1]["sigma"] = in_config or 0.0
        run.TRAINER.TASK_NAME = "mscn_task" if in_config else "self_supervision_task"
        file = write_checkpoint(tmp_path / "a.torch", weights, in_checkpoint, run)
        if isinstance(expected, float):
            assert load_pretrained(file, given).sigma == expected
        else:
            with pytest.raises(ConfigError, match=expected):
                load_pretrained(file, given)


def test_wrong_files_are_one_sentence(tmp_path):
    (tmp_path / "junk.torch").write_text("junk")
    torch.save({"loss": {}}, tmp_path / "other.torch")
    torch.save({"loss": Path}, tmp_path / "code.torch")
    for name, message in (
        ("none.torch", "is not a file"),
        ("junk.torch", "holds more than|is damaged"),
        ("other.torch", "has no trunk"),
        ("code.torch", "pass --trusted"),
    ):
        with pytest.raises(ConfigError, match=f"{name}.*({message})"):
            load_pretrained(tmp_path / name, sigma=5.0)
    with pytest.raises(ConfigError, match="--size is 0; it must be at least 1 pixel"):
        load_pretrained(tmp_path / "other.torch", size=0)


def test_wrong_checkpoints_are_one_sentence(run, weights, tmp_path):
    file = write_checkpoint(tmp_path / "a.torch", weights)
    with pytest.raises(ConfigError, match=r"weights of a resnet \(DEPTH 50.*size mismatch for"):
        load_pretrained(file, sigma=5.0)
    for change, message in (
        (lambda w: w.pop("_feature_blocks.bn1.running_var"), "bn1.running_var is missing"),
        (lambda w: w.update(more=torch.ones(1)), "more is not a name of this trunk"),
        (lambda w: w.update({"_feature_blocks.conv1.weight": torch.ones(1)}), "size mismatch"),
        (lambda w: w.clear(), "has no trunk"),
    ):
        changed = dict(weights)
        change(changed)
        write_checkpoint(file, changed, 5.0, run)
        with pytest.raises(ConfigError, match=message) as error:
            load_pretrained(file)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["a: [", "only text", "a: 1", "[1, 2]"])
def test_wrong_configurations_are_one_sentence(text, weights, tmp_path):
    file = write_checkpoint(tmp_path / "a.torch", weights, 5.0)
    (tmp_path / "train_config.yaml").write_text(text)
    with pytest.raises(ConfigError, match="train_config.yaml is not a configuration"):
        load_pretrained(file)


def test_an_unknown_trunk_is_one_sentence(run, weights, tmp_path):
    run.MODEL.TRUNK.NAME = "no_such_trunk"
    file = write_checkpoint(tmp_path / "a.torch", weights, 5.0, run)
    with pytest.raises(ConfigError, match="trunk 'no_such_trunk' that VISSL cannot build"):
        load_pretrained(file)


def test_counters_may_be_missing(run, weights, tmp_path):
    """VISSL's WEIGHTS_INIT leaves them out by default, and its model zoo lacks some."""
    kept = {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}
    assert len(kept) < len(weights)
    load_pretrained(write_checkpoint(tmp_path / "a.torch", kept, config=run))
