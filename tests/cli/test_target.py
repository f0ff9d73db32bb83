"""Online and target network of a BYOL run under VISSL's own evaluations, by file name alone."""

from __future__ import annotations

import functools
import pathlib

import pytest
import torch
from conftest import BYOL_HEADS, run_command

pytestmark = pytest.mark.process

extract = functools.partial(run_command, "target")


def test_vissl_evaluates_either_network(run_tool, tiny, tmp_path, image_folder):
    """A linear evaluation on frozen features, whose trunk must be the one that was asked for."""
    run_tool(
        "config=mscn/byol_quickstart",
        *tiny,
        BYOL_HEADS,
        "config.LOSS.byol_loss.target_momentum=0.9",
        "config.MSCN.ONLINE_EVALUATION.NETWORK=target",
    )
    checkpoint = tmp_path / "run" / "checkpoint.torch"
    result = extract(checkpoint, tmp_path / "target.torch")
    assert result.returncode == 0, result.stderr
    assert "WEIGHTS_INIT.PARAMS_FILE=" in result.stdout

    state = torch.load(checkpoint, weights_only=True)
    online = state["classy_state_dict"]["base_model"]["model"]["trunk"]
    target = {
        name[len("target.trunk.") :]: tensor
        for name, tensor in state["loss"].items()
        if name.startswith("target.trunk.")
    }
    conv = "_feature_blocks.conv1.weight"
    assert not torch.equal(online[conv], target[conv])
    for weights, expected in ((checkpoint, online), (tmp_path / "target.torch", target)):
        run_tool(
            "config=mscn/benchmark/quick_linear",
            "config.MODEL.TRUNK.SMALL_RESNET.WIDTH=4",
            f"config.MSCN.DATA={image_folder}",
            f"config.CHECKPOINT.DIR={weights.stem}_linear",
            "config.DATA.NUM_DATALOADER_WORKERS=0",
            "config.OPTIMIZER.num_epochs=1",
            f"config.MODEL.WEIGHTS_INIT.PARAMS_FILE={weights}",
        )
        trained = torch.load(
            tmp_path / f"{weights.stem}_linear" / "checkpoint.torch", weights_only=True
        )
        trunk = trained["classy_state_dict"]["base_model"]["model"]["trunk"]
        for name, tensor in expected.items():
            assert torch.equal(trunk[f"base_model.{name}"], tensor), name


def test_wrong_files_are_one_sentence(tmp_path):
    other = tmp_path / "simclr.torch"
    torch.save({"loss": {}}, other)
    torch.save({"loss": pathlib.PurePath}, tmp_path / "code.torch")
    (tmp_path / "junk.torch").write_text("junk")
    byol = tmp_path / "byol.torch"
    for file in (byol, tmp_path / "model_phase0.torch"):
        torch.save({"loss": {"target.trunk.a": torch.zeros(1)}}, file)
    for arguments, message in (
        ((tmp_path / "junk.torch", tmp_path / "out"), "junk.torch"),
        ((tmp_path / "none.torch", tmp_path / "out"), "is not a file"),
        ((other, tmp_path / "out"), "holds no target network"),
        ((other, other), "is the run's own checkpoint"),
        ((tmp_path / "code.torch", tmp_path / "out"), "pass --trusted if it is your own"),
        ((byol, tmp_path / "model_phase0.torch"), "is the run's own checkpoint"),
        ((byol, tmp_path), "Is a directory"),
    ):
        result = extract(*arguments)
        assert result.returncode == 1
        assert message in result.stderr
        assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_name_without_a_suffix(tmp_path, mscn):
    torch.save({"loss": {"target.trunk.a": torch.ones(1)}}, tmp_path / "byol.torch")
    mscn("target", tmp_path / "byol.torch", tmp_path / "target")
    saved = torch.load(tmp_path / "target", weights_only=True)
    model = saved["classy_state_dict"]["base_model"]["model"]
    assert model["trunk"] == {"a": torch.ones(1)}


def test_the_momentum_encoder_of_moco_is_one_too(tmp_path):
    tensor = torch.arange(3.0)
    names = ("moco_encoder.trunk._feature_blocks.a", "moco_encoder.heads.0.b", "queue")
    torch.save({"loss": dict.fromkeys(names, tensor)}, tmp_path / "moco.torch")
    assert extract(tmp_path / "moco.torch", tmp_path / "out.torch").returncode == 0
    model = torch.load(tmp_path / "out.torch", weights_only=True)["classy_state_dict"]["base_model"]
    assert model["model"].keys() == {"trunk", "heads"}
    assert set(model["model"]["trunk"]) == {"_feature_blocks.a"}
    assert set(model["model"]["heads"]) == {"0.b"}
