"""What a suite gives VISSL for a checkpoint: trunk, crop, filter."""

from __future__ import annotations

import pytest
import torch
import yaml

from mscn_plugin.config.composed import composed
from mscn_plugin.config.folder import config_folder
from mscn_plugin.errors import ConfigError
from mscn_plugin.vissl.command_line import configs as names

pytestmark = pytest.mark.usefixtures("registered")

POOLING = "LINEAR_EVAL_FEAT_POOL_OPS_MAP"
"""The key of an evaluation's layers."""


@pytest.fixture
def save(tmp_path_factory):
    """Write a checkpoint with the configuration of a config, changed by keys; returns its path."""

    def write(config=None, sigma=None, **changes):
        from mscn_plugin.checkpoints.io import SIGMA_KEY

        folder = tmp_path_factory.mktemp("run")
        state = {"base_model": {"model": {"trunk": {"_feature_blocks.a": torch.ones(1)}}}}
        if sigma is not None:
            state[SIGMA_KEY] = torch.tensor(sigma, dtype=torch.float64)
        torch.save({"classy_state_dict": state}, folder / "checkpoint.torch")
        if config:
            config = composed(f"mscn/{config}")
            config["MODEL"]["TRUNK"].update(changes)
            (folder / "train_config.yaml").write_text(yaml.safe_dump(config))
        return folder / "checkpoint.torch"

    return write


def test_every_evaluation_of_a_suite_is_a_config():
    from mscn_plugin.evaluation.definitions import SUITES

    configs = {e.config for suite in SUITES.values() for e in suite}
    assert {f"mscn/benchmark/{config}" for config in configs} == {
        n for n in names() if "benchmark/" in n
    }


def test_the_papers_run_needs_no_change_of_the_papers_configs(save):
    from mscn_plugin.evaluation.pretraining_run import PretrainingRun

    file = save("simclr", 5.0)
    run = PretrainingRun.of(file)
    assert (run.sigma, run.crop, run.loss) == (5.0, (224, 224), "mscn_info_nce_loss")
    config = composed("mscn/benchmark/imagenet1k_linear")
    trunk = config["MODEL"]["TRUNK"]["RESNETS"]
    assert run.overrides("imagenet1k_linear") == [
        f"config.MODEL.WEIGHTS_INIT.PARAMS_FILE={file}",
        "config.MSCN.PRETRAINING_SIGMA=5.0",
        "config.MODEL.TRUNK.NAME=resnet",
        *(f"config.MODEL.TRUNK.RESNETS.{key}={value}" for key, value in sorted(trunk.items())),
    ]


def test_another_scale_brings_its_transforms(save):
    from mscn_plugin.evaluation.pretraining_run import PretrainingRun

    overrides = PretrainingRun.of(save("quickstart", 1.25)).overrides("imagenet1k_linear")
    train, test = overrides[-2:]
    assert "{name:RandomResizedCrop,size:56}" in train
    assert "{name:Resize,size:64},{name:CenterCrop,size:56}" in test
    assert train.endswith("{name:MSCNHighPass,sigma:1.25}]")
    assert "+config.MODEL.TRUNK.SMALL_RESNET.WIDTH=16" in overrides
    assert "config.MODEL.TRUNK.SMALL_RESNET.WIDTH=16" in PretrainingRun.of(
        save("quickstart", 1.25)
    ).overrides("quick_linear")


def test_pictures_are_decoded_by_the_runs_range(save, compose):
    from vissl.utils.hydra_config import compose_hydra_configuration

    from mscn_plugin.evaluation.pretraining_run import PretrainingRun

    file = save("quickstart", 1.25)
    config = yaml.safe_load((file.parent / "train_config.yaml").read_text())
    config["MSCN"]["PIXEL_RANGE"] = [-0.5, 4095]
    (file.parent / "train_config.yaml").write_text(yaml.safe_dump(config))
    config, overrides = (
        "config=mscn/benchmark/quick_linear",
        PretrainingRun.of(file).overrides("quick_linear"),
    )
    assert compose_hydra_configuration([config, *overrides]).config.MSCN.PIXEL_RANGE == [-0.5, 4095]


@pytest.fixture
def changed(save):
    """The quickstart's run after ``change`` of its configuration."""

    def write(change, config="quickstart"):
        from mscn_plugin.evaluation.pretraining_run import PretrainingRun

        file = save(config, 1.25)
        config = yaml.safe_load((file.parent / "train_config.yaml").read_text())
        change(config)
        (file.parent / "train_config.yaml").write_text(yaml.safe_dump(config))
        return PretrainingRun.of(file)

    return write


def evaluation_of(run, name):
    """The composed configuration of an evaluation of ``run``."""
    from vissl.utils.hydra_config import compose_hydra_configuration

    overrides = [f"config=mscn/benchmark/{name}", *run.overrides(name)]
    return compose_hydra_configuration(overrides).config


@pytest.mark.parametrize("name", ["quick_linear", "quick_frozen", "imagenet1k_linear"])
@pytest.mark.parametrize("own", [{"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]}, None])
def test_pixels_are_normalized_as_in_pretraining(changed, name, own):
    """Also where the run's TEST transforms, which no online evaluation used, say something else."""

    def change(config):
        transforms = config["DATA"]["TRAIN"]["TRANSFORMS"]
        place = next(i for i, t in enumerate(transforms) if t["name"] == "Normalize")
        transforms[place : place + 1] = [{"name": "Normalize", **own}] if own else []
        if own is None:
            test = config["DATA"]["TEST"]["TRANSFORMS"]
            config["DATA"]["TEST"]["TRANSFORMS"] = [t for t in test if t["name"] != "Normalize"]

    config = evaluation_of(changed(change), name)
    for split in ("TRAIN", "TEST"):
        found = [t for t in config.DATA[split].TRANSFORMS if t["name"] == "Normalize"]
        assert found == ([{"name": "Normalize", **own}] if own else [])


def crop_by(**transform):
    """A change of the crop of a run's views; None is none."""

    def change(config):
        transforms = config["DATA"]["TRAIN"]["TRANSFORMS"]
        place = next(i for i, t in enumerate(transforms) if t["name"] == "RandomResizedCrop")
        transforms[place : place + 1] = [transform] if transform else []

    return change


@pytest.mark.parametrize(
    "crop",
    [
        {"name": "RandomResizedCrop", "size": [96, 96]},
        {"name": "random_resized_crop", "size": [96]},
        {"name": "MSCNRandomResizedCrops", "size": 96},
        {"name": "RandomCrop", "size": 96},
        {"name": "ImgPilToMultiCrop", "total_num_crops": 3, "size_crops": [96, 48]},
    ],
    ids=lambda crop: crop["name"],
)
def test_images_have_the_size_of_the_runs_views(changed, crop):
    config = evaluation_of(changed(crop_by(**crop)), "quick_linear")
    sizes = [t["size"] for t in config.DATA.TRAIN.TRANSFORMS if "size" in t]
    assert sizes == [96]
    assert [t["size"] for t in config.DATA.TEST.TRANSFORMS if "size" in t] == [110, 96]


def test_images_are_interpolated_as_in_the_run(changed):
    def change(config):
        crop_by(name="MSCNRandomResizedCrops", size=96, interpolation=3)(config)
        config["DATA"]["TEST"]["TRANSFORMS"][0]["interpolation"] = 0

    config = evaluation_of(changed(change), "quick_linear")
    found = {
        t["name"]: t["interpolation"]
        for split in ("TRAIN", "TEST")
        for t in config.DATA[split].TRANSFORMS
        if "interpolation" in t
    }
    assert found == {"RandomResizedCrop": 3, "Resize": 0}


def test_the_size_of_views_must_be_known(changed):
    from mscn_plugin.checkpoints.io import CheckpointError

    run = changed(crop_by(name="RandomResizedCrop", size=[96, 64]))
    with pytest.raises(ConfigError, match=r"states views of 96 x 64 pixels; .* square"):
        run.overrides("quick_linear")

    def whole_pictures(config):
        crop_by()(config)
        config["DATA"]["TEST"]["TRANSFORMS"] = []

    with pytest.raises(ConfigError, match=r"states no crop; .* one of RandomResizedCrop, "):
        changed(whole_pictures).overrides("quick_linear")
    with pytest.raises(CheckpointError, match=r"train_config.yaml: .*with size 'large'; it must"):
        changed(crop_by(name="RandomResizedCrop", size="large"))


def test_a_filter_inside_of_the_trunk_becomes_the_evaluations(changed):
    def change(config):
        trunk = config["MODEL"]["TRUNK"]
        trunk.update(NAME="high_pass_small_resnet", HIGH_PASS={"SIGMA": 1.25})
        trunk["SMALL_RESNET"]["WIDTH"] = 8
        for split in ("TRAIN", "TEST"):
            given = config["DATA"][split]["TRANSFORMS"]
            kept = [t for t in given if t["name"] != "MSCNHighPass"]
            config["DATA"][split]["TRANSFORMS"] = kept

    config = evaluation_of(changed(change), "quick_linear")
    assert config.MODEL.TRUNK.NAME == "small_resnet"
    assert config.MODEL.TRUNK.SMALL_RESNET.WIDTH == 8
    for split in ("TRAIN", "TEST"):
        assert config.DATA[split].TRANSFORMS[-1] == {"name": "MSCNHighPass", "sigma": 1.25}


def test_channels_have_the_runs_order(changed):
    run = changed(lambda config: config["MODEL"].update(INPUT_TYPE="bgr"))
    assert evaluation_of(run, "quick_linear").MODEL.INPUT_TYPE == "bgr"


def test_arrays_are_read_and_seen_as_by_the_run(save):
    from vissl.utils.hydra_config import compose_hydra_configuration

    from mscn_plugin.evaluation.pretraining_run import PretrainingRun

    file = save("arrays", 1.25)
    config = yaml.safe_load((file.parent / "train_config.yaml").read_text())
    config["MSCN"].update(CHANNELS=2, ARRAY_LAYOUT="channels_last")
    for split in ("TRAIN", "TEST"):
        config["DATA"][split]["TRANSFORMS"][2].update(mean=[30000.5, -1e-05], std=[4e3, 1e-3])
    (file.parent / "train_config.yaml").write_text(yaml.safe_dump(config))
    run = PretrainingRun.of(file)
    assert (run.channels, run.crop) == (2, (56, 56))
    normalize = {"name": "Normalize", "mean": [30000.5, -1e-05], "std": [4e3, 1e-3]}
    behind = [normalize, {"name": "MSCNHighPass", "sigma": 1.25}]
    whole = [{"name": "Resize", "size": 64}, {"name": "CenterCrop", "size": 56}, *behind]
    crop = [{"name": "RandomResizedCrop", "size": 56}, {"name": "RandomHorizontalFlip", "p": 0.5}]
    for evaluation, train in (("quick_frozen", whole), ("quick_linear", [*crop, *behind])):
        overrides = [f"config=mscn/benchmark/{evaluation}", *run.overrides(evaluation)]
        config = compose_hydra_configuration(overrides).config
        assert (config.MSCN.CHANNELS, config.MSCN.ARRAY_LAYOUT) == (2, "channels_last")
        assert train == config.DATA.TRAIN.TRANSFORMS
        assert whole == config.DATA.TEST.TRANSFORMS


def test_a_target_network_takes_its_runs_configuration_along(changed, tmp_path):
    """It is evaluated and exported as the run's own checkpoint is, wherever it lies."""
    from mscn_plugin.checkpoints.io import load_checkpoint, training_config
    from mscn_plugin.checkpoints.target import save_target
    from mscn_plugin.evaluation.pretraining_run import PretrainingRun
    from mscn_plugin.export.preprocessing import preprocessing_of

    def change(config):
        config["MODEL"]["INPUT_TYPE"] = "bgr"
        config["MSCN"]["PIXEL_RANGE"] = [0, 4095]
        for transform in config["DATA"]["TRAIN"]["TRANSFORMS"]:
            if transform["name"] == "Normalize":
                transform.update(mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.1])
        crop_by(name="RandomResizedCrop", size=96)(config)

    run = changed(change)
    checkpoint = {**load_checkpoint(run.checkpoint), "loss": {"target.trunk.a": torch.ones(1)}}
    save_target(checkpoint, run.checkpoint, tmp_path / "target.torch")
    target = PretrainingRun.of(tmp_path / "target.torch")
    assert target.config == run.config
    for name in ("quick_linear", "imagenet1k_nearest_neighbor"):
        assert target.overrides(name)[1:] == run.overrides(name)[1:]
    saved = load_checkpoint(target.checkpoint)
    assert training_config(target.checkpoint) is None
    assert preprocessing_of(training_config(target.checkpoint, saved), None) == preprocessing_of(
        run.config, None
    )
    # A target of a target, and one beside the configuration of another run.
    again = {**saved, "loss": checkpoint["loss"]}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "train_config.yaml").write_text("config: {}")
    save_target(again, target.checkpoint, tmp_path / "other" / "target.torch")
    assert PretrainingRun.of(tmp_path / "other" / "target.torch").config == run.config


def test_what_is_assumed_of_a_checkpoint_without_its_configuration_is_said(save):
    from mscn_plugin.evaluation.pretraining_run import PretrainingRun
    from mscn_plugin.evaluation.suite_run import assumptions, choose

    evaluations = choose("quick", ["quick_frozen", "quick_linear"])
    (line,) = assumptions(PretrainingRun.of(save(None, 1.25)), evaluations)
    assert line.endswith(
        "nor is there a train_config.yaml beside it: assumed are pictures in RGB, resized to 64 "
        "and cropped to 56 pixels, normalized with mean [0.485, 0.456, 0.406] and std [0.229, "
        "0.224, 0.225], MSCN.PIXEL_RANGE null"
    )
    assert assumptions(PretrainingRun.of(save("quickstart", 1.25)), evaluations) == []


def test_an_unmasked_run_is_evaluated_without_a_filter(save):
    from mscn_plugin.evaluation.pretraining_run import PretrainingRun

    run = PretrainingRun.of(save("simclr_unmasked", 0.0))
    overrides = run.overrides("imagenet1k_linear")
    assert "config.MSCN.PRETRAINING_SIGMA=0.0" in overrides
    assert not any("MSCNHighPass" in override for override in overrides)
    assert sum("TRANSFORMS=" in override for override in overrides) == 2


def test_the_overrides_compose(save, compose, image_folder):
    """With all trunks, by Hydra's grammar; other checks would want a whole checkpoint.

    What is said of a trunk depends on that of the config, of which there is one in each suite.
    """
    from vissl.utils.hydra_config import compose_hydra_configuration

    from mscn_plugin.evaluation.definitions import SUITES
    from mscn_plugin.evaluation.pretraining_run import PretrainingRun

    regnet = {"NAME": "regnet", "REGNET": {"depth": 13, "w_a": 36.44, "name": "x"}}
    section = {"NAME": "convnext_tiny", "IN_CHANS": None, "KWARGS": {"dims": [8, 16, 24, 32]}}
    timm = {"NAME": "timm", "TIMM": {**section, "DROP_PATH_RATE": 0.1, "WEIGHTS": "weights.pth"}}
    some = ("quick_linear", "quick_frozen", "imagenet1k_linear")
    for file, evaluations in (
        (save("quickstart", 2 / 3), [e.config for e in SUITES["quick"] + SUITES["paper"]]),
        (save("simclr", 5.0), some),
        (save("byol", 5.0, **regnet), some),
        (save("byol", 5.0, **timm), some),
    ):
        run = PretrainingRun.of(file)
        for evaluation in evaluations:
            config = f"config=mscn/benchmark/{evaluation}"
            config = compose_hydra_configuration([config, *run.overrides(evaluation)]).config
            assert run.config["MODEL"]["TRUNK"]["NAME"] == config.MODEL.TRUNK.NAME
            assert config.DATA.TEST.TRANSFORMS[-1].sigma == run.sigma
            asked = config.MODEL.FEATURE_EVAL_SETTINGS[POOLING]
            pooled = "avgpool" if config.MODEL.TRUNK.NAME == "regnet" else "res5avg"
            expected = "res5" if evaluation == "quick_boxes" else pooled
            assert asked in ([], [[expected, ["Identity", []]]])
            assert asked or evaluation.endswith("percent")
    assert timm["TIMM"] == config.MODEL.TRUNK.TIMM


@pytest.mark.hydra
def test_layers_have_the_names_of_the_trunk(save):
    from mscn_plugin.evaluation.pretraining_run import PretrainingRun

    settings = {"NAME": "high_pass_efficientnet", "HIGH_PASS": {"SIGMA": 5.0}}
    run = PretrainingRun.of(
        save("byol_unmasked", 5.0, **settings, EFFICIENT_NETS={"model_version": "B0"})
    )
    for name, layer in (("quick_boxes", "conv_final"), ("imagenet1k_linear", "avgpool")):
        (asked,) = evaluation_of(run, name).MODEL.FEATURE_EVAL_SETTINGS[POOLING]
        assert asked == [layer, ["Identity", []]]


def test_frozen_features_are_not_asked_for_a_schedule():
    """``--overrides config.OPTIMIZER.num_epochs=5`` is for those of the suite that train."""
    from vissl.config import AttrDict

    from mscn_plugin.config.checks.optimizer import complete
    from mscn_plugin.config.composed import composed

    for name in ("quick_frozen", "quick_few_labels", "quick_occlusion", "quick_boxes"):
        config = AttrDict(composed(f"mscn/benchmark/{name}"))
        config.OPTIMIZER.num_epochs = 5
        complete(config)


def test_sigma_is_the_checkpoints_the_runs_or_the_users(save):
    from mscn_plugin.checkpoints.io import CheckpointError
    from mscn_plugin.evaluation.pretraining_run import PretrainingRun

    assert PretrainingRun.of(save(None, 2.0)).sigma == 2
    assert PretrainingRun.of(save("simclr", None)).sigma == 5
    assert PretrainingRun.of(save("simclr_unmasked", None)).sigma == 0
    assert PretrainingRun.of(save(None, None), sigma=3).sigma == 3
    assert PretrainingRun.of(save(None, 2.0).parent).sigma == 2  # a folder
    for arguments, message in (
        ((save(None, None),), "does not state which high-pass filter its images passed"),
        ((save("simclr", 5.0), 3), "--sigma is 3, but .* was pre-trained with 5"),
        ((config_folder(),), "is not a file; it must be a checkpoint of VISSL"),
    ):
        with pytest.raises(CheckpointError, match=message):
            PretrainingRun.of(*arguments)


def test_a_folder_that_was_moved(save):
    """VISSL links ``checkpoint.torch`` to the file by its absolute path."""
    from mscn_plugin.evaluation.pretraining_run import PretrainingRun

    link = save("simclr", 5.0)
    last = link.rename(link.with_name("model_final_checkpoint_phase9.torch"))
    link.symlink_to(f"/before/the/move/{last.name}")
    for path in (link, link.parent):
        assert PretrainingRun.of(path).checkpoint == last.resolve()
