"""Checkpoints as VISSL writes them, of trunks with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import vissl.config
import yaml
from conftest import with_statistics
from vissl.config import AttrDict
from vissl.models.trunks import get_model_trunk


def model_config(name="resnet", **settings):
    """VISSL's ``config.MODEL`` with its defaults and a trunk of one's choice."""
    defaults = Path(vissl.config.__file__).with_name("defaults.yaml").read_text()
    config = AttrDict(yaml.safe_load(defaults)["config"]).MODEL
    config.TRUNK.NAME = name
    plural = {"resnet": "RESNETS", "vision_transformer": "VISION_TRANSFORMERS"}
    section = plural.get(name, name.upper())
    config.TRUNK[section] = AttrDict({**config.TRUNK.get(section, {}), **settings})
    return config


def random_trunk(config):
    """A trunk whose running statistics are not those of a fresh one."""
    trunk = get_model_trunk(config.TRUNK.NAME)(config, config.TRUNK.NAME).eval()
    return with_statistics(trunk)


def write_checkpoint(file: Path, weights, sigma=None, config=None) -> Path:
    """Write a checkpoint and, where there is a configuration, ``train_config.yaml`` beside it."""
    state = {"base_model": {"model": {"trunk": weights, "heads": {}}}}
    if sigma is not None:
        state["mscn_high_pass_sigma"] = torch.tensor(sigma, dtype=torch.float64)
    torch.save({"classy_state_dict": state, "train_phase_idx": 7}, file)
    if config is not None:
        plain = json.loads(json.dumps(config, default=str))  # a checked configuration has types
        (file.parent / "train_config.yaml").write_text(yaml.safe_dump(plain))
    return file
