from __future__ import annotations

from pathlib import Path

import pytest
from conftest import BYOL_HEADS

pytestmark = pytest.mark.usefixtures("registered")


@pytest.mark.parametrize("config", [("quickstart",), ("byol_quickstart", BYOL_HEADS)])
def test_settings_come_from_the_configuration(compose, tiny, config):
    from mscn_plugin.evaluation.pretraining_run import PretrainingRun
    from mscn_plugin.report.settings import important_settings

    config = compose(f"config=mscn/{config[0]}", *tiny, *config[1:])
    rows = important_settings(
        PretrainingRun(Path("run"), Path("run/a.torch"), config, 1.25, (56, 56))
    )
    values = {row.key: row.value for row in rows}
    assert values["LOSS.name"] == config.LOSS.name
    assert "num_masks 2" in values[f"LOSS.{config.LOSS.name}"]
    assert values["MODEL.TRUNK.SMALL_RESNET"].startswith("DEPTH 18, ")
    assert values["OPTIMIZER.num_epochs"] == "1"
    assert values["SEED_VALUE"] == "0"
    assert {row.title: row.value for row in rows}["images in a step"] == "8 = 8 x 1 x 1"
    assert {row.title: row.value for row in rows}["high-pass filter"] == "sigma 1.25 pixels"


def test_keys_that_are_not_there_are_left_out():
    from mscn_plugin.evaluation.pretraining_run import PretrainingRun
    from mscn_plugin.report.settings import important_settings

    config = {"LOSS": {"name": "a_loss"}, "MODEL": {"TRUNK": {"NAME": "a_trunk"}}}
    rows = important_settings(PretrainingRun(Path("run"), Path("run/a.torch"), config, 0.0, None))
    assert [(row.title, row.value) for row in rows] == [
        ("loss", "a_loss"),
        ("trunk", "a_trunk"),
        ("high-pass filter", "none"),
    ]


def test_values_in_words():
    from mscn_plugin.report.settings import in_words

    assert in_words({"b": [1, 0.5], "a": True, "c": None}) == "a yes, b [1, 0.5], c none"
