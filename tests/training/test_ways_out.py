"""What the refusal of another recipe's folder names, typed as it stands."""

from __future__ import annotations

import json

import pytest
import torch

from mscn_plugin.checkpoints.complete import set_aside
from mscn_plugin.checkpoints.fingerprint import RECIPE_KEY


def test_all_of_a_run_is_set_aside_but_its_logs(tmp_path):
    names = ["model_phase0.torch", "model_final_checkpoint_phase1.torch", "metrics.json", "log.txt"]
    for name in names:
        (tmp_path / name).write_text("x")
    set_aside(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.txt", "replaced-1"]
    (tmp_path / "model_phase0.torch").write_text("y")
    set_aside(tmp_path)
    assert (tmp_path / "replaced-1" / "model_phase0.torch").read_text() == "x"
    assert (tmp_path / "replaced-2" / "model_phase0.torch").read_text() == "y"


def test_the_final_one_alone_is_set_aside_to_end_again(tmp_path):
    for name in ("model_phase0.torch", "model_final_checkpoint_phase1.torch", "metrics.json"):
        (tmp_path / name).write_text("x")
    set_aside(tmp_path, final_alone=True)
    (tmp_path / "metrics.json").write_text("")  # as the resumed run cuts it
    assert (tmp_path / "replaced-1" / "metrics.json").read_text() == "x"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "metrics.json",
        "model_phase0.torch",
        "replaced-1",
    ]


@pytest.mark.process
def test_anew_and_then_longer(run_tool, tiny, tmp_path):
    common = [
        *("config=mscn/quickstart", *tiny),
        "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0",
    ]
    run = tmp_path / "run"

    def final():
        file = max(run.glob("model_final*.torch"), key=lambda path: path.stat().st_mtime)
        checkpoint = torch.load(file, weights_only=True)
        recipe = json.loads(checkpoint["classy_state_dict"][RECIPE_KEY])
        return checkpoint["iteration"], recipe["SEED_VALUE"]

    run_tool(*common)
    assert final() == (4, 0)
    seven = [*common, "config.SEED_VALUE=7"]
    refused = run_tool(*seven, check=False).stderr.splitlines()[-1]
    assert "config.SEED_VALUE is 7, but" in refused
    anew = ("config.CHECKPOINT.AUTO_RESUME=False", "config.CHECKPOINT.OVERWRITE_EXISTING=True")
    assert " ".join(anew) in refused
    run_tool(*seven, *anew)
    assert final() == (4, 7)
    assert (run / "replaced-1" / "model_final_checkpoint_phase0.torch").is_file()
    assert "already succeeded" in run_tool(*seven).stdout

    longer = [*seven, "config.OPTIMIZER.num_epochs=2"]
    refused = run_tool(*longer, check=False).stderr.splitlines()[-1]
    assert "config.OPTIMIZER.num_epochs is 2" in refused
    assert "config.MSCN.RESUME_CHANGED=True" in refused
    # Of a smaller batch, too, with 8 iterations in an epoch in place of 4: VISSL would begin at
    # batch 4 - 8 of the second one.
    smaller = [*longer, "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=4"]
    said = run_tool(*smaller, "config.MSCN.RESUME_CHANGED=True").stdout
    assert "an epoch has 8 iterations now, and 4 in the checkpoint: rates and momenta" in said
    assert final() == (12, 7)
    steps = [json.loads(line) for line in (run / "stdout.json").read_text().splitlines()]
    assert max(step["iter"] for step in steps if step["ep"] == 0) < 4
