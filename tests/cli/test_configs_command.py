"""The list of configs, and what is shown of one."""

from __future__ import annotations

import os
import subprocess

import pytest
import yaml

from mscn_plugin.cli.configs import first_comment
from mscn_plugin.vissl.command_line import configs, overlays


def test_each_config_is_listed_with_a_line(mscn, capsys):
    mscn("configs")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(configs()) + len(overlays())
    listed = dict(line.split(maxsplit=1) for line in lines)  # each has a text
    assert listed["mscn/simclr"].startswith("MSCN with SimCLR, the paper's run")
    assert listed["+mscn/machine=cpu"].startswith("One process on the CPU")


def test_the_line_is_the_first_sentence_of_the_first_comment():
    assert first_comment("mscn/memory/amp").endswith("(a limit of VISSL).")
    assert "Grill et al. 2020" in first_comment("mscn/byol_unmasked")


@pytest.mark.hydra
def test_show_prints_what_is_composed(mscn, capsys):
    mscn("configs show", "mscn/simclr", "OPTIMIZER.num_epochs=7", "+mscn/memory=amp")
    config = yaml.safe_load(capsys.readouterr().out)["config"]
    assert config["OPTIMIZER"]["num_epochs"] == 7
    assert config["MODEL"]["AMP_PARAMS"]["USE_AMP"] is True
    assert config["LOSS"]["name"] == "mscn_info_nce_loss"


@pytest.mark.hydra
def test_a_config_that_is_not_there(mscn):
    with pytest.raises(SystemExit, match="^mscn configs: .*did you mean mscn/simclr?"):
        mscn("configs show", "mscn/simclrr")
    with pytest.raises(SystemExit, match="^mscn configs: show takes the name of a config"):
        mscn("configs show")


@pytest.mark.process
def test_a_reader_that_has_had_enough_is_no_error(python):
    reading, writing = os.pipe()
    os.close(reading)
    command = [python, "-W", "ignore", "-m", "mscn_plugin.cli", "configs"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 1
