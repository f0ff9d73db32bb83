"""Figure 2 from the command line."""

from __future__ import annotations

import functools
import json
import math

import pytest
import torch
from conftest import run_command


@pytest.fixture
def draw(mscn):
    return functools.partial(mscn, "draw kernels")


def write(folder, kernels):
    folder.mkdir(parents=True)
    trunk = {"_feature_blocks.conv1.weight": kernels}
    state = {"base_model": {"model": {"trunk": trunk}}}
    state["mscn_high_pass_sigma"] = torch.tensor(5.0, dtype=torch.float64)
    torch.save({"classy_state_dict": state}, folder / "checkpoint.torch")
    return folder


@pytest.mark.process
def test_a_file_and_a_folder_side_by_side(tmp_path):
    kernels = torch.ones(6, 3, 7, 7)
    masked = kernels * torch.tensor([1, 1, 1, 1, 0.01, 0]).view(-1, 1, 1, 1)
    standard = write(tmp_path / "standard" / "run", kernels) / "checkpoint.torch"
    folder = write(tmp_path / "masked" / "run", masked)
    arguments = [standard, folder, "--output", tmp_path / "kernels.png"]
    result = run_command("draw kernels", *arguments, check=True)
    lines = result.stdout.splitlines()
    assert lines[0].split() == [
        "checkpoint",
        "kernels",
        "median",
        "norm",
        "least",
        "/",
        "median",
        "blank",
    ]
    assert [line.split() for line in lines[2:4]] == [
        ["checkpoint.torch", "6", "12.1", "1", "0"],
        ["run", "6", "12.1", "0", "2"],
    ]
    for suffix, line in zip((".png", ".pdf", ".json"), lines[4:]):
        file = tmp_path / f"kernels{suffix}"
        assert line == str(file.resolve())
        assert file.stat().st_size
    norms = json.loads((tmp_path / "kernels.json").read_text())
    assert norms["checkpoint.torch"] == pytest.approx([math.sqrt(147)] * 6)


def test_equal_names_are_told_apart(draw, tmp_path, capsys):
    folders = [write(tmp_path / name / "run", torch.ones(2, 3, 3, 3)) for name in ("a", "b")]
    draw(*folders, "--output", tmp_path / "kernels.png")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["a/run", "b/run"]


def test_a_name_with_a_dot_is_a_whole_name(draw, tmp_path, capsys):
    folder = write(tmp_path / "run", torch.ones(2, 3, 3, 3))
    for name in ("sigma1.25", "sigma1.5"):
        draw(folder, "--output", tmp_path / name)
    drawn = {f"sigma{sigma}.{kind}" for sigma in (1.25, 1.5) for kind in ("png", "pdf", "json")}
    assert {path.name for path in tmp_path.iterdir()} == {"run", *drawn}
    said = capsys.readouterr().out.splitlines()
    assert {str(tmp_path.resolve() / name) for name in drawn} <= {*said}


@pytest.mark.parametrize("content", ["[]", "{}", "{", '{"evaluations": {"a": 1}}', '{"a": [1]}'])
def test_a_file_of_another_command_is_not_replaced(draw, tmp_path, content):
    folder = write(tmp_path / "run", torch.ones(2, 3, 3, 3))
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(SystemExit, match=r"would replace .*results\.json, which is not of mscn"):
        draw(folder, "--output", tmp_path / "results.png")
    assert (tmp_path / "results.json").read_text() == content
    assert not (tmp_path / "results.png").exists()


def test_one_checkpoint_twice_is_drawn_once(draw, tmp_path, capsys):
    folder = write(tmp_path / "run", torch.ones(2, 3, 3, 3))
    for _ in range(2):
        draw(folder, folder, "--output", tmp_path / "kernels.png")  # and its own file is replaced
    assert len(capsys.readouterr().out.splitlines()) == 2 * (2 + 1 + 3)


def test_what_cannot_be_drawn_is_one_sentence(draw, tmp_path):
    (tmp_path / "text.torch").write_text("no checkpoint")
    (tmp_path / "empty").mkdir()
    whole = write(tmp_path / "whole", torch.ones(2, 3, 3, 3))
    for arguments, message in (
        ([tmp_path / "none.torch"], "none.torch is not a file"),
        ([tmp_path / "text.torch"], "text.torch holds more than|text.torch is damaged"),
        ([whole, tmp_path / "empty"], "checkpoint.torch is not a file"),
        ([whole, "--output", tmp_path / "none" / "kernels.png"], "No such file.*none"),
    ):
        with pytest.raises(SystemExit, match=f"^mscn draw kernels: .*({message})") as error:
            draw(*arguments)
        assert "\n" not in error.value.code


@pytest.mark.process
def test_runs_of_vissls_tool(draw, checkpoints, tmp_path, capsys):
    draw(*checkpoints.values(), "--output", tmp_path / "kernels.png")
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[2:4]] == ["4", "4"]
    assert (tmp_path / "kernels.pdf").is_file()
