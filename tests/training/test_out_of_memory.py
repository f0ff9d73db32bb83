from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from mscn_plugin.errors import RunError


def after(error, config):
    """The hook, called as VISSL's trainer calls it."""
    from mscn_plugin.training.out_of_memory import OutOfMemoryHook

    task = SimpleNamespace(config=config, train=True, iteration=7)
    try:
        raise error
    except type(error):
        OutOfMemoryHook().on_exception(task)


def test_the_message_names_what_needs_less(compose):
    config = compose("config=mscn/quickstart")
    with pytest.raises(RunError, match="BATCHSIZE_PER_REPLICA is 64.* 4 views .* 256") as caught:
        after(torch.cuda.OutOfMemoryError("CUDA out of memory"), config)
    for overlay in ("amp", "one_mask", "activation_checkpointing"):
        assert f"+config/mscn/memory={overlay}" in str(caught.value)


def test_what_the_run_has_is_not_advised(compose):
    config = compose("config=mscn/quickstart", "+config/mscn/memory=one_mask")
    config.MODEL.AMP_PARAMS.USE_AMP = True  # which a configuration for a CPU may not have
    with pytest.raises(RunError, match="activation_checkpointing") as caught:
        after(torch.cuda.OutOfMemoryError("CUDA out of memory"), config)
    assert "one_mask" not in str(caught.value)
    assert "memory=amp" not in str(caught.value)


def test_other_errors_are_left_alone(compose):
    after(ValueError("of something else"), compose("config=mscn/quickstart"))
