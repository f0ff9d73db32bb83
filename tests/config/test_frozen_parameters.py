"""How long SwAV's and DINO's prototypes are frozen: a part of the run, whatever its length."""

from __future__ import annotations

import pytest
import yaml
from vissl.config import AttrDict

from mscn_plugin.config.folder import config_folder
from mscn_plugin.config.frozen_parameters import infer_and_check
from mscn_plugin.errors import ConfigError

IMAGENET, PHOTOGRAPHS = 1281167, 3200


def iterations(time, images, batch=64, processes=1, epochs=100, **train):
    train = {"BATCHSIZE_PER_REPLICA": batch, "DROP_LAST": True, "DATA_LIMIT": -1, **train}
    config = AttrDict(
        {
            "MODEL": {"TEMP_FROZEN_PARAMS_ITER_MAP": [["name", time]]},
            "DATA": {"TRAIN": {"DATA_SOURCES": ["synthetic"], **train}},
            "DISTRIBUTED": {"NUM_NODES": 1, "NUM_PROC_PER_NODE": processes},
            "OPTIMIZER": {"num_epochs": epochs},
            "TEST_ONLY": False,
        }
    )
    infer_and_check(config, images)
    ((name, number),) = config.MODEL.TEMP_FROZEN_PARAMS_ITER_MAP
    assert name == "name"
    return number


def written(name):
    text = (config_folder() / "config" / "mscn" / f"{name}.yaml").read_text()
    ((_, time),) = yaml.safe_load(text)["config"]["MODEL"]["TEMP_FROZEN_PARAMS_ITER_MAP"]
    return time


@pytest.mark.parametrize(
    ("name", "images", "processes", "epochs", "number"),
    [
        ("dino", IMAGENET, 8, 100, 2502),  # DINO's
        ("swav", IMAGENET, 64, 400, 313),  # SwAV's
        ("dino_quickstart", PHOTOGRAPHS, 1, 8, 40),
        ("swav_quickstart", PHOTOGRAPHS, 1, 8, 40),
        ("dino", IMAGENET, 1, 100, 20018),
        ("dino", 5000, 1, 100, 78),  # 2502 were 32 of 100 epochs
        ("swav", 1600, 1, 8, 25),  # 313 were all of the run
    ],
)
def test_it_is_the_first_epoch(name, images, processes, epochs, number):
    assert iterations(written(name), images, 64, processes, epochs) == number


def test_a_run_of_one_epoch_is_not_frozen_throughout(caplog):
    assert iterations("1 epoch", 640, epochs=1) == 1
    assert "the run has 10 iterations: it is frozen in a tenth of them, 1" in caplog.text
    assert iterations("1 epoch", 127, epochs=2) == 0  # 1.98 batches are nearly 2


def test_what_the_user_gives_is_kept_unless_it_is_all_of_the_run():
    assert iterations(999, 640) == 999
    assert iterations(9, 100, DROP_LAST=False, epochs=5) == 9
    message = (
        r"TEMP_FROZEN_PARAMS_ITER_MAP has 1000 iterations for name, which would never be trained "
        r"in a run of 1000: it must be below that, or a number of epochs: '.*=\[\[name,.*1 epoch"
    )
    with pytest.raises(ConfigError, match=message):
        iterations(1000, 640)


def test_images_that_nobody_has_counted_need_iterations():
    assert iterations(313, None) == 313
    assert iterations("1 epoch", None, DATA_LIMIT=640) == 10
    with pytest.raises(ConfigError, match=r"is \['synthetic'\], whose images are not counted"):
        iterations("1 epoch", None)


@pytest.mark.parametrize("time", ["1", "an epoch", "-1 epochs", "1e3 epochs", 0.5, None])
def test_what_is_no_time_is_refused(compose, image_folder, time):
    with pytest.raises(ConfigError, match=r"or of epochs as in '1 epoch'"):
        compose(
            *("config=mscn/quickstart", f"config.MSCN.DATA={image_folder}"),
            f"config.MODEL.TEMP_FROZEN_PARAMS_ITER_MAP=[[x,{'null' if time is None else time!r}]]",
        )


@pytest.mark.parametrize("method", ["swav", "dino"])
def test_a_composed_run_has_iterations(compose, image_folder, method):
    config = compose(
        *(f"config=mscn/{method}_quickstart", f"config.MSCN.DATA={image_folder}"),
        "config.DATA.TRAIN.BATCHSIZE_PER_REPLICA=8",
    )
    assert config.MODEL.TEMP_FROZEN_PARAMS_ITER_MAP[0][1] == 3  # 0.8 epochs of 4
