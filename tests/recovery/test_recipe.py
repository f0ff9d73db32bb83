from __future__ import annotations

import copy
import json

import pytest
import torch

from mscn_plugin.errors import ConfigError
from mscn_plugin.recovery.recipe import RECIPE_KEY, recipe_of, refuse_another_recipe


@pytest.fixture
def config(compose, large_folder):
    return compose("config=mscn/quickstart", f"config.MSCN.DATA={large_folder}")


@pytest.fixture
def run(config, tmp_path):
    """The folder of a run of ``config``, as far as refusals look at it."""
    folder = tmp_path / "run"
    folder.mkdir()
    config.CHECKPOINT.DIR = str(folder)
    state = {RECIPE_KEY: json.dumps(recipe_of(config))}
    torch.save({"iteration": 4, "classy_state_dict": state}, folder / "model_phase0.torch")
    return folder


def test_the_same_recipe_goes_on(config, run):
    refuse_another_recipe(config)


@pytest.mark.parametrize(
    "change",
    [
        ("DATA", "NUM_DATALOADER_WORKERS", 7),
        ("MSCN", "PROGRESS_BAR", True),
        ("CHECKPOINT", "CHECKPOINT_FREQUENCY", 5),
    ],
)
def test_what_does_not_decide_the_weights_may_change(config, run, change):
    section, key, value = change
    config[section][key] = value
    config.LOG_FREQUENCY = 1
    refuse_another_recipe(config)


def test_any_other_key_is_refused_with_the_ways_out(config, run):
    for path in (
        ("SEED_VALUE",),
        ("OPTIMIZER", "num_epochs"),
        ("OPTIMIZER", "param_schedulers", "lr", "start_value"),
        ("DATA", "TRAIN", "BATCHSIZE_PER_REPLICA"),
        ("LOSS", "mscn_info_nce_loss", "temperature"),
        ("DISTRIBUTED", "NUM_PROC_PER_NODE"),
    ):
        changed = copy.deepcopy(config)
        section = changed
        for key in path[:-1]:
            section = section[key]
        section[path[-1]] += 1
        with pytest.raises(ConfigError) as refused:
            refuse_another_recipe(changed)
        sentence = str(refused.value)
        assert sentence.startswith(f"config.{'.'.join(path)} is {section[path[-1]]}, but ")
        assert "AUTO_RESUME=False" in sentence
        changed.MSCN.RESUME_CHANGED = True
        refuse_another_recipe(changed)


def test_masks_and_transforms_belong_to_the_recipe(config, run):
    config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS["ratio"] = 0.2
    with pytest.raises(ConfigError, match=r"config\.DATA\.TRAIN\.COLLATE_FUNCTION_PARAMS\.ratio"):
        refuse_another_recipe(config)


def test_other_images_are_another_recipe(config, run, tmp_path):
    config.MSCN.DATA = "photographs"
    with pytest.raises(ConfigError, match=r"config\.MSCN\.DATA is 'photographs'"):
        refuse_another_recipe(config)


def test_beginning_anew_is_not_refused(config, run):
    config.SEED_VALUE = 5
    config.CHECKPOINT.AUTO_RESUME = False
    with pytest.raises(ConfigError):  # a finished run would be taken for this one
        refuse_another_recipe(config)
    config.CHECKPOINT.OVERWRITE_EXISTING = True
    refuse_another_recipe(config)


def test_a_checkpoint_that_says_nothing_is_taken(config, run):
    torch.save({"iteration": 8, "classy_state_dict": {}}, run / "model_phase1.torch")
    config.SEED_VALUE = 5
    refuse_another_recipe(config)


def test_refusing_leaves_the_folder_as_it_is(compose, large_folder, run, config, tmp_path):
    before = sorted(path.name for path in run.iterdir())
    with pytest.raises(ConfigError, match=r"config\.SEED_VALUE is 9"):
        compose(
            "config=mscn/quickstart",
            f"config.MSCN.DATA={large_folder}",
            f"config.CHECKPOINT.DIR={run}",
            "config.SEED_VALUE=9",
        )
    assert sorted(path.name for path in run.iterdir()) == before
