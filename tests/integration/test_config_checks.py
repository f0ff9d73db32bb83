"""Wrong configurations stop before anything starts, with one sentence that names the key."""

from __future__ import annotations

import pytest

from mscn_plugin import ConfigError

COLLATOR = "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS"
LOSS = "config.LOSS.mscn_info_nce_loss"
LR = "config.OPTIMIZER.param_schedulers.lr"

WRONG = [
    (f"{COLLATOR}.ratio=1.2", f"{COLLATOR}.ratio is 1.2; it must be a fraction"),
    (f"{COLLATOR}.ratio=[0.1,0.2,0.3]", f"{COLLATOR}.ratio is [0.1, 0.2, 0.3]; it must be one"),
    (f"{COLLATOR}.focal_probability=-0.1", f"{COLLATOR}.focal_probability is -0.1; it must be a"),
    (f"{COLLATOR}.channelwise_probability=[0.5]", f"{COLLATOR}.channelwise_probability is [0.5]"),
    (f"{COLLATOR}.noise_std=-1", f"{COLLATOR}.noise_std is -1; it must be at least 0"),
    (f"{COLLATOR}.cell_size=57", f"{COLLATOR}.cell_size is 57; it must be at most the image's"),
    (f"{COLLATOR}.focal_size=100", f"{COLLATOR}.focal_size is 100; it must be at most"),
    (f"{COLLATOR}.num_masks=0", f"{COLLATOR}.num_masks is 0; it must be a whole number"),
    (f"{COLLATOR}.num_masks=[1,2,3]", f"{COLLATOR}.num_masks is [1, 2, 3]; it must be"),
    (f"{COLLATOR}.split_branches=3", f"{COLLATOR}.split_branches is 3; it must be True or False"),
    (f"+{COLLATOR}.rato=0.2", f"{COLLATOR}.rato is not a key of mscn_multimask_collator; did you "),
    (f"{LOSS}.temperature=0", f"{LOSS}.temperature is 0; it must be above 0"),
    (f"{LOSS}.negatives=none", f"{LOSS}.negatives is 'none'; it must be one of ['pair', 'all']"),
    (f"{LOSS}.num_masks=3", f"{LOSS}.num_masks is 3, but the collator makes [2, 2]"),
    (f"+{LOSS}.temprature=1", f"{LOSS}.temprature is not a key of MSCNInfoNCELoss; did you mean"),
    ("config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=1", "BATCHSIZE_PER_REPLICA is 1; it must be"),
    (f"{LR}.warmup_epochs=1000", f"{LR}.warmup_epochs is 1000; it must be at least 0 and below"),
    (f"{LR}.end_value=-1", f"{LR}.end_value is -1; it must be at least 0"),
    ("config.OPTIMIZER.num_epochs=1", f"{LR}.warmup_epochs is 1; it must be"),
    ("config.MODEL.TRUNK.SMALL_RESNET.DEPTH=50", "SMALL_RESNET.DEPTH is 50; it must be one of"),
    ("+config.MODEL.TRUNK.SMALL_RESNET.WIDHT=8", "WIDHT is not a setting of small_resnet; did you"),
    ("config.MSCN.DATA=/nowhere", "config.MSCN.DATA is '/nowhere', which is not a folder"),
    ("+config.MSCN.ONLINE_EVALUATION.EVERY=2", "config.MSCN.ONLINE_EVALUATION.EVERY is not a key"),
    ("config.MSCN.ONLINE_EVALUATION.NUM_NEIGHBORS=0", "NUM_NEIGHBORS is 0; it must be a whole"),
    ("config.MSCN.ONLINE_EVALUATION.TEMPERATURE=0", "TEMPERATURE is 0; it must be above 0"),
    ("config.MSCN.PROGRESS_BAR=7", "config.MSCN.PROGRESS_BAR is 7; it must be True or False or"),
    ("config.MSCN.FAST_AUGMENTATIONS=auto", "FAST_AUGMENTATIONS is 'auto'; it must be True or F"),
    ("config.MSCN.DEVICE_VIEWS=0", "config.MSCN.DEVICE_VIEWS is 0; it must be True or False or"),
    (
        "config.DATA.TRAIN.COLLATE_FUNCTION=mscn_mask_drawing_collator",
        "which MSCN itself puts in place; it must be mscn_multimask_collator",
    ),
    ("config.MSCN.CHANNELS_LAST=3", "config.MSCN.CHANNELS_LAST is 3; it must be True or False"),
    ("config.MSCN.COMPILE_TRUNK=maybe", "config.MSCN.COMPILE_TRUNK is 'maybe'; it must be True or"),
    ("config.MSCN.DEVICE_VIEWS=2", "config.MSCN.DEVICE_VIEWS is 2; it must be True or False or"),
    ("config.LOSS.name=barlow_twins_loss", "num_masks is 2, but barlow_twins_loss is VISSL's and"),
    ("config.LOSS.name=moco_loss", "num_masks is 2, but moco_loss is VISSL's and takes one mask"),
    (
        f"+{COLLATOR}.momentum_branch=true",
        "momentum_branch is True; with mscn_info_nce_loss it must",
    ),
    (f"+{COLLATOR}.momentum_branch=2", "momentum_branch is 2; it must be True or False"),
    ("config.MSCN.ONLINE_EVALUATION.NETWORK=target", "NETWORK is target, which mscn_info_nce_loss"),
    ("config.MSCN.ONLINE_EVALUATION.NETWORK=teacher", "NETWORK is 'teacher'; it must be online or"),
    (
        "config.MODEL.HEAD.PARAMS=[[mlp,{dims:[64,16]}]]",
        "dims[0] is 64, but the trunk small_resnet",
    ),
    ("config.DISTRIBUTED.NUM_NODES=2", "add config.DISTRIBUTED.NUM_NODES=1"),
]


BYOL = "config.LOSS.byol_loss"
WRONG_BYOL = [
    (f"{BYOL}.target_momentum=1", f"{BYOL}.target_momentum is 1; it must be at least 0 and below"),
    (f"{BYOL}.target_input=clean", f"{BYOL}.target_input is 'clean'; it must be one of"),
    (f"{BYOL}.num_masks=3", f"{BYOL}.num_masks is 3, but the collator makes [2, 2]"),
    (f"+{BYOL}.tau=0.9", f"{BYOL}.tau is not a key of BYOLLoss; "),
    (
        "config.TRAINER.TASK_NAME=self_supervision_task",
        "TASK_NAME is self_supervision_task; it must",
    ),
    (
        "config.MODEL.HEAD.PARAMS=[[mlp,{dims:[128,64]}]]",
        "has 1 heads with outputs [64]; byol_loss",
    ),
    (
        "config.MODEL.HEAD.PARAMS=[[mlp,{dims:[null,64]}],[mlp,{dims:[64,32]}]]",
        "has 2 heads with outputs [64, 32]; byol_loss needs at least two, the last of them the",
    ),
    (
        "config.DATA.TRAIN.COLLATE_FUNCTION=moco_collator",
        "is moco_collator; byol_loss compares two",
    ),
    ("config.MODEL.HEAD.PARAMS.0.0=mlp_fsdp", "takes no FSDP trunk or head"),
    (
        "config.DATA.TRAIN.COLLATE_FUNCTION=simclr_collator",
        f"{BYOL}.target_input is unmasked, which",
    ),
]


@pytest.mark.parametrize(("override", "message"), WRONG_BYOL, ids=[o for o, _ in WRONG_BYOL])
def test_one_sentence_names_the_key_of_byol(compose, large_folder, override, message):
    if "simclr_collator" in override:
        extra = [f"{BYOL}.target_input=unmasked", "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS=null"]
    else:
        extra = []
    with pytest.raises(ConfigError) as error:
        compose("config=mscn/byol_quickstart", f"config.MSCN.DATA={large_folder}", *extra, override)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("override", "message"), WRONG, ids=[override for override, _ in WRONG])
def test_one_sentence_names_the_key(compose, large_folder, tmp_path, override, message):
    key, value = override.split("=", 1)
    overrides = {"config.MSCN.DATA": str(large_folder), key: value}
    with pytest.raises(ConfigError) as error:
        compose("config=mscn/quickstart", *(f"{k}={v}" for k, v in overrides.items()))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_wrong_transforms_are_named_by_their_place(compose, large_folder):
    crop = "{name: CenterCrop, size: 56}"
    for wrong, message in (
        ("{name: MSCNHighPass, sigma: -1}", "config.DATA.TEST.TRANSFORMS[1].sigma is -1; it must"),
        ("{name: MSCNHighPass, sigm: 1}", "TRANSFORMS[1].sigm is not a key of MSCNHighPass"),
        ("{name: MSCNMask, ratio: 2}", "config.DATA.TEST.TRANSFORMS[1].ratio is 2; it must be"),
    ):
        with pytest.raises(ConfigError) as error:
            compose(
                "config=mscn/quickstart",
                f"config.MSCN.DATA={large_folder}",
                f"config.DATA.TEST.TRANSFORMS=[{crop},{wrong}]",
            )
        assert message in str(error.value)


def test_empty_folders_are_refused(compose, tmp_path):
    for make, message in (
        (lambda folder: folder.mkdir(), "which has no sub-folders"),
        (lambda folder: (folder / "cats").mkdir(), "whose sub-folder 'cats' holds no images"),
        (lambda folder: (folder / "cats" / "x.txt").touch(), "holds no images"),
    ):
        make(tmp_path / "data")
        with pytest.raises(ConfigError, match=message):
            compose("config=mscn/quickstart", f"config.MSCN.DATA={tmp_path / 'data'}")


def test_a_single_folder_of_classes_is_enough(compose, large_folder):
    config = compose("config=mscn/quickstart", f"config.MSCN.DATA={large_folder}/train")
    assert [f"{large_folder}/train"] == config.DATA.TRAIN.DATA_PATHS
    assert config.DATA.TEST.DATA_SOURCES == []


def test_vissls_own_data_keys_still_work(compose, large_folder):
    config = compose(
        "config=mscn/quickstart",
        "config.MSCN.DATA=''",
        f"config.DATA.TRAIN.DATA_PATHS=[{large_folder}/train]",
        f"config.DATA.TRAIN.LABEL_PATHS=[{large_folder}/train]",
        "config.DATA.TEST.DATA_SOURCES=[]",
    )
    assert [f"{large_folder}/train"] == config.DATA.TRAIN.DATA_PATHS


def test_the_paper_run_as_written_says_what_this_machine_needs(run_tool, tmp_path):
    result = run_tool("config=mscn/simclr", check=False)
    assert result.returncode == 1
    (sentence,) = [line for line in result.stderr.splitlines() if line.startswith("mscn-plugin:")]
    assert "Traceback" not in result.stderr
    for needed in (
        "4 x 8 gpus",
        "config.DISTRIBUTED.NUM_NODES=1",
        "config.DISTRIBUTED.NUM_PROC_PER_NODE=1",
        "config.MACHINE.DEVICE=cpu",
        "config.DISTRIBUTED.BACKEND=gloo",
        "config.MSCN.DATA=",
        "config.SLURM.USE_SLURM=true",
    ):
        assert needed in sentence
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["config=mscn/simcrl"], "Could not find 'config/mscn/simcrl'"),
        (["config=mscn/quickstart", f"{COLLATOR}.rato=0.2"], "COLLATE_FUNCTION_PARAMS.rato'"),
    ],
)
def test_what_hydra_does_not_know_is_one_sentence_too(run_tool, tmp_path, overrides, message):
    result = run_tool(*overrides, check=False)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    (sentence,) = [line for line in result.stderr.splitlines() if line.startswith("mscn-plugin:")]
    assert message in sentence
    assert not list(tmp_path.iterdir())


def test_missing_imagenet_is_named(compose):
    with pytest.raises(ConfigError, match="DATASET_NAMES names 'imagenet1k_folder'"):
        compose("config=mscn/simclr", "+config/mscn/machine=cpu")


def test_num_masks_of_the_loss_is_the_collators(compose, large_folder):
    data = f"config.MSCN.DATA={large_folder}"
    config = compose("config=mscn/quickstart", data, f"{COLLATOR}.num_masks=[1,3]")
    assert config.LOSS.mscn_info_nce_loss.num_masks == [1, 3]


def test_mocos_queue_takes_whole_batches(compose, large_folder):
    with pytest.raises(ConfigError, match="queue_size is 65536; it must be a multiple of .*, 48"):
        compose(
            "config=mscn/moco",
            "+config/mscn/machine=cpu",
            f"config.MSCN.DATA={large_folder}",
            "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=48",
        )


def test_a_loss_without_a_section_has_the_defaults(compose, large_folder):
    """As in a VISSL page in which LOSS.name alone is changed."""
    data = f"config.MSCN.DATA={large_folder}"
    for page, loss in (("byol_quickstart", "byol_loss"), ("quickstart", "mscn_info_nce_loss")):
        config = compose(f"config=mscn/{page}", data, f"~config.LOSS.{loss}")
        assert config.LOSS[loss] == {"num_masks": 2}


def test_the_target_sees_unmasked_views_if_asked_to(compose, large_folder):
    data = f"config.MSCN.DATA={large_folder}"
    for target_input in ("masked", "unmasked"):
        config = compose("config=mscn/byol_quickstart", data, f"{BYOL}.target_input={target_input}")
        kept = config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS.get("unmasked_views", False)
        assert kept == (target_input == "unmasked")


def test_the_projectors_input_follows_the_trunk(compose, large_folder):
    data = f"config.MSCN.DATA={large_folder}"
    for page in ("simclr", "byol", "moco"):
        config = compose(
            f"config=mscn/{page}",
            "+config/mscn/machine=cpu",
            "+config/mscn/models=regnet400mf",
            data,
        )
        assert config.MODEL.HEAD.PARAMS[0][1]["dims"][0] == 440


def test_other_configurations_are_left_alone(compose, monkeypatch):
    from mscn_plugin.integration import config_hook

    monkeypatch.setattr(config_hook, "prepare_config", lambda cfg: pytest.fail("touched"))
    config = compose("config=test/cpu_test/test_cpu_resnet_simclr")
    assert "MSCN" not in config
