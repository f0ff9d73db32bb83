from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from mscn_plugin.errors import ConfigError, RunError

GIB = 2**30


@pytest.fixture
def simclr(compose, image_folder):
    data = [f"config.MSCN.DATA={image_folder}", "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0"]

    def build(*overrides: str):
        few = "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=2"  # of what the folder has
        config = compose("config=mscn/simclr", "+config/mscn/machine=cpu", *data, few, *overrides)
        config.DATA.TRAIN.BATCHSIZE_PER_REPLICA = 128
        return config

    return build


def test_activations_are_those_that_were_measured(simclr):
    """docs/gpu.md: ResNet-50 peaks at 42.0 GiB with 512 views, weights and optimizer included."""
    from mscn_plugin.config.checks.gpu_memory import activation_bytes

    config = simclr()
    of_512 = 512 * activation_bytes(config, (224, 224)) / GIB
    assert 0.95 * 42.0 < of_512 < 42.0
    config.MODEL.AMP_PARAMS.USE_AMP = True
    assert 512 * activation_bytes(config, (224, 224)) / GIB == pytest.approx(of_512 / 2)


def test_what_cannot_fit_is_refused_with_what_would(simclr):
    from mscn_plugin.config.checks.gpu_memory import check_gpu_memory

    config = simclr()
    check_gpu_memory(config, (224, 224), 80 * GIB)
    with pytest.raises(
        ConfigError, match=r"is 128, .* 512 views, .* 41.0 GiB; the GPU has 24.0 GiB"
    ) as seen:
        check_gpu_memory(config, (224, 224), 24 * GIB)
    ways = str(seen.value).partition(": add ")[2]
    assert ways.startswith(
        "+config/mscn/memory=amp (about 22.6 GiB), or +config/mscn/memory=one_mask"
    )
    with pytest.raises(ConfigError) as seen:
        check_gpu_memory(config, (224, 224), 12 * GIB)
    ways = str(seen.value).partition(": add ")[2]
    assert ways.startswith("+config/mscn/memory=amp +config/mscn/memory=one_mask (about 11.3 GiB)")
    assert ways.endswith("a smaller batch of at most 34")


def test_a_batch_that_fits_by_the_advice_passes(simclr):
    from mscn_plugin.config.checks.gpu_memory import check_gpu_memory

    config = simclr()
    config.DATA.TRAIN.BATCHSIZE_PER_REPLICA = 34
    check_gpu_memory(config, (224, 224), 12 * GIB)


def test_a_model_that_cannot_be_counted_is_not_refused(simclr):
    from mscn_plugin.config.checks.gpu_memory import check_gpu_memory

    config = simclr()
    config.MODEL.TRUNK.NAME = "unknown"
    check_gpu_memory(config, (224, 224), 1)


def after(error, config):
    """The hook, called as VISSL's trainer calls it."""
    from mscn_plugin.training.hooks.out_of_memory import OutOfMemoryHook

    task = SimpleNamespace(config=config, train=True, iteration=7)
    try:
        raise error
    except type(error):
        OutOfMemoryHook().on_exception(task)


def test_the_message_names_what_needs_less(simclr):
    with pytest.raises(RunError, match="iteration 7.*is 128, .* 4 views .* 512 views") as caught:
        after(torch.cuda.OutOfMemoryError("CUDA out of memory"), simclr())
    for overlay in ("amp", "one_mask", "activation_checkpointing"):
        assert f"+config/mscn/memory={overlay}" in str(caught.value)


def test_what_the_run_has_is_not_advised(simclr):
    config = simclr("+config/mscn/memory=one_mask")
    config.MODEL.AMP_PARAMS.USE_AMP = True  # which a configuration for a CPU may not have
    with pytest.raises(RunError, match="activation_checkpointing") as caught:
        after(torch.cuda.OutOfMemoryError("CUDA out of memory"), config)
    assert "one_mask" not in str(caught.value)
    assert "memory=amp" not in str(caught.value)


def test_other_errors_are_left_alone(simclr):
    after(ValueError("of something else"), simclr())
