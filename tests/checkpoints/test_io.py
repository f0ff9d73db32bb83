"""Reading checkpoints: what they say, and what is refused."""

from __future__ import annotations

import pathlib

import pytest
import torch

pytestmark = pytest.mark.usefixtures("registered")


def state(**extra):
    trunk = {"_feature_blocks.conv1.weight": torch.ones(2)}
    return {"classy_state_dict": {"base_model": {"model": {"trunk": trunk}}, **extra}}


def test_names_are_the_trunks_with_and_without_vissls_wrapper(tmp_path):
    from mscn_plugin.checkpoints.io import load_checkpoint, trunk_weights

    plain, wrapped = state(), state()
    model = wrapped["classy_state_dict"]["base_model"]["model"]
    model["trunk"] = {f"base_model.{name}": tensor for name, tensor in model["trunk"].items()}
    for checkpoint in (plain, wrapped):
        torch.save(checkpoint, tmp_path / "x.torch")
        tensors = trunk_weights(load_checkpoint(tmp_path / "x.torch"), "x.torch")
        assert list(tensors) == ["_feature_blocks.conv1.weight"]


def test_sigma_is_what_the_checkpoint_says_or_none():
    from mscn_plugin.checkpoints.io import SIGMA_KEY
    from mscn_plugin.checkpoints.sigma import pretraining_sigma

    assert pretraining_sigma(state()) is None
    assert pretraining_sigma({}) is None
    assert pretraining_sigma(state(**{SIGMA_KEY: torch.tensor(1.25)})) == 1.25


def test_what_is_no_checkpoint_is_refused_in_one_sentence(tmp_path):
    from mscn_plugin.checkpoints.io import CheckpointError, load_checkpoint, trunk_weights

    (tmp_path / "junk").write_text("junk")
    (tmp_path / "empty").touch()
    torch.save(state(), tmp_path / "whole")
    (tmp_path / "cut").write_bytes((tmp_path / "whole").read_bytes()[:400])
    torch.save([1], tmp_path / "list")
    torch.save({"code": pathlib.PurePath}, tmp_path / "code")
    for name, message in (
        ("none", "is not a file"),
        ("junk", "junk "),
        ("empty", "is damaged, or not a checkpoint"),
        ("cut", "is damaged, or not a checkpoint"),
        ("list", "holds no dictionary"),
        ("code", "without running code"),
    ):
        with pytest.raises(CheckpointError, match=message) as error:
            load_checkpoint(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)
        assert "\n" not in str(error.value)
    for other in ({}, {"classy_state_dict": {}}, {"classy_state_dict": [1]}, {"model": 1}):
        with pytest.raises(CheckpointError, match="has no trunk"):
            trunk_weights(other, "x")


def test_what_is_trusted_may_hold_code(tmp_path):
    from mscn_plugin.checkpoints.io import load_checkpoint

    torch.save({"code": pathlib.PurePath}, tmp_path / "code")
    assert load_checkpoint(tmp_path / "code", trusted=True) == {"code": pathlib.PurePath}
