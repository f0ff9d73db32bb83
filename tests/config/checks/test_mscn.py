"""What a configuration is completed with, and refusals that need more than overrides.

The others are in ``benchmarks/reliability/configs.py``, a table that ``test_bad_configurations.py``
goes through.
"""

from __future__ import annotations

import shutil

import pytest
from vissl.config import AttrDict

from mscn_plugin import ConfigError
from mscn_plugin.config.checks import mscn
from mscn_plugin.data.parallel import usable_cores

COLLATOR = "config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS"
BYOL = "config.LOSS.byol_loss"
SMALL = ("config=mscn/quickstart", "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=8")


def test_wrong_transforms_are_named_by_their_place(compose, batch_folder):
    crop = "{name: CenterCrop, size: 56}"
    for wrong, message in (
        ("{name: MSCNHighPass, sigma: -1}", "config.DATA.TEST.TRANSFORMS[1].sigma is -1; it must"),
        ("{name: MSCNHighPass, sigm: 1}", "TRANSFORMS[1].sigm is not a key of MSCNHighPass"),
        ("{name: MSCNMask, ratio: 2}", "config.DATA.TEST.TRANSFORMS[1].ratio is 2; it must be"),
    ):
        with pytest.raises(ConfigError) as error:
            compose(
                "config=mscn/quickstart",
                f"config.MSCN.DATA={batch_folder}",
                f"config.DATA.TEST.TRANSFORMS=[{crop},{wrong}]",
            )
        assert message in str(error.value)


def test_empty_folders_are_refused(compose, tmp_path):
    for make, message in (
        (lambda folder: folder.mkdir(), "data', which holds no images"),
        (lambda folder: (folder / "cats").mkdir(), "left out: sub-folder without images cats"),
        (lambda folder: (folder / "cats" / "x.heic").touch(), r"left out: \.heic \(1\)"),
    ):
        make(tmp_path / "data")
        with pytest.raises(ConfigError, match=message):
            compose("config=mscn/quickstart", f"config.MSCN.DATA={tmp_path / 'data'}")


def test_splits_of_other_classes_are_refused_where_labels_are_read(compose, image_folder, tmp_path):
    """A label is a place among the classes: kNN would compare other classes, without a word."""
    data = shutil.copytree(image_folder, tmp_path / "data")
    arguments = [
        "config=mscn/quickstart",
        f"config.MSCN.DATA={data}",
        "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=8",
    ]
    off = "config.MSCN.ONLINE_EVALUATION.EVERY_NUM_EPOCHS=0"
    for split, name in (("val", "class0"), ("val", "class3"), ("train", "class2")):
        folder = (data / split / name).rename(tmp_path / "aside")
        with pytest.raises(ConfigError, match=f"{data / split} has no '{name}'; or add {off}"):
            compose(*arguments)
        compose(*arguments, off)
        folder.rename(data / split / name)
    compose(*arguments)


def test_images_that_vissl_would_miss_later_are_missed_at_the_start(
    compose, image_folder, tmp_path
):
    from PIL import Image

    data = shutil.copytree(image_folder, tmp_path / "data")
    for index in range(6):  # two are left of this class, eight of the others
        (data / "train" / "class1" / f"{index}.png").unlink()
    Image.new("RGB", (80, 64)).save(data / "val" / "class0" / "0.png")
    neighbors = "config.MSCN.ONLINE_EVALUATION.NUM_NEIGHBORS=2"
    arguments = (*SMALL, f"config.MSCN.DATA={data}", neighbors)
    balanced = "config.DATA.TRAIN.DATA_LIMIT_SAMPLING.IS_BALANCED=True"
    compose(*arguments, balanced, "config.DATA.TRAIN.DATA_LIMIT=9")  # its rest is of class 0
    with pytest.raises(ConfigError, match="DATA_LIMIT is 10, .* has 2: .* from 4 to 8$"):
        compose(*arguments, balanced, "config.DATA.TRAIN.DATA_LIMIT=10")
    resized = "config.DATA.TEST.TRANSFORMS=[{name:Resize,size:64},{name:ToTensor}"
    filtered = "{name:Normalize,mean:[0.485,0.456,0.406],std:[0.229,0.224,0.225]}"
    whole = f"{resized},{filtered},{{name:MSCNHighPass,sigma:1.25}}]"
    with pytest.raises(ConfigError, match="DATA.TEST.TRANSFORMS leave images of several sizes"):
        compose(*arguments, whole)


def test_hidden_folders_are_no_classes(compose, image_folder, tmp_path):
    from mscn_plugin.data.readable_images import build_dataset

    data = shutil.copytree(image_folder, tmp_path / "data")
    for split in ("train", "val"):
        for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir"):
            shutil.copytree(data / split / "class0", data / split / name)
            shutil.copytree(data / split / "class0", data / split / "class1" / name)
    config = compose(*SMALL, f"config.MSCN.DATA={data}")
    for split, images in (("TRAIN", 32), ("TEST", 12)):
        dataset = build_dataset(config, split)
        dataset.load_labels()
        assert len(dataset) == images
        assert set(dataset.label_objs[0].tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize(("val", "test"), [("valid", "test"), ("Validation", "Test")])
def test_splits_by_other_names_are_taken_and_said(
    compose, image_folder, tmp_path, caplog, val, test
):
    from mscn_plugin.data.readable_images import build_dataset

    data = tmp_path / f"data-{val}"
    shutil.copytree(image_folder / "train", data / "train")
    shutil.copytree(image_folder / "val", data / val)
    shutil.copytree(image_folder / "val", data / test)
    config = compose(*SMALL, f"config.MSCN.DATA={data}")
    assert [f"{data}/train"] == config.DATA.TRAIN.DATA_PATHS
    assert [f"{data}/{val}"] == config.DATA.TEST.DATA_PATHS
    with caplog.at_level("INFO"):
        build_dataset(config, "TRAIN")
    said = f"data in {data}: train for training, {val} for validation; not used: {test}"
    assert said in caplog.text
    assert f"TRAIN: 32 images of 4 classes in {data}/train" in caplog.text


@pytest.mark.parametrize("folder", ["train/class0", "train"])
def test_images_without_labels_are_enough(compose, image_folder, tmp_path, caplog, folder):
    """In a folder without sub-folders, or in the only one."""
    from mscn_plugin.training.hooks.online_evaluation import EvaluationData

    data = tmp_path / "data"
    shutil.copytree(image_folder / "train" / "class0", data / "train" / "class0")
    config = compose(*SMALL, f"config.MSCN.DATA={data / folder}")
    assert config.DATA.TRAIN.LABEL_SOURCES == config.DATA.TEST.DATA_SOURCES == []
    with caplog.at_level("INFO"):
        assert EvaluationData.of(config) is None
    said = "no online evaluation: the training images have no labels ("
    assert f"{said}{data / folder} has no two sub-folders of images" in caplog.text


def test_a_list_of_images_needs_no_labels(compose, image_folder, tmp_path):
    """VISSL would look for its labels in its catalog, and end in a KeyError."""
    import numpy as np

    from mscn_plugin.data.readable_images import build_dataset

    paths = sorted(map(str, (image_folder / "train").rglob("*.png")))
    np.save(tmp_path / "paths.npy", np.array(paths))
    for labels in ("[disk_folder]", "[disk_filelist]", "[]"):
        config = compose(
            *SMALL,
            "config.MSCN.DATA=''",
            "config.DATA.TRAIN.DATA_SOURCES=[disk_filelist]",
            f"config.DATA.TRAIN.DATA_PATHS=[{tmp_path}/paths.npy]",
            f"config.DATA.TRAIN.LABEL_SOURCES={labels}",
            f"config.DATA.TEST.DATA_PATHS=[{image_folder}/val]",
        )
        assert config.DATA.TRAIN.LABEL_SOURCES == []
        assert config.MSCN.TRAINING_IMAGES["number"] == 32
        assert len(build_dataset(config, "TRAIN")) == 32
    moved = [path.replace(str(image_folder), "/elsewhere") for path in paths]
    np.save(tmp_path / "paths.npy", np.array(moved))
    listed = [
        *("config.MSCN.DATA=''", "config.DATA.TEST.DATA_SOURCES=[]"),
        "config.DATA.TRAIN.DATA_SOURCES=[disk_filelist]",
        f"config.DATA.TRAIN.DATA_PATHS=[{tmp_path}/paths.npy]",
    ]
    with pytest.raises(ConfigError, match=r"none of 16 images of .*paths.npy can be read: /elsewh"):
        compose(*SMALL, *listed)
    prefixes = ("REMOVE_IMG_PATH_PREFIX=/elsewhere", f"NEW_IMG_PATH_PREFIX={image_folder}")
    compose(*SMALL, *listed, *(f"config.DATA.TRAIN.{prefix}" for prefix in prefixes))


def test_a_single_folder_of_classes_is_enough(compose, batch_folder):
    config = compose("config=mscn/quickstart", f"config.MSCN.DATA={batch_folder}/train")
    assert [f"{batch_folder}/train"] == config.DATA.TRAIN.DATA_PATHS
    assert config.DATA.TEST.DATA_SOURCES == []


def test_vissls_own_data_keys_still_work(compose, batch_folder):
    config = compose(
        "config=mscn/quickstart",
        "config.MSCN.DATA=''",
        f"config.DATA.TRAIN.DATA_PATHS=[{batch_folder}/train]",
        f"config.DATA.TRAIN.LABEL_PATHS=[{batch_folder}/train]",
        "config.DATA.TEST.DATA_SOURCES=[]",
    )
    assert [f"{batch_folder}/train"] == config.DATA.TRAIN.DATA_PATHS


@pytest.mark.process
def test_the_paper_run_as_written_says_what_this_machine_needs(run_tool, tmp_path):
    result = run_tool("config=mscn/simclr", check=False)
    assert result.returncode == 1
    (sentence,) = [line for line in result.stderr.splitlines() if line.startswith("mscn-plugin:")]
    assert "Traceback" not in result.stderr
    for needed in (
        "4 x 8 gpus",
        "add +config/mscn/machine=cpu ",
        "config.MSCN.DATA=",
        "config.SLURM.USE_SLURM=true",
    ):
        assert needed in sentence
    if usable_cores() < 8:  # the config's workers
        assert f"config.DATA.NUM_DATALOADER_WORKERS={usable_cores()} " in sentence
    assert not list(tmp_path.iterdir())


@pytest.mark.process
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


def test_num_masks_of_the_loss_is_the_collators(compose, batch_folder):
    data = f"config.MSCN.DATA={batch_folder}"
    config = compose("config=mscn/quickstart", data, f"{COLLATOR}.num_masks=[1,3]")
    assert config.LOSS.mscn_info_nce_loss.num_masks == [1, 3]


def test_mocos_queue_takes_whole_batches(compose, batch_folder):
    with pytest.raises(ConfigError, match="queue_size is 65536; it must be a multiple of .*, 48"):
        compose(
            "config=mscn/moco",
            "+config/mscn/machine=cpu",
            f"config.MSCN.DATA={batch_folder}",
            "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=48",
        )


def test_overrides_of_parts_that_the_run_does_not_have_are_warned_of(
    compose, batch_folder, monkeypatch, caplog
):
    unread = [
        "config.LOSS.simclr_info_nce_loss.temperature=0.1",
        "config.MODEL.TRUNK.RESNETS.DEPTH=50",
        "config.OPTIMIZER.param_schedulers.lr.milestones=[1,2]",
        "config.OPTIMIZER.betas=[0.9,0.98]",
    ]
    read = [
        "config.OPTIMIZER.momentum=0.8",
        "config.LOSS.mscn_info_nce_loss.temperature=0.1",
        "config.MODEL.TRUNK.SMALL_RESNET.DEPTH=18",
        "config.OPTIMIZER.param_schedulers.lr.end_value=0.001",
    ]
    arguments = ["config=mscn/quickstart", f"config.MSCN.DATA={batch_folder}", *unread, *read]
    monkeypatch.setattr("sys.argv", ["tool", *arguments])
    compose(*arguments)
    said = [r.getMessage() for r in caplog.records if "has no effect" in r.getMessage()]
    for message, key, reason in zip(
        said,
        unread,
        (
            "config.LOSS.name is mscn_info_nce_loss, whose section is "
            "config.LOSS.mscn_info_nce_loss",
            "config.MODEL.TRUNK.NAME is small_resnet, whose section is "
            "config.MODEL.TRUNK.SMALL_RESNET",
            "mscn_warmup_cosine does not read it",
            "sgd does not read it",
        ),
        strict=True,
    ):
        assert message == f"{key.partition('=')[0]} has no effect: {reason}"


def test_a_loss_without_a_section_has_the_defaults(compose, batch_folder):
    """As in a config of VISSL in which LOSS.name alone is changed."""
    data = f"config.MSCN.DATA={batch_folder}"
    for name, loss in (("byol_quickstart", "byol_loss"), ("quickstart", "mscn_info_nce_loss")):
        config = compose(f"config=mscn/{name}", data, f"~config.LOSS.{loss}")
        assert config.LOSS[loss] == {"num_masks": 2}


def test_the_target_sees_unmasked_views_if_asked_to(compose, batch_folder):
    data = f"config.MSCN.DATA={batch_folder}"
    for target_input in ("masked", "unmasked"):
        config = compose("config=mscn/byol_quickstart", data, f"{BYOL}.target_input={target_input}")
        kept = config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS.get("unmasked_views", False)
        assert kept == (target_input == "unmasked")


def test_the_projectors_input_follows_the_trunk(compose, batch_folder):
    data = f"config.MSCN.DATA={batch_folder}"
    for name in ("simclr", "byol", "moco"):
        config = compose(
            f"config=mscn/{name}",
            "+config/mscn/machine=cpu",
            "+config/mscn/models=regnet400mf",
            data,
        )
        assert config.MODEL.HEAD.PARAMS[0][1]["dims"][0] == 440
    chain = "[[[mlp,{dims:[%s,64]}],[mlp,{dims:[64,32]}]]]"
    quickstart = ("config=mscn/quickstart", data)
    config = compose(*quickstart, f"config.MODEL.HEAD.PARAMS={chain % 'null'}")
    assert config.MODEL.HEAD.PARAMS[0][0][1]["dims"] == [128, 64]
    with pytest.raises(ConfigError, match=r"\[0\]\[0\]\[1\]\.dims\[0\] is 100, but the trunk"):
        compose(*quickstart, f"config.MODEL.HEAD.PARAMS={chain % 100}")


def test_the_hook_of_a_later_vissl_hands_the_engine_on(registered, monkeypatch):
    """VISSL's last commits call it with one argument more."""
    from mscn_plugin.vissl import config_hook

    seen = []
    monkeypatch.setattr(config_hook, "_vissl_infer_and_assert", lambda *a, **k: seen.append((a, k)))
    monkeypatch.setattr(config_hook.mscn, "uses_mscn", lambda cfg: False)
    monkeypatch.setattr(config_hook.checkpoint, "refuse_unfiltered", lambda cfg: None)
    config_hook.infer_and_assert_hydra_config("cfg", "train")
    config_hook.infer_and_assert_hydra_config("cfg", engine_name="train")
    assert seen == [(("cfg", "train"), {}), (("cfg",), {"engine_name": "train"})]


@pytest.mark.parametrize(
    ("overrides", "warmup"),
    [
        (["config.OPTIMIZER.num_epochs=1"], 0.1),
        (["config.OPTIMIZER.param_schedulers.lr.warmup_epochs=8"], 0.8),
        (["config.OPTIMIZER.num_epochs=2"], 1),
    ],
)
def test_a_warm_up_as_long_as_the_run_is_shortened(
    compose, batch_folder, caplog, overrides, warmup
):
    cfg = compose("config=mscn/quickstart", f"config.MSCN.DATA={batch_folder}", *overrides)
    assert cfg.OPTIMIZER.param_schedulers.lr.warmup_epochs == pytest.approx(warmup)
    assert ("warm-up is shortened" in caplog.text) == (warmup < 1)


def test_steps_that_a_short_run_does_not_reach_are_left_out(compose, batch_folder, caplog):
    schedule = "config.OPTIMIZER.param_schedulers.lr"
    keys = ("warmup_epochs", "warmup_start_value")
    cfg = compose(
        "config=mscn/quickstart",
        f"config.MSCN.DATA={batch_folder}",
        f"{schedule}.name=multistep",
        f"{schedule}.values=[0.2,0.02,0.002]",
        f"{schedule}.milestones=[4,12]",
        *(f"~{schedule}.{key}" for key in keys),
    )
    assert cfg.OPTIMIZER.param_schedulers.lr.milestones == [4]
    assert cfg.OPTIMIZER.param_schedulers.lr["values"] == pytest.approx([0.2, 0.02])
    assert "the run reaches [4]" in caplog.text


def test_a_tilde_is_the_home_folder_in_every_path(compose, batch_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(batch_folder.parent))
    cfg = compose(
        "config=mscn/quickstart",
        f"config.MSCN.DATA='~/{batch_folder.name}'",
        "config.CHECKPOINT.DIR='~/run'",
        "config.SLURM.LOG_FOLDER='~/logs/'",
    )
    assert [f"{batch_folder}/train"] == cfg.DATA.TRAIN.DATA_PATHS
    assert f"{batch_folder.parent}/run" == cfg.CHECKPOINT.DIR
    assert f"{batch_folder.parent}/logs" == cfg.SLURM.LOG_FOLDER


def test_other_configurations_are_left_alone(compose, monkeypatch):
    from mscn_plugin.vissl import config_hook

    monkeypatch.setattr(config_hook, "prepare_config", lambda cfg: pytest.fail("touched"))
    config = compose("config=test/cpu_test/test_cpu_resnet_simclr")
    assert "MSCN" not in config


def test_a_view_for_each_mask_is_made_and_checked(compose, batch_folder):
    """The dry run passes a batch through transforms, collator and model."""
    arguments = (*SMALL, f"config.MSCN.DATA={batch_folder}", "+config/mscn/readings=view_per_mask")
    transforms = compose(*arguments, f"{COLLATOR}.num_masks=[1,2]").DATA.TRAIN.TRANSFORMS
    assert transforms[0]["num_times"] == 3
    byols = ("config=mscn/byol", "+config/mscn/machine=cpu", "+config/mscn/augmentations=byol")
    transforms = compose(*byols, *arguments[len(SMALL) :], f"{COLLATOR}.num_masks=[1,2]")
    by_view = [t["prob"] for t in transforms.DATA.TRAIN.TRANSFORMS if "prob" in t]
    assert by_view == [[1.0, 0.1, 0.1], [0.0, 0.2, 0.2]]
    with pytest.raises(ConfigError, match=r"num_times is 3; .* takes 4 views .* it must be 4"):
        compose(*arguments, "config.DATA.TRAIN.TRANSFORMS.0.num_times=3")
    with pytest.raises(ConfigError, match=r"PARAMS.view_per_mask is True; with unmasked_views"):
        compose(
            "config=mscn/byol_quickstart",
            *(*SMALL[1:], *arguments[len(SMALL) :]),
            f"{BYOL}.target_input=unmasked",
        )


@pytest.mark.parametrize("reading", ["focal_cells", "same_number_of_cells"])
def test_other_readings_of_the_masks_compose_over_any_config(compose, batch_folder, reading):
    data = f"config.MSCN.DATA={batch_folder}"
    config = compose(*SMALL, data, f"+config/mscn/readings={reading}")
    masks = config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS
    assert (masks.get("focal"), masks.get("ratio_rounding")) in (
        ("cells", None),
        (None, "nearest"),
    )


def test_a_drawn_part_of_imagenets_labels_is_not_the_published_one(caplog):
    from types import SimpleNamespace

    from mscn_plugin.config.data import warn_of_drawn_labels

    def warnings(subset, num_classes, loss="cross_entropy_multiple_output_single_target"):
        settings = SimpleNamespace(EVAL_MODE_ON=False)
        config = SimpleNamespace(
            MSCN=SimpleNamespace(TRAIN_SUBSET=subset),
            MODEL=SimpleNamespace(FEATURE_EVAL_SETTINGS=settings),
            LOSS=SimpleNamespace(name=loss),
        )
        caplog.clear()
        warn_of_drawn_labels(config, num_classes)
        return caplog.text

    assert "TRAIN_SUBSET is 0.01" in warnings(0.01, 1000)
    assert "1percent.txt" in warnings(0.01, 1000)
    assert not warnings("1percent.txt", 1000)
    assert not warnings(0.01, 16)
    assert not warnings(0.1, 1000, "mscn_info_nce_loss")


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma": 15}, "sigma 15, .* does not fit the crop of 56 pixels: it must be at most 14"),
        ({"cell_size": 57}, "cell_size is 57; it must be"),
    ],
)
def test_filter_and_masks_of_arrays_are_held_against_their_crop(change, message):
    from vissl.config import AttrDict

    from mscn_plugin.config.checks.mscn import check
    from mscn_plugin.config.composed import composed

    config = AttrDict(composed("mscn/arrays"))
    filters = [config.DATA[split].TRANSFORMS[-1] for split in ("TRAIN", "TEST")]
    for transform in filters:
        transform.update({key: value for key, value in change.items() if key == "sigma"})
    masks = {key: value for key, value in change.items() if key != "sigma"}
    config.DATA.TRAIN.COLLATE_FUNCTION_PARAMS.update(masks)
    with pytest.raises(ConfigError, match=message):
        check(config)


def test_a_relative_folder_is_kept_as_the_folder_that_it_was(compose, batch_folder, tmp_path):
    """What evaluates the run may be started from another one."""
    (tmp_path / "mine").symlink_to(batch_folder)
    cfg = compose("config=mscn/quickstart", "config.MSCN.DATA=mine")
    assert str(tmp_path / "mine") == cfg.MSCN.DATA
    assert compose("config=mscn/quickstart").MSCN.DATA == "photographs"


def test_a_crop_of_both_sides_is_compared_side_by_side():
    def crop(resize, size):
        transforms = [{"name": "Resize", "size": resize}, {"name": "CenterCrop", "size": size}]
        split = AttrDict({"TRANSFORMS": transforms})
        mscn._check_crops(AttrDict({"DATA": {"TRAIN": split, "TEST": split}}))

    for resize, size in ((64, [64, 48]), ([56, 72], [56, 72]), ([72], 72)):
        crop(resize, size)
    for resize, size in ((64, [48, 72]), ([56, 72], [72, 56]), ([56, 72], 60)):
        with pytest.raises(ConfigError, match=r"TRANSFORMS\[1\].size is .*would be black"):
            crop(resize, size)
