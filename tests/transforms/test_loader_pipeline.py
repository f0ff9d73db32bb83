from __future__ import annotations

import copy
import importlib.util
import json
import re

import pytest

from mscn_plugin import ConfigError

pytestmark = pytest.mark.usefixtures("registered")

SIMCLR = (
    "config.DATA.TRAIN.COLLATE_FUNCTION=simclr_collator",
    "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS=null",
    "config.LOSS.mscn_info_nce_loss.num_masks=1",
)


def names(config):
    return [transform["name"] for transform in config.DATA.TRAIN.TRANSFORMS]


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("device", [True, False, "auto"])
def test_both_switches(compose, tiny, fast, device):
    from mscn_plugin.transforms.loader_pipeline import loader_config

    switches = (f"config.MSCN.FAST_AUGMENTATIONS={fast}", f"config.MSCN.DEVICE_VIEWS={device}")
    config = compose("config=mscn/quickstart", *tiny, *switches)
    before = copy.deepcopy(config)
    workers, stage = loader_config(config)
    assert config == before
    assert ("MSCNColorDistortion" in names(workers)) == fast
    assert ("ImgPilColorDistortion" in names(workers)) != fast
    on_device = device is not False
    assert (stage is not None) == on_device
    last = "PILToTensor" if not fast else "MSCNGaussianBlur"  # which hands tensors over
    assert names(workers)[-1] == (last if on_device else "MSCNHighPass")
    if stage:
        assert stage.sigma == 1.25
        assert stage.std == (0.229, 0.224, 0.225)
    assert workers.DATA.TEST == config.DATA.TEST


def test_auto_leaves_to_the_workers_what_the_stage_does_not_know(compose, tiny):
    from mscn_plugin.transforms.loader_pipeline import loader_config

    workers, stage = loader_config(compose("config=mscn/quickstart", *tiny, *SIMCLR))
    assert stage is None
    assert names(workers)[-1] == "MSCNHighPass"
    assert workers.DATA.TRAIN.COLLATE_FUNCTION == "simclr_collator"


def test_true_says_what_is_in_its_way(compose, tiny):
    with pytest.raises(ConfigError) as error:
        compose("config=mscn/quickstart", *tiny, *SIMCLR, "config.MSCN.DEVICE_VIEWS=True")
    assert str(error.value) == (
        "config.MSCN.DEVICE_VIEWS is True, but config.DATA.TRAIN.COLLATE_FUNCTION is "
        "simclr_collator; it must be mscn_multimask_collator; or set DEVICE_VIEWS to auto"
    )


def test_a_machine_without_opencv_is_told_so(compose, tiny, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "cv2" else find_spec(name)
    )
    with pytest.raises(ConfigError, match="FAST_AUGMENTATIONS is True, which needs OpenCV"):
        compose("config=mscn/quickstart", *tiny)
    assert compose("config=mscn/quickstart", *tiny, "config.MSCN.FAST_AUGMENTATIONS=False")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), "MSCNGaussianBlur and leave normalization, filter and masks to the"),
        (("config.MSCN.DEVICE_VIEWS=False",), "finish the views, for .*DEVICE_VIEWS is False$"),
        (SIMCLR, "finish the views, for .* is auto, but config.DATA.TRAIN.COLLATE_FUNCTION is sim"),
    ],
)
def test_the_log_says_who_does_what_and_why(compose, tiny, caplog, overrides, message):
    from mscn_plugin.transforms.loader_pipeline import loader_config

    config = compose("config=mscn/quickstart", *tiny, *overrides)
    with caplog.at_level("INFO"):
        loader_config(config)
    assert re.search(message, caplog.messages[-1])


CROP_ON_DEVICE = ("config.MSCN.CROP_ON=device", "config.MSCN.CACHE=memory")


def test_crops_on_the_device(compose, tiny, caplog):
    from mscn_plugin.transforms.loader_pipeline import loader_config

    device = (*CROP_ON_DEVICE, "config.MSCN.AUGMENT_ON=device")
    config = compose("config=mscn/quickstart", *tiny, *device)
    with caplog.at_level("INFO"):
        workers, stage = loader_config(config)
    assert names(workers) == ["MSCNSampleCrops"]
    assert stage.augmentations[0].size == (56, 56)
    assert "crops are the training device's, for config.MSCN.CROP_ON is device" in caplog.messages


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("config.MSCN.CACHE=none",), "config.MSCN.CACHE is none; it must be memory"),
        (("config.MSCN.AUGMENT_ON=worker",), "config.DATA.TRAIN.TRANSFORMS[2] is RandomHorizonta"),
        (("config.MSCN.DEVICE_VIEWS=False",), "config.MSCN.DEVICE_VIEWS is False, which leaves"),
        (SIMCLR, "config.DATA.TRAIN.COLLATE_FUNCTION is simclr_collator; it must be"),
    ],
)
def test_crops_that_cannot_be_moved(compose, tiny, overrides, reason):
    with pytest.raises(ConfigError) as error:
        compose("config=mscn/quickstart", *tiny, *CROP_ON_DEVICE, *overrides)
    assert str(error.value).startswith(f"config.MSCN.CROP_ON is device, but {reason}")
    assert str(error.value).endswith("; or set CROP_ON to worker")


def test_a_run_crops_on_the_device(run_tool, tiny, tmp_path):
    device = (*CROP_ON_DEVICE, "config.MSCN.AUGMENT_ON=device")
    run_tool("config=mscn/quickstart", *tiny, *device, "config.DATA.NUM_DATALOADER_WORKERS=1")
    lines = (tmp_path / "run" / "stdout.json").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines if '"loss"' in line]
    assert losses
    assert all(0 < loss < 5 for loss in losses)
    assert "the loader's workers run MSCNSampleCrops and" in (tmp_path / "run/log.txt").read_text()


UNKNOWN = (
    "config.DATA.TRAIN.TRANSFORMS=[{name: ImgReplicatePil, num_times: 2}, "
    "{name: RandomResizedCrop, size: 56}, {name: RandomHorizontalFlip}, "
    "{name: RandomRotation, degrees: 5}, {name: ImgPilColorDistortion, strength: 1.0}, "
    "{name: ToTensor}, "
    "{name: Normalize, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}, "
    "{name: MSCNHighPass, sigma: 1.25}]"
)


@pytest.mark.parametrize(
    ("device", "asked", "moved", "reason"),
    [
        (
            "cpu",
            "auto",
            False,
            "workers, for .*ON is auto and config.MACHINE.DEVICE is cpu",
        ),
        ("cpu", "worker", False, "workers, for config.MSCN.AUGMENT_ON is worker$"),
        ("cpu", "device", True, "training device, for config.MSCN.AUGMENT_ON is device$"),
        ("gpu", "auto", True, "training device, for .*is auto and config.MACHINE.DEVICE is gpu$"),
        ("gpu", "worker", False, "workers, for config.MSCN.AUGMENT_ON is worker$"),
    ],
)
def test_who_augments_and_why(compose, tiny, caplog, device, asked, moved, reason):
    from mscn_plugin.transforms.loader_pipeline import loader_config

    config = compose("config=mscn/quickstart", *tiny, f"config.MSCN.AUGMENT_ON={asked}")
    config.MACHINE.DEVICE = device
    before = copy.deepcopy(config)
    with caplog.at_level("INFO"):
        workers, stage = loader_config(config)
    assert config == before
    assert re.search(f"^the standard augmentations .* the .*{reason}", caplog.messages[-2])
    expected = ["MSCNRandomResizedCrops", "MSCNSampleAugmentations"]
    assert (names(workers) == expected) == moved
    assert bool(stage.augmentations) == moved


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ((UNKNOWN,), "config.DATA.TRAIN.TRANSFORMS[3] is RandomRotation, which is applied by the "),
        (SIMCLR, "config.DATA.TRAIN.COLLATE_FUNCTION is simclr_collator; it must be"),
        (("config.MSCN.DEVICE_VIEWS=False",), "config.MSCN.DEVICE_VIEWS is False, which leaves no"),
    ],
)
def test_augmentations_that_cannot_be_moved(compose, tiny, caplog, overrides, reason):
    from mscn_plugin.transforms.loader_pipeline import loader_config

    with pytest.raises(ConfigError) as error:
        compose("config=mscn/quickstart", *tiny, *overrides, "config.MSCN.AUGMENT_ON=device")
    assert str(error.value).startswith(f"config.MSCN.AUGMENT_ON is device, but {reason}")
    assert str(error.value).endswith("; or set AUGMENT_ON to auto or worker")
    config = compose("config=mscn/quickstart", *tiny, *overrides)
    config.MACHINE.DEVICE = "gpu"
    with caplog.at_level("INFO"):
        workers, stage = loader_config(config)
    assert f"workers, for config.MSCN.AUGMENT_ON is auto, but {reason}" in caplog.messages[-2]
    assert "MSCNSampleAugmentations" not in names(workers)
    assert stage is None or not stage.augmentations
