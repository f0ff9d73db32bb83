"""What the shipped configs say, inheritance resolved: the same as when composed.json was written.

``python tests/config/test_composed.py`` writes it again. A new key of ``config.MSCN`` at its
default changes nothing here; a config that is meant to say something else does.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from mscn_plugin.config.composed import composed
from mscn_plugin.config.folder import config_folder
from mscn_plugin.schema import all_keys
from mscn_plugin.vissl.command_line import configs, overlays

FILE = Path(__file__).with_name("composed.json")


def digests():
    """SHA-256 of each composed config, and of each overlay, but for defaults of ``config.MSCN``."""
    said = {name: composed(name) for name in configs()} | {
        name: overlay(name) for name in overlays()
    }
    return {name: digest(config) for name, config in said.items()}


def overlay(name: str):
    """What ``+config/mscn/machine=cpu`` says by itself, for the name ``mscn/machine/cpu``."""
    group, _, option = name.rpartition("/")
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return OmegaConf.to_container(compose(overrides=[f"+config/{group}={option}"]).config)


def digest(config) -> str:
    settings = config.get("MSCN", {})
    online = settings.get("ONLINE_EVALUATION", {})
    for name, key in all_keys():
        section, name = (online, name.split(".")[1]) if "." in name else (settings, name)
        if section.get(name, key.default) == key.default:
            section.pop(name, None)
    if not online:
        settings.pop("ONLINE_EVALUATION", None)
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.hydra
def test_the_configs_say_what_they_said():
    assert digests() == json.loads(FILE.read_text())


def test_another_value_or_type_is_another_digest():
    said = {"MSCN": {"DATA": ""}, "A": {"a": 1}}
    assert digest(dict(said, MSCN={})) == digest(said)
    for other in ({"a": 2}, {"a": 1.0}, {"a": None}, {}):
        assert digest({"MSCN": {}, "A": other}) != digest({"MSCN": {}, "A": {"a": 1}})


if __name__ == "__main__":
    FILE.write_text(json.dumps(digests(), indent=1, sort_keys=True) + "\n")
