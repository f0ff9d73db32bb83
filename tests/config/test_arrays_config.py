"""What MSCN.CHANNELS means for a configuration, and what it refuses."""

from __future__ import annotations

import json
import shlex
import shutil

import numpy as np
import pytest
from array_folders import write_arrays
from PIL import Image

from mscn_plugin.data.statistics import FILE
from mscn_plugin.errors import ConfigError

SMALL = "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=8"
TRAIN = "config.DATA.TRAIN.TRANSFORMS"


@pytest.fixture(scope="module")
def shared(once):
    return once("float32_of_4", lambda folder: write_arrays(folder, 4, "float32"))


@pytest.fixture
def arrays(shared, tmp_path):
    """4 channels of float32, with statistics.json."""
    return shutil.copytree(shared, tmp_path / "arrays")


@pytest.fixture
def asked(arrays):
    return "config=mscn/arrays", f"config.MSCN.DATA={arrays}", "config.MSCN.CHANNELS=4", SMALL


def test_trunk_and_normalization_follow_the_data(compose, asked, arrays):
    cfg = compose(*asked)
    assert cfg.MODEL.TRUNK.INPUT.CHANNELS == 4
    assert cfg.HOOKS.MODEL_COMPLEXITY.INPUT_SHAPE[0] == 4
    assert cfg.DATA.TRAIN.DATA_SOURCES == cfg.DATA.TEST.DATA_SOURCES == ["array_folder"]
    statistics = json.loads((arrays / FILE).read_text())
    for split in ("TRAIN", "TEST"):
        normalize = next(t for t in cfg.DATA[split].TRANSFORMS if t["name"] == "Normalize")
        assert [normalize["mean"], normalize["std"]] == [statistics["mean"], statistics["std"]]


@pytest.mark.parametrize("given", [False, True])
def test_the_command_to_type_is_one_of_the_shell(compose, asked, arrays, tmp_path, given):
    data = arrays.rename(tmp_path / "my $arrays")
    (data / FILE).unlink()
    overrides = [f"config.MSCN.DATA='{data}'", "config.MSCN.STATISTICS='its own.json'"]
    with pytest.raises(ConfigError) as error:
        compose(asked[0], *asked[2:], *overrides[: 1 + given])
    command = str(error.value).partition(": mscn ")[2].partition(" writes it")[0]
    expected = ["statistics", str(data), "--channels", "4"]
    if given:
        expected += ["--output", "its own.json"]
    assert shlex.split(command) == expected


def test_pictures_are_what_they_were(compose, image_folder):
    cfg = compose("config=mscn/quickstart", f"config.MSCN.DATA={image_folder}", SMALL)
    assert "INPUT" not in cfg.MODEL.TRUNK
    assert cfg.DATA.TRAIN.DATA_SOURCES == ["disk_folder"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["config.MSCN.CHANNELS=3"],
            r"is of 4 channels, and config.MSCN.CHANNELS is 3; where the arr",
        ),
        (["config.MSCN.CHANNELS=0"], "MSCN.CHANNELS is 0; it must be null, or a whole number"),
        (["config.MSCN.CHANNELS=65"], "MSCN.CHANNELS is 65"),
        (["config.MSCN.CHANNELS=null"], "Normalize with mean None.*: set config.MSCN.CHANNELS"),
        (["config.MSCN.ARRAY_LAYOUT=hwc"], "ARRAY_LAYOUT is 'hwc'; it must be auto or channels_f"),
        (["config.MSCN.STATISTICS=none.json"], "none.json cannot be read.*: mscn statistics"),
        (["config.MSCN.CACHE=memory"], "CACHE is memory, which holds pictures.*must be none"),
        (["config.MSCN.PICTURE_CHANNELS=[0,1,4]"], r"PICTURE_CHANNELS is \[0, 1, 4\].* 0 to 3"),
        (["config.MSCN.PICTURE_CHANNELS=[0,1]"], "PICTURE_CHANNELS is .*one or three channels"),
        (["config.MSCN.PIXEL_RANGE=[0,4095]"], r"PIXEL_RANGE is \[0, 4095\].*must be null"),
        (["config.MSCN.DATA=photographs"], "DATA is 'photographs', which are pictures"),
        (["config.MSCN.DATA=''"], "takes the statistics of config.MSCN.DATA, and that is empty"),
        (
            [f"{TRAIN}.1={{name:ImgPilColorDistortion}}"],
            r"TRAIN.TRANSFORMS\[1\] is ImgPilColorDistortion, which is for pictures",
        ),
        ([f"{TRAIN}.1={{name:ColorJitter}}"], r"TRANSFORMS\[1\] is ColorJitter"),
        ([f"{TRAIN}.1={{name:random_grayscale}}"], r"TRANSFORMS\[1\] is random_grayscale"),
        ([f"{TRAIN}.2={{name:ToTensor}}"], r"TRANSFORMS\[2\] is ToTensor, which is for pictures"),
        ([f"{TRAIN}.0={{name:ImgReplicatePil}}"], "MSCNRandomResizedCrops"),
        ([f"{TRAIN}.2.mean=[0,0,0,0]"], "std None; both must be null, or both lists"),
        ([f"{TRAIN}.2={{name:Normalize,mean:[1,2],std:[1,2]}}"], r"mean is \[1, 2\].*of 1 or 4"),
        ([f"{TRAIN}.2={{name:Normalize,mean:[1],std:[0]}}"], r"std is \[0\]; it must be"),
        (
            ["config.MODEL.TRUNK.NAME=vision_transformer"],
            "TRUNK.NAME is vision_transformer, which takes RGB alone",
        ),
        (["config.MODEL.INPUT_TYPE=bgr"], "INPUT_TYPE is bgr; with config.MSCN.CHANNELS 4"),
        (
            ["+config.MODEL.TRUNK.INPUT.CHANNELS=5"],
            "TRUNK.INPUT.CHANNELS is 5, and config.MSCN.CHANNELS 4",
        ),
        (
            ["config.MSCN.DATA=''", "config.DATA.TRAIN.DATA_PATHS=[.]", "config.MSCN.STATISTICS=s"],
            "s cannot be read",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(compose, asked, overrides, message):
    kept = [o for o in asked if o.partition("=")[0] not in {o.partition("=")[0] for o in overrides}]
    with pytest.raises(ConfigError, match=message):
        compose(*kept, *overrides)


def test_statistics_of_other_images_are_refused(compose, asked, arrays, caplog):
    extra = arrays / "train" / "class0" / "more.npy"
    np.save(extra, np.zeros((4, 60, 60), np.float32))
    with pytest.raises(ConfigError, match=r"statistics\.json is of other images than.*again"):
        compose(*asked)
    (arrays / FILE).rename(arrays.parent / "kept.json")
    with pytest.raises(ConfigError, match=r"statistics\.json cannot be read.*--channels 4 writes"):
        compose(*asked)
    compose(*asked, f"config.MSCN.STATISTICS={arrays.parent / 'kept.json'}")
    assert "is of other images than the current training images" in caplog.text


def test_statistics_of_other_values_are_refused(compose, asked, arrays):
    """Arrays have the same size whatever is in them."""
    compose(*asked)
    for path in (arrays / "train").rglob("*.npy"):
        size = path.stat().st_size
        np.save(path, np.load(path) * 2)
        assert path.stat().st_size == size
    with pytest.raises(ConfigError, match=r"statistics\.json is of other images than.*again"):
        compose(*asked)


def test_a_channel_that_is_a_constant_is_refused(compose, asked, arrays):
    statistics = json.loads((arrays / FILE).read_text())
    statistics["std"][2] = 0.0
    (arrays / FILE).write_text(json.dumps(statistics))
    with pytest.raises(ConfigError, match=r"same number in every pixel, counted from 0: \[2\]"):
        compose(*asked)


def test_numbers_of_ones_own_need_no_statistics(compose, asked, arrays):
    (arrays / FILE).unlink()
    given = "={name:Normalize,mean:[-5.0],std:[0.001]}"
    places = (f"{TRAIN}.2", "config.DATA.TEST.TRANSFORMS.2")
    cfg = compose(*asked, *(place + given for place in places))
    assert cfg.DATA.TRAIN.TRANSFORMS[2]["std"] == [0.001]


def test_arrays_without_the_key_and_pictures_with_it_are_refused_with_a_way_out(
    compose, arrays, image_folder, tmp_path
):
    with pytest.raises(ConfigError, match=r"left out: \.npy .*with config.MSCN.CHANNELS="):
        compose("config=mscn/quickstart", f"config.MSCN.DATA={arrays / 'train'}")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (60, 60)).save(pictures / "a.jpg")
    given = [
        f"{split}.TRANSFORMS.2={{name:Normalize,mean:[0.5],std:[0.5]}}"
        for split in ("TRAIN", "TEST")
    ]
    asked = ("config=mscn/arrays", "config.MSCN.CHANNELS=3", *(f"config.DATA.{g}" for g in given))
    with pytest.raises(ConfigError, match=r"holds no arrays .*left out: \.jpg .*must be null"):
        compose(*asked, f"config.MSCN.DATA={pictures}")
    (tmp_path / "x.tar").write_bytes(b"")
    with pytest.raises(ConfigError, match="holds packed images"):
        compose(*asked, f"config.MSCN.DATA={tmp_path / 'x.tar'}")


@pytest.mark.parametrize(
    ("shape", "message"),
    [((3, 60, 60), "none of 16 arrays of .*train can be read"), ((4, 60, 4), "ARRAY_LAYOUT")],
)
def test_arrays_of_another_shape_are_refused_before_anything_starts(
    compose, asked, arrays, shape, message
):
    for file in arrays.glob("train/*/*.npy"):
        np.save(file, np.zeros(shape, np.float32))
    given = "={name:Normalize,mean:[0],std:[1]}"
    places = (f"{TRAIN}.2", "config.DATA.TEST.TRANSFORMS.2")
    with pytest.raises(ConfigError, match=message):
        compose(*asked, *(place + given for place in places))
