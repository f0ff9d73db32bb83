"""From where a detector's training goes on."""

from __future__ import annotations

import json

import pytest
import torch

from mscn_plugin.detection.resume import (
    finished,
    recipe_of,
    refuse_another,
    rewind,
    save_recipe,
    set_aside,
)
from mscn_plugin.errors import ConfigError

CFG = {"SEED": 0, "SOLVER": {"BASE_LR": 0.1, "STEPS": (3, 4)}, "OUTPUT_DIR": "a", "VERSION": 2}
ARGUMENTS = {"checkpoint": "c", "data": "d", "classes": ["fish"], "cfg": CFG}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"checkpoint": "other"}, "differs in the checkpoint to start from; --output"),
        ({"data": "other"}, "differs in the data"),
        ({"classes": ["fowl"]}, "differs in the classes"),
        ({"cfg": {**CFG, "SEED": 1}}, r"differs in SEED \(was 0, is 1\)"),
        ({"cfg": {**CFG, "SOLVER": {"BASE_LR": 0.1}}}, "SOLVER.STEPS"),
    ],
)
def test_another_recipe_is_refused(tmp_path, changed, message):
    save_recipe(tmp_path, recipe_of(**ARGUMENTS))
    refuse_another(tmp_path, recipe_of(**{**ARGUMENTS, "cfg": {**CFG, "OUTPUT_DIR": "b"}}))
    with pytest.raises(ConfigError, match=message):
        refuse_another(tmp_path, recipe_of(**{**ARGUMENTS, **changed}))


def test_a_detector_without_a_recipe_is_refused(tmp_path):
    refuse_another(tmp_path, recipe_of(**ARGUMENTS))
    write(tmp_path, "model_0000001", 1)
    with pytest.raises(ConfigError, match="does not state its checkpoint, data and configuration"):
        refuse_another(tmp_path, recipe_of(**ARGUMENTS))
    (tmp_path / "recipe.json").write_text("[1")
    with pytest.raises(ConfigError, match="recipe.json is damaged"):
        refuse_another(tmp_path, recipe_of(**ARGUMENTS))


def write(folder, name, iteration):
    torch.save({"model": {"a": torch.zeros(500)}, "iteration": iteration}, folder / f"{name}.pth")


def test_the_newest_complete_checkpoint_is_taken(tmp_path):
    save_recipe(tmp_path, recipe_of(**ARGUMENTS))
    for iteration in (1, 3, 5):
        write(tmp_path, f"model_{iteration:07d}", iteration)
    write(tmp_path, "model_final", 5)
    (tmp_path / "last_checkpoint").write_text("somewhere.pkl")
    metrics = [{"iteration": iteration, "loss": 1} for iteration in (1, 3, 4, 6)]
    (tmp_path / "metrics.json").write_text("".join(json.dumps(m) + "\n" for m in metrics) + "{")
    for name, goes_on, lines in (
        (None, "model_final.pth", 3),
        ("model_final", "model_0000005.pth", 3),
        ("model_0000005", "model_0000003.pth", 2),
        ("model_0000003", "model_0000001.pth", 1),
    ):
        if name:
            file = tmp_path / f"{name}.pth"
            file.write_bytes(file.read_bytes()[:700])
        said = rewind(tmp_path)
        assert goes_on in said[-1]
        assert (tmp_path / "last_checkpoint").read_text() == goes_on
        assert any(f"{name}.pth is damaged" in line for line in said) == bool(name)
        assert len((tmp_path / "metrics.json").read_text().splitlines()) == lines + (not name) * 0
    (tmp_path / "model_0000001.pth").write_bytes(b"")
    assert "starting with the first iteration" in rewind(tmp_path)[-1]
    assert not (tmp_path / "last_checkpoint").exists()
    assert (tmp_path / "metrics.json").read_text() == ""


def test_only_results_of_a_complete_detector_are_final(tmp_path):
    assert finished(tmp_path) is None
    (tmp_path / "results.json").write_text('{"bbox/AP": 3.0}')
    assert finished(tmp_path) is None
    write(tmp_path, "model_final", 5)
    assert finished(tmp_path) == {"bbox/AP": 3.0}
    (tmp_path / "model_final.pth").write_bytes(b"")
    assert finished(tmp_path) is None


def test_a_new_start_loses_nothing(tmp_path):
    assert set_aside(tmp_path) is None
    for number in (1, 2):
        write(tmp_path, "model_0000001", 1)
        (tmp_path / "metrics.json").write_text("{}")
        (tmp_path / "notes.txt").write_text("of the user's own")
        aside = set_aside(tmp_path)
        assert aside == tmp_path / f"replaced-{number}"
        assert sorted(path.name for path in aside.iterdir()) == [
            "metrics.json",
            "model_0000001.pth",
        ]
        assert (tmp_path / "notes.txt").is_file()
