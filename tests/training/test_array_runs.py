"""Pre-training on arrays, from the command's statistics to the online accuracies."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from array_folders import write_arrays
from conftest import PICTURE, TINY
from PIL import Image

from mscn_plugin.data.statistics import FILE

FINAL = "model_final_checkpoint_phase1.torch"


@pytest.fixture(scope="module")
def arrays(once):
    """4 channels of 16 bits."""
    return once("arrays_of_4", lambda folder: write_arrays(folder, 4, "uint16"))


@pytest.fixture(scope="module")
def overrides(arrays):
    return (
        *("config=mscn/arrays", f"config.MSCN.DATA={arrays}", "config.MSCN.CHANNELS=4"),
        *(override for override in (*TINY, PICTURE) if "num_epochs" not in override),
        "config.OPTIMIZER.num_epochs=2",
        "config.DATA.TRAIN.USE_STATEFUL_DISTRIBUTED_SAMPLER=True",
        "config.CHECKPOINT.CHECKPOINT_ITER_FREQUENCY=3",
    )


@pytest.fixture(scope="module")
def run(pretrain, overrides):
    return pretrain("run_on_arrays", *overrides)


def weights(folder):
    state = torch.load(folder / FINAL, weights_only=True)["classy_state_dict"]
    return state["base_model"]["model"]["trunk"]


@pytest.mark.process
def test_trains_the_stem_of_all_channels_and_evaluates_online(run, arrays):
    assert weights(run)["_feature_blocks.conv1.weight"].shape[1] == 4
    lines = [json.loads(line) for line in (run / "metrics.json").read_text().splitlines()]
    evaluations = [line for line in lines if "online_evaluation" in line]
    assert [line["train_phase_idx"] for line in evaluations] == [-1, 0, 1]
    assert all(0 <= line["online_evaluation"]["knn"] <= 100 for line in evaluations)
    assert evaluations[-1]["images"]["val"] == {"number": 12, "path": str(arrays / "val")}
    assert "knn" in evaluations[-1]["color_histogram"]
    assert not any("unreadable_images" in line or "nearly_blank_images" in line for line in lines)
    with Image.open(run / "masked_views.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 20


@pytest.mark.process
def test_the_run_says_its_normalization(run, arrays):
    import yaml

    transforms = yaml.safe_load((run / "train_config.yaml").read_text())["DATA"]["TEST"][
        "TRANSFORMS"
    ]
    normalize = next(t for t in transforms if t["name"] == "Normalize")
    statistics = json.loads((arrays / FILE).read_text())
    assert [normalize["mean"], normalize["std"]] == [statistics["mean"], statistics["std"]]


@pytest.mark.process
def test_resumes_within_an_epoch_bit_for_bit(run_tool, run, overrides, tmp_path):
    shutil.copytree(run, tmp_path / "run", symlinks=True)
    resumed = tmp_path / "run"
    (resumed / FINAL).unlink()
    (resumed / "model_phase0.torch").unlink()
    assert {file.name for file in resumed.glob("model_*")} == {
        *("model_iteration3.torch", "model_iteration6.torch")
    }
    said = run_tool(*overrides, "config.CHECKPOINT.DIR=run", "config.DATA.NUM_DATALOADER_WORKERS=1")
    assert "Resume from file" in said.stdout
    expected = weights(run)
    assert all(torch.equal(value, expected[name]) for name, value in weights(resumed).items())


@pytest.mark.process
def test_a_run_on_arrays_is_evaluated_reported_and_exported(run, mscn, tmp_path):
    shutil.copytree(run, tmp_path / "run", symlinks=True)
    small = ("config.DATA.NUM_DATALOADER_WORKERS=0", "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=8")
    with pytest.raises(SystemExit) as ended:
        mscn(
            *("evaluate", tmp_path / "run", "--only", "quick_frozen", "quick_occlusion"),
            *("--output", tmp_path / "evaluation", "--overrides", *small),
        )
    results = json.loads((tmp_path / "evaluation" / "results.json").read_text())
    assert not ended.value.code, results["evaluations"]
    assert 0 <= results["evaluations"]["quick_frozen"]["metrics"]["kNN, top-1"] <= 100
    mscn("report", tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "channels of its arrays" in page
    assert page.count("data:image/jpeg") > 20  # validation images and their neighbors
    with pytest.raises(SystemExit):
        mscn("export", tmp_path / "run", "--format", "torchscript", "--output", tmp_path / "export")
    assert (tmp_path / "export" / "features.pt").is_file()
