"""Keys of config.MSCN need no +, bases are no configs, and what runs under our names is ours."""

from __future__ import annotations

import pytest

from mscn_plugin.schema import all_keys, defaults
from mscn_plugin.vissl.config_hook import refusal

pytestmark = pytest.mark.hydra


@pytest.fixture
def composed(registered, tmp_path, monkeypatch):
    """The ``config.MSCN`` of a command line."""
    from omegaconf import OmegaConf
    from vissl.utils.hydra_config import compose_hydra_configuration

    monkeypatch.chdir(tmp_path)

    def settings(*overrides):
        return OmegaConf.to_container(compose_hydra_configuration(list(overrides)).config.MSCN)

    return settings


@pytest.mark.parametrize(
    "config", ["simclr", "byol_unmasked", "trajectory/06_channelwise", "benchmark/quick_frozen"]
)
def test_every_key_is_there_to_be_overridden(composed, config):
    plain = composed(f"config=mscn/{config}")
    assert plain.keys() == defaults().keys()
    assert plain["ONLINE_EVALUATION"].keys() == defaults()["ONLINE_EVALUATION"].keys()
    names = [name for name, _ in all_keys()]
    changed = composed(f"config=mscn/{config}", *(f"config.MSCN.{name}=7" for name in names))
    online = changed.pop("ONLINE_EVALUATION")
    assert {*changed.values(), *online.values()} == {7}


@pytest.mark.parametrize("plus", ["", "+", "++"])
def test_a_plus_is_taken_too(composed, plus):
    """Command lines for earlier versions have it."""
    keys = ("RESUME_CHANGED=True", "MAX_UNREADABLE_SHARE=0.3", "PIXEL_RANGE=[0,4095]")
    settings = composed("config=mscn/quickstart", *(f"{plus}config.MSCN.{key}" for key in keys))
    assert settings["RESUME_CHANGED"] is True
    assert settings["MAX_UNREADABLE_SHARE"] == 0.3
    assert settings["PIXEL_RANGE"] == [0, 4095]


def test_a_config_of_vissl_gets_a_key_by_a_plus(composed):
    config = "config=test/cpu_test/test_cpu_resnet_simclr"
    assert composed(config, "+config.MSCN.DATA=photographs") == {"DATA": "photographs"}
    assert "DATA" in refusal([config, "config.MSCN.DATA=photographs"])


@pytest.mark.parametrize(
    ("override", "name"),
    [
        ("config=mscn/_base", "mscn/_base"),
        ("config=mscn/benchmark/_fine_tuning", "mscn/benchmark/_fine_tuning"),
        ("config=mscn/_views/crops", "mscn/_views/crops"),
        ("+config/mscn=_masked", "mscn/_masked"),
        ("+config/mscn/_views=standard", "mscn/_views/standard"),
    ],
)
def test_a_base_is_no_config(composed, override, name):
    said = refusal(["config=mscn/quickstart", override])
    assert said.startswith(f"{name} is a base of other configs, not a config by itself.")
    assert "_" not in {name.split("/")[-1][0] for name in said.partition("plugin: ")[2].split(", ")}


@pytest.fixture
def mine(tmp_path):
    """Write a config of the user's own beside which VISSL's tool is started."""

    def write(name, text):
        file = tmp_path / "configs" / "config" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# @package _global_\n{text}")

    return write


@pytest.mark.parametrize("name", ["mine", "mscn/mine"])
def test_a_config_of_the_users_own_inherits_from_ours(composed, mine, name):
    mine(name, "defaults: [/config/mscn/quickstart, _self_]\nconfig: {MSCN: {PICTURE_IMAGES: 2}}")
    settings = composed(f"config={name}", "config.MSCN.PROGRESS_BAR=False")
    assert (settings["DATA"], settings["PICTURE_IMAGES"]) == ("photographs", 2)
    assert settings["PROGRESS_BAR"] is False


def test_a_name_of_ours_without_anything_of_mscn_is_refused(composed, mine):
    mine("mscn/mine", "config: {OPTIMIZER: {num_epochs: 3}}")
    said = refusal(["config=mscn/mine"])
    assert said.startswith("config=mscn/mine gives a configuration with nothing of MSCN: no mscn_")
    assert said == refusal(["config=mscn/mine", "+config.MSCN.DATA=photographs"])


@pytest.mark.parametrize(
    "text",
    [
        "config: {TRAINER: {TASK_NAME: mscn_task}}",
        "engine_name: mscn_frozen_features",
        "config: {DATA: {TEST: {TRANSFORMS: [{name: MSCNHighPass, sigma: 5}]}}}",
        "config: {DATA: {TRAIN: {COLLATE_FUNCTION: mscn_multimask_collator}}}",
    ],
)
def test_one_part_of_mscn_is_enough(composed, mine, text):
    mine("mscn/mine", text)
    composed("config=mscn/mine", "+config.MSCN.DATA=photographs")


def test_a_hydra_that_leaves_out_what_a_config_inherits_is_refused(composed, monkeypatch):
    import hydra

    monkeypatch.setattr(hydra, "__version__", "1.0.7")
    said = refusal(["config=mscn/trajectory/06_channelwise"])
    assert said.startswith("Hydra is 1.0.7; config=mscn/trajectory/06_channelwise needs hydra-core")
