"""One synthetic batch goes through transforms, collators and model before anything starts."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from mscn_plugin.config.checks import dry_run
from mscn_plugin.errors import ConfigError


@pytest.fixture
def cfg(compose, batch_folder):
    return compose("config=mscn/quickstart", f"config.MSCN.DATA={batch_folder}")


def test_what_does_not_fit_together_is_named(cfg):
    for change, message in (
        (lambda: cfg.DATA.TRAIN.TRANSFORMS.pop(0), "got 1 views of an image; it needs 2"),
        (lambda: cfg.DATA.TEST.TRANSFORMS.pop(), "of an image"),
    ):
        change()
        with pytest.raises(ConfigError, match=message):
            dry_run.check_first_batch(cfg)


def test_a_view_too_few_for_the_loss_is_seen_though_its_numbers_divide(cfg):
    cfg.DATA.TRAIN.COLLATE_FUNCTION = "default_collate"
    cfg.DATA.TRAIN.COLLATE_FUNCTION_PARAMS = {}
    with pytest.raises(ConfigError, match="makes 1 embeddings of an image, and .* takes 2"):
        dry_run.check_first_batch(cfg)


def test_heads_are_joined(cfg):
    cfg.MODEL.HEAD.PARAMS[1][1]["dims"] = [64, 64]
    with pytest.raises(ConfigError, match=r"HEAD.PARAMS is .*, which a batch of 16 x 3 x 56 x 56"):
        dry_run.check_first_batch(cfg)


def test_it_leaves_no_trace(cfg):
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    expected = random.random(), np.random.rand(), torch.rand(1)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    before = repr(cfg)
    dry_run.check_first_batch(cfg)
    assert repr(cfg) == before
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected
